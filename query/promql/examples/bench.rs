//! Times queries of dashboards over 10,000 series of 360 samples in memory: `cargo run --release --example bench`.
//!
//! The series and the queries are those of the benchmark against other servers, without network and JSON.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

use std::ops::Range;
use std::time::Instant;

use bodkin_promql::{
    Engine, EngineOptions, FloatColumns, Labels, QueryOptions, SampleBatch, Select, Selection, Storage, StorageError,
    Value,
};

const STEP_MS: i64 = 30_000;
const SAMPLES: usize = 360;

/// Series with samples at the same times.
struct Store {
    labels: Vec<Labels>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
}

struct Found<'a> {
    store: &'a Store,
    labels: Vec<Labels>,
    rows: Vec<usize>,
    within: Range<usize>,
}

impl Storage for &'static Store {
    fn select(&self, request: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> {
        let from = self.times.partition_point(|t| *t < request.start_ms);
        let to = self.times.partition_point(|t| *t <= request.end_ms);
        let is_match = |labels: &Labels| request.matchers.iter().all(|m| m.matches(labels.get(&m.name)));
        let rows: Vec<usize> = (0..self.labels.len()).filter(|i| is_match(&self.labels[*i])).collect();
        let labels = rows.iter().map(|i| self.labels[*i].clone()).collect();
        Ok(Box::new(Found { store: self, labels, rows, within: from..to.max(from) }))
    }
}

impl Selection for Found<'_> {
    fn series(&self) -> &[Labels] {
        &self.labels
    }

    fn read(&self, positions: Range<usize>) -> Result<SampleBatch, StorageError> {
        let count = self.within.len();
        let rows = &self.rows[positions];
        let (mut times, mut values) = (Vec::with_capacity(rows.len() * count), Vec::with_capacity(rows.len() * count));
        for row in rows {
            times.extend_from_slice(&self.store.times[self.within.clone()]);
            values.extend_from_slice(&self.store.values[*row][self.within.clone()]);
        }
        let floats = FloatColumns {
            offsets: (0..=rows.len()).map(|i| i * count).collect(),
            timestamps: times.into(),
            values: values.into(),
            start_timestamps: None,
        };
        Ok(SampleBatch { floats, histograms: None })
    }
}

/// A small generator of numbers that look random.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn build() -> Store {
    let mut series: Vec<(Labels, Vec<f64>)> = Vec::new();
    let mut noise = Noise(7);
    let mut add = |name: &str, pairs: &[(&str, String)], is_counter: bool| {
        let mut all = vec![("__name__", name.to_owned())];
        all.extend(pairs.iter().map(|(n, v)| (*n, v.clone())));
        let mut value = noise.next(100_000) as f64;
        let values = (0..SAMPLES).map(|_| {
            value = if is_counter { value + noise.next(80) as f64 } else { 1e8 + noise.next(4096) as f64 * 1024.0 };
            value
        });
        series.push((Labels::from_pairs(all), values.collect()));
    };
    for pod in 0..500 {
        let base = [
            ("namespace", format!("ns-{}", pod % 10)),
            ("pod", format!("pod-{pod}-7c9d8f6b5c-x{}", pod % 7)),
            ("node", format!("node-{}", pod % 20)),
            ("service", format!("svc-{}", pod % 25)),
        ];
        let with = |more: &[(&'static str, String)]| [&base[..], more].concat();
        for code in ["200", "201", "404", "500"] {
            for method in ["GET", "POST"] {
                let more = [("code", code.to_owned()), ("method", method.to_owned())];
                add("bench_http_requests_total", &with(&more), true);
            }
        }
        for container in ["app", "proxy"] {
            add("bench_cpu_seconds_total", &with(&[("container", container.to_owned())]), true);
            add("bench_memory_bytes", &with(&[("container", container.to_owned())]), false);
        }
        if pod < 200 {
            for le in ["0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"] {
                add("bench_latency_seconds_bucket", &with(&[("le", le.to_owned())]), true);
            }
        }
    }
    for i in 0..2000 {
        add(
            "bench_conn_total",
            &[("dst", format!("10.200.0.{}", i % 97)), ("src", format!("10.0.{}.{}", i / 250, i % 250))],
            true,
        );
    }
    series.sort_by(|a, b| a.0.cmp(&b.0));
    let (labels, values) = series.into_iter().unzip();
    Store { labels, times: (0..SAMPLES as i64).map(|i| i * STEP_MS).collect(), values }
}

/// Name, query, minutes before the end (0: an instant query), step in seconds.
const QUERIES: &[(&str, &str, i64, i64)] = &[
    ("sum_rate_by_ns_1h", "sum by (namespace) (rate(bench_http_requests_total[5m]))", 60, 30),
    ("topk_pod_cpu_1h", "topk(10, sum by (pod) (rate(bench_cpu_seconds_total[5m])))", 60, 60),
    (
        "histogram_quantile_1h",
        "histogram_quantile(0.99, sum by (le, service) (rate(bench_latency_seconds_bucket[5m])))",
        60,
        30,
    ),
    (
        "regex_matchers_1h",
        "sum by (code) (rate(bench_http_requests_total{pod=~\"pod-1[0-9]*-.*\", namespace=~\"ns-[0-4]\"}[5m]))",
        60,
        30,
    ),
    (
        "error_ratio_1h",
        "sum by (namespace) (rate(bench_http_requests_total{code=~\"5..\"}[5m])) / sum by (namespace) (rate(bench_http_requests_total[5m]))",
        60,
        60,
    ),
    ("long_range_3h", "sum(rate(bench_http_requests_total[10m]))", 165, 60),
    ("avg_over_time_1h", "avg by (node) (avg_over_time(bench_memory_bytes[15m]))", 60, 60),
    (
        "join_1h",
        "sum by (namespace) (bench_memory_bytes * on (pod, container) group_left () rate(bench_cpu_seconds_total[5m]))",
        60,
        60,
    ),
    ("one_pod_rate_3h", "rate(bench_http_requests_total{pod=\"pod-42-7c9d8f6b5c-x0\"}[5m])", 165, 30),
    ("subquery_instant", "max_over_time(sum by (namespace) (rate(bench_http_requests_total[5m]))[30m:1m])", 0, 0),
    ("alert_instant", "sum by (pod) (rate(bench_http_requests_total{code=\"500\"}[5m])) > 1", 0, 0),
    ("count_all_instant", "count by (__name__) ({__name__=~\"bench_.+\"})", 0, 0),
    ("topk_instant", "topk(10, rate(bench_conn_total[5m]))", 0, 0),
    ("raw_10k_1h", "{__name__=~\"bench_.+\"}", 60, 30),
];

/// CPU time of this process; in steps of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

#[allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn main() {
    let store: &'static Store = Box::leak(Box::new(build()));
    let end = (SAMPLES as i64 - 1) * STEP_MS;
    println!(
        "{} series of {SAMPLES} samples; wall time of the best run, CPU time of all on average",
        store.labels.len()
    );
    for threads in [1, 2] {
        let engine = Engine::new(EngineOptions { threads, ..EngineOptions::default() });
        println!("\n{threads} thread(s)");
        for (name, query, minutes, step) in QUERIES {
            let options = QueryOptions::default();
            let run = || match minutes {
                0 => engine.instant(&store, query, end, &options).unwrap(),
                _ => engine.range(&store, query, end - minutes * 60_000, end, step * 1000, &options).unwrap(),
            };
            let mut best = f64::MAX;
            let mut series = 0;
            let cpu = cpu_seconds();
            let all = Instant::now();
            let mut runs: u32 = 0;
            while runs < 7 || all.elapsed().as_secs_f64() < 0.5 {
                runs += 1;
                let begun = Instant::now();
                let result = run();
                best = best.min(begun.elapsed().as_secs_f64());
                series = match &result.value {
                    Value::Matrix(matrix) => matrix.len(),
                    Value::Vector { samples, .. } => samples.len(),
                    _ => 1,
                };
            }
            let cpu_ms = (cpu_seconds() - cpu) * 1000.0 / f64::from(runs);
            println!("{name:24} {:9.3} ms {cpu_ms:9.3} ms CPU   {series} series", best * 1000.0);
        }
    }
}
