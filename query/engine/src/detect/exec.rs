//! The step of a plan that runs rules over rows of its input.

use super::Search;
use crate::mapped::{Made, Make, MappedExec};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use bodkin_rules::{Matching, RuleSet};
use bodkin_schema::Stream;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Rows of `events` or `audit` in, rows of `findings` out.
#[derive(Clone)]
pub(super) struct Finder {
    stream: Stream,
    rules: Arc<RuleSet>,
    matching: Matching,
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
}

impl Finder {
    /// Makes `projection` of the columns of `schema`.
    pub(super) fn new(
        stream: Stream,
        search: &Search,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Self> {
        let schema = match projection {
            Some(projection) => Arc::new(schema.project(projection)?),
            None => schema.clone(),
        };
        let (rules, matching, projection) = (search.rules.clone(), search.matching, projection.cloned());
        Ok(Self { stream, rules, matching, schema, projection })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What is found in `rows`; none where that is nothing.
    pub(super) fn find(&self, rows: &RecordBatch, metrics: &BaselineMetrics) -> Result<Option<RecordBatch>> {
        let _timer = metrics.elapsed_compute().timer();
        let Some(found) = self.rules.over(self.stream, rows, self.matching) else { return Ok(None) };
        metrics.record_output(found.num_rows());
        let columns = match &self.projection {
            Some(projection) => projection.iter().map(|index| found.column(*index).clone()).collect(),
            None => found.columns().to_vec(),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(found.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }

    /// What EXPLAIN says.
    pub(super) fn about(&self) -> String {
        let enabled = self.rules.rules().iter().filter(|rule| rule.is_enabled).count();
        format!("stream={}, rules={enabled}", self.stream)
    }
}

/// Holds one batch of rows and one of findings per partition.
struct Detect(Finder);

/// What `finder` finds in the rows of `input`.
pub(super) fn detect(input: Arc<dyn ExecutionPlan>, finder: Finder) -> Arc<dyn ExecutionPlan> {
    Arc::new(MappedExec::new(input, finder.schema.clone(), Detect(finder)))
}

impl Make for Detect {
    const NAME: &'static str = "DetectExec";
    const IS_WHOLE: bool = false;

    fn about(&self) -> String {
        self.0.about()
    }

    fn make(&self, rows: SendableRecordBatchStream, _: &TaskContext, metrics: BaselineMetrics) -> Made {
        let finder = self.0.clone();
        let found = rows.map(move |rows| finder.find(&rows?, &metrics));
        found.try_filter_map(|found| std::future::ready(Ok(found))).boxed()
    }
}
