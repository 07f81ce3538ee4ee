//! What senders may ask for, by tenant.

use bodkin_schema::Tenant;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Limits of a tenant. What is beyond is refused by name; nothing of that size is allocated first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Bytes of a body after decompression.
    pub body_bytes_max: usize,
    /// Series that this process takes of the tenant.
    pub series_max: usize,
    /// Labels of a series.
    pub labels_max: usize,
    /// Bytes of the names and values of the labels of a series.
    pub label_bytes_max: usize,
    /// Buckets of a native histogram.
    pub buckets_max: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 128 << 20,
            series_max: 2_000_000,
            labels_max: 256,
            label_bytes_max: 64 << 10,
            buckets_max: 4096,
        }
    }
}

/// The limits of each tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    default: GatewayLimits,
    of: BTreeMap<Tenant, GatewayLimits>,
}

impl TenantLimits {
    /// Limits of the tenants that are named, and of all others.
    pub fn new(default: GatewayLimits, of: BTreeMap<Tenant, GatewayLimits>) -> Self {
        Self { default, of }
    }

    /// The limits of a tenant.
    pub fn of(&self, tenant: &Tenant) -> GatewayLimits {
        self.of.get(tenant).copied().unwrap_or(self.default)
    }
}

impl From<GatewayLimits> for TenantLimits {
    fn from(default: GatewayLimits) -> Self {
        Self::new(default, BTreeMap::new())
    }
}

/// A limit by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`GatewayLimits::series_max`]
    Series,
    /// [`GatewayLimits::labels_max`]
    Labels,
    /// [`GatewayLimits::label_bytes_max`]
    LabelBytes,
    /// [`GatewayLimits::body_bytes_max`]
    BodyBytes,
    /// [`GatewayLimits::buckets_max`]
    Buckets,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Series, Self::Labels, Self::LabelBytes, Self::BodyBytes, Self::Buckets];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Labels => "labels",
            Self::LabelBytes => "label_bytes",
            Self::BodyBytes => "body_bytes",
            Self::Buckets => "buckets",
        }
    }

    /// Its value among the limits of a tenant.
    pub fn of(self, limits: &GatewayLimits) -> usize {
        match self {
            Self::Series => limits.series_max,
            Self::Labels => limits.labels_max,
            Self::LabelBytes => limits.label_bytes_max,
            Self::BodyBytes => limits.body_bytes_max,
            Self::Buckets => limits.buckets_max,
        }
    }
}

/// What was refused, by limit: series, histograms and bodies, each time counted that they were sent.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Limit::ALL.len()]);

impl Refusals {
    pub(crate) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Relaxed);
    }

    /// How often a limit was met.
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Relaxed)
    }
}
