//! Throws bytes at everything in the gateway that reads bytes from outside: `fuzz_gateway TARGET|all [SECONDS] [SEED]`.
//!
//! Inputs are mutations of good ones and of inputs that were taken as good before. Each goes the whole way: what is good is
//! logged. A panic ends the program with the input that made it; memory has to stay where it was.

#[path = "../tests/it/messages.rs"]
#[allow(dead_code, reason = "the tests use all of them")]
mod messages;

use bodkin_fuzz::{Arguments, Corpus, Random, mutated, resident_mib};
use bodkin_gateway::statsd::{Aggregator, StatsdLimits};
use bodkin_gateway::{
    Encoding, Exemplar, Gateway, GatewayLimits, Memory, Metadata, PageFormat, Suspect, TextFormat, Verdict, Version,
};
use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch, LocalProducer};
use bodkin_schema::{SeriesId, SystemClock, Tenant};
use bodkin_wal::{Wal, WalOptions};
use messages::otlp::{
    Data, HistogramData, HistogramPoint, Metric, NumberPoint, Request, ResourceMetrics, ScopeMetrics,
};
use messages::{
    Exemplar as WireExemplar, Histogram, Label, MetadataV2, MetricMetadata, RequestV2, Sample, Span, TimeSeries,
    TimeSeriesV2, WriteRequest,
};
use prost::Message;
use std::io::{self, Error, Write};
use std::sync::Arc;
use std::time::Instant;

/// Inputs that are kept to be mutated again, and their longest.
const CORPUS_MAX: usize = 4_096;
const INPUT_BYTES_MAX: usize = 16 << 10;
/// Inputs that are on their way at once: each waits for the log.
const BATCH: usize = 512;
/// Batches for which one log is used.
const BATCHES_PER_LOG: usize = 100;
/// Memory may grow by so much while everything warms up.
const MEMORY_MIB_MAX: u64 = 512;

struct Nowhere;

impl Downstream for Nowhere {
    fn push(&self, _: IngestedBatch) {}
}

impl Memory for Nowhere {
    fn compare(&self, suspects: &[Suspect]) -> Vec<Verdict> {
        suspects.iter().map(|_| Verdict::New).collect()
    }

    fn newest_ms(&self, _: SeriesId) -> Option<i64> {
        None
    }

    fn exemplars(&self, _: Vec<Exemplar>) {}

    fn metadata(&self, _: Vec<Metadata>) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    RemoteWriteV1,
    RemoteWriteV2,
    Otlp,
    Text,
    OpenMetrics,
    Families,
    Compressed,
    Statsd,
}

const TARGETS: [(&str, Target); 8] = [
    ("remote_write_v1", Target::RemoteWriteV1),
    ("remote_write_v2", Target::RemoteWriteV2),
    ("otlp", Target::Otlp),
    ("text", Target::Text),
    ("openmetrics", Target::OpenMetrics),
    ("families", Target::Families),
    ("compressed", Target::Compressed),
    ("statsd", Target::Statsd),
];

fn histogram() -> Histogram {
    Histogram {
        count_int: Some(6),
        sum: 9.5,
        schema: 3,
        zero_count_int: Some(1),
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 4, length: 1 }],
        positive_deltas: vec![2, -1, 1],
        timestamp: 2000,
        ..Default::default()
    }
}

fn v1() -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = TimeSeries {
        labels: vec![label("__name__", "up"), label("job", "a")],
        samples: vec![Sample { value: 1.5, timestamp: 1000 }, Sample { value: f64::NAN, timestamp: 2000 }],
        exemplars: vec![WireExemplar { labels: vec![label("trace_id", "x")], value: 1.0, timestamp: 1000 }],
        histograms: vec![histogram()],
    };
    let metadata = vec![MetricMetadata { kind: 1, name: "up".into(), help: "Whether.".into() }];
    WriteRequest { timeseries: vec![series], metadata }.encode_to_vec()
}

fn v2() -> Vec<u8> {
    let symbols = ["", "__name__", "up", "job", "a", "Whether."].map(str::to_owned).into();
    let series = TimeSeriesV2 {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![Sample { value: 1.5, timestamp: 1000 }],
        histograms: vec![histogram()],
        metadata: Some(MetadataV2 { kind: 2, help_ref: 5 }),
    };
    RequestV2 { symbols, timeseries: vec![series] }.encode_to_vec()
}

fn otlp() -> Vec<u8> {
    let point = NumberPoint { time_ns: 1_000_000_000, double: Some(2.5), ..Default::default() };
    let data = Data { points: vec![point], temporality: 1, is_monotonic: true };
    let buckets = HistogramPoint {
        time_ns: 1_000_000_000,
        count: 3,
        sum: Some(4.0),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
    };
    let histogram = HistogramData { points: vec![buckets], temporality: 2 };
    let metrics = vec![
        Metric { name: "a.b".into(), unit: "s".into(), sum: Some(data.clone()), ..Default::default() },
        Metric { name: "c".into(), gauge: Some(data), ..Default::default() },
        Metric { name: "d".into(), histogram: Some(histogram), ..Default::default() },
    ];
    let scope_metrics = vec![ScopeMetrics { metrics }];
    Request { resource_metrics: vec![ResourceMetrics { resource: None, scope_metrics }] }.encode_to_vec()
}

/// Two metric families: a histogram of both kinds, and a counter.
fn families() -> Vec<u8> {
    let histogram = b"\x0a\x01h\x18\x04\x22\x33\x0a\x06\x0a\x01a\x12\x01b\x3a\x29\x08\x03\x11\0\0\0\0\0\0\xf0\x3f\x1a\x0b\x08\x02\x11\0\0\0\0\0\0\xf0\x3f\
        \x28\x06\x31\0\0\0\0\0\0\xf0\x3f\x38\x01\x62\x04\x08\x02\x10\x01\x6a\x01\x04";
    let counter = b"\x0a\x07c_total\x12\x04Text\x18\x00\x22\x0e\x1a\x09\x09\0\0\0\0\0\0\x14\x40\x30\xe8\x07";
    [&histogram[..], counter].iter().flat_map(|family| [&[family.len() as u8][..], family].concat()).collect()
}

fn compressed() -> Result<Vec<Vec<u8>>, Error> {
    let snappy = snap::raw::Encoder::new().compress_vec(&v1()).map_err(Error::other)?;
    let zstd = zstd::bulk::compress(&v1(), 1)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&v1())?;
    let bodies = [snappy, zstd, gzip.finish()?];
    Ok(bodies.into_iter().zip(0u8..).map(|(body, kind)| [vec![kind], body].concat()).collect())
}

impl Target {
    fn seeds(self) -> Result<Vec<Vec<u8>>, Error> {
        let text = "# HELP a Text.\n# TYPE a histogram\na_bucket{le=\"1\",b=\"\\\"\\n\"} 2 1000\n{\"c.d\",\"e\"=\"f\"} +Inf # {t=\"x\"} 1 2\n";
        Ok(match self {
            Self::RemoteWriteV1 => vec![v1()],
            Self::RemoteWriteV2 => vec![v2()],
            Self::Otlp => vec![otlp()],
            Self::Text => vec![text.into()],
            Self::OpenMetrics => vec![text.into(), b"# UNIT a_seconds seconds\na_seconds 1 1.5\n# EOF\n".to_vec()],
            Self::Families => vec![families()],
            Self::Compressed => compressed()?,
            Self::Statsd => {
                [&b"a.b:1|c|@0.1|#x:y,z"[..], b"a:1:2:3|ms|T1\nb:-4.5|g\nc:u|s", b"_e{1,1}:a|b", b"t:0.5|d"]
                    .map(<[u8]>::to_vec)
                    .into()
            }
        })
    }

    async fn take(self, gateway: Arc<Gateway>, input: Vec<u8>) -> bool {
        let tenant = Tenant::default();
        let written = match self {
            Self::RemoteWriteV1 => gateway.remote_write(&tenant, Version::V1, Encoding::Identity, input).await,
            Self::RemoteWriteV2 => gateway.remote_write(&tenant, Version::V2, Encoding::Identity, input).await,
            Self::Otlp => gateway.otlp_metrics(&tenant, Encoding::Identity, input).await,
            Self::Text | Self::OpenMetrics | Self::Families => {
                let format = match self {
                    Self::Text => PageFormat::Text(TextFormat::Prometheus),
                    Self::OpenMetrics => PageFormat::Text(TextFormat::OpenMetrics),
                    _ => PageFormat::Families,
                };
                gateway.page(&tenant, format, Encoding::Identity, input).await
            }
            Self::Compressed => {
                let Some((kind, body)) = input.split_first() else { return false };
                let encoding = [Encoding::Snappy, Encoding::Zstd, Encoding::Gzip][usize::from(*kind) % 3];
                gateway.remote_write(&tenant, Version::V1, encoding, body.to_vec()).await
            }
            Self::Statsd => {
                let mut aggregator = Aggregator::new(StatsdLimits { series_max: 100, ..StatsdLimits::default() });
                aggregator.take(&input);
                let lines = aggregator.stats().lines;
                return gateway.append(&tenant, aggregator.flush(1000), Vec::new()).await.is_ok() && lines > 0;
            }
        };
        written.is_ok()
    }
}

async fn run(name: &str, target: Target, Arguments { time, seed, .. }: Arguments) -> Result<(), Error> {
    let (mut random, mut corpus, begun) = (Random::new(seed), Corpus::new(target.seeds()?, CORPUS_MAX), Instant::now());
    let (mut inputs, mut good, mut memory) = (0_u64, 0_u64, 0);
    let limits = GatewayLimits { series_max: 10_000, body_bytes_max: 1 << 20, ..GatewayLimits::default() };
    while begun.elapsed() < time {
        let folder = tempfile::tempdir()?;
        let clock = Arc::new(SystemClock::default());
        let wal = Wal::open(folder.path(), WalOptions::default(), clock.clone()).map_err(Error::other)?;
        let ingest = IngestService::new(Arc::new(wal), clock, IngestLimits::default(), Arc::new(Nowhere));
        let producer = LocalProducer::new(ingest, "fuzz/metrics").map_err(Error::other)?;
        let gateway = Arc::new(Gateway::new(producer, Arc::new(Nowhere), limits));
        for _ in 0..BATCHES_PER_LOG {
            let batch: Vec<Vec<u8>> = (0..BATCH)
                .map(|_| {
                    let (input, other) = (corpus.pick(&mut random), corpus.pick(&mut random));
                    let mut input = mutated(&mut random, input, other, &[]);
                    input.truncate(INPUT_BYTES_MAX);
                    input
                })
                .collect();
            let tasks: Vec<_> =
                batch.iter().map(|input| tokio::spawn(target.take(gateway.clone(), input.clone()))).collect();
            for (input, task) in batch.into_iter().zip(tasks) {
                let Ok(is_good) = task.await else {
                    return Err(Error::other(format!("{name}: a panic, seed {seed}, input {input:?}")));
                };
                inputs += 1;
                if is_good {
                    good += 1;
                    corpus.keep(&mut random, input);
                }
            }
            if begun.elapsed() >= time {
                break;
            }
        }
        memory = resident_mib().max(memory);
        if memory > MEMORY_MIB_MAX {
            return Err(Error::other(format!("{name}: {memory} MiB of memory, seed {seed}")));
        }
    }
    writeln!(io::stdout(), "{name:18}{inputs} inputs, {good} of them good, {memory} MiB, no panic")
}

fn main() -> Result<(), Error> {
    let arguments = Arguments::of_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (name, target) in TARGETS.iter().filter(|(name, _)| arguments.wants(name)) {
        runtime.block_on(run(name, *target, arguments.clone()))?;
    }
    Ok(())
}
