//! What only a socket shows: cut connections, back pressure, draining.

use crate::fake::*;
use bodkin_http::{router, serve};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

struct Server {
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let app = router(state_of(FakeNode::default()));
    let task = tokio::spawn(serve(listener, app, async { drop(stopped.await) }));
    Server { address, stop: Some(stop), task }
}

fn request(address: std::net::SocketAddr, query: &str, headers: &str) -> String {
    let body = format!("{{\"query\":\"{query}\"}}");
    format!("POST /api/v1/sql HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

async fn exchange(server: &Server, query: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request(server.address, query, headers).as_bytes()).await.unwrap();
    let mut text = Vec::new();
    timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_answer_is_chunked_and_ends_with_its_trailers() {
    let server = start().await;
    let text = exchange(&server, "SELECT", "connection: close\r\nte: trailers\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("transfer-encoding: chunked\r\n"));
    assert!(text.contains("\r\n0\r\nbodkin-stats: {\"rows\":3,"), "{text}");
    assert!(text.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_knows_no_trailers_gets_none() {
    let server = start().await;
    let text = exchange(&server, "SELECT", "connection: close\r\n").await;
    assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn an_error_after_the_first_rows_cuts_the_connection() {
    let server = start().await;
    for query in ["error later", "panic later", "large, then error"] {
        let text = exchange(&server, query, "").await;
        assert!(!text.contains("\r\n0\r\n"), "the last chunk would make it look complete: {text}");
        assert!(!text.contains("\"stats\""), "{text}");
        assert_eq!(text.contains("[2,\"row 2\"]"), query.starts_with("large"), "{text}");
    }
    let text =
        exchange(&server, "large, then error", "te: trailers\r\nbodkin-errors: trailer\r\nconnection: close\r\n").await;
    let trailer = r#"bodkin-error: {"code":"limit","message":"it failed","hint":"try less","line":1,"column":8}"#;
    assert!(text.ends_with(&format!("\r\n0\r\n{trailer}\r\n\r\n")), "{}", &text[text.len() - 300..]);
    let text = exchange(&server, "SELECT", "connection: close\r\n").await;
    assert!(text.contains("\"stats\""), "the server goes on");
}

#[tokio::test]
async fn a_connection_takes_one_request_after_the_other() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for status in ["400", "200", "400"] {
        let query = if status == "200" { "SELECT" } else { "syntax" };
        stream.write_all(request(server.address, query, "").as_bytes()).await.unwrap();
        let mut text = String::new();
        let is_whole = |text: &str| if status == "200" { text.ends_with("0\r\n\r\n") } else { text.ends_with("}}") };
        while !is_whole(&text) {
            let mut piece = [0; 4096];
            let read = timeout(Duration::from_secs(30), stream.read(&mut piece)).await.unwrap().unwrap();
            assert_ne!(read, 0, "{text}");
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[tokio::test]
async fn a_running_answer_is_finished_after_shutdown_and_new_connections_are_refused() {
    let mut server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request(server.address, "large", "te: trailers\r\n").as_bytes()).await.unwrap();
    let mut text = vec![0; 1024];
    stream.read_exact(&mut text).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.unwrap().unwrap();
    assert!(text.ends_with(b"\r\n\r\n"));
    let tail = String::from_utf8_lossy(&text[text.len() - 200..]).into_owned();
    assert!(tail.contains("\"rows\":200000"), "{tail}");
    timeout(Duration::from_secs(30), server.task).await.unwrap().unwrap().unwrap();
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_connections() {
    let mut server = start().await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&server, "SELECT", "connection: close\r\n").await.contains("200 OK"));
    server.stop.take().unwrap().send(()).unwrap();
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_endless_query() {
    let mut server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request(server.address, "endless", "").as_bytes()).await.unwrap();
    let mut text = vec![0; 1 << 20];
    stream.read_exact(&mut text).await.unwrap();
    drop(stream);
    server.stop.take().unwrap().send(()).unwrap();
    // Sooner than the limit of draining: the connection ended because its client did.
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn garbage_is_answered_or_dropped_and_harms_nobody() {
    let server = start().await;
    for garbage in
        [b"\x16\x03\x01\x02\x00\x01".as_slice(), b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", &[b'A'; 100_000]]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may close before it has read all.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap();
    }
    assert!(exchange(&server, "SELECT", "connection: close\r\n").await.contains("200 OK"));
}
