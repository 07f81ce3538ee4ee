//! Prometheus's protocol buffers: `io.prometheus.client.MetricFamily` messages, each behind its length.
//!
//! Samples come out as from a page of text, a series as `{"name","label"="value"}`, so that whoever knows a series by its
//! text knows these, too. Native histograms are here and nowhere in text.

use crate::histogram::{Buckets, Histogram};
use crate::memory::Metadata;
use crate::own::{OwnExemplar, OwnValue};
use crate::page::{Histograms, PageSample};
use crate::wire::{Field, Reader, WireError, zigzag};
use std::fmt::Write as _;
use std::sync::Arc;

/// The hint of a histogram that goes up and down.
const GAUGE: i32 = 3;

/// Types of families.
const COUNTER: u64 = 0;
const SUMMARY: u64 = 2;
const UNTYPED: u64 = 3;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

/// Reads a page; `sample` is called for each sample, and says whether it goes on.
///
/// # Errors
/// What is wrong, with the number of its family.
pub(crate) fn read(
    page: &[u8],
    histograms: Histograms,
    mut sample: impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<Vec<Metadata>, String> {
    let (mut reader, mut metadata) = (Reader::new(page), Vec::new());
    let mut scratch = Scratch::default();
    for number in 1.. {
        let read = reader.delimited().map_err(Fault::Wire).and_then(|family| match family {
            Some(family) => family_of(family, histograms, &mut scratch, &mut sample).map(Some),
            None => Ok(None),
        });
        match read {
            Ok(Some(said)) => metadata.push(said),
            Ok(None) => break,
            Err(Fault::Wire(error)) => return Err(format!("metric family {number}: {error}")),
            Err(Fault::Refused(why)) => return Err(format!("metric family {number}: {why}")),
        }
    }
    Ok(metadata)
}

/// Why a page is not read to its end.
enum Fault {
    Wire(WireError),
    Refused(String),
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Room for texts, and what all samples of a metric have in common.
#[derive(Default)]
struct Scratch {
    /// `,"label"="value"` for each label.
    labels: String,
    series: String,
    ts_ms: Option<i64>,
    kind: &'static str,
}

impl Scratch {
    /// The series `name` + `suffix` with one more label.
    fn sample(
        &mut self,
        (name, suffix): (&str, &str),
        more: Option<(&str, f64)>,
        value: OwnValue,
        exemplars: Vec<OwnExemplar>,
        sample: &mut impl FnMut(PageSample<'_>) -> Result<(), String>,
    ) -> Result<(), Fault> {
        self.series.clear();
        self.series.push_str("{\"");
        escape(name, &mut self.series);
        self.series.push_str(suffix);
        self.series.push('"');
        self.series.push_str(&self.labels);
        if let Some((label, bound)) = more {
            // Writing to a text does not fail.
            let _ = write!(self.series, ",\"{label}\"=\"{}\"", bound_text(bound));
        }
        self.series.push('}');
        let found = PageSample { series: &self.series, value, ts_ms: self.ts_ms, kind: self.kind, exemplars };
        sample(found).map_err(Fault::Refused)
    }
}

fn family_of(
    family: Reader<'_>,
    histograms: Histograms,
    scratch: &mut Scratch,
    sample: &mut impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<Metadata, Fault> {
    let (mut name, mut kind) = ("", COUNTER);
    let mut said = Metadata { name: String::new(), kind: "unknown", help: String::new(), unit: String::new() };
    let mut fields = family;
    while let Some(field) = fields.field()? {
        match field.number {
            1 => name = field.text()?,
            2 => said.help = field.text()?.to_owned(),
            3 => kind = field.varint()?,
            5 => said.unit = field.text()?.to_owned(),
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(Fault::Refused("it has no name".to_owned()));
    }
    said.name = name.to_owned();
    said.kind = match kind {
        COUNTER => "counter",
        1 => "gauge",
        SUMMARY => "summary",
        UNTYPED => "unknown",
        HISTOGRAM => "histogram",
        GAUGE_HISTOGRAM => "gaugehistogram",
        other => return Err(Fault::Refused(format!("unknown metric type {other}"))),
    };
    scratch.kind = said.kind;
    let mut fields = family;
    while let Some(field) = fields.field()? {
        if field.number == 4 {
            metric(field.message()?, name, kind, histograms, scratch, sample)?;
        }
    }
    Ok(said)
}

fn metric(
    message: Reader<'_>,
    name: &str,
    kind: u64,
    histograms: Histograms,
    scratch: &mut Scratch,
    sample: &mut impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<(), Fault> {
    scratch.labels.clear();
    scratch.ts_ms = None;
    let mut value = None;
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.number {
            1 => label(field.message()?, &mut scratch.labels)?,
            // The place of each kind's value; a message of another kind is not looked at.
            2 if kind == 1 => value = Some(field),
            3 if kind == COUNTER => value = Some(field),
            4 if kind == SUMMARY => value = Some(field),
            5 if kind == UNTYPED => value = Some(field),
            6 => scratch.ts_ms = Some(field.int64()?).filter(|ts_ms| *ts_ms != 0),
            7 if kind == HISTOGRAM || kind == GAUGE_HISTOGRAM => value = Some(field),
            _ => {}
        }
    }
    let message = value.as_ref().map(Field::message).transpose()?.unwrap_or(Reader::new(&[]));
    match kind {
        SUMMARY => summary(message, name, scratch, sample),
        HISTOGRAM | GAUGE_HISTOGRAM => {
            let read = histogram(message, kind == GAUGE_HISTOGRAM)?;
            read.emit(name, histograms, scratch, sample)
        }
        _ => {
            let (value, exemplars) = number(message, kind == COUNTER)?;
            scratch.sample((name, ""), None, OwnValue::Float(value), exemplars, sample)
        }
    }
}

/// The value of a gauge, a counter or an untyped metric, and a counter's exemplar.
fn number(mut message: Reader<'_>, is_counter: bool) -> Result<(f64, Vec<OwnExemplar>), WireError> {
    let (mut value, mut exemplars) = (0.0, Vec::new());
    while let Some(field) = message.field()? {
        match field.number {
            1 => value = field.double()?,
            2 if is_counter => exemplars.push(exemplar(field.message()?)?),
            _ => {}
        }
    }
    Ok((value, exemplars))
}

fn exemplar(mut message: Reader<'_>) -> Result<OwnExemplar, WireError> {
    let mut exemplar = OwnExemplar { labels: Vec::new(), value: 0.0, ts_ms: None };
    while let Some(field) = message.field()? {
        match field.number {
            1 => {
                let (name, value) = pair(field.message()?)?;
                exemplar.labels.push((name.to_owned(), value.to_owned()));
            }
            2 => exemplar.value = field.double()?,
            3 => exemplar.ts_ms = Some(timestamp(field.message()?)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

/// A `google.protobuf.Timestamp` in milliseconds.
fn timestamp(mut message: Reader<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(field) = message.field()? {
        match field.number {
            1 => seconds = field.int64()?,
            2 => nanos = field.int64()?,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos.div_euclid(1_000_000)))
}

fn pair(mut message: Reader<'_>) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = message.field()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn label(message: Reader<'_>, labels: &mut String) -> Result<(), WireError> {
    let (name, value) = pair(message)?;
    labels.push_str(",\"");
    escape(name, labels);
    labels.push_str("\"=\"");
    escape(value, labels);
    labels.push('"');
    Ok(())
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            c => into.push(c),
        }
    }
}

fn summary(
    message: Reader<'_>,
    name: &str,
    scratch: &mut Scratch,
    sample: &mut impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<(), Fault> {
    let (mut count, mut sum, mut quantiles) = (0, 0.0, Vec::new());
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.number {
            1 => count = field.varint()?,
            2 => sum = field.double()?,
            3 => {
                let (mut quantile, mut value, mut fields) = (0.0, 0.0, field.message()?);
                while let Some(field) = fields.field()? {
                    match field.number {
                        1 => quantile = field.double()?,
                        2 => value = field.double()?,
                        _ => {}
                    }
                }
                quantiles.push((quantile, value));
            }
            _ => {}
        }
    }
    scratch.sample((name, "_count"), None, OwnValue::Float(count as f64), Vec::new(), sample)?;
    scratch.sample((name, "_sum"), None, OwnValue::Float(sum), Vec::new(), sample)?;
    for (quantile, value) in quantiles {
        scratch.sample((name, ""), Some(("quantile", quantile)), OwnValue::Float(value), Vec::new(), sample)?;
    }
    Ok(())
}

/// A bucket of a classic histogram.
struct ClassicBucket {
    upper: f64,
    /// Observations up to that.
    count: f64,
    exemplars: Vec<OwnExemplar>,
}

/// A histogram of both kinds.
struct Both {
    native: Histogram,
    classic: Vec<ClassicBucket>,
    /// Exemplars of the whole.
    exemplars: Vec<OwnExemplar>,
    is_native: bool,
}

fn histogram(mut message: Reader<'_>, is_gauge: bool) -> Result<Both, WireError> {
    let mut native = Histogram { reset_hint: if is_gauge { GAUGE } else { 0 }, ..Histogram::default() };
    let (mut classic, mut exemplars, mut deltas) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    let (mut count, mut zero_count) = ([0.0; 2], [0.0; 2]);
    while let Some(field) = message.field()? {
        match field.number {
            1 => count[0] = field.varint()? as f64,
            2 => native.sum = field.double()?,
            3 => classic.push(bucket(field.message()?)?),
            4 => count[1] = field.double()?,
            5 => native.schema = field.sint32()?,
            6 => native.zero_threshold = field.double()?,
            7 => zero_count[0] = field.varint()? as f64,
            8 => zero_count[1] = field.double()?,
            9 => span(field.message()?, &mut native.negative)?,
            10 => field.varints(|delta| deltas[0].push(zigzag(delta)))?,
            11 => field.doubles(&mut native.negative.counts)?,
            12 => span(field.message()?, &mut native.positive)?,
            13 => field.varints(|delta| deltas[1].push(zigzag(delta)))?,
            14 => field.doubles(&mut native.positive.counts)?,
            16 => exemplars.push(exemplar(field.message()?)?),
            _ => {}
        }
    }
    let [negative, positive] = deltas;
    crate::histogram::sum_up(&negative, &mut native.negative.counts);
    crate::histogram::sum_up(&positive, &mut native.positive.counts);
    // A count of floats goes before one of integers where it is there.
    native.count = if count[1] > 0.0 { count[1] } else { count[0] };
    native.zero_count = if zero_count[1] > 0.0 { zero_count[1] } else { zero_count[0] };
    let has_spans = !native.positive.lengths.is_empty() || !native.negative.lengths.is_empty();
    let is_native = has_spans || native.zero_threshold > 0.0 || native.zero_count > 0.0;
    Ok(Both { native, classic, exemplars, is_native })
}

fn bucket(mut message: Reader<'_>) -> Result<ClassicBucket, WireError> {
    let (mut upper, mut count, mut exact, mut exemplars) = (0.0, 0.0, 0.0, Vec::new());
    while let Some(field) = message.field()? {
        match field.number {
            1 => count = field.varint()? as f64,
            2 => upper = field.double()?,
            3 => exemplars.push(exemplar(field.message()?)?),
            4 => exact = field.double()?,
            _ => {}
        }
    }
    Ok(ClassicBucket { upper, count: if exact > 0.0 { exact } else { count }, exemplars })
}

fn span(mut message: Reader<'_>, buckets: &mut Buckets) -> Result<(), WireError> {
    let (mut offset, mut length) = (0, 0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => offset = field.sint32()?,
            2 => length = i32::try_from(field.varint()?).map_err(|_| WireError::Overflow)?,
            _ => {}
        }
    }
    buckets.offsets.push(offset);
    buckets.lengths.push(length);
    Ok(())
}

impl Both {
    fn emit(
        self,
        name: &str,
        histograms: Histograms,
        scratch: &mut Scratch,
        sample: &mut impl FnMut(PageSample<'_>) -> Result<(), String>,
    ) -> Result<(), Fault> {
        let Self { native, mut classic, mut exemplars, is_native } = self;
        let is_native = is_native && histograms != Histograms::Classic;
        let (count, sum) = (native.count, native.sum);
        if is_native {
            if exemplars.is_empty() {
                exemplars = classic.iter().flat_map(|bucket| bucket.exemplars.clone()).collect();
            }
            // As in Prometheus: those of a native histogram must say when they were.
            exemplars.retain(|exemplar| exemplar.ts_ms.is_some());
            scratch.sample((name, ""), None, OwnValue::Histogram(Arc::new(native)), exemplars, sample)?;
            if histograms == Histograms::Native || classic.is_empty() {
                return Ok(());
            }
        }
        scratch.sample((name, "_count"), None, OwnValue::Float(count), Vec::new(), sample)?;
        scratch.sample((name, "_sum"), None, OwnValue::Float(sum), Vec::new(), sample)?;
        if classic.last().is_none_or(|bucket| bucket.upper != f64::INFINITY) {
            classic.push(ClassicBucket { upper: f64::INFINITY, count, exemplars: Vec::new() });
        }
        for ClassicBucket { upper, count, exemplars } in classic {
            scratch.sample((name, "_bucket"), Some(("le", upper)), OwnValue::Float(count), exemplars, sample)?;
        }
        Ok(())
    }
}

/// A bound as OpenMetrics writes it: never without a point or an exponent.
pub(crate) fn bound_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value == 0.0 {
        return "0.0".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // The shortest digits that give the value back, and the exponent of the first.
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_as_go_writes_them() {
        let texts: Vec<String> =
            [0.0, 1.0, -1.0, 0.005, 2.5, 100.0, 123_456.0, 1e6, 1_234_567.5, 1e-5, 2.5e-7, 1e21, f64::INFINITY, -0.0]
                .map(bound_text)
                .into();
        assert_eq!(
            texts,
            [
                "0.0",
                "1.0",
                "-1.0",
                "0.005",
                "2.5",
                "100.0",
                "123456.0",
                "1e+06",
                "1.2345675e+06",
                "1e-05",
                "2.5e-07",
                "1e+21",
                "+Inf",
                "0.0"
            ]
        );
    }
}
