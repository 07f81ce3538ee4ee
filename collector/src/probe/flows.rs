//! Connections that last: read by an iterator, and the counts of datagrams that the programs keep.

use super::{ProbeError, iterators};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use bodkin_ebpf::decode::{FLOW_BYTES, flows};
use bodkin_ebpf::event::Flow;
use std::io::Read;

/// Connections whose state is kept at a time; 80 bytes each. Those unused longest are forgotten.
pub(super) const CONNECTIONS_MAX: u32 = 16 * 1024;

/// Sockets and processes whose datagrams are counted at a time; 170 bytes each.
pub(super) const DATAGRAMS_MAX: u32 = 8 * 1024;

/// Bytes of connections that are read at once: 150,000 of them.
const READ_BYTES_MAX: u64 = 16 << 20;

/// The iterators, by the kind of thing that they go over.
pub(super) const ITERATORS: [(&str, &str); 2] = [("each_flow", "tcp"), ("each_file", "task_file")];

/// Programs that may be missing, their tracepoints, and what then is.
pub(super) const PROGRAMS: [(&str, &str, &str); 3] = [
    ("on_tcp_state", "inet_sock_set_state", "connections are not told in flows"),
    ("on_sent", "sock_send_length", "datagrams that are sent are not told in flows"),
    ("on_received", "sock_recv_length", "datagrams that are received are not told in flows"),
];

/// What can be read.
pub(super) struct Flows {
    datagrams: HashMap<MapData, [u64; 2], [u8; FLOW_BYTES]>,
    has_iterators: bool,
}

impl Flows {
    /// Takes over the map, and finds out whose the connections are that are there already.
    pub(super) fn new(ebpf: &mut Ebpf, datagrams: HashMap<MapData, [u64; 2], [u8; FLOW_BYTES]>) -> Self {
        let owners = read_all(ebpf, "each_file");
        if let Err(error) = &owners {
            tracing::info!(%error, "connections that last are told as they end");
        }
        Self { datagrams, has_iterators: owners.is_ok() }
    }

    /// All of them. Costs half a microsecond for each connection and two system calls for each socket of datagrams.
    pub(super) fn read(&mut self, ebpf: &mut Ebpf) -> Result<Vec<Flow>, ProbeError> {
        let bytes = if self.has_iterators { read_all(ebpf, "each_flow")? } else { Vec::new() };
        let datagrams: Vec<([u64; 2], [u8; FLOW_BYTES])> = self.datagrams.iter().filter_map(Result::ok).collect();
        Ok(flows(&bytes).chain(datagrams.iter().flat_map(|(_, value)| flows(value))).collect())
    }

    /// Forgets the datagrams of a socket and process.
    pub(super) fn forget(&mut self, flow: &Flow) {
        // It may be gone already.
        let _ = self.datagrams.remove(&[flow.sk, u64::from(flow.tgid)]);
    }
}

/// What an iterator writes from beginning to end.
fn read_all(ebpf: &mut Ebpf, name: &str) -> Result<Vec<u8>, ProbeError> {
    let mut bytes = Vec::new();
    iterators::open(ebpf, name)?.take(READ_BYTES_MAX).read_to_end(&mut bytes).map_err(ProbeError::Read)?;
    Ok(bytes)
}
