//! Partials by pane: what has come for it, folded now and then.

use crate::plan::WindowPlan;
use crate::rows::by_pane;
use crate::scratch::ScratchFile;
use arrow::array::RecordBatch;
use bodkin_engine::KeyGroup;
use bodkin_schema::Tenant;
use datafusion::common::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Rows beyond which partials of a pane are folded, if they have doubled since.
const FOLD_ROWS_MIN: usize = 8192;
/// About what a batch and one of its columns take beside their values.
const BATCH_BYTES: usize = 256;
const COLUMN_BYTES: usize = 192;

/// The partials of one pane.
#[derive(Debug, Default)]
pub(crate) struct Pane {
    /// Not in the table yet.
    pub(crate) fresh: Vec<RecordBatch>,
    /// In the table; kept while a window still needs them.
    pub(crate) stored: Vec<RecordBatch>,
    /// The same, on disk.
    pub(crate) spilled: Vec<ScratchFile>,
    /// Key groups with partials that are in the table alone: what is here is not all.
    pub(crate) gone: BTreeSet<KeyGroup>,
    fresh_rows: usize,
    /// Rows when it was last folded.
    folded_rows: usize,
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
            self.bytes += bytes(&records);
            pane.fresh_rows += records.num_rows();
            pane.fresh.push(records);
            if pane.fresh_rows > FOLD_ROWS_MIN.max(2 * pane.folded_rows) {
                let before = pane.bytes();
                pane.fold(plan)?;
                self.bytes = self.bytes.saturating_sub(before).saturating_add(pane.bytes());
            }
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
            pane.fresh_rows += records.num_rows();
            pane.fresh.push(records);
        }
    }

    /// Folds what has come for each pane.
    pub(crate) fn fold(&mut self, plan: &WindowPlan) -> Result<()> {
        let folded = self.panes.values_mut().try_for_each(|pane| pane.fold(plan));
        self.count();
        folded
    }

    /// Lets go of panes that no window after `time` needs.
    pub(crate) fn forget(&mut self, plan: &WindowPlan, time: i64) {
        self.panes.retain(|(_, start), pane| !pane.fresh.is_empty() || start + plan.size > time);
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
    /// Makes of the fresh partials one for each group.
    fn fold(&mut self, plan: &WindowPlan) -> Result<()> {
        if self.fresh.len() > 1 {
            self.fresh = vec![plan.folded(&self.fresh)?];
        }
        self.fresh_rows = self.fresh.iter().map(RecordBatch::num_rows).sum();
        self.folded_rows = self.fresh_rows;
        Ok(())
    }

    /// The fresh partials, folded; from now on they count as stored.
    pub(crate) fn store(&mut self, plan: &WindowPlan) -> Result<Option<RecordBatch>> {
        self.fold(plan)?;
        let fresh = self.fresh.pop();
        self.fresh_rows = 0;
        self.folded_rows = 0;
        self.stored.extend(fresh.clone());
        Ok(fresh)
    }

    /// Those in memory.
    pub(crate) fn all(&self) -> impl Iterator<Item = &RecordBatch> {
        self.stored.iter().chain(&self.fresh)
    }

    /// All of it is in memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.spilled.is_empty() && self.gone.is_empty()
    }

    fn bytes(&self) -> usize {
        self.all().map(bytes).sum()
    }
}

fn bytes(records: &RecordBatch) -> usize {
    let values = records.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    BATCH_BYTES + values.map(|bytes| bytes + COLUMN_BYTES).sum::<usize>()
}
