//! `rollup('http_requests_total', since, until, step)` and `flow_rollup(since, until, step)`: windows of a metric and of
//! flows from the rollup ladder, as rows.

use crate::asked_table::AskedTable;
use crate::promql_table::{constant, step_ms, time_ms};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bodkin_schema::{Principal, Stream, flow_rollup, metrics, rollup};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue, plan_err};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Windows that are asked for. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupRequest {
    /// Name of the metric.
    pub metric: String,
    /// Start of the first window.
    pub since_ms: i64,
    /// No window begins here or later.
    pub until_ms: i64,
    /// Length of a window.
    pub step_ms: i64,
    /// The samples themselves are read.
    pub is_exact: bool,
}

/// Windows of flows that are asked for. Times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRollupRequest {
    /// Start of the first window.
    pub since_ms: i64,
    /// No window begins here or later.
    pub until_ms: i64,
    /// Length of a window.
    pub step_ms: i64,
    /// The flows themselves are read.
    pub is_exact: bool,
}

/// Answers rollups. It is given to the engine by the process, which knows where tiers are.
pub trait RollupSource: Send + Sync + fmt::Debug {
    /// Rows of [`rollup_schema`] for `principal`. Blocks; called on a thread that may.
    ///
    /// # Errors
    /// What is wrong, in words for the asker.
    fn rollup(&self, principal: &Principal, request: &RollupRequest) -> Result<Vec<RecordBatch>, String>;

    /// Rows of [`flow_rollup_schema`] for `principal`, as [`Self::rollup`].
    ///
    /// # Errors
    /// What is wrong, in words for the asker.
    fn flow_rollup(&self, principal: &Principal, request: &FlowRollupRequest) -> Result<Vec<RecordBatch>, String>;
}

/// The columns of an answer: one row per series and window that holds a sample.
pub fn rollup_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let (series, tier) = (Stream::Series.schema(), rollup::schema());
        let of = |schema: &SchemaRef, name: &str| {
            let field = schema.field_with_name(name).expect("invariant: series and tiers have these columns");
            field.clone().with_metadata(Default::default())
        };
        let mut fields = vec![of(&tier, rollup::TS)];
        fields.extend([metrics::NAME, metrics::LABELS, metrics::SERIES_ID].map(|name| of(&series, name)));
        let told = [
            rollup::MIN,
            rollup::MAX,
            rollup::SUM,
            rollup::COUNT,
            rollup::FIRST_TS,
            rollup::FIRST,
            rollup::LAST_TS,
            rollup::LAST,
            rollup::INCREASE,
            rollup::RESETS,
        ];
        fields.extend(told.map(|name| of(&tier, name)));
        fields.push(Field::new("source", DataType::Utf8, false));
        Arc::new(Schema::new(fields))
    });
    SCHEMA.clone()
}

/// The columns of windows of flows: those of a tier, and what each was read from.
pub fn flow_rollup_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let tier = flow_rollup::schema();
        let told = tier.fields().iter().filter(|field| field.name() != flow_rollup::VERSION);
        let mut fields: Vec<Field> =
            told.map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
        fields.push(Field::new("source", DataType::Utf8, false));
        Arc::new(Schema::new(fields))
    });
    SCHEMA.clone()
}

/// The table function `rollup`.
#[derive(Debug)]
pub(crate) struct RollupFunction {
    pub(crate) source: Option<Arc<dyn RollupSource>>,
    pub(crate) principal: Principal,
}

const USAGE: &str = "rollup takes a metric, a start, an end, a step, and true where samples are to be read: \
                     rollup('up', now() - INTERVAL '30 days', now(), INTERVAL '1 hour')";

impl TableFunctionImpl for RollupFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = &self.source else {
            return plan_err!("rollup needs a running server: ask it, not its folder");
        };
        let values = args.exprs().iter().map(|expr| constant(args.session(), expr));
        let values: Vec<ScalarValue> = values.collect::<Result<_>>()?;
        let (metric, since, until, step, is_exact) = match values.as_slice() {
            [ScalarValue::Utf8(Some(metric)), since, until, step] => (metric, since, until, step, false),
            [ScalarValue::Utf8(Some(metric)), since, until, step, ScalarValue::Boolean(Some(is_exact))] => {
                (metric, since, until, step, *is_exact)
            }
            _ => return plan_err!("{USAGE}"),
        };
        let request = RollupRequest {
            metric: metric.clone(),
            since_ms: time_ms(since)?,
            until_ms: time_ms(until)?,
            step_ms: step_ms(step)?,
            is_exact,
        };
        let (source, principal) = (source.clone(), self.principal.clone());
        Ok(AskedTable::new("rollup", rollup_schema(), move || source.rollup(&principal, &request)))
    }
}

/// The table function `flow_rollup`.
#[derive(Debug)]
pub(crate) struct FlowRollupFunction {
    pub(crate) source: Option<Arc<dyn RollupSource>>,
    pub(crate) principal: Principal,
}

const FLOW_USAGE: &str = "flow_rollup takes a start, an end, a step, and true where flows are to be read: \
                          flow_rollup(now() - INTERVAL '30 days', now(), INTERVAL '1 day')";

impl TableFunctionImpl for FlowRollupFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = &self.source else {
            return plan_err!("flow_rollup needs a running server: ask it, not its folder");
        };
        let values = args.exprs().iter().map(|expr| constant(args.session(), expr));
        let values: Vec<ScalarValue> = values.collect::<Result<_>>()?;
        let (since, until, step, is_exact) = match values.as_slice() {
            [since, until, step] => (since, until, step, false),
            [since, until, step, ScalarValue::Boolean(Some(is_exact))] => (since, until, step, *is_exact),
            _ => return plan_err!("{FLOW_USAGE}"),
        };
        let (since_ms, until_ms, step_ms) = (time_ms(since)?, time_ms(until)?, step_ms(step)?);
        let request = FlowRollupRequest { since_ms, until_ms, step_ms, is_exact };
        let (source, principal) = (source.clone(), self.principal.clone());
        Ok(AskedTable::new("flow_rollup", flow_rollup_schema(), move || source.flow_rollup(&principal, &request)))
    }
}
