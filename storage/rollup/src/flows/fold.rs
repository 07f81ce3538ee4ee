//! Flows in the order of (container, time) to rows of the tiers, each tier from the one before it, in one pass.

use crate::base::{Folding, Given};
use crate::flows::key::{Keys, found};
use crate::flows::measure::{MeasureColumns, Measures};
use crate::tier::Tier;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bodkin_schema::flow_rollup;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Keys of an open window that are held at once, each of about 400 bytes: beyond, the window gets a second row of some.
const KEYS_MAX: usize = 100_000;

/// By key; whoever goes through them sorts them first.
pub(crate) type Groups = HashMap<Box<[u8]>, Measures>;

/// Folds flows, or rows of a tier of them.
#[derive(Debug)]
pub(crate) struct FlowFold {
    given: Given,
    version: i64,
    keys: Keys,
    rungs: Vec<Rung>,
    rows: u64,
}

/// One tier on its way.
#[derive(Debug)]
struct Rung {
    tier: Tier,
    /// What window of which container is open.
    container: Arc<str>,
    window_us: i64,
    groups: Groups,
    done: Done,
}

/// Finished rows, a column each.
#[derive(Debug, Default)]
struct Done {
    windows_us: Vec<i64>,
    keys: Vec<Box<[u8]>>,
    measures: Vec<Measures>,
}

impl FlowFold {
    /// Of `tiers`, the finest first.
    pub(crate) fn new(given: Given, tiers: &[Tier], version: i64) -> Result<Self, ArrowError> {
        let rung = |tier: &Tier| Rung {
            tier: *tier,
            container: "".into(),
            window_us: i64::MIN,
            groups: Groups::default(),
            done: Done::default(),
        };
        Ok(Self { given, version, keys: Keys::new()?, rungs: tiers.iter().map(rung).collect(), rows: 0 })
    }
}

impl Folding for FlowFold {
    fn add(&mut self, records: &RecordBatch) -> Result<(), ArrowError> {
        let keys = self.keys.rows(self.given, records)?;
        let measures = MeasureColumns::new(self.given, records)?;
        let containers = cast(found(records, flow_rollup::CONTAINER_ID)?, &DataType::Utf8)?;
        let containers = containers.as_string::<i32>();
        let times = found(records, flow_rollup::TS)?.as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| ArrowError::SchemaError("flows have no time".to_owned()))?;
        let mut container: Arc<str> = "".into();
        for row in 0..records.num_rows() {
            if *container != *containers.value(row) {
                container = containers.value(row).into();
            }
            push(&mut self.rungs, &container, times.value(row), keys.row(row).data(), &measures.row(row));
        }
        self.rows += records.num_rows() as u64;
        Ok(())
    }

    fn end(&mut self) {
        (0..self.rungs.len()).for_each(|at| close(&mut self.rungs[at..]));
    }

    fn take(&mut self, is_last: bool) -> Result<Vec<(Tier, RecordBatch)>, ArrowError> {
        let least = if is_last { 1 } else { BATCH_ROWS };
        let (keys, version) = (&self.keys, self.version);
        let full = self.rungs.iter_mut().filter(|rung| rung.done.keys.len() >= least);
        full.map(|rung| Ok((rung.tier, rows(keys, std::mem::take(&mut rung.done), version)?))).collect()
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

/// Adds to the first rung; what that closes goes to the next.
fn push(rungs: &mut [Rung], container: &Arc<str>, ts_us: i64, key: &[u8], measures: &Measures) {
    let Some(rung) = rungs.first_mut() else { return };
    let window_us = rung.tier.window_of(ts_us);
    let is_open = rung.window_us == window_us && rung.container == *container;
    if !is_open || rung.groups.len() >= KEYS_MAX {
        close(rungs);
    }
    let Some(rung) = rungs.first_mut() else { return };
    if !is_open {
        (rung.window_us, rung.container) = (window_us, container.clone());
    }
    match rung.groups.get_mut(key) {
        Some(known) => known.add(measures),
        None => drop(rung.groups.insert(key.into(), *measures)),
    }
}

/// Finishes what the first rung holds, in the order of its keys.
fn close(rungs: &mut [Rung]) {
    let Some((rung, coarser)) = rungs.split_first_mut() else { return };
    let mut groups: Vec<_> = rung.groups.drain().collect();
    groups.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for (key, measures) in groups {
        push(coarser, &rung.container, rung.window_us, &key, &measures);
        rung.done.windows_us.push(rung.window_us);
        rung.done.keys.push(key);
        rung.done.measures.push(measures);
    }
}

/// Rows of a tier.
fn rows(keys: &Keys, done: Done, version: i64) -> Result<RecordBatch, ArrowError> {
    let versions = Int64Array::from(vec![version; done.keys.len()]);
    table(
        keys,
        &flow_rollup::schema(),
        done.windows_us,
        &done.keys,
        &done.measures,
        vec![(flow_rollup::VERSION, Arc::new(versions))],
    )
}

/// Rows of windows in the columns of `schema`, with some that are given.
pub(crate) fn table(
    keys: &Keys,
    schema: &arrow::datatypes::SchemaRef,
    windows_us: Vec<i64>,
    of: &[Box<[u8]>],
    measures: &[Measures],
    given: Vec<(&'static str, ArrayRef)>,
) -> Result<RecordBatch, ArrowError> {
    let windows: ArrayRef = Arc::new(TimestampMicrosecondArray::from(windows_us).with_timezone("UTC"));
    let mut columns: HashMap<&str, ArrayRef> = given.into_iter().collect();
    columns.insert(flow_rollup::TS, windows);
    columns.extend(flow_rollup::KEYS.into_iter().zip(keys.columns(of.iter().map(AsRef::as_ref))?));
    columns.extend(Measures::names().zip(Measures::columns(measures)));
    let missing = |name: &str| ArrowError::SchemaError(format!("column {name} is missing"));
    let columns =
        schema.fields().iter().map(|field| columns.remove(field.name().as_str()).ok_or_else(|| missing(field.name())));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}
