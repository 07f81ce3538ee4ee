//! Rows for which a condition holds.

use crate::plan::{ExprError, PerLayout, holds, plan};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use bodkin_engine::{Batch, Operator, Output};
use datafusion::physical_plan::PhysicalExpr;
use std::sync::Arc;

/// Lets rows pass for which a condition holds; where it is null they do not. Rows that it fails on (a division by zero)
/// do not pass either, and their batch with them; that is logged and counted.
#[derive(Clone)]
pub struct Filter {
    condition: String,
    planned: PerLayout<Arc<dyn PhysicalExpr>>,
    /// Rows of batches that the condition failed on.
    rows_failed: u64,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl Filter {
    /// A filter for rows like `schema`; text columns may come as dictionaries later.
    ///
    /// # Errors
    /// [`ExprError`].
    pub fn new(condition: &str, schema: &SchemaRef) -> Result<Self, ExprError> {
        let planned = plan(condition, schema)?;
        let data_type = planned.data_type(schema).map_err(|error| crate::plan::invalid(condition, &error))?;
        if data_type != DataType::Boolean {
            let reason = format!("a condition is true or false, this is {data_type}");
            return Err(ExprError::Invalid { text: condition.to_owned(), reason });
        }
        Ok(Self { condition: condition.to_owned(), planned: PerLayout::default(), rows_failed: 0 })
    }

    fn filter(&mut self, batch: &Batch) -> Result<arrow::array::RecordBatch, Box<dyn std::error::Error>> {
        let schema = batch.records.schema();
        let condition = self.planned.get(&schema, || plan(&self.condition, &schema))?;
        let holds = holds(condition.as_ref().as_ref(), &batch.records)?;
        if holds.true_count() == batch.records.num_rows() {
            return Ok(batch.records.clone());
        }
        Ok(filter_record_batch(&batch.records, &holds)?)
    }
}

impl Operator for Filter {
    fn name(&self) -> &str {
        "filter"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.filter(&batch) {
            Ok(records) if records.num_rows() == 0 => {}
            Ok(records) if records.num_rows() == batch.records.num_rows() => out.emit(batch),
            Ok(records) => {
                let stream = batch.stream.clone();
                out.emit(batch.derived(&stream, records));
            }
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::warn!(condition = self.condition, rows_failed = self.rows_failed, %error, "a filter failed");
            }
        }
    }
}

/// The conditions of a route: each way takes the rows for which its condition is the first that holds, and the way
/// without a condition takes the rest.
pub fn route(ways: &[(String, Option<String>)]) -> Vec<(String, String)> {
    let taken = |condition: &str| format!("(({condition}) IS TRUE)");
    let condition = |index: usize, own: &Option<String>| {
        let before = ways.iter().take(if own.is_some() { index } else { ways.len() });
        let mut parts: Vec<String> =
            before.filter_map(|(_, condition)| Some(format!("NOT {}", taken(condition.as_deref()?)))).collect();
        parts.extend(own.as_deref().map(taken));
        if parts.is_empty() { "true".to_owned() } else { parts.join(" AND ") }
    };
    ways.iter().enumerate().map(|(index, (name, own))| (name.clone(), condition(index, own))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    use bodkin_engine::run_chain;

    fn records(comm: ArrayRef) -> RecordBatch {
        let pids = Int64Array::from_iter((0..comm.len() as i64).map(|pid| (pid != 3).then_some(pid)));
        RecordBatch::try_from_iter([("pid", Arc::new(pids) as ArrayRef), ("comm", comm)]).unwrap()
    }

    fn plain() -> ArrayRef {
        Arc::new(StringArray::from(vec![Some("sh"), Some("cat"), None, Some("sh"), Some("bash")]))
    }

    fn run(filter: &str, records: &RecordBatch, batches: &[RecordBatch]) -> Vec<Option<i64>> {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(Filter::new(filter, &records.schema()).unwrap())];
        let mut seen = Vec::new();
        for batch in batches {
            run_chain(&mut chain, Batch::made("events", batch.clone()), &mut |batch| {
                seen.extend(batch.records.column(0).as_primitive::<Int64Type>().iter());
            });
        }
        seen
    }

    #[test]
    fn dictionaries_slices_and_nulls() {
        let dictionary: ArrayRef = Arc::new(
            [Some("sh"), Some("cat"), None, Some("sh"), Some("bash")]
                .into_iter()
                .collect::<DictionaryArray<Int32Type>>(),
        );
        let all = records(plain());
        let batches = [all.clone(), records(dictionary), all.slice(3, 2), all.slice(0, 0)];
        let expected = [Some(0), None, Some(0), None, None];
        assert_eq!(run("comm = 'sh'", &all, &batches), expected);
        assert_eq!(run("comm LIKE '%ash' AND pid > 1", &all, &batches), [Some(4), Some(4), Some(4)]);
        assert_eq!(run("comm IS NULL", &all, &batches[..1]), [Some(2)]);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let schema = records(plain()).schema();
        let error = |text: &str| Filter::new(text, &schema).unwrap_err().to_string();
        assert!(error("pid + 1").contains("true or false"), "{}", error("pid + 1"));
        assert!(error("pd = 1").contains("pd"), "{}", error("pd = 1"));
        assert!(error("pid = ").contains("pid = "));
        assert!(error("random() < 0.5").contains("random"));
        assert!(error("now() > '2026-01-01'").contains("now"));
        assert!(error("sum(pid) > 1").contains("sum"));
    }

    #[test]
    fn a_failing_row_stops_nothing() {
        let all = records(plain());
        assert_eq!(run("10 / pid > 1", &all, &[all.clone(), all.slice(1, 2)]), [Some(1), Some(2)]);
    }

    #[test]
    fn every_row_goes_one_way() {
        let ways = [("sh", Some("comm = 'sh'")), ("low", Some("pid < 2")), ("rest", None)];
        let ways: Vec<_> = ways.map(|(name, way)| (name.to_owned(), way.map(str::to_owned))).into();
        let all = records(plain());
        let routed: Vec<_> = route(&ways).iter().map(|(_, way)| run(way, &all, std::slice::from_ref(&all))).collect();
        assert_eq!(routed, [vec![Some(0), None], vec![Some(1)], vec![Some(2), Some(4)]]);
    }
}
