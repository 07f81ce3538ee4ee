//! The gateway: bodies in, rows in the log, an answer once they are durable (ACK-1, ACK-2).

use crate::decompress::{DecompressError, Encoding, decompress};
use crate::intake::{Intake, Problems, Taken, Written};
use crate::limits::{GatewayLimits, Limit, TenantLimits};
use crate::memory::{Memory, Metadata};
use crate::otlp;
use crate::own::{self, OwnSample};
use crate::page::{self, PageFormat};
use crate::remote_write::{Version, read_v1, read_v2};
use crate::tenants::{Holding, Tenants};
use crate::wire::WireError;
use arrow::error::ArrowError;
use bodkin_ingest::{LocalProducer, Refusal};
use bodkin_schema::Tenant;
use bodkin_wal::Error as LogError;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_128;

/// Bodies larger than this are read on a thread that may block.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// More samples than this are looked up on a thread that may block.
const INLINE_SAMPLES_MAX: usize = 1000;

/// Why a body is not stored, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// It is no such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It is no such page.
    #[error("{0}")]
    Text(String),
    /// Parts of it are wrong; the rest is stored.
    #[error("{}", problems.listed.join("\n"))]
    Partial {
        /// What is stored.
        written: Written,
        /// What is wrong.
        problems: Problems,
    },
    /// The log does not take it. Sending it again may help.
    #[error(transparent)]
    Log(#[from] Refusal),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl From<LogError> for WriteError {
    fn from(error: LogError) -> Self {
        Self::Log(Refusal::Log(error))
    }
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct GatewayStats {
    /// Bodies that were taken, in part or whole.
    pub bodies: AtomicU64,
    /// Bodies that had been stored before.
    pub duplicate_bodies: AtomicU64,
    /// Bodies that were refused as a whole.
    pub refused_bodies: AtomicU64,
    /// Float samples.
    pub samples: AtomicU64,
    /// Native histogram samples.
    pub histograms: AtomicU64,
    /// Samples that differ from what is there, and other faulty parts.
    pub problems: AtomicU64,
    /// Series left out because their labels are invalid.
    pub invalid_series: AtomicU64,
}

/// Takes metrics of other protocols.
pub struct Gateway {
    producer: LocalProducer,
    tenants: Tenants,
    stats: GatewayStats,
}

/// What a tenant has, and what it was refused.
#[derive(Clone, Debug)]
pub struct TenantUse {
    /// Who.
    pub tenant: Tenant,
    /// Its series that this process was sent.
    pub series: usize,
    /// Its limits.
    pub limits: GatewayLimits,
    /// How often each limit was met.
    pub refused: [(Limit, u64); Limit::ALL.len()],
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that writes as `producer`. `memory` must hold what was durable of the default tenant before its first
    /// body.
    pub fn new(producer: LocalProducer, memory: Arc<dyn Memory>, limits: impl Into<TenantLimits>) -> Self {
        Self { producer, tenants: Tenants::new(limits.into(), memory), stats: GatewayStats::default() }
    }

    /// Its counters.
    pub fn stats(&self) -> &GatewayStats {
        &self.stats
    }

    /// The tenants that have sent anything.
    pub fn tenants(&self) -> Vec<TenantUse> {
        let of = |holding: Arc<Holding>| TenantUse {
            tenant: holding.tenant.clone(),
            series: holding.cache.len(),
            limits: holding.limits,
            refused: Limit::ALL.map(|limit| (limit, holding.refusals.of(limit))),
        };
        self.tenants.all().into_iter().map(of).collect()
    }

    /// Stores a body of remote write; answers when all of it is durable and visible.
    ///
    /// # Errors
    /// As [`WriteError`]; after [`WriteError::Partial`] the rest is durable.
    pub async fn remote_write(
        self: &Arc<Self>,
        tenant: &Tenant,
        version: Version,
        encoding: Encoding,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Written, WriteError> {
        let holding = self.tenants.of(tenant)?;
        let (hash, now_us) = (xxh3_128(body.as_ref()), self.producer.now().micros());
        if holding.bodies.is_stored(hash, now_us) {
            self.stats.duplicate_bodies.fetch_add(1, Relaxed);
            return Ok(Written::default());
        }
        let read: fn(&[u8], &mut Intake<'_>) -> Result<(), WireError> = match version {
            Version::V1 => |bytes, intake| read_v1(bytes, intake),
            Version::V2 => |bytes, intake| read_v2(bytes, intake),
        };
        let taken = self.take(&holding, encoding, body, now_us, version == Version::V2, read).await?;
        let written = self.store(&holding, taken, now_us).await?;
        holding.bodies.store(hash, now_us);
        Ok(written)
    }

    /// Stores a body of OTLP metrics; answers when all of it is durable and visible.
    ///
    /// # Errors
    /// As [`WriteError`]; after [`WriteError::Partial`] the rest is durable.
    pub async fn otlp_metrics(
        self: &Arc<Self>,
        tenant: &Tenant,
        encoding: Encoding,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Written, WriteError> {
        let holding = self.tenants.of(tenant)?;
        let (hash, now_us) = (xxh3_128(body.as_ref()), self.producer.now().micros());
        if holding.bodies.is_stored(hash, now_us) {
            self.stats.duplicate_bodies.fetch_add(1, Relaxed);
            return Ok(Written::default());
        }
        let deltas = holding.clone();
        let read = move |bytes: &[u8], intake: &mut Intake<'_>| otlp::read(bytes, &deltas.deltas, intake);
        let taken = self.take(&holding, encoding, body, now_us, true, read).await?;
        let written = self.store(&holding, taken, now_us).await?;
        holding.bodies.store(hash, now_us);
        Ok(written)
    }

    /// Stores a page of an exporter; samples without a time have the present one. Pages are not told apart by their bytes: the
    /// same page again is a new observation.
    ///
    /// # Errors
    /// As [`WriteError`]; after [`WriteError::Partial`] the rest is durable.
    pub async fn page(
        self: &Arc<Self>,
        tenant: &Tenant,
        format: PageFormat,
        encoding: Encoding,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Written, WriteError> {
        let holding = self.tenants.of(tenant)?;
        let now_us = self.producer.now().micros();
        let now_ms = now_us.div_euclid(1000);
        let read = move |bytes: &[u8], intake: &mut Intake<'_>| page::read(bytes, format, now_ms, intake);
        let taken = self.take(&holding, encoding, body, now_us, true, read).await?;
        self.store(&holding, taken, now_us).await
    }

    /// Stores samples that this process made, and what is said of their metrics; answers when they are durable and
    /// visible.
    ///
    /// # Errors
    /// As [`WriteError`]; after [`WriteError::Partial`] the rest is durable.
    pub async fn append(
        self: &Arc<Self>,
        tenant: &Tenant,
        samples: Vec<OwnSample>,
        metadata: Vec<Metadata>,
    ) -> Result<Written, WriteError> {
        let holding = self.tenants.of(tenant)?;
        let now_us = self.producer.now().micros();
        let own = holding.clone();
        let is_large = samples.len() > INLINE_SAMPLES_MAX;
        let work = move || {
            let mut intake = Intake::new(&own, now_us);
            intake.metadata = metadata;
            let mut key = Vec::new();
            samples.iter().for_each(|sample| own::take(sample, &mut key, &mut intake));
            intake.end(true)
        };
        let taken = if is_large {
            let joined = tokio::task::spawn_blocking(work).await;
            joined.map_err(|error| WriteError::Internal(format!("reading ended early: {error}")))?
        } else {
            work()
        };
        self.store(&holding, taken, now_us).await
    }

    /// Decompresses and reads a body; a large one on a thread that may block.
    pub(crate) async fn take<E: Into<WriteError> + Send + 'static>(
        self: &Arc<Self>,
        holding: &Arc<Holding>,
        encoding: Encoding,
        body: impl AsRef<[u8]> + Send + 'static,
        now_us: i64,
        with_series: bool,
        read: impl FnOnce(&[u8], &mut Intake<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<Taken, WriteError> {
        let is_large = body.as_ref().len() > INLINE_BYTES_MAX;
        let own = holding.clone();
        let work = move || {
            let bytes: Cow<'_, [u8]> = decompress(encoding, body.as_ref(), own.limits.body_bytes_max)?;
            let mut intake = Intake::new(&own, now_us);
            read(&bytes, &mut intake).map_err(Into::into)?;
            Ok(intake.end(with_series))
        };
        let taken = if is_large {
            let joined = tokio::task::spawn_blocking(work).await;
            joined.unwrap_or_else(|error| Err(WriteError::Internal(format!("reading ended early: {error}"))))
        } else {
            work()
        };
        if matches!(taken, Err(WriteError::Decompress(DecompressError::TooLarge { .. }))) {
            holding.refusals.count(Limit::BodyBytes);
        }
        if taken.is_err() {
            self.stats.refused_bodies.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Logs what was taken and waits until it is durable.
    pub(crate) async fn store(&self, holding: &Holding, mut taken: Taken, now_us: i64) -> Result<Written, WriteError> {
        let (written, problems) = (std::mem::take(&mut taken.written), std::mem::take(&mut taken.problems));
        let (exemplars, metadata) = (std::mem::take(&mut taken.exemplars), std::mem::take(&mut taken.metadata));
        let due = std::mem::take(&mut taken.due);
        let batches = taken.batches(now_us)?;
        for ticket in self.producer.put(&holding.tenant, batches).await? {
            ticket.await?;
        }
        holding.cache.announced(&due, now_us);
        if !exemplars.is_empty() {
            holding.memory.exemplars(exemplars);
        }
        if !metadata.is_empty() {
            holding.memory.metadata(metadata);
        }
        self.count(&written, &problems);
        if problems.count > 0 {
            return Err(WriteError::Partial { written, problems });
        }
        Ok(written)
    }

    fn count(&self, written: &Written, problems: &Problems) {
        self.stats.bodies.fetch_add(1, Relaxed);
        self.stats.samples.fetch_add(written.samples as u64, Relaxed);
        self.stats.histograms.fetch_add(written.histograms as u64, Relaxed);
        self.stats.problems.fetch_add(problems.count as u64, Relaxed);
        self.stats.invalid_series.fetch_add(problems.invalid_series as u64, Relaxed);
    }
}
