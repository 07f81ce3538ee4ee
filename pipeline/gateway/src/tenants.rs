//! What a gateway keeps of each tenant.

use crate::bodies::Bodies;
use crate::delta::Deltas;
use crate::gateway::WriteError;
use crate::limits::{GatewayLimits, Refusals, TenantLimits};
use crate::memory::{Exemplar, Memory, Metadata, Suspect, Verdict};
use crate::series::SeriesCache;
use bodkin_schema::{SeriesId, Tenant};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

/// Tenants that one process takes metrics of. Each costs what its series cost.
const TENANTS_MAX: usize = 10_000;

/// One tenant: its series, its bodies, its limits (ISO-1).
pub(crate) struct Holding {
    pub(crate) tenant: Tenant,
    pub(crate) limits: GatewayLimits,
    pub(crate) cache: SeriesCache,
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) bodies: Bodies,
    pub(crate) deltas: Deltas,
    pub(crate) refusals: Refusals,
}

/// All tenants that have sent anything.
pub(crate) struct Tenants {
    limits: TenantLimits,
    /// Holds the samples of the default tenant; nobody holds those of others.
    memory: Arc<dyn Memory>,
    seed: u64,
    all: RwLock<BTreeMap<Tenant, Arc<Holding>>>,
}

impl Tenants {
    pub(crate) fn new(limits: TenantLimits, memory: Arc<dyn Memory>) -> Self {
        Self { limits, memory, seed: RandomState::new().hash_one(0), all: RwLock::default() }
    }

    /// What is kept of a tenant.
    ///
    /// # Errors
    /// Where there are too many of them.
    pub(crate) fn of(&self, tenant: &Tenant) -> Result<Arc<Holding>, WriteError> {
        if let Some(known) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(tenant) {
            return Ok(known.clone());
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TENANTS_MAX && !all.contains_key(tenant) {
            return Err(WriteError::Internal(format!("{TENANTS_MAX} tenants send metrics already")));
        }
        Ok(all.entry(tenant.clone()).or_insert_with(|| Arc::new(self.holding(tenant))).clone())
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Holding>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn holding(&self, tenant: &Tenant) -> Holding {
        let limits = self.limits.of(tenant);
        let memory = if *tenant == Tenant::default() { self.memory.clone() } else { Arc::new(Nothing) };
        Holding {
            tenant: tenant.clone(),
            limits,
            cache: SeriesCache::new(limits, self.seed, memory.clone()),
            memory,
            bodies: Bodies::default(),
            deltas: Deltas::default(),
            refusals: Refusals::default(),
        }
    }
}

/// The memory of a tenant whose samples nobody holds.
struct Nothing;

impl Memory for Nothing {
    fn compare(&self, suspects: &[Suspect]) -> Vec<Verdict> {
        vec![Verdict::New; suspects.len()]
    }

    fn newest_ms(&self, _: SeriesId) -> Option<i64> {
        None
    }

    fn exemplars(&self, _: Vec<Exemplar>) {}

    fn metadata(&self, _: Vec<Metadata>) {}
}
