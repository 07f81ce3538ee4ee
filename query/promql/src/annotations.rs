//! Warnings and infos of a query, in the words of Prometheus.

use std::collections::BTreeMap;

use crate::position::{Span, line_column};
use crate::text::{format_g, quote};

/// How much a reader has to worry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Severity {
    Info,
    Warning,
}

/// The operation that a histogram annotation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Something to say about a query.
#[derive(Clone, Debug)]
pub(crate) enum Annotation<'a> {
    InvalidQuantile(f64),
    InvalidRatio { ratio: f64, capped: f64 },
    BadBucketLabel { metric: Option<&'a str>, label: &'a str },
    MixedFloatsHistograms { metric: &'a str },
    MixedFloatsHistogramsAggregation,
    MixedClassicNative { metric: Option<&'a str> },
    NotCounter { metric: &'a str },
    NotGauge { metric: &'a str },
    MixedExponentialCustom { metric: &'a str },
    IncompatibleCustomBuckets { metric: &'a str },
    IncompatibleBucketLayout { operator: &'a str },
    SortInRange,
    PossibleNonCounter { metric: &'a str },
    PossibleNonCounterLabel { metric: &'a str, label: &'a str, names_histogram: bool },
    IncompatibleTypes { left: &'a str, operator: &'a str, right: &'a str },
    IgnoredInAggregation { aggregation: &'a str },
    IgnoredInMixedRange { metric: &'a str },
    QuantileNanResult { metric: Option<&'a str> },
    QuantileNanSkew { metric: Option<&'a str> },
    FractionNans { metric: Option<&'a str> },
    ResetCollision(HistogramOperation),
    MismatchedCustomBuckets(HistogramOperation),
    StartTimeOverlap { metric: &'a str },
    ForcedMonotonicity { metric: Option<&'a str>, details: Option<Monotonicity> },
    Storage(&'a str),
    StorageInfo(&'a str),
}

/// What was repaired in classic buckets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonicity {
    pub(crate) time_ms: i64,
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) difference_max: f64,
}

/// Everything that is to be said about a query, each thing once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations(BTreeMap<(Severity, String), Entry>);

#[derive(Clone, Debug)]
struct Entry {
    span: Option<Span>,
    merged: Merged,
}

#[derive(Clone, Debug)]
enum Merged {
    Plain,
    Overlaps(u64),
    Repairs { first: Monotonicity, last_ms: i64, count: u64 },
}

impl Annotations {
    /// Adds a thing to say about a part of the query.
    pub(crate) fn add(&mut self, annotation: &Annotation<'_>, span: Span) {
        let (severity, text) = describe(annotation);
        let merged = match annotation {
            Annotation::ForcedMonotonicity { details: Some(details), .. } => {
                Merged::Repairs { first: *details, last_ms: details.time_ms, count: 1 }
            }
            Annotation::StartTimeOverlap { .. } => Merged::Overlaps(1),
            _ => Merged::Plain,
        };
        let span = (!matches!(annotation, Annotation::Storage(_) | Annotation::StorageInfo(_))).then_some(span);
        self.insert((severity, text), Entry { span, merged });
    }

    fn insert(&mut self, key: (Severity, String), entry: Entry) {
        match self.0.entry(key) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(entry);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let known = slot.get_mut();
                match (&mut known.merged, entry.merged) {
                    (Merged::Overlaps(a), Merged::Overlaps(b)) => *a += b,
                    (
                        Merged::Repairs { first, last_ms, count },
                        Merged::Repairs { first: other, last_ms: other_ms, count: others },
                    ) => {
                        first.time_ms = first.time_ms.min(other.time_ms);
                        first.bucket_min = first.bucket_min.min(other.bucket_min);
                        first.bucket_max = first.bucket_max.max(other.bucket_max);
                        first.difference_max = first.difference_max.max(other.difference_max);
                        *last_ms = (*last_ms).max(other_ms);
                        *count += others;
                    }
                    _ => known.span = entry.span,
                }
            }
        }
    }

    /// Says whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what another set says.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (key, entry) in other.0 {
            self.insert(key, entry);
        }
    }

    /// The texts with positions: warnings and infos, at most so many of each (0 for all).
    pub(crate) fn texts(&self, query: &str, count_max: usize) -> (Vec<String>, Vec<String>) {
        let of = |wanted: Severity, word: &str| {
            let all = self.0.iter().filter(|((severity, _), _)| *severity == wanted);
            let mut texts: Vec<String> = all.map(|((_, text), entry)| entry.text(text, query)).collect();
            if count_max > 0 && texts.len() > count_max {
                let omitted = texts.len() - count_max;
                texts.truncate(count_max);
                texts.push(format!("{omitted} more {word} annotations omitted"));
            }
            texts
        };
        (of(Severity::Warning, "warning"), of(Severity::Info, "info"))
    }
}

impl Entry {
    fn text(&self, text: &str, query: &str) -> String {
        let Some(span) = self.span else { return text.to_owned() };
        let position = line_column(query, span.start);
        match &self.merged {
            Merged::Plain => format!("{text} ({position})"),
            Merged::Overlaps(1) => format!("{text} ({position})"),
            Merged::Overlaps(count) => format!("{text} ({count} occurrences) ({position})"),
            Merged::Repairs { first, last_ms, count } => {
                let (from, to) = (format_g(first.bucket_min), format_g(first.bucket_max));
                let difference = format_two_digits(first.difference_max);
                let (start, end) = (rfc3339(first.time_ms), rfc3339(*last_ms));
                format!(
                    "{text}, from buckets {from} to {to}, with a max diff of {difference}, over {count} samples from \
                     {start} to {end} ({position})"
                )
            }
        }
    }
}

/// A float as Go's `%.2g`.
fn format_two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_g(value);
    }
    let text = format!("{value:.1e}");
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let rounded: f64 = text.parse().unwrap_or(value);
    if (-4..2).contains(&exponent) {
        return crate::text::format_float(rounded);
    }
    crate::text::format_exponent(rounded)
}

fn rfc3339(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    let (year, month, day) = bodkin_schema::time::civil_from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn describe(annotation: &Annotation<'_>) -> (Severity, String) {
    use Annotation as A;
    use Severity::{Info, Warning};
    let for_metric = |text: &str, metric: &Option<&str>| match metric {
        Some(metric) => format!("{text} for metric name {}", quote(metric)),
        None => text.to_owned(),
    };
    let (severity, text) = match annotation {
        A::InvalidQuantile(q) => (Warning, format!("quantile value should be between 0 and 1, got {}", format_g(*q))),
        A::InvalidRatio { ratio, capped } => {
            let (ratio, capped) = (format_g(*ratio), format_g(*capped));
            (Warning, format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"))
        }
        A::BadBucketLabel { metric, label } => {
            let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(label));
            (Warning, for_metric(&text, metric))
        }
        A::MixedFloatsHistograms { metric } => {
            (Warning, format!("encountered a mix of histograms and floats for metric name {}", quote(metric)))
        }
        A::MixedFloatsHistogramsAggregation => {
            (Warning, "encountered a mix of histograms and floats for aggregation".to_owned())
        }
        A::MixedClassicNative { metric } => {
            (Warning, for_metric("vector contains a mix of classic and native histograms", metric))
        }
        A::NotCounter { metric } => {
            (Warning, format!("this native histogram metric is not a counter: {}", quote(metric)))
        }
        A::NotGauge { metric } => (Warning, format!("this native histogram metric is not a gauge: {}", quote(metric))),
        A::MixedExponentialCustom { metric } => {
            let text =
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
            (Warning, format!("{text} {}", quote(metric)))
        }
        A::IncompatibleCustomBuckets { metric } => {
            let text = "vector contains histograms with incompatible custom buckets for metric name";
            (Warning, format!("{text} {}", quote(metric)))
        }
        A::IncompatibleBucketLayout { operator } => {
            (Warning, format!("incompatible bucket layout encountered for binary operator {operator}"))
        }
        A::SortInRange => {
            (Warning, "sort is ineffective for range queries since results are always ordered by labels".to_owned())
        }
        A::ResetCollision(op) => (Warning, format!("conflicting counter resets during histogram {}", op.as_str())),
        A::StartTimeOverlap { metric } => {
            let text = "sample has start time that overlaps with previous sample timestamp for metric";
            (Warning, format!("{text} {}", quote(metric)))
        }
        A::Storage(text) => return (Warning, (*text).to_owned()),
        A::StorageInfo(text) => return (Info, (*text).to_owned()),
        A::PossibleNonCounter { metric } => {
            let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
            (Info, format!("{text} {}", quote(metric)))
        }
        A::PossibleNonCounterLabel { metric, label, names_histogram } => {
            let text = "metric might not be a counter, __type__ label is not set to \"counter\"";
            let or = if *names_histogram { " or \"histogram\"" } else { "" };
            (Info, format!("{text}{or}, got {}: {}", quote(label), quote(metric)))
        }
        A::IncompatibleTypes { left, operator, right } => {
            let text = "incompatible sample types encountered for binary operator";
            (Info, format!("{text} {}: {left} {operator} {right}", quote(operator)))
        }
        A::IgnoredInAggregation { aggregation } => (Info, format!("ignored histogram in {aggregation} aggregation")),
        A::IgnoredInMixedRange { metric } => {
            let text = "ignored histograms in a range containing both floats and histograms for metric name";
            (Info, format!("{text} {}", quote(metric)))
        }
        A::QuantileNanResult { metric } => {
            (Info, for_metric("input to histogram_quantile has NaN observations, result is NaN", metric))
        }
        A::QuantileNanSkew { metric } => {
            (Info, for_metric("input to histogram_quantile has NaN observations, result is skewed higher", metric))
        }
        A::FractionNans { metric } => {
            let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
            (Info, for_metric(text, metric))
        }
        A::MismatchedCustomBuckets(op) => {
            (Info, format!("mismatched custom buckets were reconciled during {}", op.as_str()))
        }
        A::ForcedMonotonicity { metric, .. } => {
            let text = "input to histogram_quantile needed to be fixed for monotonicity (see \
                        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
            (Info, for_metric(text, metric))
        }
    };
    let prefix = if severity == Info { "PromQL info" } else { "PromQL warning" };
    (severity, format!("{prefix}: {text}"))
}
