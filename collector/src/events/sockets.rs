//! What is remembered of sockets: which side accepted, and which ends were seen last.

use crate::host_names::NamesByAddress;
use bodkin_ebpf::event::Socket;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;
use std::sync::Arc;

/// Most sockets that are remembered: 1 MiB. Beyond, all are forgotten: a socket that is used again is learned again,
/// only who accepted it is not.
const SOCKETS_MAX: usize = 32 * 1024;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_ESTABLISHED: u8 = 1;
const EINPROGRESS: i64 = -115;

/// What a row says of its socket beside its ends; None where that means nothing or is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketNote {
    /// The process accepted the connection, or listens.
    pub is_server: Option<bool>,
    /// It is connected.
    pub is_connected: Option<bool>,
    /// The call changed its ends.
    pub is_name_changed: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_server: Option<bool>,
    ends: u64,
}

/// Sockets by inode.
#[derive(Debug, Default)]
pub struct SocketTable {
    known: FxHashMap<u64, Known>,
    pub(super) names: Arc<NamesByAddress>,
}

impl SocketTable {
    /// The names that rows say of addresses from now on.
    pub fn set_names(&mut self, names: Arc<NamesByAddress>) {
        self.names = names;
    }

    /// Learns from a call that ended with `ret`, and says what is known of its socket then.
    pub fn note(&mut self, name: &str, ret: i64, socket: &Socket<'_>) -> SocketNote {
        if !matches!(socket.family, AF_INET | AF_INET6) || socket.ino == 0 {
            return SocketNote::default();
        }
        let is_made = name == "socket" && ret >= 0;
        let ends = ends(socket);
        let mut known = self.known.get(&socket.ino).copied().filter(|_| !is_made).unwrap_or_default();
        match name {
            "accept" | "accept4" if ret >= 0 => known.is_server = Some(true),
            "listen" if ret >= 0 => known.is_server = Some(true),
            "connect" if ret >= 0 || ret == EINPROGRESS => known.is_server = Some(false),
            _ => {}
        }
        let has_remote = socket.remote_port != 0;
        let note = SocketNote {
            is_server: known.is_server,
            is_connected: Some(socket.state == TCP_ESTABLISHED),
            is_name_changed: Some(has_remote && known.ends != ends),
        };
        if has_remote {
            known.ends = ends;
        }
        if self.known.len() >= SOCKETS_MAX && !self.known.contains_key(&socket.ino) {
            self.known.clear();
        }
        self.known.insert(socket.ino, known);
        note
    }
}

/// A number for the ends of a socket, never 0.
fn ends(socket: &Socket<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(&socket.local);
    hasher.write(&socket.remote);
    hasher.write_u16(socket.local_port);
    hasher.write_u16(socket.remote_port);
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(ino: u64, remote_port: u16, state: u8) -> Socket<'static> {
        Socket { family: AF_INET, ino, remote_port, state, local_port: 1, ..Socket::default() }
    }

    #[test]
    fn who_accepted_is_remembered_until_the_inode_is_another_socket() {
        let mut table = SocketTable::default();
        let note = table.note("accept4", 7, &socket(1, 80, 1));
        assert_eq!((note.is_server, note.is_connected), (Some(true), Some(true)));
        assert_eq!(table.note("dup2", 0, &socket(1, 80, 1)).is_server, Some(true));
        assert_eq!(table.note("connect", EINPROGRESS, &socket(2, 80, 2)).is_server, Some(false));
        assert_eq!(
            table.note("socket", 3, &socket(1, 0, 7)),
            SocketNote { is_server: None, is_connected: Some(false), is_name_changed: Some(false) }
        );
        assert_eq!(table.note("dup2", 0, &socket(1, 80, 1)).is_server, None);
        assert_eq!(table.note("dup2", 0, &Socket { family: 1, ..socket(9, 1, 1) }), SocketNote::default());
    }

    #[test]
    fn a_datagram_to_another_peer_changes_the_name() {
        let mut table = SocketTable::default();
        let mut send = |port| table.note("sendto", 1, &socket(5, port, 7)).is_name_changed;
        assert_eq!([send(53), send(53), send(54), send(54)], [true, false, true, false].map(Some));
    }

    #[test]
    fn hostile_numbers_of_sockets_do_not_fill_memory() {
        let mut table = SocketTable::default();
        for ino in 1..100_000 {
            table.note("sendto", 1, &socket(ino, 1, 7));
        }
        assert!(table.known.len() <= SOCKETS_MAX);
    }
}
