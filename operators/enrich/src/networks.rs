//! Addresses to the longest network that holds them: networks as disjoint stretches of all addresses, sorted.

use std::net::{IpAddr, Ipv6Addr};

/// Networks and a number for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks {
    /// First address of a stretch, and the network that it is of; it goes up to the next one.
    stretches: Vec<(u128, Option<u32>)>,
}

/// A network: first and last address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: u128,
    last: u128,
}

/// An address as a number; IPv4 as it is mapped into IPv6.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address.parse::<IpAddr>().ok()?, Some(length.parse::<u32>().ok()?)),
            None => (text.trim().parse::<IpAddr>().ok()?, None),
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        if length > bits {
            return None;
        }
        let host_bits = bits - length;
        let mask = if host_bits == 128 { u128::MAX } else { (1_u128 << host_bits) - 1 };
        let first = number(address) & !mask;
        Some(Self { first, last: first | mask })
    }
}

impl Networks {
    /// Of networks with their numbers; of equal ones the last counts. Networks either lie in each other or are disjoint.
    pub(crate) fn new(mut networks: Vec<(Network, u32)>) -> Self {
        // Wider ones first, so that what lies in them comes behind.
        networks.sort_by_key(|(network, number)| (network.first, std::cmp::Reverse(network.last), *number));
        let mut stretches: Vec<(u128, Option<u32>)> = vec![(0, None)];
        let mut open: Vec<(Network, u32)> = Vec::new();
        let close = |open: &mut Vec<(Network, u32)>, until: Option<u128>, stretches: &mut Vec<(u128, Option<u32>)>| {
            while let Some((network, _)) =
                open.last().filter(|(network, _)| until.is_none_or(|until| network.last < until))
            {
                let next = network.last.checked_add(1);
                open.pop();
                if let Some(next) = next {
                    stretches.push((next, open.last().map(|(_, number)| *number)));
                }
            }
        };
        for (network, number) in networks {
            close(&mut open, Some(network.first), &mut stretches);
            stretches.push((network.first, Some(number)));
            open.push((network, number));
        }
        close(&mut open, None, &mut stretches);
        // Of several that begin at one address the last was pushed last.
        let mut kept: Vec<(u128, Option<u32>)> = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            match kept.last_mut() {
                Some(last) if last.0 == stretch.0 => *last = stretch,
                _ => kept.push(stretch),
            }
        }
        Self { stretches: kept }
    }

    /// The number of the longest network that holds an address.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let address: IpAddr = text.parse().or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::V6)).ok()?;
        let address = number(address);
        let at = self.stretches.partition_point(|(first, _)| *first <= address);
        self.stretches.get(at.checked_sub(1)?)?.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_network_wins() {
        let all = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.2.3",
            "0.0.0.0/0",
            "fd00::/8",
            "::/0",
            "255.255.255.255",
        ];
        let networks = all.iter().enumerate().map(|(n, text)| (Network::parse(text).unwrap(), n as u32)).collect();
        let networks = Networks::new(networks);
        for (address, network) in [
            ("10.9.9.9", 0),
            ("10.1.9.9", 1),
            ("10.1.2.9", 2),
            ("10.1.2.3", 3),
            ("10.1.2.4", 2),
            ("10.2.0.0", 0),
            ("9.255.255.255", 4),
            ("11.0.0.0", 4),
            ("fd00::1", 5),
            ("fe80::1", 6),
            ("255.255.255.255", 7),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6),
            ("::ffff:10.1.2.3", 3),
        ] {
            assert_eq!(networks.find(address), Some(network), "{address}");
        }
        assert_eq!(networks.find("nothing"), None);
        assert_eq!(Networks::default().find("10.0.0.1"), None);
        for wrong in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", ""] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
