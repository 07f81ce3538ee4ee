//! Partials as rows of the table `windows`, and back.
//!
//! Groups and states are JSON objects, so that a row outlives versions of this program and other readers understand
//! counts and sums. Floats are texts, because JSON has no NaN and no infinity; bytes are hexadecimal.

use crate::functions::covering;
use crate::json;
use crate::plan::WindowPlan;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::json::writer::LineDelimited;
use arrow::json::{ReaderBuilder, WriterBuilder};
use bodkin_schema::{Stream, dataflow};
use datafusion::common::{DataFusionError, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The schema in which columns are written as JSON.
fn json_schema(fields: &[FieldRef], names: &[String]) -> SchemaRef {
    let field = |(field, name): (&FieldRef, &String)| Field::new(name, json_type(field.data_type()), true);
    Arc::new(Schema::new(fields.iter().zip(names).map(field).collect::<Vec<_>>()))
}

/// Floats as texts, also inside of lists.
fn json_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Utf8,
        DataType::List(item) => {
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(json_type(item.data_type()))))
        }
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn to_json(columns: &[ArrayRef], schema: &SchemaRef) -> Result<StringArray> {
    let cast = columns.iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    let columns = cast.collect::<std::result::Result<Vec<_>, _>>()?;
    let rows = columns.first().map_or(0, |column| column.len());
    if let Some(texts) = json::written(&columns, schema, rows) {
        return Ok(texts);
    }
    let records = RecordBatch::try_new(schema.clone(), columns)?;
    let mut bytes = Vec::with_capacity(64 * records.num_rows());
    let mut writer = WriterBuilder::new().build::<_, LineDelimited>(&mut bytes);
    writer.write(&records)?;
    writer.finish()?;
    drop(writer);
    let mut texts = StringBuilder::with_capacity(records.num_rows(), bytes.len());
    for line in bytes.split(|byte| *byte == b'\n').take(records.num_rows()) {
        texts.append_value(std::str::from_utf8(line).map_err(|error| DataFusionError::External(Box::new(error)))?);
    }
    Ok(texts.finish())
}

fn from_json(texts: &StringArray, fields: &[FieldRef], names: &[String]) -> Result<Vec<ArrayRef>> {
    let schema = json_schema(fields, names);
    if texts.is_empty() {
        return Ok(fields.iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect());
    }
    if let Some(columns) = json::read(texts, &schema) {
        let columns = columns.iter().zip(fields);
        return columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect();
    }
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(texts.len()).build_decoder()?;
    let mut lines = Vec::with_capacity(texts.value_data().len() + texts.len());
    for text in texts.iter().flatten() {
        lines.extend_from_slice(text.as_bytes());
        lines.push(b'\n');
    }
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        let read = decoder.decode(rest)?;
        if read == 0 {
            break;
        }
        rest = rest.get(read..).unwrap_or_default();
    }
    let records = decoder.flush()?.filter(|records| records.num_rows() == texts.len());
    let damaged = || DataFusionError::Execution("a row of table windows is damaged".to_owned());
    let columns = records.ok_or_else(damaged)?;
    let columns = columns.columns().iter().zip(fields);
    columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect()
}

impl WindowPlan {
    /// Rows of the table `windows` for partials of one pane.
    pub(crate) fn to_rows(&self, operator: &str, partial: &RecordBatch) -> Result<RecordBatch> {
        let rows = partial.num_rows();
        let count = 1 + self.groups.len();
        let part = |columns: std::ops::Range<usize>, names: &[String]| {
            let fields = self.partial.fields().get(columns.clone()).unwrap_or_default();
            to_json(partial.columns().get(columns).unwrap_or_default(), &json_schema(fields, names))
        };
        let panes = partial.column(0).as_primitive::<TimestampMicrosecondType>();
        let ends: TimestampMicrosecondArray = panes.unary(|start| start + self.pane);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![operator; rows])),
            partial.column(0).clone(),
            Arc::new(ends.with_timezone("UTC")),
            Arc::new(part(1..count, &self.group_names)?),
            Arc::new(part(count..partial.num_columns(), &self.state_names)?),
        ];
        Ok(RecordBatch::try_new(Stream::Windows.schema(), columns)?)
    }

    /// The partials of rows of the table `windows`.
    ///
    /// # Errors
    /// Where the rows are of another statement.
    fn read_rows(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let column = |name: &str| {
            let column = rows.column_by_name(name);
            column.ok_or_else(|| DataFusionError::Execution(format!("table windows has no column {name:?}")))
        };
        let text = |name: &str| cast(column(name)?, &DataType::Utf8).map_err(DataFusionError::from);
        let count = 1 + self.groups.len();
        let fields = self.partial.fields();
        let mut columns = vec![cast(column(dataflow::TS)?, &crate::plan::micros_utc())?];
        let groups = fields.get(1..count).unwrap_or_default();
        columns.extend(from_json(text(dataflow::KEY)?.as_string(), groups, &self.group_names)?);
        let states = fields.get(count..).unwrap_or_default();
        columns.extend(from_json(text(dataflow::PARTIAL)?.as_string(), states, &self.state_names)?);
        Ok(RecordBatch::try_new(self.partial.clone(), columns)?)
    }
}

/// The finished rows of all windows in `rows` of the table `windows`, which are of one operator, window by window. Windows
/// are made of what is there: at the edges of a range of time, sliding windows are incomplete.
///
/// # Errors
/// Where the rows are of another statement than `plan`'s.
pub fn merged(plan: Arc<WindowPlan>, rows: &[RecordBatch]) -> Result<Merged> {
    let mut panes: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
    for rows in rows {
        for (pane, records) in by_pane(&plan.read_rows(rows)?)? {
            panes.entry(pane).or_default().push(records);
        }
    }
    let starts: BTreeSet<i64> = panes.keys().flat_map(|pane| covering(*pane, plan.size, plan.slide)).collect();
    Ok(Merged { plan, panes, starts: starts.into_iter() })
}

/// Makes the windows one by one: of those that slide there may be far more rows than partials.
#[derive(Debug)]
pub struct Merged {
    plan: Arc<WindowPlan>,
    /// Those that windows to come are made of.
    panes: BTreeMap<i64, Vec<RecordBatch>>,
    starts: std::collections::btree_set::IntoIter<i64>,
}

impl Iterator for Merged {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.starts.next()?;
        self.panes = self.panes.split_off(&start);
        let panes = self.panes.range(..start.saturating_add(self.plan.size));
        Some(self.plan.window(start, panes.flat_map(|(_, partials)| partials)))
    }
}

/// The rows of each pane, in their order.
pub(crate) fn by_pane(partial: &RecordBatch) -> Result<Vec<(i64, RecordBatch)>> {
    let panes = partial.column(0).as_primitive::<TimestampMicrosecondType>().values();
    let Some(most) = panes.get(panes.len() / 2).copied() else { return Ok(Vec::new()) };
    let is_most = BooleanBuffer::collect_bool(panes.len(), |row| panes.get(row) == Some(&most));
    let count = is_most.count_set_bits();
    if count == panes.len() {
        return Ok(vec![(most, partial.clone())]);
    }
    // Where most rows are of one pane, they are copied in long runs.
    let is_long = count * 2 > panes.len();
    let mut rest: Vec<(i64, u32)> = Vec::new();
    let mut put = |row: usize| rest.extend(panes.get(row).map(|pane| (*pane, row as u32)));
    if is_long {
        (!&is_most).set_indices().for_each(&mut put);
    } else {
        (0..panes.len()).for_each(&mut put);
    }
    rest.sort_unstable();
    let rows = UInt32Array::from_iter_values(rest.iter().map(|(_, row)| *row));
    let sorted = take_record_batch(partial, &rows)?;
    let mut from = 0;
    let mut taken = Vec::new();
    for rows in rest.chunk_by(|a, b| a.0 == b.0) {
        taken.extend(rows.first().map(|(pane, _)| (*pane, sorted.slice(from, rows.len()))));
        from += rows.len();
    }
    if is_long {
        taken.push((most, filter_record_batch(partial, &BooleanArray::from(is_most))?));
        taken.sort_unstable_by_key(|(pane, _)| *pane);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};

    #[test]
    fn partials_survive_as_rows() {
        let ts: TimestampMicrosecondArray = vec![5, 15_000_000, 5, 7].into();
        let value = Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY, -0.0]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("ts", Arc::new(ts.with_timezone("UTC"))),
            ("host", Arc::new(StringArray::from(vec![Some("a\"\n"), None, Some("b"), Some("a\"\n")]))),
            ("pid", Arc::new(Int64Array::from(vec![i64::MAX, 2, 3, 4]))),
            ("value", Arc::new(value)),
        ];
        let records = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let text = "SELECT host, count(*), sum(value), min(pid), avg(value), approx_distinct(pid), count(DISTINCT pid), \
                    approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY value), stddev(value), max(host) FROM input \
                    GROUP BY host, tumble(ts, '10s')";
        let plan = Arc::new(WindowPlan::new(text, &[], &records.schema()).unwrap());
        let partial = plan.partials(&records, true).unwrap().unwrap();
        let rows = plan.to_rows("w", &partial).unwrap();
        let back = plan.read_rows(&rows).unwrap();
        let print = |records: &RecordBatch| {
            arrow::util::pretty::pretty_format_batches(std::slice::from_ref(records)).unwrap().to_string()
        };
        assert_eq!(print(&back), print(&partial));
        assert_eq!(merged(plan, &[rows]).unwrap().map(|window| window.unwrap().num_rows()).sum::<usize>(), 3);
    }
}
