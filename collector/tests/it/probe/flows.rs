//! Connections and datagrams as the kernel counts them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;
use bodkin_ebpf::layout::{FLOW_IN, FLOW_OUT};

fn watch_flows() -> Option<Watch> {
    let quiet = FLOOD.read().unwrap_or_else(PoisonError::into_inner);
    // Calls that say whose a connection is are told to user space even if nobody wants their rows.
    let events = BTreeSet::from(["openat".to_string()]);
    let probe = attach(&ProbeConfig { events, flows: true, excluded_tgid: None, ..ProbeConfig::default() })?;
    Some(Watch { probe, _quiet: quiet })
}

fn connected() -> (TcpStream, TcpStream, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server, port)
}

fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(&[1; 1_000]).unwrap();
    server.read_exact(&mut [0; 1_000]).unwrap();
    server.write_all(&[2; 30_000]).unwrap();
    client.read_exact(&mut [0; 30_000]).unwrap();
}

/// Flows that ended with that port at one of their ends.
fn ended(probe: &mut Probe, port: u16) -> Vec<Flow> {
    let is_it = |flow: &Flow| flow.local_port == port || flow.remote_port == port;
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Flow(flow) if is_it(flow));
    let seen = collect(probe, &keep, &|seen| seen.len() >= 2);
    seen.iter().filter_map(|seen| if let Detail::Flow(flow) = seen.detail { Some(flow) } else { None }).collect()
}

#[test]
fn a_connection_is_told_from_both_ends_as_it_ends() {
    let Some(mut probe) = watch_flows() else { return };
    let (mut client, mut server, port) = connected();
    talk(&mut client, &mut server);
    drop((client, server));
    // A try that is refused is no conversation.
    assert!(TcpStream::connect("127.0.0.1:1").is_err());
    let flows = ended(&mut probe, port);
    let of = |direction| *flows.iter().find(|flow| flow.direction == direction).unwrap();
    let (out, back) = (of(FLOW_OUT), of(FLOW_IN));
    let own = std::process::id();
    assert_eq!((out.tgid, back.tgid, flows.len()), (own, own, 2), "{flows:?}");
    assert_eq!((out.bytes_sent, out.bytes_received), (1_000, 30_000), "{out:?}");
    assert_eq!((back.bytes_sent, back.bytes_received), (30_000, 1_000), "{back:?}");
    assert_eq!((out.remote_port, back.local_port, out.local_port), (port, port, back.remote_port));
    assert_eq!((out.local[..4].to_vec(), out.family, out.protocol), (vec![127, 0, 0, 1], 2, 6));
    assert!(out.packets_sent > 2 && back.packets_received > 2 && out.rtt_us > 0, "{out:?}");
    assert!(out.connect_us > 0 && out.connect_us < 5_000_000 && back.connect_us == 0, "{out:?}");
    assert!(out.start_ns > 0 && back.start_ns >= out.start_ns / 2);
    assert_no_loss(&mut probe);
}

#[test]
fn a_connection_that_lasts_is_read_with_its_owner() {
    let (mut client, mut server, before) = connected();
    let Some(mut probe) = watch_flows() else { return };
    let (mut client2, mut server2, after) = connected();
    talk(&mut client, &mut server);
    talk(&mut client2, &mut server2);
    // The ends of accept and connect reach the map before these return.
    let flows = probe.flows().unwrap();
    let own = std::process::id();
    let find = |port: u16| {
        let found: Vec<&Flow> = flows.iter().filter(|flow| flow.remote_port == port).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        *found[0]
    };
    let (old, new) = (find(before), find(after));
    assert_eq!((old.tgid, old.start_ns, old.bytes_received), (own, 0, 30_000), "{old:?}");
    assert_eq!((new.tgid, new.direction, new.bytes_sent), (own, FLOW_OUT, 1_000), "{new:?}");
}

#[test]
fn datagrams_are_counted_by_process_and_socket() {
    let Some(mut probe) = watch_flows() else { return };
    if probe.missing().iter().any(|text| text.contains("datagrams")) {
        return; // the kernel is older than 6.3
    }
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    for _ in 0..3 {
        client.send(&[7; 100]).unwrap();
        server.recv(&mut [0; 200]).unwrap();
    }
    let flows = probe.flows().unwrap();
    let port = server.local_addr().unwrap().port();
    let sent = flows.iter().find(|flow| flow.remote_port == port && flow.protocol == 17).unwrap();
    let got = flows.iter().find(|flow| flow.local_port == port && flow.protocol == 17).unwrap();
    assert_eq!((sent.bytes_sent, sent.packets_sent, sent.tgid), (300, 3, std::process::id()), "{sent:?}");
    assert_eq!((got.bytes_received, got.packets_received, got.packets_sent), (300, 3, 0), "{got:?}");
    probe.forget_flows(&[*sent]);
    assert!(probe.flows().unwrap().iter().all(|flow| flow.remote_port != port || flow.protocol != 17));
}
