//! What another stream says of a key, valid at the time of each row.
//!
//! ```text
//!  rows of `from`  --DimensionRows--> key, from, ends, values --+--(by key)--> Dimension --> rows with further columns
//!  rows of a stream --------------------------------------------+
//! ```
//! A row gets what was known of its key at its own time, whenever either came in. What comes in after the row went out
//! does not count for it, unless rows wait for the watermark.

use crate::config::{DimensionConfig, EnrichConfig, EnrichError};
use crate::held::Held;
use crate::history::{History, Version};
use crate::operator::{Enrich, tag_type};
use crate::state;
use crate::told::{Asked, Told};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use bodkin_engine::{Batch, KeyGroup, Operator, Output, RestoreError};
use bodkin_schema::{Epoch, EventTime, Tenant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Column of a dimension row: from when on it is valid.
const FROM: &str = "valid_from";
/// Column of a dimension row: whether the key ends.
const ENDS: &str = "ends";
/// Bytes of what is known of keys, of each shard: the keys that changed longest ago are forgotten beyond.
const KNOWN_BYTES_MAX: usize = 128 << 20;
/// Bytes of rows that wait, of each shard: the oldest go on beyond.
const HELD_BYTES_MAX: usize = 64 << 20;
/// How far behind the watermark rows still find what was valid then.
const KEPT_US: i64 = 3600 * 1_000_000;

/// Rows of `from` in the layout of a dimension: key as the stream has it, time, end, values as texts.
#[derive(Clone, Debug)]
pub struct DimensionRows {
    stream: String,
    config: Arc<DimensionConfig>,
    schema: SchemaRef,
    rows_failed: u64,
}

impl DimensionRows {
    /// The rows of stream `stream`, made of rows like `from` for an operator over rows like `schema`.
    ///
    /// # Errors
    /// Which column is missing.
    pub fn new(
        stream: &str,
        config: &DimensionConfig,
        from: &SchemaRef,
        schema: &SchemaRef,
    ) -> Result<Self, EnrichError> {
        let columns = [&config.valid_from].into_iter().chain(&config.ends).chain(&config.columns).chain(&config.key);
        if let Some(missing) = columns.into_iter().find(|name| from.column_with_name(name).is_none()) {
            return Err(EnrichError::new("dimension", format!("{} has no column {missing:?}", config.from)));
        }
        if config.key.is_empty() || config.columns.is_empty() {
            return Err(EnrichError::new("dimension", "name at least one key and one column"));
        }
        let schema = layout(config, schema)?;
        Ok(Self { stream: stream.to_owned(), config: Arc::new(config.clone()), schema, rows_failed: 0 })
    }

    /// The columns of its rows.
    pub fn output(&self) -> &SchemaRef {
        &self.schema
    }

    fn rows(&self, records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let config = &self.config;
        let names = config.key.iter().chain([&config.valid_from]).map(Some);
        let names = names.chain([config.ends.as_ref()]).chain(config.columns.iter().map(Some));
        let columns = names.zip(self.schema.fields()).map(|(name, field)| match name {
            Some(name) => cast(found(records, name)?, field.data_type()),
            None => Ok(Arc::new(BooleanArray::from(vec![false; records.num_rows()])) as ArrayRef),
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?)
    }
}

impl Operator for DimensionRows {
    fn name(&self) -> &str {
        "dimension_rows"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.rows(&batch.records) {
            Ok(records) => out.emit(batch.derived(&self.stream, records)),
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::warn!(stream = self.stream, rows_failed = self.rows_failed, %error, "rows are in no dimension");
            }
        }
    }
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn found<'a>(records: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    records.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("there is no column {name:?}")))
}

/// The columns of dimension rows for an operator over rows like `schema`.
fn layout(config: &DimensionConfig, schema: &SchemaRef) -> Result<SchemaRef, EnrichError> {
    let key = config.key.iter().map(|name| {
        let missing = || EnrichError::new("dimension.key", format!("the stream has no column {name:?}"));
        let (_, field) = schema.column_with_name(name).ok_or_else(missing)?;
        Ok(Field::new(name, field.data_type().clone(), true))
    });
    let mut fields = key.collect::<Result<Vec<_>, EnrichError>>()?;
    fields.push(Field::new(FROM, time_type(), true));
    fields.push(Field::new(ENDS, DataType::Boolean, true));
    let values = config.columns.iter().map(|name| Field::new(format!("{}{name}", config.prefix), DataType::Utf8, true));
    fields.extend(values);
    Ok(Arc::new(Schema::new(fields)))
}

/// Adds to rows of a stream what rows of a dimension say; tags and lookups, too.
#[derive(Debug)]
pub struct Dimension {
    config: Arc<DimensionConfig>,
    enrich: Enrich,
    /// Name of the stream of dimension rows.
    stream: String,
    /// Columns of the rows that come in, and of dimension rows.
    input: SchemaRef,
    layout: SchemaRef,
    known: BTreeMap<Tenant, History>,
    told: BTreeMap<Tenant, Told>,
    held: Held,
    watermark_us: Option<i64>,
    keys_forgotten: u64,
    rows_failed: u64,
}

impl Clone for Dimension {
    /// The same without what it has learned.
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            enrich: self.enrich.clone(),
            stream: self.stream.clone(),
            input: self.input.clone(),
            layout: self.layout.clone(),
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            held: Held::default(),
            watermark_us: None,
            keys_forgotten: 0,
            rows_failed: 0,
        }
    }
}

impl Dimension {
    /// An operator for rows like `schema`, and for the rows of stream `stream` that [`DimensionRows`] makes.
    ///
    /// # Errors
    /// What is wrong with the section, or which column is missing or there already.
    pub fn new(stream: &str, config: &EnrichConfig, schema: &SchemaRef) -> Result<Self, EnrichError> {
        let own = config.dimension.clone().ok_or_else(|| EnrichError::new("dimension", "there is none"))?;
        let layout = layout(&own, schema)?;
        let is_time = |field: &Field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        if !schema.column_with_name(&own.time).is_some_and(|(_, field)| is_time(field)) {
            return Err(EnrichError::new("dimension.time", format!("the stream has no time called {:?}", own.time)));
        }
        let enrich = Enrich::new(config, schema)?;
        let before = enrich.output(schema);
        let values = layout.fields().iter().skip(own.key.len() + 2);
        if let Some(twice) = values.clone().find(|field| before.column_with_name(field.name()).is_some()) {
            let reason = "there is such a column already: choose another prefix";
            return Err(EnrichError::new(twice.name().as_str(), reason));
        }
        let (config, stream, input) = (Arc::new(own), stream.to_owned(), schema.clone());
        Ok(Self {
            config,
            enrich,
            stream,
            input,
            layout,
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            held: Held::default(),
            watermark_us: None,
            keys_forgotten: 0,
            rows_failed: 0,
        })
    }

    /// The columns by which rows of both streams meet on a shard.
    pub fn key(&self) -> &[String] {
        &self.config.key
    }

    /// The columns of what goes out.
    pub fn output(&self) -> SchemaRef {
        self.output_of(&self.input)
    }

    fn output_of(&self, schema: &SchemaRef) -> SchemaRef {
        let before = self.enrich.output(schema);
        let values = self.layout.fields().iter().skip(self.config.key.len() + 2);
        let values = values.map(|field| Arc::new(Field::new(field.name(), tag_type(), true)));
        Arc::new(Schema::new(before.fields().iter().cloned().chain(values).collect::<Vec<_>>()))
    }

    /// The key of each row; the same bytes whether a column is a dictionary or not.
    fn keys(&self, records: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns = self.config.key.iter().map(|name| found(records, name).cloned());
        self.keys_of(&columns.collect::<Result<Vec<_>, _>>()?)
    }

    fn keys_of(&self, columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
        let types = self.layout.fields().iter().take(self.config.key.len()).map(|field| field.data_type());
        let columns = columns.iter().zip(types.clone()).map(|(column, to)| cast(column, to));
        let converter = RowConverter::new(types.map(|data_type| SortField::new(data_type.clone())).collect())?;
        converter.convert_columns(&columns.collect::<Result<Vec<_>, _>>()?)
    }

    /// What is known of the key of each row.
    fn asked<'a>(&self, known: &'a History, records: &RecordBatch) -> Result<Asked<'a>, ArrowError> {
        if let [name] = self.config.key.as_slice()
            && let Some(keys) = found(records, name)?.as_dictionary_opt::<Int32Type>()
            && keys.null_count() == 0
            && keys.values().len() <= keys.len()
        {
            // Each different key of a batch is looked up once.
            let values = self.keys_of(std::slice::from_ref(keys.values()))?;
            let versions = values.iter().map(|key| known.versions(key.data())).collect();
            return Ok(Asked { numbers: keys.keys().values().iter().map(|key| *key as u32).collect(), versions });
        }
        let keys = self.keys(records)?;
        let mut asked = Asked { numbers: Vec::with_capacity(keys.num_rows()), versions: Vec::new() };
        let mut last = None;
        for key in &keys {
            // Rows of one process come one behind the other.
            if last != Some(key) {
                asked.versions.push(known.versions(key.data()));
                last = Some(key);
            }
            asked.numbers.push(asked.versions.len() as u32 - 1);
        }
        Ok(asked)
    }

    fn times(&self, records: &RecordBatch) -> Result<TimestampMicrosecondArray, ArrowError> {
        let times = found(records, &self.config.time)?.as_primitive_opt::<TimestampMicrosecondType>();
        times.cloned().ok_or_else(|| ArrowError::SchemaError("the time of a row is no time in microseconds".to_owned()))
    }

    /// Learns rows of the dimension.
    fn learn(&mut self, tenant: &Tenant, records: &RecordBatch) -> Result<(), ArrowError> {
        let keys = self.keys(records)?;
        let times = cast(found(records, FROM)?, &time_type())?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let ends = found(records, ENDS)?.as_boolean();
        let values: Vec<&StringArray> =
            records.columns().iter().skip(self.config.key.len() + 2).map(|column| column.as_string()).collect();
        let known = self.known.entry(tenant.clone()).or_default();
        for row in (0..records.num_rows()).filter(|row| times.is_valid(*row)) {
            let value = |column: &&StringArray| column.is_valid(row).then(|| Arc::from(column.value(row)));
            let has_ended = ends.is_valid(row) && ends.value(row);
            let of_row = (!has_ended).then(|| values.iter().map(value).collect());
            known.learn(keys.row(row).data(), Version { from_us: times.value(row), values: of_row });
        }
        self.keys_forgotten += known.forget_beyond(KNOWN_BYTES_MAX);
        Ok(())
    }

    /// The rows with their further columns.
    fn rows(&mut self, tenant: &Tenant, records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let tagged = self.enrich.rows(records)?;
        let times = self.times(records)?;
        let nothing = History::default();
        let asked = self.asked(self.known.get(tenant).unwrap_or(&nothing), records)?;
        // By tenant: a dictionary goes out with all of its values (ISO-1).
        let told = self.told.entry(tenant.clone()).or_default();
        let mut columns = tagged.columns().to_vec();
        columns.extend(told.columns(&asked, &times, self.config.columns.len())?);
        RecordBatch::try_new(self.output_of(&records.schema()), columns)
    }

    fn give(&mut self, batch: &Batch, out: &mut Output<'_>) {
        match self.rows(&batch.tenant, &batch.records) {
            Ok(records) => out.emit(batch.derived(&batch.stream, records)),
            Err(error) => self.fail(&batch.records, &error),
        }
    }

    fn fail(&mut self, records: &RecordBatch, error: &ArrowError) {
        self.rows_failed += records.num_rows() as u64;
        tracing::warn!(rows_failed = self.rows_failed, %error, "rows cannot be enriched");
    }

    fn is_over(&self, batch: &Batch) -> bool {
        let newest = batch.event_time.map(|range| range.max.micros());
        newest.is_some_and(|newest| self.watermark_us.is_some_and(|watermark| newest < watermark))
    }
}

impl Operator for Dimension {
    fn name(&self) -> &str {
        "dimension"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        if *batch.stream == *self.stream {
            if let Err(error) = self.learn(&batch.tenant, &batch.records) {
                self.fail(&batch.records, &error);
            }
        } else if self.config.wait && !self.is_over(&batch) {
            self.held.push(batch);
            while let Some(oldest) = self.held.beyond(HELD_BYTES_MAX) {
                self.give(&oldest, out);
            }
        } else {
            self.give(&batch, out);
        }
    }

    fn on_watermark(&mut self, time: EventTime, out: &mut Output<'_>) {
        self.watermark_us = Some(time.micros());
        let mut held = std::mem::take(&mut self.held);
        match held.ready(time.micros(), |records| self.times(records)) {
            Ok(ready) => ready.iter().for_each(|batch| self.give(batch, out)),
            Err(error) => tracing::error!(%error, "rows that waited are lost"),
        }
        self.held = held;
    }

    fn on_barrier(&mut self, _epoch: Epoch) -> Vec<(KeyGroup, Bytes)> {
        if let Some(watermark_us) = self.watermark_us {
            self.known.values_mut().for_each(|known| known.forget_before(watermark_us.saturating_sub(KEPT_US)));
        }
        let saved = state::save(&self.config.key, &self.input, &self.layout, &self.known, &self.held);
        saved.unwrap_or_else(|error| {
            tracing::error!(%error, "what is known of keys cannot be kept");
            Vec::new()
        })
    }

    fn restore(&mut self, _group: KeyGroup, bytes: Bytes) -> Result<(), RestoreError> {
        for (tenant, records) in state::load_known(&self.layout, &bytes)? {
            self.learn(&tenant, &records)?;
        }
        state::load_held(&self.input, &bytes)?.into_iter().for_each(|batch| self.held.push(batch));
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let told = self.told.values().map(Told::bytes).sum::<usize>();
        self.known.values().map(History::bytes).sum::<usize>() + told + self.held.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use bodkin_engine::TimeRange;
    use proptest::prelude::*;

    /// Host, pid, second, and the name where it is one of a process.
    type Row = (u8, i64, i64, Option<u8>);

    fn input() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("ts", time_type(), false),
            Field::new("host", DataType::Utf8, false),
            Field::new("pid", DataType::Int64, true),
        ]))
    }

    fn from() -> SchemaRef {
        let own = [Field::new("name", DataType::Utf8, true), Field::new("over", DataType::Boolean, true)];
        Arc::new(Schema::new(input().fields().iter().cloned().chain(own.map(Arc::new)).collect::<Vec<_>>()))
    }

    fn records(schema: &SchemaRef, rows: &[Row], is_dictionary: bool) -> Batch {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2 * 1_000_000));
        let hosts: StringArray = rows.iter().map(|row| Some(format!("h{}", row.0))).collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(hosts),
            Arc::new(rows.iter().map(|row| Some(row.1).filter(|pid| *pid > 0)).collect::<Int64Array>()),
        ];
        if schema.fields().len() > 3 {
            columns.push(Arc::new(rows.iter().map(|row| Some(format!("n{}", row.3?))).collect::<StringArray>()));
            columns.push(Arc::new(rows.iter().map(|row| Some(row.3.is_none())).collect::<BooleanArray>()));
        }
        let mut fields = schema.fields().to_vec();
        if is_dictionary {
            columns[1] = cast(&columns[1], &tag_type()).unwrap();
            fields[1] = Arc::new(Field::new("host", tag_type(), true));
        }
        let batch = Batch::made("x", RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap());
        let seconds = || rows.iter().map(|row| EventTime(row.2 * 1_000_000));
        let event_time = seconds().min().zip(seconds().max()).map(|(min, max)| TimeRange { min, max });
        Batch { event_time, ..batch }
    }

    fn config(is_waiting: bool) -> EnrichConfig {
        let own = r#""from": "procs", "key": ["host", "pid"], "columns": ["name"], "prefix": "proc_", "ends": "over""#;
        serde_json::from_str(&format!(r#"{{"tags": {{"env": "x"}}, "dimension": {{{own}, "wait": {is_waiting}}}}}"#))
            .unwrap()
    }

    fn operators(is_waiting: bool) -> (DimensionRows, Dimension) {
        let config = config(is_waiting);
        let rows = DimensionRows::new("d", config.dimension.as_ref().unwrap(), &from(), &input()).unwrap();
        (rows, Dimension::new("d", &config, &input()).unwrap())
    }

    /// What came out: host, pid, second, name.
    fn told(batches: &[Batch]) -> Vec<(String, i64, i64, Option<String>)> {
        let mut found = Vec::new();
        for batch in batches {
            let text = |column: usize| cast(batch.records.column(column), &DataType::Utf8).unwrap();
            let (hosts, names) = (text(1), text(4));
            let (hosts, names) = (hosts.as_string::<i32>(), names.as_string::<i32>());
            let times = batch.records.column(0).as_primitive::<TimestampMicrosecondType>();
            let pids = batch.records.column(2).as_primitive::<arrow::datatypes::Int64Type>();
            for row in 0..batch.records.num_rows() {
                let name = names.is_valid(row).then(|| names.value(row).to_owned());
                found.push((hosts.value(row).to_owned(), pids.value(row), times.value(row) / 1_000_000, name));
            }
        }
        found.sort();
        found
    }

    fn run(operator: &mut dyn Operator, batch: Batch) -> Vec<Batch> {
        let mut made = Vec::new();
        operator.on_batch(batch, &mut Output::new(&mut |batch| made.push(batch)));
        made
    }

    fn learn(rows: &mut DimensionRows, dimension: &mut Dimension, batch: Batch) {
        for made in run(rows, batch) {
            assert!(run(dimension, made).is_empty());
        }
    }

    #[test]
    fn rows_get_what_was_known_at_their_time() {
        let (mut rows, mut dimension) = operators(false);
        assert_eq!(dimension.output().fields().len(), 5);
        learn(
            &mut rows,
            &mut dimension,
            records(&from(), &[(1, 7, 10, Some(1)), (1, 7, 20, Some(2)), (1, 7, 30, None)], true),
        );
        let asked =
            [(1, 7, 9, None), (1, 7, 10, None), (1, 7, 20, None), (1, 7, 30, None), (2, 7, 20, None), (1, 0, 20, None)];
        for is_dictionary in [false, true] {
            let batch = records(&input(), &asked, is_dictionary);
            for (from, count) in [(0, 6), (2, 3), (0, 0)] {
                let records = batch.records.slice(from, count);
                let made = run(&mut dimension, batch.derived("x", records));
                let mut names = [None, Some("n1"), Some("n2"), None, None, None][from..from + count].to_vec();
                let mut found: Vec<_> = told(&made).into_iter().map(|row| row.3).collect();
                names.sort();
                found.sort();
                assert_eq!(found, names.iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>());
                assert_eq!(*made[0].stream, *"x");
            }
        }
        let mut other = Batch { tenant: Tenant("other".into()), ..records(&input(), &[(1, 7, 20, None)], false) };
        other = run(&mut dimension, other).remove(0);
        assert_eq!(told(&[other])[0].3, None, "ISO-1");
    }

    #[test]
    fn errors_name_the_column() {
        let config = config(false);
        let own = config.dimension.clone().unwrap();
        let rows = |own: &DimensionConfig| DimensionRows::new("d", own, &from(), &input()).unwrap_err().to_string();
        assert!(
            rows(&DimensionConfig { columns: vec!["nme".into()], ..own.clone() })
                .contains("procs has no column \"nme\"")
        );
        assert!(rows(&DimensionConfig { key: vec!["over".into()], ..own.clone() }).contains("no column \"over\""));
        assert!(rows(&DimensionConfig { key: Vec::new(), ..own.clone() }).contains("at least one"));
        let dimension = |own: DimensionConfig| {
            let config = EnrichConfig { dimension: Some(own), ..config.clone() };
            Dimension::new("d", &config, &input()).unwrap_err().to_string()
        };
        assert!(dimension(DimensionConfig { time: "pid".into(), ..own.clone() }).contains("no time called \"pid\""));
        let twice = DimensionConfig { prefix: String::new(), columns: vec!["host".into()], ..own };
        assert!(dimension(twice).contains("already"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// In any order, with barriers between: rows that wait are a batch join as of their time.
        #[test]
        fn rows_that_wait_are_a_join_as_of_their_time(
            known in prop::collection::vec((0u8..2, 1i64..4, 0i64..40, prop::option::of(0u8..9)), 0..30),
            asked in prop::collection::vec((0u8..2, 0i64..4, 0i64..40, Just(None)), 1..40),
            order in any::<u64>(),
        ) {
            let (mut rows, mut dimension) = operators(true);
            let mut steps: Vec<(bool, Row)> = known.iter().map(|row| (true, *row)).collect();
            steps.extend(asked.iter().map(|row: &Row| (false, *row)));
            let mixed = |at: usize| (at as u64 + 1).wrapping_mul(order | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut numbered: Vec<_> = steps.into_iter().enumerate().map(|(at, step)| (mixed(at), step)).collect();
            numbered.sort();
            let mut made = Vec::new();
            for (at, (_, (is_known, row))) in numbered.into_iter().enumerate() {
                let is_dictionary = at % 2 == 0;
                if is_known {
                    learn(&mut rows, &mut dimension, records(&from(), &[row], is_dictionary));
                } else {
                    made.extend(run(&mut dimension, records(&input(), &[row], is_dictionary)));
                }
                if at % 7 == 3 {
                    // The process ends, and another goes on with the state of each group.
                    let state = dimension.on_barrier(Epoch(at as u64));
                    dimension = operators(true).1;
                    for (group, bytes) in state {
                        dimension.restore(group, bytes).unwrap();
                    }
                }
            }
            prop_assert!(made.is_empty(), "they wait");
            for second in [20, 41] {
                dimension.on_watermark(EventTime(second * 1_000_000), &mut Output::new(&mut |batch| made.push(batch)));
                prop_assert_eq!(told(&made).len(), asked.iter().filter(|row| row.2 < second).count());
            }
            let name = |host: u8, pid: i64, second: i64| {
                let own = known.iter().filter(|row| (row.0, row.1) == (host, pid) && row.2 <= second);
                // Of two of one time the greater text counts, an end least.
                let last = own.max_by_key(|row| (row.2, row.3));
                last.and_then(|row| Some(format!("n{}", row.3?)))
            };
            let join = |row: &Row| (format!("h{}", row.0), row.1, row.2, name(row.0, row.1, row.2));
            let mut expected: Vec<_> = asked.iter().map(join).collect();
            expected.sort();
            prop_assert_eq!(told(&made), expected);
            prop_assert_eq!(dimension.held.bytes(), 0);
        }
    }

    #[test]
    fn a_state_of_other_columns_is_begun_anew() {
        let (mut rows, mut dimension) = operators(false);
        learn(&mut rows, &mut dimension, records(&from(), &[(1, 7, 10, Some(1))], false));
        let mut state = dimension.on_barrier(Epoch(1));
        let (group, bytes) = state.remove(0);
        let mut config = config(false);
        config.dimension.as_mut().unwrap().prefix = "other_".to_owned();
        let mut other = Dimension::new("d", &config, &input()).unwrap();
        other.restore(group, bytes.clone()).unwrap();
        assert_eq!(other.state_bytes(), 0);
        assert!(other.restore(group, bytes.slice(..bytes.len() / 2)).is_err());
        assert!(other.restore(group, Bytes::from_static(&[1, 2])).is_err());
    }
}
