//! Connections: accepted up to a bound, cut when they stall, drained on shutdown.
//!
//! HTTP/1.1 alone: on plain text no client of ours speaks anything else, and hyper's detection of HTTP/2 waits for
//! the first bytes of a connection without a time limit.

use crate::stall::StallGuard;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time; more wait in the listener's backlog. Each costs a buffer of at most 400 KiB beside what its
/// request needs.
const CONNECTIONS_MAX: usize = 1024;
/// Longest wait for the head of a request, the pause between two requests included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take no byte of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long running requests may take to end after the shutdown signal: less than the 30 s that the process has.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `router` until `shutdown` resolves, then takes no new requests and waits for the running ones, at most 10 s.
///
/// Dropping the future closes the listener and leaves running connections to the runtime.
///
/// # Errors
/// The listener is broken. Errors of one connection end that connection only.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let slot = slots.clone().acquire_owned();
        let next = async { (slot.await, listener.accept().await) };
        let (slot, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                let connection = graceful.watch(connection(stream, service));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors, most likely: what runs gives some back.
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still ran {} s after shutdown began", DRAIN_TIMEOUT.as_secs());
    }
    Ok(())
}

type Service = TowerToHyperService<Router>;

fn connection(stream: TcpStream, service: Service) -> http1::Connection<TokioIo<StallGuard<TcpStream>>, Service> {
    // Answers are written in large pieces; waiting to fill a segment only delays their last one.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(StallGuard::new(stream, STALL_TIMEOUT)), service)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
