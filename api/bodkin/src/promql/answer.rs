//! An answer of the Prometheus API as rows.

use crate::output::{Console, OutputFormat};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use bodkin_http::SqlStats;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Deserialize)]
struct Envelope {
    data: Option<Box<RawValue>>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Box<RawValue>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    histogram: Option<(f64, Box<RawValue>)>,
    #[serde(default)]
    histograms: Vec<(f64, Box<RawValue>)>,
}

/// One series of an answer.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// Seconds since 1970 and value.
    pub(super) points: Vec<(f64, f64)>,
    /// Histograms as JSON.
    texts: Vec<(f64, String)>,
}

impl Series {
    /// `name{label="value"}`.
    pub(super) fn title(&self) -> String {
        let name = self.labels.get("__name__").map_or("", String::as_str);
        let pairs = self.labels.iter().filter(|(label, _)| *label != "__name__");
        let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}={value:?}")).collect();
        match (name, pairs.is_empty()) {
            (name, true) if !name.is_empty() => name.to_owned(),
            (name, _) => format!("{name}{{{}}}", pairs.join(", ")),
        }
    }
}

/// An answer that is data.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) data: Box<RawValue>,
    pub(super) series: Vec<Series>,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// What a body that is no answer says.
pub(super) fn error_of(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { error: Some(error), .. }) => error,
        _ => {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(200).collect();
            format!("server answered {status}: {text}")
        }
    }
}

impl Answer {
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Self, String> {
        let malformed = |error: serde_json::Error| format!("the answer is malformed: {error}");
        let envelope: Envelope = match serde_json::from_slice(body) {
            Ok(envelope) if status == StatusCode::OK => envelope,
            _ => return Err(error_of(status, body)),
        };
        let Envelope { data: Some(data), warnings, infos, .. } = envelope else {
            return Err(error_of(status, body));
        };
        let parsed: Data = serde_json::from_str(data.get()).map_err(malformed)?;
        let series = match parsed.result_type.as_str() {
            "scalar" | "string" => {
                let (time, value): (f64, String) = serde_json::from_str(parsed.result.get()).map_err(malformed)?;
                vec![series(Found {
                    metric: BTreeMap::new(),
                    value: Some((time, value)),
                    values: Vec::new(),
                    histogram: None,
                    histograms: Vec::new(),
                })]
            }
            _ => {
                let found: Vec<Found> = serde_json::from_str(parsed.result.get()).map_err(malformed)?;
                found.into_iter().map(series).collect()
            }
        };
        Ok(Self { data, series, warnings, infos })
    }

    /// Writes rows: labels, time, value.
    pub(super) fn write(&self, format: OutputFormat, console: &Console, out: &mut Vec<u8>) -> Result<(), String> {
        let unwritable = |error: arrow::error::ArrowError| format!("the answer cannot be written: {error}");
        let batch = self.batch().map_err(unwritable)?;
        let mut encoder = format.encoder(&batch.schema(), console).map_err(unwritable)?;
        encoder.begin(out).map_err(unwritable)?;
        encoder.batch(&batch, out).map_err(unwritable)?;
        encoder.finish(&SqlStats { rows: batch.num_rows() as u64, ..Default::default() }, out).map_err(unwritable)
    }

    fn batch(&self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let names: BTreeSet<&String> = self.series.iter().flat_map(|series| series.labels.keys()).collect();
        let rows = || {
            self.series.iter().flat_map(|series| {
                let floats = series.points.iter().map(|(time, value)| (*time, Some(*value), None));
                let texts = series.texts.iter().map(|(time, text)| (*time, None, Some(text.as_str())));
                floats.chain(texts).map(move |row| (series, row))
            })
        };
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for name in names {
            let values = rows().map(|(series, _)| series.labels.get(name).map(String::as_str));
            columns.push((name.clone(), Arc::new(StringArray::from_iter(values))));
        }
        let times = rows().map(|(_, (time, ..))| (time * 1000.0).round() as i64);
        columns
            .push(("ts".to_owned(), Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))));
        let values = rows().map(|(_, (_, value, _))| value);
        columns.push(("value".to_owned(), Arc::new(Float64Array::from_iter(values))));
        if self.series.iter().any(|series| !series.texts.is_empty()) {
            let texts = rows().map(|(_, (_, _, text))| text);
            columns.push(("histogram".to_owned(), Arc::new(StringArray::from_iter(texts))));
        }
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
    }
}

fn series(found: Found) -> Series {
    let values = found.value.into_iter().chain(found.values);
    let histograms = found.histogram.into_iter().chain(found.histograms);
    let mut points = Vec::new();
    let mut texts: Vec<(f64, String)> = histograms.map(|(time, value)| (time, value.get().to_owned())).collect();
    for (time, text) in values {
        match number(&text) {
            Some(value) => points.push((time, value)),
            None => texts.push((time, text)),
        }
    }
    Series { labels: found.metric, points, texts }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_rows() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"a"},"value":[1.5,"1"]},{"metric":{"zone":"z"},"value":[1.5,"+Inf"]}]},"infos":["i"]}"#;
        let answer = Answer::read(StatusCode::OK, body).unwrap();
        assert_eq!((answer.series[0].title(), answer.infos.len()), ("up{job=\"a\"}".to_owned(), 1));
        let mut out = Vec::new();
        answer.write(OutputFormat::Csv, &Console::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().next(), Some("__name__,job,zone,ts,value"));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn errors_are_told_in_their_own_words() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#;
        assert_eq!(Answer::read(StatusCode::BAD_REQUEST, body).unwrap_err(), "invalid parameter \"query\"");
        let error = Answer::read(StatusCode::NOT_FOUND, b"404 page not found\n").unwrap_err();
        assert_eq!(error, "server answered 404 Not Found: 404 page not found");
    }
}
