//! The thread that takes metrics of the host and its containers.

use super::capture::Context;
use crate::containers::Containers;
use crate::host_metrics::{MetricBatches, Registry, Roots, collect, collect_containers};
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

/// What a round goes by.
struct Round {
    roots: Roots,
    host: Registry,
    containers: Registry,
    known: Containers,
    context: Context,
}

/// Starts the thread; the first samples are taken at once. `known` says what runtimes know of containers.
pub(super) fn start(host: &str, interval: Duration, known: Containers, context: &Context) -> Result<Handle> {
    let (stop, stopped) = channel::<()>();
    let mut round = Round {
        roots: Roots::default(),
        host: Registry::new(host, "node"),
        containers: Registry::new(host, "cadvisor"),
        known,
        context: context.clone(),
    };
    let spawned = std::thread::Builder::new().name("bodkin-metrics".into()).spawn(move || {
        loop {
            let begun = round.context.clock.monotonic();
            if let Err(error) = round.take() {
                tracing::warn!(%error, "metrics of one round are lost");
            }
            let rest = interval.saturating_sub(round.context.clock.monotonic().saturating_sub(begun));
            if stopped.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    });
    let thread = spawned.map_err(Error::io(Path::new("bodkin-metrics"), "start thread"))?;
    Ok(Handle { _stop: stop, thread })
}

impl Round {
    fn take(&mut self) -> Result<()> {
        let Self { roots, host, containers, known, context } = self;
        let now = context.clock.now();
        let mut outcome = Ok(());
        let mut add = |registry: &mut Registry, name: &str, labels: &[(&str, &str)], value| {
            if let Err(error) = registry.add(now, name, labels, value) {
                outcome = Err(Error::batch(Stream::Samples)(error));
            }
        };
        collect(roots, now, &mut |name, labels, value| add(host, name, labels, value));
        known.settled();
        let mut look_up = |id: &str, cgroup: &str| known.look_up(&id.into(), cgroup);
        collect_containers(roots, &mut look_up, &mut |name, labels, value| add(containers, name, labels, value));
        outcome?;
        for registry in [host, containers] {
            push(&context.spool, registry.finish(now).map_err(Error::batch(Stream::Samples))?)?;
        }
        Ok(())
    }
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
