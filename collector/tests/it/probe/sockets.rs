//! Calls on sockets.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

#[test]
fn connections_have_both_ends() {
    let events = ["connect", "accept", "accept4"].map(str::to_string);
    let Some(mut probe) = watch(events.into()) else { return };
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(local).unwrap();
        let server = listener.local_addr().unwrap();
        let stream = TcpStream::connect(server).unwrap();
        let client = stream.local_addr().unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        let found = lines(&mut probe, &client.to_string(), 2);
        assert_eq!(found, [format!("connect ok {client} -> {server}"), format!("accept4 ok {server} -> {client}")]);

        let nonblocking = TcpStream::connect_timeout(&server, Duration::from_secs(5)).unwrap();
        let client = nonblocking.local_addr().unwrap();
        let found = lines(&mut probe, &client.to_string(), 1);
        assert_eq!(found, [format!("connect {EINPROGRESS} {client} -> {server}")]);

        drop(listener);
        // A child that another test is just starting may hold the listener a moment longer.
        while TcpStream::connect(server).is_ok() {}
        let keep = |seen: &Seen| seen.ret == ECONNREFUSED && seen.line().ends_with(&format!("-> {server}"));
        let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
        let Detail::Socket { fd, family, protocol, .. } = seen[0].detail else { panic!("{seen:?}") };
        assert_eq!((fd > 2, family, protocol), (true, if server.is_ipv4() { 2 } else { 10 }, 6));
    }
    assert_no_loss(&mut probe);
}

#[test]
fn unix_sockets_have_their_path() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let marker = marker("unix");
    let path = folder.path().join(&marker);
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let _server = listener.accept().unwrap();
    UnixStream::connect(folder.path().join(format!("{marker}-none"))).unwrap_err();
    let name = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(&marker).unwrap()
    };
    UnixStream::connect_addr(&name).unwrap_err();
    let path = path.display();
    assert_eq!(
        lines(&mut probe, &marker, 5),
        [
            format!("bind ok {path}"),
            format!("connect ok {path}"),
            format!("accept4 ok {path}"),
            format!("connect {ENOENT} {path}-none"),
            format!("connect {ECONNREFUSED} \0{marker}"),
        ]
    );
}
