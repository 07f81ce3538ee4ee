//! Operators whose output shows whether state, side inputs and watermarks were kept as promised.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bodkin_engine::{Batch, KeyGroup, Operator, Output, RestoreError, SideInput, key_groups};
use bodkin_schema::{Epoch, EventTime};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Length of a window.
pub(crate) const WINDOW_US: i64 = 10_000_000;

fn made(batch: &Batch, stream: &str, ids: Vec<i64>, keys: Vec<String>, made: Vec<i64>) -> Batch {
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from(ids))),
        ("key", Arc::new(StringArray::from(keys))),
        ("made", Arc::new(Int64Array::from(made))),
    ];
    let records = RecordBatch::try_from_iter(columns).expect("invariant: three columns of one length");
    batch.derived(stream, records)
}

fn ids(batch: &Batch) -> Vec<i64> {
    let column = batch.records.column_by_name("count").and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.map(|column| column.values().to_vec()).unwrap_or_default()
}

fn keys(batch: &Batch) -> Vec<String> {
    let column = batch.records.column_by_name("reason");
    let column = column.and_then(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).ok());
    let column = column.as_ref().and_then(|column| column.as_string_opt::<i32>());
    column.map(|column| column.iter().map(|key| key.unwrap_or_default().to_owned()).collect()).unwrap_or_default()
}

/// Numbers the rows of each key from 1: state per key group, behind an exchange.
#[derive(Default)]
pub(crate) struct Number {
    seen: BTreeMap<KeyGroup, BTreeMap<String, i64>>,
    /// Gives the state of the epoch before.
    is_stale: bool,
    last: Vec<(KeyGroup, Bytes)>,
}

impl Number {
    pub(crate) fn new(is_stale: bool) -> Self {
        Self { is_stale, ..Self::default() }
    }
}

impl Operator for Number {
    fn name(&self) -> &str {
        "number"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let (ids, keys) = (ids(&batch), keys(&batch));
        let groups = key_groups(&batch.records, &["reason".to_owned()]).unwrap_or_default();
        let number = |(key, group): (&String, KeyGroup)| {
            let seen = self.seen.entry(group).or_default().entry(key.clone()).or_default();
            *seen += 1;
            *seen
        };
        let numbers = keys.iter().zip(groups).map(number).collect();
        out.emit(made(&batch, crate::sink::NUMBERED.name(), ids, keys, numbers));
    }

    fn on_barrier(&mut self, _: Epoch) -> Vec<(KeyGroup, Bytes)> {
        let json = |seen| Bytes::from(serde_json::to_vec(seen).unwrap_or_default());
        let now: Vec<_> = self.seen.iter().map(|(group, seen)| (*group, json(seen))).collect();
        let last = std::mem::replace(&mut self.last, now.clone());
        if self.is_stale { last } else { now }
    }

    fn restore(&mut self, group: KeyGroup, state: Bytes) -> Result<(), RestoreError> {
        self.seen.insert(group, serde_json::from_slice(&state)?);
        Ok(())
    }
}

/// Says of each row which side input was in force, and whether it was behind the watermark: no state, no key.
#[derive(Default)]
pub(crate) struct Tag {
    side: i64,
    watermark: Option<EventTime>,
}

impl Operator for Tag {
    fn name(&self) -> &str {
        "tag"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let times = batch.records.column_by_name("ts").and_then(|ts| ts.as_primitive_opt::<TimestampMicrosecondType>());
        let is_late = |time: i64| Some(EventTime(time)) < self.watermark;
        let tags =
            times.map(|times| times.values().iter().map(|time| 2 * self.side + i64::from(is_late(*time))).collect());
        let keys = vec!["tag".to_owned(); batch.records.num_rows()];
        out.emit(made(&batch, crate::sink::TAGGED.name(), ids(&batch), keys, tags.unwrap_or_default()));
    }

    fn on_watermark(&mut self, time: EventTime, _: &mut Output<'_>) {
        self.watermark = Some(time);
    }

    fn on_side_input(&mut self, input: &SideInput, _: &mut Output<'_>) {
        self.side = input.value.as_i64().unwrap_or_default();
    }
}

/// Counts rows per window and emits a partial when the watermark has passed it; late rows make one more partial.
#[derive(Default)]
pub(crate) struct Windows {
    open: BTreeMap<KeyGroup, BTreeMap<i64, i64>>,
    watermark: Option<EventTime>,
}

impl Windows {
    fn close(&mut self, like: Option<&Batch>, out: &mut Output<'_>) {
        let Some(watermark) = self.watermark else { return };
        let mut partials: BTreeMap<i64, i64> = BTreeMap::new();
        for windows in self.open.values_mut() {
            let still_open = windows.split_off(&(watermark.0 - WINDOW_US + 1));
            for (window, rows) in std::mem::replace(windows, still_open) {
                *partials.entry(window).or_default() += rows;
            }
        }
        self.open.retain(|_, windows| !windows.is_empty());
        if partials.is_empty() {
            return;
        }
        let none = Batch::made("windows", RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())));
        let (windows, counts): (Vec<i64>, Vec<i64>) = partials.into_iter().unzip();
        let keys = vec!["window".to_owned(); windows.len()];
        out.emit(made(like.unwrap_or(&none), crate::sink::TAGGED.name(), windows, keys, counts));
    }
}

impl Operator for Windows {
    fn name(&self) -> &str {
        "windows"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let times = batch.records.column_by_name("ts").and_then(|ts| ts.as_primitive_opt::<TimestampMicrosecondType>());
        let groups = key_groups(&batch.records, &["reason".to_owned()]).unwrap_or_default();
        for (time, group) in times.iter().flat_map(|times| times.values().iter()).zip(groups) {
            let window = time.div_euclid(WINDOW_US) * WINDOW_US;
            *self.open.entry(group).or_default().entry(window).or_default() += 1;
        }
        self.close(Some(&batch), out);
    }

    fn on_watermark(&mut self, time: EventTime, out: &mut Output<'_>) {
        self.watermark = Some(time);
        self.close(None, out);
    }

    fn on_barrier(&mut self, _: Epoch) -> Vec<(KeyGroup, Bytes)> {
        let json = |windows: &BTreeMap<i64, i64>| {
            let pairs: Vec<_> = windows.iter().collect();
            Bytes::from(serde_json::to_vec(&pairs).unwrap_or_default())
        };
        self.open.iter().map(|(group, windows)| (*group, json(windows))).collect()
    }

    fn restore(&mut self, group: KeyGroup, state: Bytes) -> Result<(), RestoreError> {
        let pairs: Vec<(i64, i64)> = serde_json::from_slice(&state)?;
        self.open.insert(group, pairs.into_iter().collect());
        Ok(())
    }
}
