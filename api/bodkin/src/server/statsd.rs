//! The listeners of StatsD: datagrams and streams to the aggregator, what it has come to every few seconds to the log.

use anyhow::Context;
use bodkin_gateway::Gateway;
use bodkin_gateway::statsd::{Aggregator, StatsdLimits, StatsdStats};
use bodkin_http::{Family, MetricsSource};
use bodkin_schema::{Clock, Tenant};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How often series become samples.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Streams at once.
const STREAMS_MAX: usize = 256;
const READ_BYTES: usize = 16 << 10;

/// The section `statsd` of the configuration. Nothing listens unless it is told to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StatsdSection {
    /// Address for datagrams, as `127.0.0.1:8125`.
    udp: Option<SocketAddr>,
    /// Address for streams of lines.
    tcp: Option<SocketAddr>,
    /// Path of a socket for datagrams.
    unix: Option<PathBuf>,
}

/// What listens.
#[derive(Debug)]
pub(crate) struct Statsd {
    all: Mutex<Aggregator>,
}

impl Statsd {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub(crate) async fn start(
        section: &StatsdSection,
        gateway: &Arc<Gateway>,
        clock: &Arc<dyn Clock>,
        stopping: &CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let statsd = Arc::new(Self { all: Mutex::new(Aggregator::new(StatsdLimits::default())) });
        if let Some(address) = section.udp {
            let socket = UdpSocket::bind(address).await.with_context(|| format!("statsd.udp {address}"))?;
            tokio::spawn(until(stopping, statsd.clone().datagrams(socket)));
        }
        if let Some(address) = section.tcp {
            let listener = TcpListener::bind(address).await.with_context(|| format!("statsd.tcp {address}"))?;
            tokio::spawn(until(stopping, statsd.clone().streams(listener)));
        }
        if let Some(path) = &section.unix {
            let socket = bind_unix(path).with_context(|| format!("statsd.unix {}", path.display()))?;
            tokio::spawn(until(stopping, statsd.clone().unix_datagrams(socket)));
        }
        if *section != StatsdSection::default() {
            tokio::spawn(until(stopping, statsd.clone().flush(gateway.clone(), clock.clone())));
        }
        Ok(statsd)
    }

    fn all(&self) -> MutexGuard<'_, Aggregator> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn datagrams(self: Arc<Self>, socket: UdpSocket) {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is about an answer that nobody wanted.
            if let Ok(length) = socket.recv(&mut bytes).await {
                self.all().take(&bytes[..length]);
            }
        }
    }

    async fn unix_datagrams(self: Arc<Self>, socket: UnixDatagram) {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            if let Ok(length) = socket.recv(&mut bytes).await {
                self.all().take(&bytes[..length]);
            }
        }
    }

    async fn streams(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(STREAMS_MAX));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let statsd = self.clone();
                    tokio::spawn(async move {
                        statsd.stream(socket).await;
                        drop(permit);
                    });
                }
                // No descriptors are left, say: it is tried again when some are.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Lines until the sender leaves. One that does not end within a read counts as invalid.
    async fn stream(&self, mut socket: impl AsyncRead + Unpin) {
        let mut bytes = Vec::with_capacity(READ_BYTES);
        while let Ok(length) = socket.read_buf(&mut bytes).await {
            if length == 0 {
                break;
            }
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let end = end.or((bytes.len() > DATAGRAM_BYTES_MAX).then_some(bytes.len()));
            if let Some(end) = end {
                self.all().take(&bytes[..end]);
                bytes.drain(..end);
            }
        }
        self.all().take(&bytes);
    }

    async fn flush(self: Arc<Self>, gateway: Arc<Gateway>, clock: Arc<dyn Clock>) {
        let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once, when nothing has come.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let samples = self.all().flush(clock.now().micros().div_euclid(1000));
            if samples.is_empty() {
                continue;
            }
            if let Err(error) = gateway.append(&Tenant::default(), samples, Vec::new()).await {
                tracing::warn!(%error, "samples of StatsD are not stored, or not all of them");
            }
        }
    }
}

/// Runs until the process stops.
fn until<F: Future<Output = ()>>(stopping: &CancellationToken, work: F) -> impl Future<Output = ()> + use<F> {
    let stopping = stopping.clone();
    async move {
        tokio::select! {
            () = work => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// A socket of a process that is gone is in the way.
fn bind_unix(path: &Path) -> std::io::Result<UnixDatagram> {
    if std::fs::symlink_metadata(path).is_ok_and(|file| std::os::unix::fs::FileTypeExt::is_socket(&file.file_type())) {
        std::fs::remove_file(path)?;
    }
    UnixDatagram::bind(path)
}

impl MetricsSource for Statsd {
    fn families(&self) -> Vec<Family> {
        let StatsdStats { lines, invalid, others, dropped } = self.all().stats();
        vec![
            Family::counter("bodkin_statsd_lines_taken_total", "Lines of StatsD that were taken.", lines),
            Family::counter("bodkin_statsd_lines_refused_total", "Lines that are none.", invalid),
            Family::counter("bodkin_statsd_events_ignored_total", "Events and checks, which are no metrics.", others),
            Family::counter("bodkin_statsd_lines_dropped_total", "Lines of series beyond the limit.", dropped),
        ]
    }
}
