//! Windows of flows as SQL asks for them: each stretch from the coarsest tier that tells it exactly.

use crate::base::{Base, Given};
use crate::flows::fold::{Groups, table};
use crate::flows::key::{Keys, found};
use crate::flows::measure::{MeasureColumns, Measures};
use crate::tier::Tier;
use crate::{Error, Result, View};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use bodkin_schema::{Tenant, flow_rollup};
use bodkin_table::Tables;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows that an answer may have.
const ROWS_MAX: usize = 1_000_000;

/// Windows that are asked for: the first begins at `since_ms`, and those that begin before `until_ms` follow.
#[derive(Clone, Copy, Debug)]
pub struct FlowsAsked {
    /// Start of the first window, in milliseconds since 1970.
    pub since_ms: i64,
    /// No window begins here or later.
    pub until_ms: i64,
    /// Length of a window, above zero.
    pub step_ms: i64,
    /// The flows themselves are read.
    pub is_exact: bool,
}

impl FlowsAsked {
    /// The time that is asked for, in microseconds: whole windows.
    fn range_us(&self) -> Result<Range<i64>> {
        let length_ms = self.until_ms.checked_sub(self.since_ms).filter(|_| self.step_ms > 0);
        let wrong = || Error::Asked("the time between since and until, or the step, is none".to_owned());
        let length_ms = length_ms.ok_or_else(wrong)?.max(0);
        let windows = length_ms.div_euclid(self.step_ms) + i64::from(length_ms % self.step_ms > 0);
        let end_ms = windows.checked_mul(self.step_ms).and_then(|length| self.since_ms.checked_add(length));
        let micros = |ms: i64| ms.checked_mul(1000).ok_or_else(wrong);
        Ok(micros(self.since_ms)?..micros(end_ms.ok_or_else(wrong)?)?)
    }

    fn window_us(&self, ts_us: i64, since_us: i64) -> i64 {
        let step_us = self.step_ms.saturating_mul(1000);
        since_us + (ts_us - since_us).div_euclid(step_us) * step_us
    }
}

/// The windows that `asked` names, by time and key, in the columns of `schema`: some of a tier's and `source`, which says
/// what a window was read from.
///
/// # Errors
/// Where there are too many rows, or the tables cannot be read.
pub async fn flow_windows(tables: &Tables, view: &View, asked: FlowsAsked, schema: &SchemaRef) -> Result<RecordBatch> {
    let range = asked.range_us()?;
    let tier = Tier::coarsest(&[asked.since_ms, asked.step_ms]).filter(|_| !asked.is_exact);
    let sources = match tier {
        Some(tier) => view.sources(tier, range.clone()),
        None => vec![(None, range.clone())],
    };
    let own = Tenant::default();
    let keys = Keys::new()?;
    let mut windows: BTreeMap<i64, Groups> = BTreeMap::new();
    let mut count = 0;
    for (tier, stretch) in &sources {
        let (given, stream) = match tier {
            Some(tier) => (Given::Tier, Base::Flows.tier(*tier)),
            None => (Given::Base, Base::Flows.stream()),
        };
        let mut read = tables.read_rows(view.snapshot.table(stream), &own, stretch.clone());
        while let Some(records) = read.try_next().await? {
            count += add(&keys, given, &records, &mut windows, |ts_us| asked.window_us(ts_us, range.start))?;
            if count > ROWS_MAX {
                let wrong = format!("these are more than {ROWS_MAX} rows: ask for less time, or for longer windows");
                return Err(Error::Asked(wrong));
            }
        }
    }
    let step_us = asked.step_ms.saturating_mul(1000);
    let source = |window_us: i64| source(&sources, &(window_us..window_us.saturating_add(step_us)));
    let (mut starts, mut of, mut measures, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (window_us, groups) in windows {
        let source: Arc<str> = source(window_us).into();
        let mut groups: Vec<(Box<[u8]>, Measures)> = groups.into_iter().collect();
        groups.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (key, found) in groups {
            starts.push(window_us);
            of.push(key);
            measures.push(found);
            told.push(source.clone());
        }
    }
    let told: ArrayRef = Arc::new(StringArray::from_iter_values(told));
    Ok(table(&keys, schema, starts, &of, &measures, vec![("source", told)])?)
}

/// Adds rows to their windows. Returns how many keys are new.
fn add(
    keys: &Keys,
    given: Given,
    records: &RecordBatch,
    windows: &mut BTreeMap<i64, Groups>,
    window_of: impl Fn(i64) -> i64,
) -> Result<usize> {
    let rows = keys.rows(given, records)?;
    let columns = MeasureColumns::new(given, records)?;
    let times = found(records, flow_rollup::TS)?.as_primitive::<TimestampMicrosecondType>();
    let mut count = 0;
    for (row, ts_us) in times.values().iter().enumerate() {
        let groups = windows.entry(window_of(*ts_us)).or_default();
        let (key, measures) = (rows.row(row), columns.row(row));
        match groups.get_mut(key.data()) {
            Some(known) => known.add(&measures),
            None => {
                groups.insert(key.data().into(), measures);
                count += 1;
            }
        }
    }
    Ok(count)
}

/// The tables that tell what lies in `window`, the coarsest first.
fn source(sources: &[(Option<Tier>, Range<i64>)], window: &Range<i64>) -> String {
    let within = sources.iter().filter(|(_, stretch)| stretch.start < window.end && stretch.end > window.start);
    let mut tiers: Vec<Option<Tier>> = within.map(|(tier, _)| *tier).collect();
    tiers.sort_unstable_by(|one, other| other.cmp(one));
    tiers.dedup();
    let name = |tier: Option<Tier>| tier.map_or(Base::Flows.stream(), |tier| Base::Flows.tier(tier)).name();
    tiers.into_iter().map(name).collect::<Vec<_>>().join(", ")
}
