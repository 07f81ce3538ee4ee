//! IP addresses and networks, and ports by name.

use std::net::IpAddr;

/// Ports that rules write by name. A fixed table, so that a rule means the same on every host.
static SERVICES: &[(&str, i64)] = &[
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap2", 143),
    ("imaps", 993),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
    ("ntp", 123),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("redis", 6379),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("submission", 587),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
    ("x11", 6000),
];

/// The port of that name.
pub(crate) fn service_port(name: &str) -> Option<i64> {
    SERVICES.iter().find(|(service, _)| *service == name).map(|(_, port)| *port)
}

/// The name of that port.
pub(crate) fn service_name(port: i64) -> Option<&'static str> {
    SERVICES.iter().find(|(_, known)| *known == port).map(|(service, _)| *service)
}

/// Reads an address from the text of a column.
pub(crate) fn parse(bytes: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A network: the addresses that share the first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    /// Reads `address/bits`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.trim().parse().ok()?;
        let length: u32 = length.trim().parse().ok()?;
        let is_v4 = address.is_ipv4();
        let width = if is_v4 { 32 } else { 128 };
        let unused = width - (length <= width).then_some(length)?;
        let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
        Some(Self { bits: bits(address) & mask, mask, is_v4 })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && bits(address) & self.mask == self.bits & self.mask
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let inside = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.1.2") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("10.1.2.3/16", "10.1.9.9") && inside("0.0.0.0/0", "1.2.3.4") && !inside("0.0.0.0/0", "::1"));
        assert!(inside("fe80::/10", "fe80::1") && !inside("fe80::/10", "ff02::1") && inside("::/0", "::1"));
        assert!(inside("1.2.3.4/32", "1.2.3.4") && !inside("1.2.3.4/32", "1.2.3.5"));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/x", "x/8", "::/129", "/"] {
            assert!(Network::parse(wrong).is_none(), "{wrong}");
        }
    }
}
