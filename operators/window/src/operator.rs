//! The two operators of a window.

use crate::functions::covering;
use crate::pane::{Pane, Panes};
use crate::plan::WindowPlan;
use crate::scratch::{Room, ScratchFile};
use crate::state::{self, by_group};
use arrow::array::RecordBatch;
use bodkin_engine::{Batch, KEY_GROUPS, KeyGroup, Operator, Output, RestoreError};
use bodkin_schema::{Epoch, EventTime, Stream, Tenant};
use bytes::Bytes;
use datafusion::common::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Rows of a batch of the table `windows`.
const ROWS_MAX: usize = 32_768;

/// Rows of a batch from which on it says how many groups there are.
const TELLING_ROWS_MIN: usize = 1024;
/// Batches whose rows are not folded before it is looked again.
const UNFOLDED_BATCHES: u32 = 32;

/// Rows to partials, batch by batch. Where folding a batch leaves most of its rows, the next ones are not folded: that
/// is done once, where all of a pane meet.
#[derive(Clone, Debug)]
pub struct WindowPartial {
    plan: Arc<WindowPlan>,
    name: String,
    /// Batches that are not to be folded.
    unfolded: u32,
}

impl WindowPartial {
    /// The first half of the window `name`.
    pub fn new(name: &str, plan: Arc<WindowPlan>) -> Self {
        Self { plan, name: name.to_owned(), unfolded: 0 }
    }
}

impl Operator for WindowPartial {
    fn name(&self) -> &str {
        "window_partial"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let is_folded = self.unfolded == 0;
        self.unfolded = self.unfolded.saturating_sub(1);
        match self.plan.partials(&batch.records, is_folded) {
            Ok(Some(partial)) => {
                let (before, after) = (batch.records.num_rows(), partial.num_rows());
                if is_folded && before >= TELLING_ROWS_MIN && after * 2 > before && self.plan.has_plain_states() {
                    self.unfolded = UNFOLDED_BATCHES;
                }
                out.emit(batch.derived(&self.name, partial));
            }
            Ok(None) => {}
            Err(error) => {
                let rows = batch.records.num_rows() as u64;
                self.plan.stats().rows_failed.fetch_add(rows, Relaxed);
                tracing::warn!(window = self.name, rows, %error, "rows are in no window");
            }
        }
    }
}

/// Partials to windows.
///
/// Memory: the partials of panes that are open, or that a sliding window needs, within [`Room::memory_bytes_max`]. Beyond,
/// the panes that end last are written to the table at once, as partials like any, and go to files until their windows
/// end. A barrier keeps what is in memory and the names of what is not: after a restart, operators behind are not told of
/// a window whose partials were in files. The table has them.
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
    room: Room,
}

impl WindowMerge {
    /// The second half of the window `name`; where `is_early`, it also emits the state of open windows at each batch.
    pub fn new(name: &str, plan: Arc<WindowPlan>, is_early: bool) -> Self {
        let (panes, ingest) = (Panes::default(), EventTime::default());
        Self { plan, name: name.to_owned(), panes, watermark: None, ingest, is_early, room: Room::default() }
    }

    /// The same within `room`.
    #[must_use]
    pub fn within(mut self, room: Room) -> Self {
        self.room = room;
        self
    }

    /// Emits the finished rows of the windows with these starts.
    fn emit(&mut self, windows: BTreeSet<(Tenant, i64)>, out: &mut Output<'_>) -> Result<()> {
        let (size, slide) = (self.plan.size, self.plan.slide);
        let is_in = |tenant: &Tenant, pane: i64| {
            covering(pane, size, slide).any(|start| windows.contains(&(tenant.clone(), start)))
        };
        if !windows.is_empty() {
            self.panes.fold(&self.plan, is_in)?;
        }
        for (tenant, start) in windows {
            let panes = (tenant.clone(), start)..(tenant.clone(), start + self.plan.size);
            let mut panes = self.panes.panes.range(panes).map(|(_, pane)| pane);
            if panes.clone().all(Pane::is_whole) {
                let partials: Vec<&RecordBatch> = panes.flat_map(Pane::all).collect();
                let records = match partials.as_slice() {
                    [folded] => self.plan.window_of_folded(start, folded)?,
                    _ => self.plan.window(start, partials)?,
                };
                self.give_finished(&tenant, records, out);
            } else {
                let panes: Vec<&Pane> = panes.by_ref().collect();
                self.emit_spilled(&tenant, start, &panes, out)?;
            }
        }
        Ok(())
    }

    /// The same for a window that is partly on disk: key group by key group, so that not all of it is in memory.
    fn emit_spilled(&self, tenant: &Tenant, start: i64, panes: &[&Pane], out: &mut Output<'_>) -> Result<()> {
        let key = self.plan.key();
        let mut here: BTreeMap<KeyGroup, Vec<RecordBatch>> = BTreeMap::new();
        for partial in panes.iter().flat_map(|pane| pane.all()) {
            for (group, records) in by_group(partial, &key)? {
                here.entry(group).or_default().push(records);
            }
        }
        let files = panes.iter().flat_map(|pane| &pane.spilled);
        let mut files = files.map(ScratchFile::open).collect::<Result<Vec<_>>>()?;
        for group in (0..KEY_GROUPS).filter_map(|number| KeyGroup::new(number as u8)) {
            if panes.iter().any(|pane| pane.gone.contains(&group)) {
                self.plan.stats().windows_untold.fetch_add(1, Relaxed);
                continue;
            }
            let mut partials = here.remove(&group).unwrap_or_default();
            for file in &mut files {
                partials.extend(file.group(group)?);
            }
            if !partials.is_empty() {
                self.give_finished(tenant, self.plan.window(start, &partials)?, out);
            }
        }
        Ok(())
    }

    fn give_finished(&self, tenant: &Tenant, records: RecordBatch, out: &mut Output<'_>) {
        if records.num_rows() > 0 {
            self.give(&self.name, tenant.clone(), records, out);
        }
    }

    fn give(&self, stream: &str, tenant: Tenant, records: RecordBatch, out: &mut Output<'_>) {
        let made = Batch::made(stream, records);
        out.emit(Batch { tenant, ingest_time: self.ingest, ..made });
    }

    /// Writes the fresh partials of panes for which `is_due`.
    fn store(&mut self, is_due: impl Fn(i64, &Tenant) -> bool, out: &mut Output<'_>) -> Result<()> {
        let mut made = Vec::new();
        for ((tenant, start), pane) in &mut self.panes.panes {
            if is_due(*start, tenant)
                && let Some(partial) = pane.store(&self.plan, *start)?
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
        self.store(|start, _| start + pane <= time, out)?;
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
        if self.panes.bytes() > self.room.memory_bytes_max {
            self.relieve(out)?;
        }
        Ok(())
    }

    /// Makes room in memory: half of it is free afterwards.
    fn relieve(&mut self, out: &mut Output<'_>) -> Result<()> {
        self.panes.fold(&self.plan, |_, _| true)?;
        let wanted = self.room.memory_bytes_max / 2;
        // Panes that end soon stay: they are needed first.
        let mut panes: Vec<(i64, Tenant)> =
            self.panes.panes.keys().map(|(tenant, start)| (*start, tenant.clone())).collect();
        panes.sort_unstable();
        while self.panes.bytes() > wanted
            && let Some((start, tenant)) = panes.pop()
        {
            self.store(|at, of| at == start && *of == tenant, out)?;
            self.plan.stats().panes_early.fetch_add(1, Relaxed);
            self.spill(&(tenant, start))?;
            self.panes.count();
        }
        Ok(())
    }

    /// Moves the stored partials of a pane to disk; where that is not possible, the table alone has them.
    fn spill(&mut self, pane: &(Tenant, i64)) -> Result<()> {
        let (stats, key) = (self.plan.stats(), self.plan.key());
        let used = self.panes.scratch_bytes();
        let start = pane.1;
        let Some(pane) = self.panes.panes.get_mut(pane) else { return Ok(()) };
        let stored = std::mem::take(&mut pane.stored);
        if stored.is_empty() {
            return Ok(());
        }
        let folded = if stored.len() > 1 { vec![self.plan.folded(start, &stored)?] } else { stored };
        let parts = folded.iter().map(|partial| by_group(partial, &key)).collect::<Result<Vec<_>>>()?.concat();
        let folder = self.room.scratch.as_ref().filter(|_| used < self.room.scratch_bytes_max);
        let written = folder.map(|folder| ScratchFile::write(folder, &parts)).transpose();
        match written {
            Ok(Some(Some(file))) => {
                stats.bytes_spilled.fetch_add(file.bytes, Relaxed);
                pane.spilled.push(file);
            }
            outcome => {
                if let Err(error) = outcome {
                    tracing::warn!(window = self.name, %error, "partials cannot be kept on disk");
                }
                pane.gone.extend(parts.iter().map(|(group, _)| *group));
            }
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
        let folded = self.panes.fold(&self.plan, |_, _| true);
        let saved = folded.and_then(|()| state::save(&self.plan, &self.panes, self.watermark, self.ingest));
        saved.unwrap_or_else(|error| {
            tracing::error!(window = self.name, %error, "the state of a window is not kept");
            Vec::new()
        })
    }

    fn restore(&mut self, group: KeyGroup, bytes: Bytes) -> std::result::Result<(), RestoreError> {
        let restored = state::load(&self.plan, &bytes)?;
        self.watermark = self.watermark.max(restored.watermark);
        self.ingest = self.ingest.max(restored.ingest);
        for (tenant, pane, records, is_stored) in restored.panes {
            self.panes.put(tenant, pane, records, is_stored);
        }
        for pane in restored.gone {
            self.panes.panes.entry(pane).or_default().gone.insert(group);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.panes.bytes()
    }
}
