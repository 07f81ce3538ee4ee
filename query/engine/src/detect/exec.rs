//! The step of a plan that runs rules.

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

/// Rows of `events` or `audit` in, rows of `findings` out. Holds one batch of each per partition.
struct Detect {
    stream: Stream,
    rules: Arc<RuleSet>,
    matching: Matching,
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
}

/// The findings of `search` in rows of `stream`: `projection` of `schema`.
pub(super) fn detect(
    input: Arc<dyn ExecutionPlan>,
    stream: Stream,
    search: &Search,
    schema: &SchemaRef,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = match projection {
        Some(projection) => Arc::new(schema.project(projection)?),
        None => schema.clone(),
    };
    let (rules, matching, projection) = (search.rules.clone(), search.matching, projection.cloned());
    let detect = Detect { stream, rules, matching, schema: schema.clone(), projection };
    Ok(Arc::new(MappedExec::new(input, schema, detect)))
}

impl Make for Detect {
    const NAME: &'static str = "DetectExec";
    const IS_WHOLE: bool = false;

    fn about(&self) -> String {
        let enabled = self.rules.rules().iter().filter(|rule| rule.is_enabled).count();
        format!("stream={}, rules={enabled}", self.stream)
    }

    fn make(&self, rows: SendableRecordBatchStream, _: &TaskContext, metrics: BaselineMetrics) -> Made {
        let (rules, matching, stream) = (self.rules.clone(), self.matching, self.stream);
        let (schema, projection) = (self.schema.clone(), self.projection.clone());
        let found = rows.map(move |rows| -> Result<Option<RecordBatch>> {
            let _timer = metrics.elapsed_compute().timer();
            let Some(found) = rules.over(stream, &rows?, matching) else { return Ok(None) };
            metrics.record_output(found.num_rows());
            let columns = match &projection {
                Some(projection) => projection.iter().map(|index| found.column(*index).clone()).collect(),
                None => found.columns().to_vec(),
            };
            let options = RecordBatchOptions::new().with_row_count(Some(found.num_rows()));
            Ok(Some(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?))
        });
        found.try_filter_map(|found| std::future::ready(Ok(found))).boxed()
    }
}
