//! The thread that takes host metrics.

use super::capture::Context;
use crate::host_metrics::{MetricBatches, Registry, Roots, collect};
use crate::spool::Spool;
use crate::{Error, Result};
use bodkin_schema::Stream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The running thread; dropping the handle ends it.
#[derive(Debug)]
pub(super) struct Handle {
    _stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Tells the thread to end.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.thread
    }
}

/// Starts the thread; the first samples are taken at once.
pub(super) fn start(host: &str, interval: Duration, context: &Context) -> Result<Handle> {
    let (stop, stopped) = channel::<()>();
    let (mut registry, context) = (Registry::new(host, "node"), context.clone());
    let spawned = std::thread::Builder::new().name("bodkin-metrics".into()).spawn(move || {
        let roots = Roots::default();
        loop {
            let begun = context.clock.monotonic();
            if let Err(error) = round(&roots, &mut registry, &context) {
                tracing::warn!(%error, "host metrics of one round are lost");
            }
            let rest = interval.saturating_sub(context.clock.monotonic().saturating_sub(begun));
            if stopped.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    });
    let thread = spawned.map_err(Error::io(Path::new("bodkin-metrics"), "start thread"))?;
    Ok(Handle { _stop: stop, thread })
}

fn round(roots: &Roots, registry: &mut Registry, context: &Context) -> Result<()> {
    let now = context.clock.now();
    let mut outcome = Ok(());
    collect(roots, now, &mut |name, labels, value| {
        if let Err(error) = registry.add(now, name, labels, value) {
            outcome = Err(Error::batch(Stream::Samples)(error));
        }
    });
    outcome?;
    push(&context.spool, registry.finish(now).map_err(Error::batch(Stream::Samples))?)
}

/// Queues the batches of one round, the series first.
pub(super) fn push(spool: &Spool, batches: MetricBatches) -> Result<()> {
    for (stream, batch) in [(Stream::Series, batches.series), (Stream::Samples, batches.samples)] {
        if let Some(batch) = batch {
            spool.push(stream, &batch)?;
        }
    }
    Ok(())
}
