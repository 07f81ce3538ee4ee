//! Panes as bytes: an Arrow stream for each key group, whose batches are of one pane each.
//!
//! ```text
//!  schema: the partial's columns, `tenant`, `stored`; metadata: statement, watermark, ingest, panes that are not all here
//!  batch of a pane | batch of a pane | ...
//! ```

use crate::pane::{Panes, bytes};
use crate::plan::WindowPlan;
use crate::scratch::ScratchFile;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bodkin_engine::{KEY_GROUPS, KeyGroup, RestoreError, key_groups};
use bodkin_schema::{EventTime, Tenant};
use bytes::Bytes;
use datafusion::common::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// About what a message of a stream takes beside its values.
const MESSAGE_BYTES: usize = 1024;

const STATEMENT: &str = "statement";
const WATERMARK: &str = "watermark";
const INGEST: &str = "ingest";
const GONE: &str = "gone";

/// What a state held.
pub(crate) struct Restored {
    pub(crate) watermark: Option<i64>,
    pub(crate) ingest: EventTime,
    pub(crate) panes: Vec<(Tenant, i64, RecordBatch, bool)>,
    /// Panes of which the table has more than this.
    pub(crate) gone: Vec<(Tenant, i64)>,
}

/// The states of all key groups that have partials.
pub(crate) fn save(
    plan: &WindowPlan,
    panes: &Panes,
    watermark: Option<i64>,
    ingest: EventTime,
) -> Result<Vec<(KeyGroup, Bytes)>> {
    let mut parts: BTreeMap<KeyGroup, Vec<RecordBatch>> = BTreeMap::new();
    let mut gone: BTreeMap<KeyGroup, String> = BTreeMap::new();
    let schema = schema(plan, watermark, ingest);
    let key = plan.key();
    for ((tenant, start), pane) in &panes.panes {
        let spilled = pane.spilled.iter().flat_map(ScratchFile::groups);
        for group in pane.gone.iter().copied().chain(spilled).collect::<BTreeSet<_>>() {
            parts.entry(group).or_default();
            gone.entry(group).or_default().push_str(&format!("{start} {}\n", tenant.0));
        }
        for (partials, is_stored) in [(&pane.fresh, false), (&pane.stored, true)] {
            for partial in partials {
                for (group, records) in by_group(partial, &key)? {
                    let rows = records.num_rows();
                    let mut columns = records.columns().to_vec();
                    columns.push(Arc::new(StringArray::from(vec![tenant.0.as_ref(); rows])) as ArrayRef);
                    columns.push(Arc::new(BooleanArray::from(vec![is_stored; rows])));
                    parts.entry(group).or_default().push(RecordBatch::try_new(schema.clone(), columns)?);
                }
            }
        }
    }
    let states = parts.into_iter().map(|(group, batches)| {
        let mut metadata = schema.metadata().clone();
        metadata.extend(gone.remove(&group).map(|gone| (GONE.to_owned(), gone)));
        let schema = schema.as_ref().clone().with_metadata(metadata);
        let size: usize = batches.iter().map(|batch| bytes(batch) + MESSAGE_BYTES).sum();
        let mut writer = StreamWriter::try_new(Vec::with_capacity(size + MESSAGE_BYTES), &schema)?;
        for batch in &batches {
            writer.write(batch)?;
        }
        Ok((group, Bytes::from(writer.into_inner()?)))
    });
    states.collect()
}

/// Takes back what [`save`] gave. A state of another statement is dropped: its windows are not those that are asked for.
pub(crate) fn load(plan: &WindowPlan, bytes: &Bytes) -> std::result::Result<Restored, RestoreError> {
    let reader = StreamReader::try_new(bytes.as_ref(), None)?;
    let schema = reader.schema();
    let number = |name: &str| schema.metadata().get(name).and_then(|text| text.parse::<i64>().ok());
    let mut restored = Restored {
        watermark: number(WATERMARK),
        ingest: EventTime(number(INGEST).unwrap_or_default()),
        panes: Vec::new(),
        gone: Vec::new(),
    };
    if schema.metadata().get(STATEMENT).map(String::as_str) != Some(plan.text()) {
        tracing::warn!(statement = plan.text(), "the statement has changed: windows that were open begin anew");
        return Ok(restored);
    }
    let gone = schema.metadata().get(GONE).map(String::as_str).unwrap_or_default().lines();
    for line in gone {
        let (start, tenant) = line.split_once(' ').ok_or("a state of a window is damaged")?;
        restored.gone.push((Tenant(tenant.into()), start.parse()?));
    }
    let count = plan.partial.fields().len();
    for batch in reader {
        let batch = batch?;
        let is_whole = batch.num_columns() == count + 2 && batch.num_rows() > 0;
        let columns = batch.columns().get(..count).filter(|_| is_whole).ok_or("a state of a window is damaged")?;
        let pane = batch.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(0);
        let tenant = Tenant(batch.column(count).as_string::<i32>().value(0).into());
        let is_stored = batch.column(count + 1).as_boolean().value(0);
        restored.panes.push((tenant, pane, RecordBatch::try_new(plan.partial.clone(), columns.to_vec())?, is_stored));
    }
    Ok(restored)
}

fn schema(plan: &WindowPlan, watermark: Option<i64>, ingest: EventTime) -> SchemaRef {
    let own = [Field::new("tenant", DataType::Utf8, false), Field::new("stored", DataType::Boolean, false)];
    let fields = plan.partial.fields().iter().cloned().chain(own.into_iter().map(Arc::new));
    let mut metadata = HashMap::from([
        (STATEMENT.to_owned(), plan.text().to_owned()),
        (INGEST.to_owned(), ingest.micros().to_string()),
    ]);
    if let Some(watermark) = watermark {
        metadata.insert(WATERMARK.to_owned(), watermark.to_string());
    }
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata))
}

/// The rows of each key group, in their order.
pub(crate) fn by_group(partial: &RecordBatch, key: &[String]) -> Result<Vec<(KeyGroup, RecordBatch)>> {
    let groups = key_groups(partial, key)?;
    let mut starts = [0_usize; KEY_GROUPS + 1];
    for group in &groups {
        if let Some(count) = starts.get_mut(usize::from(group.number()) + 1) {
            *count += 1;
        }
    }
    (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
    let mut next = starts;
    let mut rows = vec![0_u32; groups.len()];
    for (row, group) in groups.iter().enumerate() {
        let next = &mut next[usize::from(group.number())];
        rows[*next] = row as u32;
        *next += 1;
    }
    let sorted = take_record_batch(partial, &UInt32Array::from(rows))?;
    let ranges = starts.windows(2).enumerate().filter_map(|(number, range)| match range {
        [from, to] if to > from => Some((KeyGroup::new(number as u8)?, sorted.slice(*from, to - from))),
        _ => None,
    });
    Ok(ranges.collect())
}
