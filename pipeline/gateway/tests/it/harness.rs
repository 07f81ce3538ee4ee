//! A gateway over a log in a folder of its own, and a memory that keeps what was handed on.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use bodkin_gateway::{
    Encoding, Exemplar, Gateway, GatewayLimits, Memory, Metadata, Suspect, SuspectValue, TenantLimits, Verdict,
    Version, WriteError, Written,
};
use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch, LocalProducer};
use bodkin_schema::{SeriesId, Stream, SystemClock, Tenant};
use bodkin_wal::{Wal, WalOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What was handed on.
#[derive(Default)]
pub(crate) struct Kept {
    batches: Mutex<Vec<(Stream, RecordBatch)>>,
    pub(crate) exemplars: Mutex<Vec<Exemplar>>,
    pub(crate) metadata: Mutex<Vec<Metadata>>,
}

impl Kept {
    pub(crate) fn batches(&self, stream: Stream) -> Vec<RecordBatch> {
        let batches = self.batches.lock().unwrap();
        batches.iter().filter(|(of, _)| *of == stream).map(|(_, records)| records.clone()).collect()
    }

    /// `name{label="value"} time_ms value`, one a line, sorted.
    pub(crate) fn samples(&self) -> Vec<String> {
        let names = self.names();
        let mut lines = Vec::new();
        for batch in self.batches(Stream::Samples) {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let values = batch.column(3).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                let name = &names[&ids.value(row)];
                lines.push(format!("{name} {} {}", times.value(row) / 1000, values.value(row)));
            }
        }
        lines.sort();
        lines
    }

    pub(crate) fn names(&self) -> BTreeMap<i64, String> {
        let mut names = BTreeMap::new();
        for batch in self.batches(Stream::Series) {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let texts = batch.column(2).as_string::<i32>();
            let labels = batch.column(3).as_map();
            for row in 0..batch.num_rows() {
                let pairs = labels.value(row);
                let (keys, values) = (pairs.column(0).as_string::<i32>(), pairs.column(1).as_string::<i32>());
                let pairs: Vec<String> =
                    (0..pairs.len()).map(|pair| format!("{}={:?}", keys.value(pair), values.value(pair))).collect();
                names.insert(ids.value(row), format!("{}{{{}}}", texts.value(row), pairs.join(",")));
            }
        }
        names
    }
}

use arrow::array::Array;

impl Downstream for Kept {
    fn push(&self, batch: IngestedBatch) {
        let stream = Stream::from_name(&batch.lane.stream).unwrap();
        self.batches.lock().unwrap().push((stream, batch.records));
    }
}

impl Memory for Kept {
    fn compare(&self, suspects: &[Suspect]) -> Vec<Verdict> {
        let mut known = BTreeMap::new();
        for batch in self.batches(Stream::Samples) {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let values = batch.column(3).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                known.entry((ids.value(row), times.value(row) / 1000)).or_insert(values.value(row));
            }
        }
        let verdict = |suspect: &Suspect| match (known.get(&(suspect.series_id.0, suspect.ts_ms)), suspect.value) {
            (None, _) => Verdict::New,
            (Some(known), SuspectValue::Float(new)) if known.to_bits() == new.to_bits() => Verdict::Same,
            (Some(known), _) => Verdict::Other { existing: Some(*known), series: "{}".to_owned() },
        };
        suspects.iter().map(verdict).collect()
    }

    fn newest_ms(&self, _: SeriesId) -> Option<i64> {
        None
    }

    fn exemplars(&self, exemplars: Vec<Exemplar>) {
        self.exemplars.lock().unwrap().extend(exemplars);
    }

    fn metadata(&self, metadata: Vec<Metadata>) {
        self.metadata.lock().unwrap().extend(metadata);
    }
}

pub(crate) struct Rig {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(GatewayLimits::default())
    }

    pub(crate) fn with(limits: impl Into<TenantLimits>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let wal = Arc::new(Wal::open(folder.path(), WalOptions::default(), clock.clone()).unwrap());
        let kept = Arc::new(Kept::default());
        let ingest = IngestService::new(wal, clock, IngestLimits::default(), Arc::new(Handed(kept.clone())));
        let producer = LocalProducer::new(ingest, "node/metrics").unwrap();
        Self { gateway: Arc::new(Gateway::new(producer, kept.clone(), limits)), kept, folder }
    }

    pub(crate) async fn write(&self, version: Version, raw: &[u8]) -> Result<Written, WriteError> {
        let body = snap::raw::Encoder::new().compress_vec(raw).unwrap();
        self.gateway.remote_write(&Tenant::default(), version, Encoding::Snappy, body).await
    }
}

struct Handed(Arc<Kept>);

impl Downstream for Handed {
    fn push(&self, batch: IngestedBatch) {
        self.0.push(batch);
    }
}
