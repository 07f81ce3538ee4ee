//! `/metrics`: the counters of the process in the Prometheus text format 0.0.4.

use crate::state::AppState;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Gives the metrics of one part of the process.
pub trait MetricsSource: Send + Sync {
    /// The families as they stand now. Several sources may give samples of the same family.
    fn families(&self) -> Vec<Family>;
}

/// All samples of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name: `<crate>_<noun>_<verb>_total` of a counter.
    pub name: Cow<'static, str>,
    /// What it counts, for people.
    pub help: Cow<'static, str>,
    /// How its values behave.
    pub kind: MetricKind,
    /// The values.
    pub samples: Vec<Sample>,
}

/// How the values of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count; see [`Sample::suffix`].
    Histogram,
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Appended to the family's name: `_bucket`, `_sum`, `_count` of a histogram, else empty.
    pub suffix: &'static str,
    /// Labels in the order in which they are written.
    pub labels: Vec<(Cow<'static, str>, String)>,
    /// The value.
    pub value: f64,
}

impl Family {
    /// A counter with one sample without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        let samples = vec![Sample { value: value as f64, ..Sample::default() }];
        Self { name: name.into(), help: help.into(), kind: MetricKind::Counter, samples }
    }

    /// A gauge with one sample without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        let samples = vec![Sample { value, ..Sample::default() }];
        Self { name: name.into(), help: help.into(), kind: MetricKind::Gauge, samples }
    }
}

/// Writes families as text. Families of one name are joined, as the format wants all lines of a name together; the
/// first one's help and kind count. Sorted by name.
pub fn render(families: Vec<Family>) -> String {
    let mut by_name: BTreeMap<Cow<'static, str>, Family> = BTreeMap::new();
    for family in families {
        match by_name.get_mut(&family.name) {
            Some(known) => known.samples.extend(family.samples),
            None => {
                by_name.insert(family.name.clone(), family);
            }
        }
    }
    let mut out = String::new();
    for family in by_name.values() {
        write_family(family, &mut out);
    }
    out
}

fn write_family(family: &Family, out: &mut String) {
    let kind = match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    out.push_str("# HELP ");
    out.push_str(&family.name);
    out.push(' ');
    escape(&family.help, false, out);
    // Writing into a String cannot fail.
    let _ = write!(out, "\n# TYPE {} {kind}\n", family.name);
    for sample in &family.samples {
        out.push_str(&family.name);
        out.push_str(sample.suffix);
        for (i, (label, value)) in sample.labels.iter().enumerate() {
            out.push(if i == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            escape(value, true, out);
            out.push('"');
        }
        out.push_str(if sample.labels.is_empty() { " " } else { "} " });
        write_value(sample.value, out);
        out.push('\n');
    }
}

fn write_value(value: f64, out: &mut String) {
    let _ = match value {
        v if v.is_nan() => write!(out, "NaN"),
        v if v.is_infinite() => write!(out, "{}Inf", if v > 0.0 { '+' } else { '-' }),
        v => write!(out, "{v}"),
    };
}

/// Help text escapes backslash and line feed, a label's value the quote too.
fn escape(text: &str, is_label: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_label => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// The counters of this crate. Labels are bounded: routes of the router, known methods, statuses.
#[derive(Debug, Default)]
pub struct HttpCounters {
    answered: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    /// Answers that broke off after their first bytes.
    pub(crate) aborted: AtomicU64,
    /// Handlers that panicked.
    pub(crate) panicked: AtomicU64,
    /// Requests refused as a browser's on behalf of another site.
    pub(crate) refused: AtomicU64,
}

impl HttpCounters {
    pub(crate) fn count_answer(&self, route: &str, method: &'static str, status: u16) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered.entry((route.to_owned(), method, status)).or_default() += 1;
    }
}

impl MetricsSource for HttpCounters {
    fn families(&self) -> Vec<Family> {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = answered.iter().map(|((route, method, status), count)| Sample {
            suffix: "",
            labels: vec![
                ("route".into(), route.clone()),
                ("method".into(), (*method).to_owned()),
                ("status".into(), status.to_string()),
            ],
            value: *count as f64,
        });
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Family {
                name: "bodkin_http_requests_answered_total".into(),
                help: "requests by route, method and status".into(),
                kind: MetricKind::Counter,
                samples: samples.collect(),
            },
            Family::counter(
                "bodkin_http_answers_aborted_total",
                "answers that broke off after their first bytes",
                read(&self.aborted),
            ),
            Family::counter("bodkin_http_handlers_panicked_total", "handlers that panicked", read(&self.panicked)),
            Family::counter(
                "bodkin_http_requests_refused_total",
                "requests refused for their Host, Origin or Sec-Fetch-Site on a loopback listener",
                read(&self.refused),
            ),
        ]
    }
}

/// Metrics of the process.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "Prometheus text format 0.0.4", content_type = "text/plain", body = String),
))]
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    let mut families = state.counters.families();
    for source in &state.metrics {
        families.extend(source.families());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(families)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_grouped_and_sorted() {
        let odd = Sample { suffix: "", labels: vec![("path".into(), "a\"b\\c\nd".into())], value: f64::INFINITY };
        let families = vec![
            Family::gauge("wal_bytes", "bytes \\ kept\nnow", 1.5),
            Family { samples: vec![odd], ..Family::counter("a_rows_dropped_total", "rows", 0) },
            Family {
                samples: vec![Sample { value: f64::NAN, ..Sample::default() }],
                ..Family::gauge("wal_bytes", "", 0.0)
            },
        ];
        let expected = "# HELP a_rows_dropped_total rows\n# TYPE a_rows_dropped_total counter\n\
            a_rows_dropped_total{path=\"a\\\"b\\\\c\\nd\"} +Inf\n\
            # HELP wal_bytes bytes \\\\ kept\\nnow\n# TYPE wal_bytes gauge\nwal_bytes 1.5\nwal_bytes NaN\n";
        assert_eq!(render(families), expected);
    }

    #[test]
    fn histogram_samples_carry_their_suffix() {
        let bucket = Sample { suffix: "_bucket", labels: vec![("le".into(), "+Inf".into())], value: 3.0 };
        let sum = Sample { suffix: "_sum", labels: vec![], value: 1e21 };
        let family = Family {
            kind: MetricKind::Histogram,
            samples: vec![bucket, sum],
            ..Family::gauge("q_seconds", "time", 0.0)
        };
        let expected = "# HELP q_seconds time\n# TYPE q_seconds histogram\n\
            q_seconds_bucket{le=\"+Inf\"} 3\nq_seconds_sum 1000000000000000000000\n";
        assert_eq!(render(vec![family]), expected);
    }
}
