//! In which order columns of `events` are read, and which rows each of them leaves.
//!
//! Few events are what rules are about, and most are sorted out by a few columns. So a step reads some columns more than
//! the one before it, for the rows that are left, and leaves those for which the rules can fire by what it has read: the
//! event type alone; then columns of one value per row that rules want certain values of; then all but lists. Lists, and
//! what only outputs name, are read of the rest: hardly more than the rows for which rules fire.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use bodkin_rules::{EventSet, RuleSet, Screen};
use bodkin_schema::{Stream, events};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Texts that differ from row to row.
const WIDE: &[&str] = &[events::ARGS, events::CMDLINE, events::ENV, events::CWD, events::CONTAINER_MOUNTS];

/// A step by event types alone pays where it leaves one row in so many.
const TYPES_SHARE: usize = 16;

/// A set of columns and the rows that it leaves.
pub(super) struct Step {
    columns: Vec<&'static str>,
    test: Test,
    /// Taken back where a step leaves so many rows that the next one may as well read all of them.
    pays: AtomicBool,
}

enum Test {
    /// A condition on `ts`.
    Times(Arc<dyn PhysicalExpr>),
    /// Event types that rules may fire for; all rows where it does not pay.
    Types(EventSet),
    Rules(Screen),
}

/// The steps for the enabled rules of source `syscall`; `times` is over a batch of `ts` alone.
pub(super) fn steps(rules: &RuleSet, times: Option<Arc<dyn PhysicalExpr>>) -> Vec<Step> {
    let registered = Stream::Events.schema();
    let data_type = |name: &str| registered.field_with_name(name).ok().map(|field| field.data_type().clone());
    let is_flat = |name: &str| data_type(name).is_some_and(|found| !found.is_nested()) && !WIDE.contains(&name);
    let is_no_list = |name: &str| data_type(name).is_some_and(|found| !matches!(found, DataType::List(_)));
    let mut steps: Vec<Step> = times.into_iter().map(|times| Step::new(vec![events::TS], Test::Times(times))).collect();
    let mut known = vec![events::EVT_TYPE];
    steps.push(Step::new(known.clone(), Test::Types(rules.events())));
    // Events are sorted by container: its name costs next to nothing.
    let selective = rules.screen(is_flat);
    let is_selective = |name: &str| name == events::CONTAINER_ID || selective.columns().contains(&name);
    for screen in [rules.sieve(is_selective), rules.sieve(is_no_list)] {
        // One that reads no more leaves the same rows.
        if screen.columns().iter().any(|name| !known.contains(name)) {
            known = screen.columns().to_vec();
            steps.push(Step::new(known.clone(), Test::Rules(screen)));
        }
    }
    steps
}

impl Step {
    fn new(columns: Vec<&'static str>, test: Test) -> Self {
        Self { columns, test, pays: AtomicBool::new(true) }
    }

    /// The columns that it reads.
    pub(super) fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// Whether it is worth reading them.
    pub(super) fn pays(&self) -> bool {
        self.pays.load(Ordering::Relaxed)
    }

    /// The rows of `rows` that it leaves. A column that has no value there may be missing.
    pub(super) fn passes(&self, rows: &RecordBatch) -> Result<BooleanBuffer> {
        match &self.test {
            Test::Times(times) => passes_times(times, rows),
            Test::Rules(screen) => Ok(screen.passes(rows)),
            Test::Types(events) => {
                let passed = events.passes(rows);
                if passed.count_set_bits() * TYPES_SHARE <= rows.num_rows() {
                    return Ok(passed);
                }
                self.pays.store(false, Ordering::Relaxed);
                Ok(BooleanBuffer::new_set(rows.num_rows()))
            }
        }
    }
}

/// No row without a time passes.
fn passes_times(times: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanBuffer> {
    let Some(column) = rows.column_by_name(events::TS) else { return Ok(BooleanBuffer::new_unset(rows.num_rows())) };
    let registered = Stream::Events.schema();
    let field = registered.field_with_name(events::TS)?;
    let schema = Arc::new(Schema::new(vec![field.clone().with_nullable(true)]));
    let rows = RecordBatch::try_new(schema, vec![cast(column, field.data_type())?])?;
    let found = times.evaluate(&rows)?.into_array(rows.num_rows())?;
    let found = found.as_boolean();
    Ok(match found.nulls() {
        Some(nulls) => found.values() & nulls.inner(),
        None => found.values().clone(),
    })
}
