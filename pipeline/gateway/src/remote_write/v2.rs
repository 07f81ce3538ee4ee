//! `io.prometheus.write.v2.Request`: texts once per request, labels as numbers of them.

use super::v1::native;
use crate::intake::{Intake, LabelSource};
use crate::memory::{Metadata, kind_name};
use crate::series::{Resolved, SeriesError};
use crate::wire::{Reader, WireError};

const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;

/// Reads a request into `intake`.
///
/// # Errors
/// Where the bytes are no such message; what was read before is in `intake` and is to be forgotten.
pub(crate) fn read<'a>(body: &'a [u8], intake: &mut Intake<'_>) -> Result<(), WireError> {
    let mut symbols: Vec<&'a str> = Vec::new();
    let mut request = Reader::new(body);
    while let Some(field) = request.field()? {
        if field.number == SYMBOLS {
            symbols.push(field.text()?);
        }
    }
    let mut scratch = Scratch::default();
    let mut request = Reader::new(body);
    while let Some(field) = request.field()? {
        if field.number == TIMESERIES {
            series(field.message()?, &symbols, intake, &mut scratch)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Scratch {
    refs: Vec<u64>,
    bytes: Vec<u8>,
}

fn series<'a>(
    message: Reader<'a>,
    symbols: &[&'a str],
    intake: &mut Intake<'_>,
    scratch: &mut Scratch,
) -> Result<(), WireError> {
    scratch.refs.clear();
    let mut reader = message;
    while let Some(field) = reader.field()? {
        if field.number == 1 {
            field.varints(|reference| scratch.refs.push(reference))?;
        }
    }
    let labels = SymbolLabels { refs: &scratch.refs, symbols };
    let resolved = labels.join(&mut scratch.bytes).and_then(|()| intake.series(&scratch.bytes, &labels));
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(error) => {
            let text = labels.display();
            intake.problems.add(|| match error {
                SeriesError::Invalid => format!("invalid metric name or labels, got {text}"),
                SeriesError::Duplicate(name) => {
                    format!("invalid labels for series, labels {text}, duplicated label {name}")
                }
                other => format!("{other}: series {text}"),
            });
            return Ok(());
        }
    };
    let mut reader = message;
    while let Some(field) = reader.field()? {
        match field.number {
            2 => sample(field.message()?, resolved, intake)?,
            3 => native(field.message()?, resolved, intake)?,
            4 => exemplar(field.message()?, symbols, resolved, intake)?,
            5 => metadata(field.message()?, &labels, intake)?,
            _ => {}
        }
    }
    Ok(())
}

fn sample(mut message: Reader<'_>, series: Resolved, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let (mut ts_ms, mut value) = (0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => value = field.double()?,
            2 => ts_ms = field.int64()?,
            _ => {}
        }
    }
    intake.sample(series, ts_ms, value);
    Ok(())
}

fn exemplar(
    mut message: Reader<'_>,
    symbols: &[&str],
    series: Resolved,
    intake: &mut Intake<'_>,
) -> Result<(), WireError> {
    let (mut refs, mut value, mut ts_ms) = (Vec::new(), 0.0, 0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => field.varints(|reference| refs.push(reference))?,
            2 => value = field.double()?,
            3 => ts_ms = field.int64()?,
            _ => {}
        }
    }
    let mut labels = Vec::new();
    match (SymbolLabels { refs: &refs, symbols }).labels(&mut labels) {
        Ok(()) => {
            let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            intake.exemplar(series.series_id, labels, value, ts_ms);
        }
        Err(error) => intake.problems.add(|| format!("exemplar: {error}")),
    }
    Ok(())
}

fn metadata(mut message: Reader<'_>, labels: &SymbolLabels<'_, '_>, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => kind = field.varint()?,
            3 => help = field.varint()?,
            4 => unit = field.varint()?,
            _ => {}
        }
    }
    let text = |reference| labels.symbol(reference).unwrap_or_default().to_owned();
    if kind == 0 && help == 0 && unit == 0 {
        return Ok(());
    }
    let mut pairs = Vec::new();
    if labels.labels(&mut pairs).is_err() {
        return Ok(());
    }
    if let Some((_, name)) = pairs.iter().find(|(label, _)| *label == "__name__") {
        let name = family(name, kind_name(kind));
        if intake.metadata.last().is_none_or(|last| last.name != name) {
            let metadata =
                Metadata { name: name.to_owned(), kind: kind_name(kind), help: text(help), unit: text(unit) };
            intake.metadata.push(metadata);
        }
    }
    Ok(())
}

/// The family of a series' name: parts of histograms and summaries lie under one.
fn family<'a>(name: &'a str, kind: &str) -> &'a str {
    let suffixes: &[&str] = match kind {
        "histogram" | "gaugehistogram" => &["_bucket", "_count", "_sum"],
        "summary" => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

struct SymbolLabels<'r, 'a> {
    refs: &'r [u64],
    symbols: &'r [&'a str],
}

impl<'a> SymbolLabels<'_, 'a> {
    fn symbol(&self, reference: u64) -> Option<&'a str> {
        usize::try_from(reference).ok().and_then(|place| self.symbols.get(place)).copied()
    }

    /// The texts with their lengths, one after another.
    fn join(&self, into: &mut Vec<u8>) -> Result<(), SeriesError> {
        into.clear();
        for reference in self.refs {
            let text = self.symbol(*reference).ok_or(SeriesError::Invalid)?;
            into.extend_from_slice(&(text.len() as u32).to_le_bytes());
            into.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    /// `{a="b", c="d"}` for messages.
    fn display(&self) -> String {
        let text = |reference: &u64| self.symbol(*reference).unwrap_or("?");
        let pairs = self
            .refs
            .chunks(2)
            .map(|pair| format!("{}={:?}", pair.first().map_or("?", text), pair.get(1).map_or("?", text)));
        let mut shown = format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "));
        if let Some((end, _)) = shown.char_indices().nth(1024) {
            shown.truncate(end);
        }
        shown
    }
}

impl<'a> LabelSource<'a> for SymbolLabels<'_, 'a> {
    fn labels(&self, into: &mut Vec<(&'a str, &'a str)>) -> Result<(), SeriesError> {
        for pair in self.refs.chunks(2) {
            let [name, value] = pair else { return Err(SeriesError::Invalid) };
            let (name, value) = (self.symbol(*name), self.symbol(*value));
            into.push((name.ok_or(SeriesError::Invalid)?, value.ok_or(SeriesError::Invalid)?));
        }
        Ok(())
    }
}
