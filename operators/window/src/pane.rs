//! Partials by pane: what has come for it, folded now and then.

use crate::plan::WindowPlan;
use crate::rows::by_pane;
use arrow::array::RecordBatch;
use bodkin_schema::Tenant;
use datafusion::common::Result;
use std::collections::BTreeMap;

/// Rows beyond which partials of a pane are folded, if they have doubled since.
const FOLD_ROWS_MIN: usize = 8192;

/// The partials of one pane.
#[derive(Debug, Default)]
pub(crate) struct Pane {
    /// Not in the table yet.
    pub(crate) fresh: Vec<RecordBatch>,
    /// In the table; kept while a sliding window still needs them.
    pub(crate) stored: Vec<RecordBatch>,
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
                let before: usize = pane.fresh.iter().map(bytes).sum();
                pane.fold(plan)?;
                let after: usize = pane.fresh.iter().map(bytes).sum();
                self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
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

    /// Lets go of panes that no window after `time` needs.
    pub(crate) fn forget(&mut self, plan: &WindowPlan, time: i64) {
        self.panes.retain(|(_, start), pane| !pane.fresh.is_empty() || start + plan.size > time);
        self.bytes = self.panes.values().flat_map(|pane| pane.fresh.iter().chain(&pane.stored)).map(bytes).sum();
    }

    /// Bytes of the partials.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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

    pub(crate) fn all(&self) -> impl Iterator<Item = &RecordBatch> {
        self.stored.iter().chain(&self.fresh)
    }
}

fn bytes(records: &RecordBatch) -> usize {
    records.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}
