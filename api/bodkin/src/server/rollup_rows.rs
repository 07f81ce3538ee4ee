//! The rollup ladders for SQL: windows as rows.

use super::storage::Storage;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use bodkin_metrics::{RollupAsked, RollupWindow, StoreView};
use bodkin_promql::labels::METRIC_NAME;
use bodkin_query::{Catalog, FlowRollupRequest, RollupRequest, RollupSource, flow_rollup_schema, rollup_schema};
use bodkin_rollup::{Bucket, FlowsAsked, Ladder, flow_windows};
use bodkin_schema::{Principal, Tenant};
use bodkin_table::Tables;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The ladders over the store of this process.
#[derive(Debug)]
pub(crate) struct RollupRows {
    pub(crate) view: StoreView,
    pub(crate) flows: FlowRows,
}

/// What windows of flows are read from.
#[derive(Debug)]
pub(crate) struct FlowRows {
    tables: Arc<Tables>,
    ladder: Arc<Ladder>,
    catalog: Arc<dyn Catalog>,
    runtime: Handle,
}

impl FlowRows {
    pub(crate) fn new(storage: &Storage) -> Self {
        let (tables, ladder) = (storage.tables().clone(), storage.flow_ladder().clone());
        Self { tables, ladder, catalog: storage.catalog(), runtime: Handle::current() }
    }

    async fn windows(&self, asked: FlowsAsked) -> anyhow::Result<RecordBatch> {
        let view = self.ladder.view(async || self.catalog.snapshot().await).await?;
        Ok(flow_windows(&self.tables, &view, asked, &flow_rollup_schema()).await?)
    }
}

impl RollupSource for RollupRows {
    fn rollup(&self, principal: &Principal, request: &RollupRequest) -> Result<Vec<RecordBatch>, String> {
        // The ladder is of the default tenant's samples (ISO-1).
        if principal.tenant != Tenant::default() {
            return Ok(Vec::new());
        }
        let RollupRequest { metric, since_ms, until_ms, step_ms, is_exact } = request.clone();
        let asked = RollupAsked { metric, since_ms, until_ms, step_ms, is_exact };
        let windows = self.view.rollup(&asked).map_err(|error| error.to_string())?;
        rows(&windows).map(|rows| vec![rows]).map_err(|error| error.to_string())
    }

    fn flow_rollup(&self, principal: &Principal, request: &FlowRollupRequest) -> Result<Vec<RecordBatch>, String> {
        if principal.tenant != Tenant::default() {
            return Ok(Vec::new());
        }
        let FlowRollupRequest { since_ms, until_ms, step_ms, is_exact } = *request;
        let asked = FlowsAsked { since_ms, until_ms, step_ms, is_exact };
        let windows = self.flows.runtime.block_on(self.flows.windows(asked));
        windows.map(|rows| vec![rows]).map_err(|error| format!("{error:#}"))
    }
}

fn rows(windows: &[RollupWindow]) -> Result<RecordBatch, ArrowError> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for window in windows {
        for (name, text) in window.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            labels.keys().append_value(name);
            labels.values().append_value(text);
        }
        labels.append(true)?;
    }
    let times = |of: fn(&RollupWindow) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(windows.iter().map(of)).with_timezone("UTC"))
    };
    let ints =
        |of: fn(&RollupWindow) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(windows.iter().map(of))) };
    let floats = |of: fn(&Bucket) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(windows.iter().map(|window| of(&window.bucket))))
    };
    let columns: Vec<ArrayRef> = vec![
        times(|window| window.start_ms.saturating_mul(1000)),
        Arc::new(StringArray::from_iter_values(windows.iter().map(|window| window.labels.metric_name()))),
        Arc::new(labels.finish()),
        ints(|window| window.series_id),
        floats(|bucket| bucket.min),
        floats(|bucket| bucket.max),
        floats(Bucket::sum),
        ints(|window| window.bucket.count as i64),
        times(|window| window.bucket.first_us),
        floats(|bucket| bucket.first),
        times(|window| window.bucket.last_us),
        floats(|bucket| bucket.last),
        floats(Bucket::increase),
        ints(|window| window.bucket.resets as i64),
        Arc::new(StringArray::from_iter_values(windows.iter().map(|window| &window.source))),
    ];
    RecordBatch::try_new(rollup_schema(), columns)
}
