//! `prometheus.WriteRequest`.

use crate::histogram::{self, HistogramError};
use crate::intake::{Intake, LabelSource};
use crate::memory::{Metadata, kind_name};
use crate::series::{Resolved, SeriesError};
use crate::wire::{Reader, WireError};

const TIMESERIES: u32 = 1;
const METADATA: u32 = 3;
const LABELS: u32 = 1;
const SAMPLES: u32 = 2;
const EXEMPLARS: u32 = 3;
const HISTOGRAMS: u32 = 4;

/// Reads a request into `intake`.
///
/// # Errors
/// Where the bytes are no such message; what was read before is in `intake` and is to be forgotten.
pub(crate) fn read(body: &[u8], intake: &mut Intake<'_>) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    // Labels that do not lie in one stretch are joined here; no known sender makes them.
    let mut joined = Vec::new();
    while let Some(field) = request.field()? {
        match field.number {
            TIMESERIES => series(field.message()?, intake, &mut joined)?,
            METADATA => {
                let metadata = metadata(field.message()?)?;
                intake.metadata.push(metadata);
            }
            _ => {}
        }
    }
    Ok(())
}

fn series<'a>(message: Reader<'a>, intake: &mut Intake<'_>, joined: &mut Vec<u8>) -> Result<(), WireError> {
    let labels = LabelFields { message };
    let (stretch, mut values) = stretch(message)?;
    let resolved = match stretch {
        Some(bytes) => intake.series(bytes, &labels),
        None => {
            labels.join(joined)?;
            intake.series(joined, &labels)
        }
    };
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(error) => {
            refuse(message, intake, &error)?;
            return Ok(());
        }
    };
    if stretch.is_none() {
        values = message;
    }
    while let Some(field) = values.field()? {
        match field.number {
            SAMPLES => {
                let (ts_ms, value) = sample(field.message()?)?;
                intake.sample(resolved, ts_ms, value);
            }
            HISTOGRAMS => native(field.message()?, resolved, intake)?,
            EXEMPLARS => exemplar(field.message()?, resolved, intake)?,
            _ => {}
        }
    }
    Ok(())
}

/// The bytes of the labels where all of them stand at the front, and what follows.
#[inline]
fn stretch<'a>(message: Reader<'a>) -> Result<(Option<&'a [u8]>, Reader<'a>), WireError> {
    let all = message.rest();
    let mut reader = message;
    let mut end = 0;
    let mut values = reader;
    loop {
        let before = reader;
        match reader.field()? {
            Some(field) if field.number == LABELS => end = all.len() - reader.rest().len(),
            Some(_) => {
                values = before;
                break;
            }
            None => {
                values = if end == all.len() { reader } else { values };
                break;
            }
        }
    }
    // Labels behind the first value: rare, and then looked up by all of their bytes.
    let mut rest = values;
    while let Some(field) = rest.field()? {
        if field.number == LABELS {
            return Ok((None, message));
        }
    }
    Ok((Some(&all[..end]), values))
}

#[inline]
fn sample(mut message: Reader<'_>) -> Result<(i64, f64), WireError> {
    let (mut ts_ms, mut value) = (0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => value = field.double()?,
            2 => ts_ms = field.int64()?,
            _ => {}
        }
    }
    Ok((ts_ms, value))
}

pub(super) fn native(message: Reader<'_>, series: Resolved, intake: &mut Intake<'_>) -> Result<(), WireError> {
    match histogram::read(message, intake.limits.buckets_max) {
        Ok((value, ts_ms)) => intake.histogram(series, ts_ms, value),
        Err(HistogramError::Wire(error)) => return Err(error),
        Err(error) => intake.refuse_histogram("", &error),
    }
    Ok(())
}

fn exemplar(mut message: Reader<'_>, series: Resolved, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let (mut labels, mut value, mut ts_ms) = (Vec::new(), 0.0, 0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => {
                let (name, value) = label(field.message()?)?;
                labels.push((name.to_owned(), value.to_owned()));
            }
            2 => value = field.double()?,
            3 => ts_ms = field.int64()?,
            _ => {}
        }
    }
    intake.exemplar(series.series_id, labels, value, ts_ms);
    Ok(())
}

fn metadata(mut message: Reader<'_>) -> Result<Metadata, WireError> {
    let mut metadata = Metadata { name: String::new(), kind: kind_name(0), help: String::new(), unit: String::new() };
    while let Some(field) = message.field()? {
        match field.number {
            1 => metadata.kind = kind_name(field.varint()?),
            2 => metadata.name = field.text()?.to_owned(),
            4 => metadata.help = field.text()?.to_owned(),
            5 => metadata.unit = field.text()?.to_owned(),
            _ => {}
        }
    }
    Ok(metadata)
}

fn label(mut message: Reader<'_>) -> Result<(&str, &str), WireError> {
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

/// Invalid labels leave a series out, as Prometheus does; the rest of the request is taken.
fn refuse(message: Reader<'_>, intake: &mut Intake<'_>, error: &SeriesError) -> Result<(), WireError> {
    let mut reader = message;
    let mut samples = 0;
    while let Some(field) = reader.field()? {
        samples += usize::from(field.number == SAMPLES || field.number == HISTOGRAMS);
    }
    match error {
        SeriesError::Invalid | SeriesError::Duplicate(_) => intake.problems.invalid_series += 1,
        error => intake.problems.add(|| format!("{error}; {samples} samples are not stored")),
    }
    Ok(())
}

struct LabelFields<'a> {
    message: Reader<'a>,
}

impl LabelFields<'_> {
    fn join(&self, into: &mut Vec<u8>) -> Result<(), WireError> {
        into.clear();
        let mut reader = self.message;
        while let Some(field) = reader.field()? {
            if field.number == LABELS {
                let bytes = field.bytes()?;
                into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                into.extend_from_slice(bytes);
            }
        }
        Ok(())
    }
}

impl<'a> LabelSource<'a> for LabelFields<'a> {
    fn labels(&self, into: &mut Vec<(&'a str, &'a str)>) -> Result<(), SeriesError> {
        let mut reader = self.message;
        while let Some(field) = reader.field().map_err(|_| SeriesError::Invalid)? {
            if field.number == LABELS {
                let pair = field.message().and_then(label);
                into.push(pair.map_err(|_| SeriesError::Invalid)?);
            }
        }
        Ok(())
    }
}
