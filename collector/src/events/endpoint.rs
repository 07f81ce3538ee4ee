//! What descriptors are, and the ends of sockets.

use super::process_columns::Named;
use super::sparse::Sparse;
use super::text::{ConstColumn, MadeColumn, TextColumn};
use crate::host_names::NamesByAddress;
use arrow::array::Int32Builder;
use arrow::error::ArrowError;
use bodkin_ebpf::event::{Descriptor, Socket};
use bodkin_ebpf::layout::layer;
use bodkin_schema::events as e;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;

/// Falco's name for what an inode is; None for one that has no file system's kind.
pub(super) fn file_kind(mode: u32) -> Option<&'static str> {
    match mode & 0o170_000 {
        0o040_000 => Some("directory"),
        0o010_000 => Some("pipe"),
        0o100_000 | 0o020_000 | 0o060_000 | 0o120_000 => Some("file"),
        _ => None,
    }
}

/// Falco's name for a descriptor of the kernel's own making.
pub(super) fn anonymous_kind(descriptor: &Descriptor<'_>) -> Option<&'static str> {
    if descriptor.layer & layer::MEMFD != 0 {
        return Some("memfd");
    }
    // Such inodes lie in no tree: the walk ends at their name.
    let name = descriptor.path.bytes.strip_suffix(&[0]).filter(|_| descriptor.path.truncated)?;
    match name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name) {
        b"eventfd" => Some("event"),
        b"eventpoll" => Some("eventpoll"),
        b"inotify" => Some("inotify"),
        b"signalfd" => Some("signalfd"),
        b"timerfd" => Some("timerfd"),
        b"userfaultfd" => Some("userfaultfd"),
        b"io_uring" => Some("io_uring"),
        b"pidfd" => Some("pidfd"),
        bpf if bpf.starts_with(b"bpf") => Some("bpf"),
        _ => None,
    }
}

/// Falco's name for a kind of socket.
pub(super) fn socket_kind(socket: &Socket<'_>) -> Option<&'static str> {
    let end = endpoint(socket.family, &socket.remote, socket.remote_port).or(endpoint(
        socket.family,
        &socket.local,
        socket.local_port,
    ));
    match (socket.family, end) {
        (AF_UNIX, _) => Some("unix"),
        (AF_INET, _) | (AF_INET6, Some((IpAddr::V4(_), _))) => Some("ipv4"),
        (AF_INET6, _) => Some("ipv6"),
        (AF_NETLINK, _) => Some("netlink"),
        _ => None,
    }
}

/// `proto`, and address, port and name of both ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    proto: ConstColumn,
    local: End,
    remote: End,
}

/// Address, port and name of one end.
#[derive(Debug, Default)]
struct End {
    address: MadeColumn<IpAddr>,
    port: Sparse<Int32Builder>,
    name: TextColumn,
}

impl Ends {
    /// Says the ends of a socket in a row.
    pub(super) fn put(&mut self, row: usize, socket: &Socket<'_>, names: &NamesByAddress) {
        if let Some(proto) = proto(socket) {
            self.proto.put(row, proto);
        }
        self.local.put(row, endpoint(socket.family, &socket.local, socket.local_port), names);
        self.remote.put(row, endpoint(socket.family, &socket.remote, socket.remote_port), names);
    }

    pub(super) fn bytes(&self) -> usize {
        self.local.address.bytes() + self.remote.address.bytes()
    }

    pub(super) fn finish(&mut self, rows: usize) -> Result<[Named; 7], ArrowError> {
        Ok([
            (e::PROTO, self.proto.finish(rows)?),
            (e::LOCAL_ADDR, self.local.address.finish(rows)?),
            (e::LOCAL_PORT, self.local.port.finish(rows)),
            (e::REMOTE_ADDR, self.remote.address.finish(rows)?),
            (e::REMOTE_PORT, self.remote.port.finish(rows)),
            (e::LOCAL_NAME, self.local.name.finish(rows)?),
            (e::REMOTE_NAME, self.remote.name.finish(rows)?),
        ])
    }
}

impl End {
    fn put(&mut self, row: usize, end: Option<(IpAddr, u16)>, names: &NamesByAddress) {
        let Some((ip, port)) = end else { return };
        // Writing to a String does not fail.
        self.address.put(row, ip, |text| write!(text, "{ip}").is_ok());
        self.port.at(row).append_value(i32::from(port));
        if let Some(name) = names.get(&ip) {
            self.name.put_text(row, name);
        }
    }
}

/// Address and port; IPv4 carried in IPv6 is IPv4. None where the socket has neither.
fn endpoint(family: u16, address: &[u8; 16], port: u16) -> Option<(IpAddr, u16)> {
    let ip = match family {
        AF_INET => {
            let [a, b, c, d, ..] = *address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(*address)).to_canonical(),
        _ => return None,
    };
    (port != 0 || !ip.is_unspecified()).then_some((ip, port))
}

fn proto(socket: &Socket<'_>) -> Option<&'static str> {
    const SOCK_RAW: u16 = 3;
    match (socket.family, socket.protocol) {
        (AF_UNIX, _) => Some("unix"),
        (AF_INET | AF_INET6, 6) => Some("tcp"),
        (AF_INET | AF_INET6, 17) => Some("udp"),
        (AF_INET, 1) | (AF_INET6, 58) => Some("icmp"),
        (AF_INET | AF_INET6, 132) => Some("sctp"),
        (AF_INET | AF_INET6, _) if socket.sock_type == SOCK_RAW => Some("raw"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_ebpf::event::Components;

    #[test]
    fn endpoints_are_canonical_or_absent() {
        let mapped = Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped().octets();
        let table = [
            (AF_INET, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 80, Some("127.0.0.1:80")),
            (AF_INET, [0; 16], 53, Some("0.0.0.0:53")),
            (AF_INET, [0; 16], 0, None),
            (AF_INET6, Ipv6Addr::LOCALHOST.octets(), 443, Some("[::1]:443")),
            (AF_INET6, mapped, 443, Some("10.0.0.7:443")),
            (AF_UNIX, [1; 16], 1, None),
        ];
        for (family, address, port, expected) in table {
            let text =
                endpoint(family, &address, port).map(|(ip, port)| std::net::SocketAddr::new(ip, port).to_string());
            assert_eq!(text.as_deref(), expected);
        }
    }

    #[test]
    fn descriptors_have_falcos_names() {
        let anonymous = |bytes, truncated, layer| {
            anonymous_kind(&Descriptor { path: Components { bytes, truncated }, layer, ..Descriptor::default() })
        };
        assert_eq!(anonymous(b"[eventfd]\0", true, 0), Some("event"));
        assert_eq!(anonymous(b"bpf-prog\0", true, 0), Some("bpf"));
        assert_eq!(anonymous(b"bpf-prog\0", false, 0), None, "a file of that name");
        assert_eq!(anonymous(b"memfd:x\0", true, layer::MEMFD), Some("memfd"));
        assert_eq!(
            [file_kind(0o100_644), file_kind(0o040_755), file_kind(0o600)],
            [Some("file"), Some("directory"), None]
        );
        let packet = Socket { family: 17, ..Socket::default() };
        assert_eq!((socket_kind(&packet), proto(&packet)), (None, None));
    }
}
