//! Native histograms as senders give them.

use crate::wire::{Reader, WireError, zigzag};

/// Schemas that are exponential; higher resolutions are refused as Prometheus refuses them.
const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=8;
/// The schema of custom bounds.
const CUSTOM: i32 = -53;

/// Buckets of one sign: spans and the absolute count of each bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// How far each span lies from the end of the one before.
    pub offsets: Vec<i32>,
    /// Buckets of each span.
    pub lengths: Vec<i32>,
    /// Observations of each bucket.
    pub counts: Vec<f64>,
}

/// One native histogram; integer counts have become floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The resolution; -53 for custom bounds.
    pub schema: i32,
    /// Up to where observations count as zero.
    pub zero_threshold: f64,
    /// Observations that do.
    pub zero_count: f64,
    /// Buckets above zero.
    pub positive: Buckets,
    /// Buckets below zero.
    pub negative: Buckets,
    /// Upper bounds of custom buckets.
    pub custom_bounds: Vec<f64>,
    /// Whether it was reset: 0 unknown, 1 yes, 2 no, 3 a gauge.
    pub reset_hint: i32,
}

/// Checks a histogram that was not read from bytes.
pub(crate) fn check(histogram: &Histogram, buckets_max: usize) -> Result<(), HistogramError> {
    // Sums of floats need not agree with their count to the last bit.
    validate(histogram, false, buckets_max)
}

/// Why a histogram is refused; the words are Prometheus's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum HistogramError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Invalid(String),
    #[error("received a native histogram sample with too many buckets (actual: {actual}, limit: {limit})")]
    TooManyBuckets { actual: usize, limit: usize },
}

/// A message `Histogram` of remote write, which is the same in both versions, and its time in milliseconds.
pub(crate) fn read(mut message: Reader<'_>, buckets_max: usize) -> Result<(Histogram, i64), HistogramError> {
    let mut histogram = Histogram::default();
    let (mut timestamp, mut is_integer, mut deltas) = (0, false, [Vec::new(), Vec::new()]);
    while let Some(field) = message.field()? {
        match field.number {
            1 => (histogram.count, is_integer) = (field.varint()? as f64, true),
            2 => histogram.count = field.double()?,
            3 => histogram.sum = field.double()?,
            4 => histogram.schema = field.sint32()?,
            5 => histogram.zero_threshold = field.double()?,
            6 => histogram.zero_count = field.varint()? as f64,
            7 => histogram.zero_count = field.double()?,
            8 => span(field.message()?, &mut histogram.negative)?,
            9 => field.varints(|delta| deltas[0].push(zigzag(delta)))?,
            10 => field.doubles(&mut histogram.negative.counts)?,
            11 => span(field.message()?, &mut histogram.positive)?,
            12 => field.varints(|delta| deltas[1].push(zigzag(delta)))?,
            13 => field.doubles(&mut histogram.positive.counts)?,
            14 => histogram.reset_hint = field.int32()?,
            15 => timestamp = field.int64()?,
            16 => field.doubles(&mut histogram.custom_bounds)?,
            _ => {}
        }
    }
    let [negative, positive] = deltas;
    sum_up(&negative, &mut histogram.negative.counts);
    sum_up(&positive, &mut histogram.positive.counts);
    validate(&histogram, is_integer, buckets_max)?;
    Ok((histogram, timestamp))
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

/// The counts of buckets that are given as steps from one to the next.
pub(crate) fn sum_up(deltas: &[i64], counts: &mut Vec<f64>) {
    let mut count = 0i64;
    counts.extend(deltas.iter().map(|delta| {
        count = count.wrapping_add(*delta);
        count as f64
    }));
}

/// What Prometheus checks before it appends one.
pub(crate) fn validate(histogram: &Histogram, is_integer: bool, buckets_max: usize) -> Result<(), HistogramError> {
    let invalid = |text: String| Err(HistogramError::Invalid(text));
    let Histogram { schema, positive, negative, custom_bounds, .. } = histogram;
    match *schema {
        CUSTOM => {
            if custom_bounds.windows(2).any(|pair| pair[0] >= pair[1]) || custom_bounds.iter().any(|b| b.is_nan()) {
                return invalid("histogram custom bounds must be in strictly increasing order".to_owned());
            }
            if custom_bounds.last() == Some(&f64::INFINITY) {
                return invalid("last +Inf bound must not be explicitly defined".to_owned());
            }
            if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 {
                return invalid("custom buckets: must have zero count and zero threshold of 0".to_owned());
            }
            if !negative.counts.is_empty() || !negative.offsets.is_empty() {
                return invalid("custom buckets: must not have negative spans or buckets".to_owned());
            }
        }
        schema if EXPONENTIAL.contains(&schema) => {
            if !custom_bounds.is_empty() {
                return invalid("histogram with exponential schema must not have custom bounds".to_owned());
            }
        }
        schema => {
            return invalid(format!("invalid histogram schema {schema}: must be in [-4, 8] or -53"));
        }
    }
    for buckets in [positive, negative] {
        check_spans(buckets, buckets_max)?;
    }
    // Of floats the sum is not exact, and Prometheus does not compare it.
    if is_integer {
        let observed: f64 = histogram.zero_count + [positive, negative].iter().flat_map(|b| &b.counts).sum::<f64>();
        let (count, has_nan) = (histogram.count, histogram.sum.is_nan());
        let text = format!("{observed} observations found in buckets, but the Count field is {count}");
        if has_nan && observed > count {
            return invalid(format!(
                "{text}: histogram's observation count should be at least the number of observations found in the buckets"
            ));
        }
        if !has_nan && observed != count {
            return invalid(format!(
                "{text}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
            ));
        }
    }
    Ok(())
}

fn check_spans(buckets: &Buckets, buckets_max: usize) -> Result<(), HistogramError> {
    let invalid = |text: String| Err(HistogramError::Invalid(text));
    let mut named = 0i64;
    for (index, (offset, length)) in buckets.offsets.iter().zip(&buckets.lengths).enumerate() {
        if index > 0 && *offset < 0 {
            return invalid(format!(
                "span number {} with offset {offset}: histogram has a span whose offset is negative",
                index + 1
            ));
        }
        named = named.saturating_add(i64::from(*length));
    }
    if named != buckets.counts.len() as i64 {
        return invalid(format!(
            "spans need {named} buckets, have {} buckets: histogram spans specify different number of buckets than provided",
            buckets.counts.len()
        ));
    }
    if buckets.counts.len() > buckets_max {
        return Err(HistogramError::TooManyBuckets { actual: buckets.counts.len(), limit: buckets_max });
    }
    match buckets.counts.iter().position(|count| *count < 0.0) {
        Some(bucket) => invalid(format!(
            "bucket number {} has observation count of {}: histogram has a bucket whose observation count is negative",
            bucket + 1,
            buckets.counts[bucket]
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Histogram)) -> Result<(), HistogramError> {
        let positive = Buckets { offsets: vec![0, 1], lengths: vec![1, 1], counts: vec![1.0, 2.0] };
        let mut histogram = Histogram { count: 3.0, sum: 5.0, positive, ..Default::default() };
        change(&mut histogram);
        validate(&histogram, true, 4)
    }

    #[test]
    fn sound_ones_pass_and_others_are_named() {
        assert!(with(|_| {}).is_ok());
        let text = |change: fn(&mut Histogram)| with(change).unwrap_err().to_string();
        assert!(text(|h| h.schema = 9).starts_with("invalid histogram schema 9"));
        assert!(text(|h| h.positive.lengths[0] = 2).starts_with("spans need 3 buckets, have 2 buckets"));
        assert!(text(|h| h.positive.offsets[1] = -1).starts_with("span number 2 with offset -1"));
        assert!(text(|h| h.positive.counts[1] = -1.0).starts_with("bucket number 2"));
        assert!(text(|h| h.count = 1.0).starts_with("3 observations found in buckets, but the Count field is 1"));
        assert!(text(|h| h.custom_bounds = vec![1.0]).contains("exponential"));
        assert!(
            text(|h| {
                h.schema = CUSTOM;
                h.custom_bounds = vec![2.0, 1.0];
            })
            .contains("increasing")
        );
        assert!(
            with(|h| {
                h.count = 9.0;
                h.sum = f64::NAN;
            })
            .is_ok(),
            "an observation of NaN is in no bucket"
        );
        assert!(text(|h| h.positive.lengths[0] = i32::MAX).starts_with("spans need"));
    }

    #[test]
    fn deltas_become_counts() {
        let mut counts = Vec::new();
        sum_up(&[2, -1, 3], &mut counts);
        assert_eq!(counts, [2.0, 1.0, 4.0]);
    }
}
