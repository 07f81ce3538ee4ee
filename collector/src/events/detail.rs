//! The columns of `events` that depend on the kind of the event.

use super::flags::{FlagKind, FlagTexts};
use super::text::{ConstColumn, NULL, TextColumn};
use crate::path;
use arrow::array::{ArrayRef, Int32Builder, StringBuilder};
use arrow::error::ArrowError;
use bodkin_ebpf::event::{Body, Event, Open, Paths, Socket};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Builders of `path` to `remote_port`, one row per event whether it has the value or not.
#[derive(Debug, Default)]
pub(crate) struct DetailColumns {
    path: StringBuilder,
    path2: StringBuilder,
    fd: Int32Builder,
    fd_type: ConstColumn,
    flags: TextColumn,
    mode: Int32Builder,
    proto: ConstColumn,
    local_addr: TextColumn,
    local_port: Int32Builder,
    remote_addr: TextColumn,
    remote_port: Int32Builder,
    flag_texts: FlagTexts,
    scratch: String,
    path_bytes: usize,
}

/// The values of a row that are not texts of their own.
#[derive(Default)]
struct Row {
    fd: Option<i32>,
    fd_type: Option<&'static str>,
    flags: Option<(FlagKind, u64)>,
    mode: Option<i32>,
    proto: Option<&'static str>,
    local: Option<(IpAddr, u16)>,
    remote: Option<(IpAddr, u16)>,
}

impl DetailColumns {
    pub(crate) fn append(&mut self, event: &Event<'_>) {
        let row = match &event.body {
            Body::Exec(_) | Body::Exit => {
                self.no_paths();
                Row::default()
            }
            Body::Fork(fork) => {
                self.no_paths();
                let flags = (fork.clone_flags != 0).then_some((FlagKind::Clone, fork.clone_flags));
                Row { flags, ..Row::default() }
            }
            Body::Open(open) => self.open(event, open),
            Body::Paths(paths) => self.paths(event, paths),
            Body::Socket(socket) => self.socket(event, socket),
        };
        self.push(row);
    }

    /// Bytes of texts appended so far.
    pub(crate) fn bytes(&self) -> usize {
        self.path_bytes + self.flags.bytes() + self.local_addr.bytes() + self.remote_addr.bytes()
    }

    /// `path`, `path2`, `fd`, `fd_type`, `flags`, `mode`.
    pub(crate) fn finish_files(&mut self) -> Result<[ArrayRef; 6], ArrowError> {
        self.path_bytes = 0;
        Ok([
            Arc::new(self.path.finish()),
            Arc::new(self.path2.finish()),
            Arc::new(self.fd.finish()),
            self.fd_type.finish()?,
            self.flags.finish()?,
            Arc::new(self.mode.finish()),
        ])
    }

    /// `proto`, `local_addr`, `local_port`, `remote_addr`, `remote_port`.
    pub(crate) fn finish_sockets(&mut self) -> Result<[ArrayRef; 5], ArrowError> {
        Ok([
            self.proto.finish()?,
            self.local_addr.finish()?,
            Arc::new(self.local_port.finish()),
            self.remote_addr.finish()?,
            Arc::new(self.remote_port.finish()),
        ])
    }

    fn open(&mut self, event: &Event<'_>, open: &Open<'_>) -> Row {
        let has_path = path::write_name(&open.name, &mut self.scratch);
        self.push_path(has_path);
        self.path2.append_null();
        let makes_file = open.flags & (O_CREAT | O_TMPFILE) != 0 || event.name == "creat";
        let fd = i32::try_from(event.head.ret).ok().filter(|fd| *fd >= 0);
        Row {
            fd,
            fd_type: fd.map(|_| if open.inode_mode & S_IFMT == S_IFDIR { "directory" } else { "file" }),
            flags: Some((FlagKind::Open, open.flags)),
            mode: makes_file.then_some((open.mode & 0o7777) as i32),
            ..Row::default()
        }
    }

    fn paths(&mut self, event: &Event<'_>, paths: &Paths<'_>) -> Row {
        let has_path = path::write_name(&paths.name, &mut self.scratch);
        self.push_path(has_path);
        match &paths.name2 {
            Some(name2) if path::write_name(name2, &mut self.scratch) => {
                self.path_bytes += self.scratch.len();
                self.path2.append_value(&self.scratch);
            }
            _ => self.path2.append_null(),
        }
        Row { flags: FlagKind::of_paths_call(event.name).map(|kind| (kind, paths.flags)), ..Row::default() }
    }

    fn socket(&mut self, event: &Event<'_>, socket: &Socket<'_>) -> Row {
        let is_unix = socket.family == AF_UNIX;
        self.scratch.clear();
        if is_unix {
            // An abstract name starts with NUL and is written with `@`, as /proc/net/unix does.
            let (mark, name) = match socket.unix_path.split_first() {
                Some((0, name)) => ("@", name),
                _ => ("", socket.unix_path),
            };
            self.scratch.push_str(mark);
            self.scratch.push_str(&String::from_utf8_lossy(name));
        }
        let has_path = !self.scratch.is_empty();
        self.push_path(has_path);
        self.path2.append_null();
        let local = endpoint(socket.family, &socket.local, socket.local_port);
        let remote = endpoint(socket.family, &socket.remote, socket.remote_port);
        let fd_type = match (socket.family, remote.or(local)) {
            (AF_UNIX, _) => Some("unix"),
            (AF_INET, _) | (AF_INET6, Some((IpAddr::V4(_), _))) => Some("ipv4"),
            (AF_INET6, _) => Some("ipv6"),
            _ => None,
        };
        // A failed accept has no descriptor of its own.
        let fd = (socket.fd >= 0 && (event.head.ret >= 0 || event.name == "connect")).then_some(socket.fd);
        Row { fd, fd_type, proto: proto(socket), local, remote, ..Row::default() }
    }

    fn no_paths(&mut self) {
        self.path.append_null();
        self.path2.append_null();
    }

    fn push_path(&mut self, has_path: bool) {
        if has_path {
            self.path_bytes += self.scratch.len();
            self.path.append_value(&self.scratch);
        } else {
            self.path.append_null();
        }
    }

    fn push(&mut self, row: Row) {
        self.fd.append_option(row.fd);
        self.fd_type.push(row.fd_type);
        let flags = row.flags.and_then(|(kind, value)| self.flag_texts.text(kind, value));
        let flags = self.flags.key_opt(flags.as_ref());
        self.flags.push(flags);
        self.mode.append_option(row.mode);
        self.proto.push(row.proto);
        push_endpoint(row.local, &mut self.local_addr, &mut self.local_port, &mut self.scratch);
        push_endpoint(row.remote, &mut self.remote_addr, &mut self.remote_port, &mut self.scratch);
    }
}

fn push_endpoint(end: Option<(IpAddr, u16)>, addr: &mut TextColumn, port: &mut Int32Builder, scratch: &mut String) {
    let key = match end {
        Some((ip, _)) => {
            scratch.clear();
            // Writing to a String does not fail.
            let _ = write!(scratch, "{ip}");
            addr.key_of_str(scratch)
        }
        None => NULL,
    };
    addr.push(key);
    port.append_option(end.map(|(_, port)| i32::from(port)));
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
    match (socket.family, socket.protocol) {
        (AF_UNIX, _) => Some("unix"),
        (AF_INET | AF_INET6, 6) => Some("tcp"),
        (AF_INET | AF_INET6, 17) => Some("udp"),
        (AF_INET, 1) | (AF_INET6, 58) => Some("icmp"),
        (AF_INET | AF_INET6, 132) => Some("sctp"),
        (AF_INET | AF_INET6, 255) => Some("raw"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
