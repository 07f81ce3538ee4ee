//! Results as JSON, byte for byte as Prometheus writes them.

use bodkin_promql::text::format_sample;
use bodkin_promql::{FloatHistogram, Labels, MatrixSeries, QueryStats, SampleValue, Value, VectorSample};
use std::io::Write;

/// A text with what HTML would take for markup escaped, as Go's encoder does.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, true);
}

/// A list of texts.
pub(super) fn texts(out: &mut Vec<u8>, texts: &[String]) {
    list(out, texts, |out, item| text(out, item));
}

/// `[...]` of what `write` makes of each item.
pub(super) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// A label set as an object.
pub(super) fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Labels are written by a part of Prometheus that escapes no markup.
        escape(out, name, false);
        out.push(b':');
        escape(out, value, false);
    }
    out.push(b'}');
}

/// The data of a query.
pub(super) fn query(out: &mut Vec<u8>, value: &Value, stats: Option<(&QueryStats, bool)>) {
    out.extend_from_slice(b"{\"resultType\":\"");
    out.extend_from_slice(value.type_name().as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    match value {
        Value::Scalar { time_ms, value } => float_point(out, *time_ms, *value),
        Value::String { time_ms, value } => {
            out.push(b'[');
            seconds(out, *time_ms);
            out.push(b',');
            text(out, value);
            out.push(b']');
        }
        Value::Vector { time_ms, samples } => list(out, samples, |out, sample| vector_sample(out, *time_ms, sample)),
        Value::Matrix(series) => list(out, series, matrix_series),
    }
    if let Some((stats, has_samples)) = stats {
        query_stats(out, stats, has_samples);
    }
    out.push(b'}');
}

fn vector_sample(out: &mut Vec<u8>, time_ms: i64, sample: &VectorSample) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            float_point(out, time_ms, *value);
        }
        SampleValue::Histogram(value) => {
            out.extend_from_slice(b",\"histogram\":");
            histogram_point(out, time_ms, value);
        }
    }
    out.push(b'}');
}

fn matrix_series(out: &mut Vec<u8>, series: &MatrixSeries) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, &series.labels);
    if !series.values.is_empty() {
        out.extend_from_slice(b",\"values\":");
        let points = series.timestamps.iter().zip(series.values.iter());
        list(out, points, |out, (time_ms, value)| float_point(out, *time_ms, *value));
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(b",\"histograms\":");
        list(out, &series.histograms, |out, (time_ms, value)| histogram_point(out, *time_ms, value));
    }
    out.push(b'}');
}

fn float_point(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    out.push(b'[');
    seconds(out, time_ms);
    out.push(b',');
    number(out, value);
    out.push(b']');
}

fn histogram_point(out: &mut Vec<u8>, time_ms: i64, value: &FloatHistogram) {
    out.push(b'[');
    seconds(out, time_ms);
    out.push(b',');
    histogram(out, value);
    out.push(b']');
}

/// A time in seconds, with three digits behind the point where they are not zero.
pub(super) fn seconds(out: &mut Vec<u8>, time_ms: i64) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let time = time_ms.unsigned_abs();
    integer(out, time / 1000);
    match time % 1000 {
        0 => {}
        fraction => {
            let digits = [fraction / 100, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8);
            out.push(b'.');
            out.extend_from_slice(&digits);
        }
    }
}

/// A number in quotes, as Go formats it.
pub(super) fn number(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    // Counters are whole numbers most of the time, and those are quick.
    if value.fract() == 0.0 && value.abs() < 9e15 && (value != 0.0 || value.is_sign_positive()) {
        if value < 0.0 {
            out.push(b'-');
        }
        integer(out, value.abs() as u64);
    } else {
        out.extend_from_slice(format_sample(value).as_bytes());
    }
    out.push(b'"');
}

fn integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A native histogram with its buckets.
pub(super) fn histogram(out: &mut Vec<u8>, value: &FloatHistogram) {
    out.extend_from_slice(b"{\"count\":");
    number(out, value.count);
    out.extend_from_slice(b",\"sum\":");
    number(out, value.sum);
    let buckets = value.all_buckets();
    let mut filled = buckets.iter().filter(|bucket| bucket.count != 0.0).peekable();
    if filled.peek().is_some() {
        out.extend_from_slice(b",\"buckets\":");
        list(out, filled, |out, bucket| {
            let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (true, true) => b'3',
                (true, false) => b'1',
                (false, true) => b'0',
                (false, false) => b'2',
            };
            out.extend_from_slice(&[b'[', boundaries]);
            for part in [bucket.lower, bucket.upper, bucket.count] {
                out.push(b',');
                number(out, part);
            }
            out.push(b']');
        });
    }
    out.push(b'}');
}

fn query_stats(out: &mut Vec<u8>, stats: &QueryStats, has_samples: bool) {
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{},\"resultSortTime\":{},\"queryPreparationTime\":{},\
         \"innerEvalTime\":{},\"execQueueTime\":0,\"execTotalTime\":{}}},\"samples\":{{",
        stats.eval_total_seconds,
        stats.result_sort_seconds,
        stats.query_preparation_seconds,
        stats.inner_eval_seconds,
        stats.exec_total_seconds
    );
    if has_samples {
        out.extend_from_slice(b"\"totalQueryableSamplesPerStep\":");
        list(out, &stats.total_queryable_samples_per_step, |out, (time_ms, samples)| {
            out.push(b'[');
            seconds(out, *time_ms);
            out.push(b',');
            integer(out, *samples);
            out.push(b']');
        });
        out.push(b',');
    }
    let _ = write!(
        out,
        "\"totalQueryableSamples\":{},\"peakSamples\":{}}}}}",
        stats.total_queryable_samples, stats.peak_samples
    );
}

fn escape(out: &mut Vec<u8>, text: &str, is_html_escaped: bool) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let is_plain = match byte {
            b'"' | b'\\' | 0..=0x1f => false,
            b'<' | b'>' | b'&' => !is_html_escaped,
            // The first byte of U+2028 and U+2029.
            0xe2 => !(is_html_escaped && matches!(bytes.get(index + 1..index + 3), Some([0x80, 0xa8 | 0xa9]))),
            _ => true,
        };
        if is_plain {
            continue;
        }
        out.extend_from_slice(bytes.get(start..index).unwrap_or_default());
        start = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0xe2 => {
                out.extend_from_slice(if bytes[index + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                start = index + 3;
            }
            byte => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.extend_from_slice(bytes.get(start..).unwrap_or_default());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_as_go_writes_them() {
        let of = |value| written(|out| number(out, value));
        assert_eq!(of(0.0), "\"0\"");
        assert_eq!(of(-0.0), "\"-0\"");
        assert_eq!(of(-17.0), "\"-17\"");
        assert_eq!(of(1e20), "\"100000000000000000000\"");
        assert_eq!(of(1e21), "\"1e+21\"");
        assert_eq!(of(1e-7), "\"1e-07\"");
        assert_eq!(of(1.0 / 3.0), "\"0.3333333333333333\"");
        assert_eq!(of(f64::NAN), "\"NaN\"");
        assert_eq!(of(f64::NEG_INFINITY), "\"-Inf\"");
    }

    #[test]
    fn times_have_three_digits_or_none() {
        let of = |time| written(|out| seconds(out, time));
        assert_eq!(
            (of(0), of(1500), of(-1), of(1_435_781_451_081)),
            ("0".into(), "1.500".into(), "-0.001".into(), "1435781451.081".into())
        );
    }

    #[test]
    fn labels_keep_markup_and_other_texts_do_not() {
        let set = Labels::from_pairs([("a", "<\"\\\n\u{1}\u{2028}>")]);
        assert_eq!(written(|out| labels(out, &set)), "{\"a\":\"<\\\"\\\\\\n\\u0001\u{2028}>\"}");
        assert_eq!(written(|out| text(out, "<&>\u{2028}\u{2030}")), "\"\\u003c\\u0026\\u003e\\u2028\u{2030}\"");
    }

    #[test]
    fn results() {
        let up = Labels::from_pairs([("__name__", "up")]);
        let vector = Value::Vector {
            time_ms: 1500,
            samples: vec![VectorSample { labels: up.clone(), value: SampleValue::Float(1.5) }],
        };
        assert_eq!(
            written(|out| query(out, &vector, None)),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[1.500,"1.5"]}]}"#
        );
        let series = MatrixSeries {
            labels: up,
            timestamps: vec![1000, 2000].into(),
            values: vec![1.0, 2.0].into(),
            histograms: Vec::new(),
        };
        assert_eq!(
            written(|out| query(out, &Value::Matrix(vec![series]), None)),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"1"],[2,"2"]]}]}"#
        );
        let text = Value::String { time_ms: 0, value: "x".into() };
        assert_eq!(written(|out| query(out, &text, None)), r#"{"resultType":"string","result":[0,"x"]}"#);
        assert_eq!(
            written(|out| query(out, &Value::Matrix(Vec::new()), None)),
            r#"{"resultType":"matrix","result":[]}"#
        );
    }
}
