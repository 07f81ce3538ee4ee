//! From a statement to expressions on the columns of batches, partials and results.

use crate::dictionary::is_dictionary;
use crate::functions::pane;
use crate::split::{Parts, split, state};
use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Column of a partial with the start of its pane.
pub(crate) const PANE: &str = "pane";
/// Start of the window in what is emitted.
pub(crate) const WINDOW_START: &str = "window_start";
/// End of the window in what is emitted, exclusive.
pub(crate) const WINDOW_END: &str = "window_end";

/// What is wrong with a window.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// It cannot be planned: a syntax error, a column that does not exist, types that do not match.
    #[error("{text:?}: {reason}")]
    Invalid {
        /// The statement.
        text: String,
        /// Why, in one line.
        reason: String,
    },
    /// It is no aggregate by windows over one stream.
    #[error(
        "{text:?}: {what} is not possible here: a window is SELECT ... FROM a stream GROUP BY ..., tumble(ts, '10s')"
    )]
    NotWindowed {
        /// The statement.
        text: String,
        /// What it contains or lacks.
        what: String,
    },
}

impl WindowError {
    /// The first line of what DataFusion says.
    pub(crate) fn invalid(text: &str, error: &DataFusionError) -> Self {
        let reason = error.strip_backtrace();
        Self::Invalid { text: text.to_owned(), reason: reason.lines().next().unwrap_or_default().to_owned() }
    }
}

/// A windowed statement, planned. Cheap to share.
pub struct WindowPlan {
    text: String,
    /// Columns that are read.
    input: SchemaRef,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) time: Arc<dyn PhysicalExpr>,
    /// Of GROUP BY, the window left out; a constant where nothing else is in it.
    pub(crate) groups: Vec<Arc<dyn PhysicalExpr>>,
    /// Columns of the input that are groups and nothing else, by group.
    bare: Vec<Option<usize>>,
    pub(crate) aggregates: Vec<AggregatePlan>,
    /// Pane, groups, states.
    pub(crate) partial: SchemaRef,
    /// Groups and aggregates, as the statement's plan has them.
    pub(crate) aggregated: SchemaRef,
    /// Where in `aggregated` the window stands.
    window_at: usize,
    /// The groups are only the constant.
    is_global: bool,
    having: Option<Arc<dyn PhysicalExpr>>,
    output: Vec<Arc<dyn PhysicalExpr>>,
    /// What is selected.
    selected: SchemaRef,
    /// What is emitted: the selected columns and the bounds of the window.
    emitted: SchemaRef,
    /// Names of groups and states in rows of the table `windows`.
    pub(crate) group_names: Vec<String>,
    pub(crate) state_names: Vec<String>,
    pub(crate) size: i64,
    pub(crate) slide: i64,
    /// Width of a pane.
    pub(crate) pane: i64,
    stats: WindowStats,
}

/// Counters of a window, over all its shards.
#[derive(Debug, Default)]
pub struct WindowStats {
    /// Rows that are in no window because they could not be evaluated.
    pub rows_failed: AtomicU64,
    /// Panes that went to the table before their end because memory was short.
    pub panes_early: AtomicU64,
    /// Bytes of partials that were written to disk for the same reason.
    pub bytes_spilled: AtomicU64,
    /// Key groups of windows that operators behind were not told of: what was here was not all. The table has them.
    pub windows_untold: AtomicU64,
}

/// One aggregate.
pub(crate) struct AggregatePlan {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    pub(crate) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) states: usize,
}

impl fmt::Debug for WindowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowPlan").field("text", &self.text).finish_non_exhaustive()
    }
}

impl WindowPlan {
    /// Plans `text` over rows like `schema`, which the statement may call by each of `names`, or `input`.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn new(text: &str, names: &[&str], schema: &SchemaRef) -> Result<Self, WindowError> {
        let used = used(&split(text, names, schema)?);
        let fields = schema.fields().iter().filter(|field| used.contains(field.name()));
        let fields = fields.map(|field| field.as_ref().clone().with_metadata(Default::default()));
        let input: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let parts = split(text, names, &input)?;
        Self::of_parts(text, input, parts).map_err(|error| WindowError::invalid(text, &error))
    }

    fn of_parts(text: &str, input: SchemaRef, parts: Parts) -> Result<Self> {
        let Parts { output, having, aggregate, filter, window_at, size, slide, time } = parts;
        let pane = pane(size, slide)?;
        let below: &DFSchemaRef = aggregate.input.schema();
        let physical = |expr: Expr, schema: &DFSchema| state().create_physical_expr(expr, schema);
        let grouped = aggregate.group_expr.iter().enumerate().filter(|(at, _)| *at != window_at);
        let mut group_names: Vec<String> =
            grouped.clone().map(|(_, expr)| plain_name(&expr.schema_name().to_string())).collect();
        let mut groups = grouped.map(|(_, expr)| physical(expr.clone(), below)).collect::<Result<Vec<_>>>()?;
        let is_global = groups.is_empty();
        if is_global {
            groups.push(physical(datafusion::prelude::lit(0_i32), below)?);
            group_names.push("all".to_owned());
        }
        let (filter, time) = (filter.map(|expr| physical(expr, below)).transpose()?, physical(time, below)?);
        let aggregates: Vec<AggregatePlan> =
            aggregate.aggr_expr.iter().map(|expr| AggregatePlan::new(expr, below)).collect::<Result<_>>()?;
        let mut fields = vec![Field::new(PANE, micros_utc(), false)];
        for (at, group) in groups.iter().enumerate() {
            fields.push(Field::new(format!("g{at}"), group.data_type(&input)?, group.nullable(&input)?));
        }
        let mut state_names = Vec::new();
        for (at, aggregate) in aggregates.iter().enumerate() {
            let name = plain_name(aggregate.function.name());
            for (part, field) in aggregate.function.state_fields()?.iter().enumerate() {
                fields.push(Field::new(format!("a{at}_{part}"), field.data_type().clone(), true));
                state_names.push(if aggregate.states == 1 { name.clone() } else { format!("{name}.{part}") });
            }
        }
        let aggregated = aggregate.schema.as_ref();
        let selected =
            output.iter().map(|expr| Ok((expr.schema_name().to_string(), physical(expr.clone(), aggregated)?)));
        let selected = selected.collect::<Result<Vec<_>>>()?;
        let plain: SchemaRef = Arc::new(aggregated.as_arrow().clone());
        let mut columns = Vec::new();
        for (name, expr) in &selected {
            columns.push(Field::new(plain_name(name), expr.data_type(&plain)?, true));
        }
        let bounds = [WINDOW_START, WINDOW_END].into_iter().filter(|name| columns.iter().all(|c| c.name() != name));
        let bounds: Vec<Field> = bounds.map(|name| Field::new(name, micros_utc(), false)).collect();
        Ok(Self {
            text: text.to_owned(),
            bare: bare(&groups, filter.iter().chain([&time]), &aggregates),
            filter,
            time,
            input,
            groups,
            aggregates,
            partial: Arc::new(Schema::new(fields)),
            window_at,
            is_global,
            having: having.map(|expr| physical(expr, aggregated)).transpose()?,
            output: selected.into_iter().map(|(_, expr)| expr).collect(),
            aggregated: plain,
            selected: Arc::new(Schema::new(columns.clone())),
            emitted: Arc::new(Schema::new([columns, bounds].concat())),
            group_names,
            state_names,
            size,
            slide,
            pane,
            stats: WindowStats::default(),
        })
    }

    /// The statement.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns of finished rows: what is selected, then `window_start` and `window_end`.
    pub fn output_schema(&self) -> &SchemaRef {
        &self.emitted
    }

    /// What is selected alone: the columns that the same statement has in a batch query.
    pub fn selected_schema(&self) -> &SchemaRef {
        &self.selected
    }

    /// Its counters.
    pub fn stats(&self) -> &WindowStats {
        &self.stats
    }

    /// The columns by which partials are spread over shards.
    pub fn key(&self) -> Vec<String> {
        (0..self.groups.len()).map(|at| format!("g{at}")).collect()
    }

    /// The columns of `records` that the statement reads, in plain types. Behind them are those groups that come as
    /// dictionaries, in their order; empty texts stand in their place.
    pub(crate) fn plain(&self, records: &RecordBatch) -> Result<RecordBatch> {
        let rows = records.num_rows();
        let mut dictionaries: Vec<(usize, ArrayRef)> = Vec::new();
        for at in self.bare.iter().flatten() {
            let field = self.input.field(*at);
            let column = records.column_by_name(field.name());
            if let Some(column) = column.filter(|column| field.data_type() == &DataType::Utf8 && is_dictionary(column))
            {
                dictionaries.push((*at, column.clone()));
            }
        }
        let column = |(at, field): (usize, &Arc<Field>)| -> Result<ArrayRef> {
            if dictionaries.iter().any(|(known, _)| *known == at) {
                return Ok(Arc::new(StringArray::new(OffsetBuffer::new_zeroed(rows), Buffer::default(), None)));
            }
            match records.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => Ok(cast(column, field.data_type())?),
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        };
        let mut columns = self.input.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        let mut schema = self.input.clone();
        if !dictionaries.is_empty() {
            let field = |(at, column): &(usize, ArrayRef)| {
                Arc::new(Field::new(self.input.field(*at).name(), column.data_type().clone(), true))
            };
            let fields = schema.fields().iter().cloned().chain(dictionaries.iter().map(field));
            schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            columns.extend(dictionaries.into_iter().map(|(_, column)| column));
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// The groups of rows that [`plain`](Self::plain) gave; dictionaries where they came so.
    pub(crate) fn group_columns(&self, records: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let count = self.input.fields().len();
        let mut behind = records.schema_ref().fields().iter().zip(records.columns()).skip(count).peekable();
        let group = |(group, bare): (&Arc<dyn PhysicalExpr>, &Option<usize>)| {
            let name = bare.map(|at| self.input.field(at).name());
            match name.and_then(|name| behind.next_if(|(field, _)| field.name() == name)) {
                Some((_, column)) if is_dictionary(column) => Ok(column.clone()),
                // A filter has left few rows.
                Some((_, column)) => Ok(cast(column, &DataType::Utf8)?),
                None => group.evaluate(records)?.into_array(records.num_rows()),
            }
        };
        self.groups.iter().zip(&self.bare).map(group).collect()
    }

    /// What is emitted for the groups of one window: HAVING, then SELECT.
    pub(crate) fn finish(&self, start: i64, groups: &[ArrayRef], values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let rows = groups.first().map_or(0, |group| group.len());
        let constant = |time: i64| -> ArrayRef {
            Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![time; rows]).with_timezone("UTC"))
        };
        let mut columns: Vec<ArrayRef> = if self.is_global { Vec::new() } else { groups.to_vec() };
        columns.insert(self.window_at, constant(start));
        columns.extend(values);
        let columns = columns.into_iter().zip(self.aggregated.fields());
        let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => cast(&column, field.data_type()),
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut records = RecordBatch::try_new(self.aggregated.clone(), columns)?;
        if let Some(having) = &self.having {
            let holds = having.evaluate(&records)?.into_array(records.num_rows())?;
            records =
                arrow::compute::filter_record_batch(&records, datafusion::common::cast::as_boolean_array(&holds)?)?;
        }
        let rows = records.num_rows();
        let mut made = Vec::with_capacity(self.emitted.fields().len());
        for expr in &self.output {
            made.push(expr.evaluate(&records)?.into_array(rows)?);
        }
        for field in self.emitted.fields().iter().skip(made.len()) {
            let time = if field.name() == WINDOW_START { start } else { start + self.size };
            made.push(constant(time).slice(0, rows));
        }
        Ok(RecordBatch::try_new(self.emitted.clone(), made)?)
    }
}

impl AggregatePlan {
    fn new(expr: &Expr, schema: &DFSchemaRef) -> Result<Self> {
        let (properties, context) = (state().execution_props(), PhysicalPlanningContext::default());
        let lowered = LoweredAggregateBuilder::new(expr, schema, schema.as_arrow(), properties, &context).build()?;
        let mut arguments = lowered.aggregate.expressions();
        arguments.extend(lowered.order_bys.iter().map(|order| order.expr.clone()));
        let states = lowered.aggregate.state_fields()?.len();
        Ok(Self { function: lowered.aggregate, arguments, filter: lowered.filter, states })
    }
}

/// The names of all columns of the input that a statement reads.
fn used(parts: &Parts) -> BTreeSet<String> {
    let Parts { aggregate, filter, time, .. } = parts;
    let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).chain(filter).chain([time]);
    exprs.flat_map(|expr| expr.column_refs()).map(|column| column.name.clone()).collect()
}

/// Which groups are columns that nothing else reads.
fn bare<'a>(
    groups: &[Arc<dyn PhysicalExpr>],
    others: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>,
    aggregates: &'a [AggregatePlan],
) -> Vec<Option<usize>> {
    let of_aggregates = aggregates.iter().flat_map(|aggregate| aggregate.arguments.iter().chain(&aggregate.filter));
    let read: Vec<usize> = others.chain(of_aggregates).flat_map(columns_of).collect();
    let is_of = |at: usize, group: &Arc<dyn PhysicalExpr>| columns_of(group).contains(&at);
    let bare = |group: &Arc<dyn PhysicalExpr>| {
        let at = group.downcast_ref::<PhysicalColumn>()?.index();
        let is_once = groups.iter().filter(|other| is_of(at, other)).count() == 1;
        (is_once && !read.contains(&at)).then_some(at)
    };
    groups.iter().map(bare).collect()
}

/// Places of the columns that an expression reads.
fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    collect_columns(expr).iter().map(PhysicalColumn::index).collect()
}

/// A column's name without the table that it is of.
fn plain_name(name: &str) -> String {
    match name.split_once('.') {
        Some((table, column)) if table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => column.to_owned(),
        _ => name.to_owned(),
    }
}

pub(crate) fn micros_utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::Stream;

    fn plan(text: &str) -> Result<WindowPlan, WindowError> {
        WindowPlan::new(text, &["events"], &Stream::Events.schema())
    }

    #[test]
    fn statements_become_columns() {
        let text = "SELECT tumble(ts, '10s') AS t, host, count(*) AS n, avg(result) FROM events WHERE pid > 1 \
                    GROUP BY tumble(ts, '10s'), host HAVING count(*) > 1";
        let plan = plan(text).unwrap();
        let names: Vec<_> = plan.output_schema().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["t", "host", "n", "avg(events.result)", WINDOW_START, WINDOW_END]);
        assert_eq!((plan.size, plan.slide, plan.pane), (10_000_000, 10_000_000, 10_000_000));
        assert_eq!(plan.group_names, ["host"]);
        assert_eq!(plan.input.fields().len(), 4, "{:?}", plan.input);
        assert_eq!(plan.key(), ["g0"]);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let error = |text: &str| plan(text).unwrap_err().to_string();
        for (text, what) in [
            ("SELECT host FROM events", "without GROUP BY"),
            ("SELECT host, count(*) FROM events GROUP BY host", "without tumble or hop"),
            ("SELECT count(*) FROM events GROUP BY tumble(ts, '10s'), hop(ts, '20s', '10s')", "second window"),
            ("SELECT count(*) FROM events GROUP BY tumble(ts, '10s') ORDER BY 1", "ORDER BY"),
            ("SELECT count(*) FROM events GROUP BY tumble(ts, '10q')", "size of a window"),
            ("SELECT count(*) FROM events GROUP BY hop(ts, '10s', '1m')", "leave rows out"),
            ("SELECT array_agg(pid) FROM events GROUP BY tumble(ts, '10s')", "order of rows"),
            ("SELECT count(*) FROM events WHERE random() < 0.5 GROUP BY tumble(ts, '10s')", "random"),
            ("SELECT count(*) FROM other GROUP BY tumble(ts, '10s')", "other"),
            ("SELECT cont(*) FROM events GROUP BY tumble(ts, '10s')", "cont"),
            ("SELECT count(*) FROM events GROUP BY tumble(pid, '10s')", "time"),
        ] {
            assert!(error(text).contains(what), "{text}: {}", error(text));
        }
    }
}
