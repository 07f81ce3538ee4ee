//! The tables that tiers are made of: samples, and flows.

use crate::flows::FlowFold;
use crate::fold::Fold;
use crate::tier::Tier;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bodkin_schema::Stream;
use std::collections::HashSet;
use std::sync::Arc;

/// A table that tiers are made of. Each has a ladder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// `samples`, to `rollup_1m` and so on.
    Samples,
    /// `flows`, to `flows_1m` and so on.
    Flows,
}

/// Ids of the metrics whose tiers have sketches.
pub(crate) type Sketched = HashSet<i64>;

/// What a fold is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Rows of the base.
    Base,
    /// Rows of the tier below.
    Tier,
}

/// Folds rows that come in their table's order into rows of some tiers that follow each other.
pub(crate) trait Folding: Send {
    /// Takes rows.
    fn add(&mut self, records: &RecordBatch) -> Result<(), ArrowError>;

    /// Ends the open windows: nothing follows.
    fn end(&mut self);

    /// The finished rows of each tier that has a batch of them, or any where `is_last`.
    fn take(&mut self, is_last: bool) -> Result<Vec<(Tier, RecordBatch)>, ArrowError>;

    /// Rows that were taken and count.
    fn rows(&self) -> u64;
}

impl Base {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Samples, Self::Flows];

    /// The table.
    pub fn stream(self) -> Stream {
        match self {
            Self::Samples => Stream::Samples,
            Self::Flows => Stream::Flows,
        }
    }

    /// The table of one of its tiers.
    pub fn tier(self, tier: Tier) -> Stream {
        match (self, tier) {
            (Self::Samples, tier) => tier.stream(),
            (Self::Flows, Tier::Minute) => Stream::Flows1m,
            (Self::Flows, Tier::TenMinutes) => Stream::Flows10m,
            (Self::Flows, Tier::Hour) => Stream::Flows1h,
            (Self::Flows, Tier::Day) => Stream::Flows1d,
        }
    }

    /// The folder of the ladder's state in the store.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Samples => "rollups",
            Self::Flows => "rollups-flows",
        }
    }

    /// A fold to `tiers`, the finest first; rows of samples have a sketch for the metrics in `sketched`.
    pub(crate) fn fold(
        self,
        given: Given,
        tiers: &[Tier],
        version: i64,
        sketched: &Arc<Sketched>,
    ) -> Result<Box<dyn Folding>, ArrowError> {
        Ok(match self {
            Self::Samples => Box::new(Fold::new(given, tiers, version, sketched.clone())),
            Self::Flows => Box::new(FlowFold::new(given, tiers, version)?),
        })
    }
}
