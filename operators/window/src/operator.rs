//! The two operators of a window.

use crate::functions::covering;
use crate::pane::Panes;
use crate::plan::WindowPlan;
use crate::state;
use arrow::array::RecordBatch;
use bodkin_engine::{Batch, KeyGroup, Operator, Output, RestoreError};
use bodkin_schema::{Epoch, EventTime, Stream, Tenant};
use bytes::Bytes;
use datafusion::common::Result;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows of a batch of the table `windows`.
const ROWS_MAX: usize = 32_768;
/// Bytes of partials of one shard; beyond, open panes go to the table early, and what comes later adds to them there.
const STATE_BYTES_MAX: usize = 256 << 20;

/// Rows to partials, batch by batch. Keeps nothing.
#[derive(Clone, Debug)]
pub struct WindowPartial {
    plan: Arc<WindowPlan>,
    name: String,
    rows_failed: u64,
}

impl WindowPartial {
    /// The first half of the window `name`.
    pub fn new(name: &str, plan: Arc<WindowPlan>) -> Self {
        Self { plan, name: name.to_owned(), rows_failed: 0 }
    }
}

impl Operator for WindowPartial {
    fn name(&self) -> &str {
        "window_partial"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.plan.partials(&batch.records) {
            Ok(Some(partial)) => out.emit(batch.derived(&self.name, partial)),
            Ok(None) => {}
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::warn!(window = self.name, rows_failed = self.rows_failed, %error, "rows are in no window");
            }
        }
    }
}

/// Partials to windows.
///
/// Memory: the partials of panes that are open, or that a sliding window needs; at most 256 MiB per shard before open
/// panes are written early.
#[derive(Debug)]
pub struct WindowMerge {
    plan: Arc<WindowPlan>,
    name: String,
    panes: Panes,
    /// Windows that end up to here were emitted.
    watermark: Option<i64>,
    /// The newest time of ingest that was seen: rows that a watermark makes are of that time.
    ingest: EventTime,
    is_early: bool,
}

impl WindowMerge {
    /// The second half of the window `name`; where `is_early`, it also emits the state of open windows at each batch.
    pub fn new(name: &str, plan: Arc<WindowPlan>, is_early: bool) -> Self {
        let (panes, ingest) = (Panes::default(), EventTime::default());
        Self { plan, name: name.to_owned(), panes, watermark: None, ingest, is_early }
    }

    /// Emits the finished rows of the windows with these starts.
    fn emit(&self, windows: BTreeSet<(Tenant, i64)>, out: &mut Output<'_>) -> Result<()> {
        for (tenant, start) in windows {
            let panes = (tenant.clone(), start)..(tenant.clone(), start + self.plan.size);
            let partials = self.panes.panes.range(panes).flat_map(|(_, pane)| pane.all());
            let records = self.plan.window(start, partials)?;
            if records.num_rows() > 0 {
                self.give(&self.name, tenant, records, out);
            }
        }
        Ok(())
    }

    fn give(&self, stream: &str, tenant: Tenant, records: RecordBatch, out: &mut Output<'_>) {
        let made = Batch::made(stream, records);
        out.emit(Batch { tenant, ingest_time: self.ingest, ..made });
    }

    /// Writes the fresh partials of panes for which `is_due`.
    fn store(&mut self, is_due: impl Fn(i64) -> bool, out: &mut Output<'_>) -> Result<()> {
        let mut made = Vec::new();
        for ((tenant, start), pane) in &mut self.panes.panes {
            if is_due(*start)
                && let Some(partial) = pane.store(&self.plan)?
            {
                made.push((tenant.clone(), partial));
            }
        }
        for (tenant, partial) in made {
            for from in (0..partial.num_rows()).step_by(ROWS_MAX) {
                let part = partial.slice(from, ROWS_MAX.min(partial.num_rows() - from));
                let rows = self.plan.to_rows(&self.name, &part)?;
                self.give(Stream::Windows.name(), tenant.clone(), rows, out);
            }
        }
        Ok(())
    }

    fn advance(&mut self, time: i64, out: &mut Output<'_>) -> Result<()> {
        let (size, slide, pane) = (self.plan.size, self.plan.slide, self.plan.pane);
        let mut ended = BTreeSet::new();
        for (tenant, start) in self.panes.panes.keys() {
            for window in covering(*start, size, slide) {
                let end = window + size;
                if end <= time && self.watermark.is_none_or(|watermark| end > watermark) {
                    ended.insert((tenant.clone(), window));
                }
            }
        }
        self.emit(ended, out)?;
        self.store(|start| start + pane <= time, out)?;
        self.panes.forget(&self.plan, time);
        self.watermark = Some(time);
        Ok(())
    }

    fn take(&mut self, batch: &Batch, out: &mut Output<'_>) -> Result<()> {
        self.ingest = self.ingest.max(batch.ingest_time);
        let touched = self.panes.add(&self.plan, &batch.tenant, &batch.records)?;
        if self.is_early {
            let (size, slide) = (self.plan.size, self.plan.slide);
            let is_open = |start: &i64| self.watermark.is_none_or(|watermark| start + size > watermark);
            let windows = touched.iter().flat_map(|pane| covering(*pane, size, slide)).filter(is_open);
            self.emit(windows.map(|start| (batch.tenant.clone(), start)).collect(), out)?;
        }
        if self.panes.bytes() > STATE_BYTES_MAX {
            tracing::warn!(window = self.name, bytes = self.panes.bytes(), "open windows are written early");
            self.store(|_| true, out)?;
            self.panes.panes.clear();
            self.panes.forget(&self.plan, i64::MIN);
        }
        Ok(())
    }
}

impl Operator for WindowMerge {
    fn name(&self) -> &str {
        "window"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        if let Err(error) = self.take(&batch, out) {
            tracing::error!(window = self.name, rows = batch.records.num_rows(), %error, "partials are lost");
        }
    }

    fn on_watermark(&mut self, time: EventTime, out: &mut Output<'_>) {
        if let Err(error) = self.advance(time.micros(), out) {
            tracing::error!(window = self.name, %error, "windows are not written");
        }
    }

    fn on_barrier(&mut self, _: Epoch) -> Vec<(KeyGroup, Bytes)> {
        state::save(&self.plan, &self.panes, self.watermark, self.ingest).unwrap_or_else(|error| {
            tracing::error!(window = self.name, %error, "the state of a window is not kept");
            Vec::new()
        })
    }

    fn restore(&mut self, _: KeyGroup, bytes: Bytes) -> std::result::Result<(), RestoreError> {
        let restored = state::load(&self.plan, &bytes)?;
        self.watermark = self.watermark.max(restored.watermark);
        self.ingest = self.ingest.max(restored.ingest);
        for (tenant, pane, records, is_stored) in restored.panes {
            self.panes.put(tenant, pane, records, is_stored);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.panes.bytes()
    }
}
