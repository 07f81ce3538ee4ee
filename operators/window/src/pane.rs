//! Partials by pane: what has come for it, each group once where there are many.

use crate::groups::Groups;
use crate::plan::WindowPlan;
use crate::rows::by_pane;
use crate::scratch::ScratchFile;
use arrow::array::RecordBatch;
use bodkin_engine::KeyGroup;
use bodkin_schema::Tenant;
use datafusion::common::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Rows beyond which partials of a pane go into its groups as they come.
const FOLD_ROWS_MIN: usize = 8192;
/// About what a batch and one of its columns take beside their values.
const BATCH_BYTES: usize = 256;
const COLUMN_BYTES: usize = 192;

/// The partials of one pane.
#[derive(Debug, Default)]
pub(crate) struct Pane {
    /// Not in the table yet, and in no batch.
    live: Option<Groups>,
    live_bytes: usize,
    /// Not in the table yet.
    pub(crate) fresh: Vec<RecordBatch>,
    /// In the table; kept while a window still needs them.
    pub(crate) stored: Vec<RecordBatch>,
    /// The same, on disk.
    pub(crate) spilled: Vec<ScratchFile>,
    /// Key groups with partials that are in the table alone: what is here is not all.
    pub(crate) gone: BTreeSet<KeyGroup>,
    fresh_rows: usize,
    fresh_bytes: usize,
    /// What is fresh has each group once.
    is_folded: bool,
}

/// All panes of an operator on one shard.
#[derive(Debug, Default)]
pub(crate) struct Panes {
    pub(crate) panes: BTreeMap<(Tenant, i64), Pane>,
    bytes: usize,
}

impl Panes {
    /// Takes partials of any panes; the panes that they are of.
    pub(crate) fn add(&mut self, plan: &WindowPlan, tenant: &Tenant, partial: &RecordBatch) -> Result<Vec<i64>> {
        let mut touched = Vec::new();
        for (start, records) in by_pane(partial)? {
            let pane = self.panes.entry((tenant.clone(), start)).or_default();
            let before = pane.fresh_bytes + pane.live_bytes;
            pane.push(records);
            if pane.live.is_some() || pane.fresh_rows > FOLD_ROWS_MIN {
                pane.pour(plan)?;
            }
            self.bytes = (self.bytes + pane.fresh_bytes + pane.live_bytes).saturating_sub(before);
            touched.push(start);
        }
        Ok(touched)
    }

    /// Puts back what a state held.
    pub(crate) fn put(&mut self, tenant: Tenant, start: i64, records: RecordBatch, is_stored: bool) {
        self.bytes += bytes(&records);
        let pane = self.panes.entry((tenant, start)).or_default();
        if is_stored {
            pane.stored.push(records);
        } else {
            pane.push(records);
        }
    }

    /// Folds what has come for the panes for which `is_asked`.
    pub(crate) fn fold(&mut self, plan: &WindowPlan, is_asked: impl Fn(&Tenant, i64) -> bool) -> Result<()> {
        let mut panes = self.panes.iter_mut().filter(|((tenant, start), _)| is_asked(tenant, *start));
        let folded = panes.try_for_each(|((_, start), pane)| pane.fold(plan, *start));
        self.count();
        folded
    }

    /// Lets go of panes that no window after `time` needs.
    pub(crate) fn forget(&mut self, plan: &WindowPlan, time: i64) {
        self.panes.retain(|(_, start), pane| pane.has_fresh() || start + plan.size > time);
        self.count();
    }

    /// Counts its bytes anew, after panes were changed.
    pub(crate) fn count(&mut self) {
        self.bytes = self.panes.values().map(Pane::bytes).sum();
    }

    /// Bytes of the partials in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the partials on disk.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        self.panes.values().flat_map(|pane| &pane.spilled).map(|file| file.bytes).sum()
    }
}

impl Pane {
    fn push(&mut self, records: RecordBatch) {
        self.fresh_rows += records.num_rows();
        self.fresh_bytes += bytes(&records);
        self.fresh.push(records);
        self.is_folded = false;
    }

    /// Puts the fresh batches into the groups.
    fn pour(&mut self, plan: &WindowPlan) -> Result<()> {
        let live = match &mut self.live {
            Some(live) => live,
            None => self.live.insert(Groups::new(plan, self.fresh_rows)?),
        };
        for partial in std::mem::take(&mut self.fresh) {
            live.merge(plan, &partial)?;
        }
        (self.fresh_rows, self.fresh_bytes) = (0, 0);
        self.live_bytes = live.bytes();
        Ok(())
    }

    /// Makes of what is fresh one batch, each group once. `start` is the pane's.
    pub(crate) fn fold(&mut self, plan: &WindowPlan, start: i64) -> Result<()> {
        if self.live.is_none() && (self.is_folded || self.fresh.is_empty()) {
            return Ok(());
        }
        self.pour(plan)?;
        self.live_bytes = 0;
        if let Some(live) = self.live.take() {
            self.push(live.partial(plan, start)?);
            self.is_folded = true;
        }
        Ok(())
    }

    /// Whether something is not in the table yet.
    pub(crate) fn has_fresh(&self) -> bool {
        self.live.is_some() || !self.fresh.is_empty()
    }

    /// The fresh partials, folded; from now on they count as stored.
    pub(crate) fn store(&mut self, plan: &WindowPlan, start: i64) -> Result<Option<RecordBatch>> {
        self.fold(plan, start)?;
        let fresh = self.fresh.pop();
        (self.fresh_rows, self.fresh_bytes) = (0, 0);
        self.stored.extend(fresh.clone());
        Ok(fresh)
    }

    /// Those in memory; the pane is folded.
    pub(crate) fn all(&self) -> impl Iterator<Item = &RecordBatch> {
        self.stored.iter().chain(&self.fresh)
    }

    /// All of it is in memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.spilled.is_empty() && self.gone.is_empty()
    }

    fn bytes(&self) -> usize {
        self.live_bytes + self.all().map(bytes).sum::<usize>()
    }
}

/// Bytes of a batch in memory.
pub(crate) fn bytes(records: &RecordBatch) -> usize {
    let values = records.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    BATCH_BYTES + values.map(|bytes| bytes + COLUMN_BYTES).sum::<usize>()
}
