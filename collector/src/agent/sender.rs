//! The thread that sends, and looks after the spool.

use super::control::Control;
use crate::client::Client;
use crate::client::remote_config::Asker;
use crate::spool::Spool;
use crate::{Error, Result};
use bodkin_schema::Stream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Time between two rounds of the spool's upkeep.
const UPKEEP: Duration = Duration::from_millis(250);

/// The running thread; dropping the handle ends it.
#[derive(Debug)]
pub(super) struct Handle {
    /// Takes the time for sending what is left.
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Gives the thread `drain` to send what is left, and waits for its end.
    pub(super) fn stop(self, drain: Duration) {
        // If the thread has ended there is nobody to tell.
        let _ = self.stop.send(drain);
        if self.thread.join().is_err() {
            tracing::error!("the sender has panicked");
        }
    }
}

/// Starts the thread. Without a client everything counts as acked; with one, `asker` follows what the server configures.
pub(super) fn start(
    client: Option<Arc<Client>>,
    spool: Arc<Spool>,
    asker: Asker,
    control: Arc<Control>,
) -> Result<Handle> {
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io(Path::new("bodkin-sender"), "start runtime"))?;
    let spawned = std::thread::Builder::new().name("bodkin-sender".into()).spawn(move || {
        runtime.block_on(async {
            let drain = async {
                let drain: Duration = stopped.await.unwrap_or_default();
                // What is not sent by then stays in the spool.
                let _ = timeout(drain, drained(&spool)).await;
            };
            tokio::select! {
                () = drain => {}
                () = upkeep(&spool) => {}
                () = send(client.as_deref(), &spool) => {}
                () = follow(client.as_deref(), asker, control) => {}
            }
        });
    });
    let thread = spawned.map_err(Error::io(Path::new("bodkin-sender"), "start thread"))?;
    Ok(Handle { stop, thread })
}

async fn send(client: Option<&Client>, spool: &Spool) {
    match client {
        Some(client) => client.run().await,
        None => discard(spool).await,
    }
}

async fn follow(client: Option<&Client>, asker: Asker, control: Arc<Control>) {
    match client {
        Some(client) => client.follow(asker, control).await,
        None => std::future::pending().await,
    }
}

/// The null output.
async fn discard(spool: &Spool) {
    spool.set_connected(true);
    let mut changes = spool.changes();
    loop {
        for stream in Stream::ALL {
            while let Some(lane) = spool.first_lane(stream) {
                match spool.next(lane) {
                    Ok(Some(frame)) => spool.ack(lane, frame.seq.0),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "spool cannot be read");
                        break;
                    }
                }
            }
        }
        // The sender lives in the spool: it does not go away.
        let _ = changes.changed().await;
    }
}

async fn upkeep(spool: &Arc<Spool>) {
    let mut was_failing = false;
    loop {
        tokio::select! {
            () = sleep(UPKEEP) => {}
            () = spool.pressure() => {}
        }
        if spool.is_at_rest() {
            // No thread is woken for nothing, which is what a quiet host has to keep up.
            continue;
        }
        let worker = spool.clone();
        let outcome = tokio::task::spawn_blocking(move || worker.maintain()).await;
        match outcome {
            Ok(Err(error)) if !was_failing => {
                tracing::error!(%error, "the spool cannot be written, unsent batches stay in memory");
                was_failing = true;
            }
            Ok(outcome) => was_failing = outcome.is_err(),
            Err(error) => tracing::error!(%error, "upkeep of the spool has failed"),
        }
    }
}

async fn drained(spool: &Spool) {
    let mut changes = spool.changes();
    while !spool.is_drained() {
        // The sender lives in the spool: it does not go away.
        let _ = changes.changed().await;
    }
}
