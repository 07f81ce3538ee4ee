//! From the spool to a server: one Flight DoPut per stream, acknowledged batch by batch.
//!
//! ```text
//! DoPut   descriptor path [stream] + schema | dictionaries, batch {producer, incarnation, seq} | ...
//! answers {acked_seq, credit_bytes} | ...
//! ```
//! A put carries one lane, so that an ack needs no name: batches of earlier lives go first. What is not acked when a
//! put ends is sent again with the same number; the server drops what it has (ONCE-1). Credits bound what is in
//! flight. Connections are made anew after 50 ms, doubling to 1 s.
//!
//! | module | what it holds |
//! |---|---|
//! | [`server`] | [`Server`]: URL, certificates, token |
//! | `put` | one put |
//! | [`remote_config`] | configuration from the server |

mod put;
pub mod remote_config;
pub mod server;

pub use server::{Server, TlsFiles};

use crate::agent::Control;
use crate::spool::{LaneId, Spool};
use bodkin_schema::Stream;
use futures::future::join_all;
use put::{Failure, Put};
use remote_config::Asker;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Figures of a [`Client`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientStats {
    /// Puts begun.
    pub puts: u64,
    /// Puts that ended with an error.
    pub failures: u64,
    /// Rows sent, those sent again included.
    pub rows_sent: u64,
}

/// Counters that a put adds to.
#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    failures: AtomicU64,
    rows_sent: AtomicU64,
}

/// Sends what a spool holds to one server, for as long as [`run`](Self::run) runs.
#[derive(Debug)]
pub struct Client {
    spool: Arc<Spool>,
    server: Server,
    counters: Counters,
    /// For each stream whether its last word from the server was a good one.
    is_healthy: [AtomicBool; Stream::ALL.len()],
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(spool: Arc<Spool>, server: Server) -> Self {
        Self { spool, server, counters: Counters::default(), is_healthy: Default::default() }
    }

    /// Sends for ever. Dropping the future is safe: what is not acked stays in the spool, to be sent again.
    pub async fn run(&self) {
        let channel = self.server.channel();
        let streams = Stream::ALL.into_iter().enumerate();
        join_all(streams.map(|(index, stream)| self.run_stream(index, stream, &channel))).await;
    }

    /// Takes over what the server configures, for ever. Safe to drop.
    pub(crate) async fn follow(&self, asker: Asker, control: Arc<Control>) {
        remote_config::run(&self.server, self.server.channel(), asker, control).await;
    }

    /// The figures.
    pub fn stats(&self) -> ClientStats {
        ClientStats {
            puts: self.counters.puts.load(Ordering::Relaxed),
            failures: self.counters.failures.load(Ordering::Relaxed),
            rows_sent: self.counters.rows_sent.load(Ordering::Relaxed),
        }
    }

    async fn run_stream(&self, index: usize, stream: Stream, channel: &tonic::transport::Channel) {
        let mut changes = self.spool.changes();
        let mut backoff = BACKOFF_MIN;
        // Batches to be sent one at a time, because one of so many is refused.
        let mut careful = 0;
        loop {
            let Some(lane) = self.spool.first_lane(stream) else {
                // The sender lives in the spool: it does not go away.
                let _ = changes.changed().await;
                continue;
            };
            let mut put = Put::new(self, index, lane, stream, careful);
            let outcome = put.run(channel.clone()).await;
            careful = put.careful();
            self.spool.rewind(lane);
            if put.had_ack() {
                backoff = BACKOFF_MIN;
            }
            match outcome {
                Ok(()) => continue,
                Err(Failure::Refused { seq, unacked, why }) => {
                    careful = self.refused(lane, seq, unacked, careful, &why)
                }
                Err(Failure::Broken(why)) => {
                    let was_healthy = self.set_healthy(index, false);
                    if was_healthy || backoff == BACKOFF_MIN {
                        tracing::warn!(%stream, server = %self.server.url(), why, "connection lost, trying again");
                    }
                }
            }
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One of `unacked` batches, `seq` the first of them, is refused. How many are to be sent one at a time.
    fn refused(&self, lane: LaneId, seq: u64, unacked: usize, careful: usize, why: &str) -> usize {
        if unacked > 1 {
            return careful.max(unacked);
        }
        tracing::error!(seq, why, "the server refuses a batch, its rows are lost");
        self.spool.refuse(lane, seq);
        careful
    }

    /// Notes whether the server answers on a stream; what was noted before.
    fn set_healthy(&self, index: usize, is_healthy: bool) -> bool {
        let Some(flag) = self.is_healthy.get(index) else { return false };
        let was_healthy = flag.swap(is_healthy, Ordering::Relaxed);
        self.spool.set_connected(self.is_healthy.iter().any(|flag| flag.load(Ordering::Relaxed)));
        was_healthy
    }
}
