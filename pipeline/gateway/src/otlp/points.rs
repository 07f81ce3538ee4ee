//! Data points of each kind to samples.

use super::{Context, attributes};
use crate::histogram::{Buckets, Histogram, HistogramError, validate};
use crate::series::Resolved;
use crate::wire::{Field, Reader, WireError};

/// `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: u64 = 1;
/// The flag of a point that says that there is no value.
const NO_VALUE: u64 = 1;
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Schemas of native histograms; finer ones are merged down to the finest.
const SCHEMA_MAX: i32 = 8;
const SCHEMA_MIN: i32 = -4;

/// What a metric's data say of all of their points.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub(super) is_delta: bool,
    pub(super) is_monotonic: bool,
}

impl Shape {
    pub(super) fn read(mut data: Reader<'_>) -> Result<Self, WireError> {
        let mut shape = Self::default();
        while let Some(field) = data.field()? {
            match field.number {
                2 => shape.is_delta = field.varint()? == DELTA,
                3 => shape.is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(shape)
    }
}

/// What points of all kinds have.
#[derive(Default)]
struct Point {
    attributes: Vec<(String, String)>,
    ts_ms: i64,
    is_empty: bool,
}

impl Point {
    fn time(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        self.ts_ms = (field.fixed64()? / 1_000_000) as i64;
        Ok(())
    }

    fn flags(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        self.is_empty = field.varint()? & NO_VALUE != 0;
        Ok(())
    }

    fn value(&self, value: f64) -> f64 {
        if self.is_empty { f64::from_bits(STALE) } else { value }
    }

    fn labels(&mut self) -> Vec<(String, String)> {
        attributes::labels(std::mem::take(&mut self.attributes))
    }
}

fn each_point(
    mut data: Reader<'_>,
    mut take: impl FnMut(Reader<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    while let Some(field) = data.field()? {
        if field.number == 1 {
            take(field.message()?)?;
        }
    }
    Ok(())
}

/// A sample, added to what its series has where it is a change.
fn sample(context: &mut Context<'_, '_, '_>, series: Option<Resolved>, is_delta: bool, point: &Point, value: f64) {
    let Some(series) = series else { return };
    let value = match is_delta && !point.is_empty {
        true => context.deltas.add(series.series_id, value),
        false => point.value(value),
    };
    context.intake.sample(series, point.ts_ms, value);
}

pub(super) fn numbers(
    data: Reader<'_>,
    name: &str,
    shape: &Shape,
    context: &mut Context<'_, '_, '_>,
) -> Result<(), WireError> {
    each_point(data, |mut message| {
        let (mut point, mut value) = (Point::default(), 0.0);
        while let Some(field) = message.field()? {
            match field.number {
                3 => point.time(&field)?,
                4 => value = field.double()?,
                6 => value = field.fixed64()? as i64 as f64,
                7 => attributes::read(field.message()?, &mut point.attributes)?,
                8 => point.flags(&field)?,
                _ => {}
            }
        }
        context.saw(point.ts_ms);
        let labels = point.labels();
        let series = context.series(name, labels, None);
        sample(context, series, shape.is_delta, &point, value);
        Ok(())
    })
}

pub(super) fn histograms(
    data: Reader<'_>,
    name: &str,
    shape: &Shape,
    context: &mut Context<'_, '_, '_>,
) -> Result<(), WireError> {
    each_point(data, |mut message| {
        let (mut point, mut count, mut sum) = (Point::default(), 0u64, None);
        let (mut counts, mut bounds): (Vec<u64>, Vec<f64>) = Default::default();
        while let Some(field) = message.field()? {
            match field.number {
                3 => point.time(&field)?,
                4 => count = field.fixed64()?,
                5 => sum = Some(field.double()?),
                6 => field.fixed64s(|count| counts.push(count))?,
                7 => field.doubles(&mut bounds)?,
                9 => attributes::read(field.message()?, &mut point.attributes)?,
                10 => point.flags(&field)?,
                _ => {}
            }
        }
        if bounds.len() > context.intake.limits.buckets_max {
            let (actual, limit) = (bounds.len(), context.intake.limits.buckets_max);
            context.intake.refuse_histogram(&format!("{name}: "), &HistogramError::TooManyBuckets { actual, limit });
            return Ok(());
        }
        context.saw(point.ts_ms);
        let labels = point.labels();
        let mut below = 0u64;
        for (bound, count) in bounds.iter().zip(&counts) {
            below = below.saturating_add(*count);
            let le = format_bound(*bound);
            let series = context.series(&format!("{name}_bucket"), labels.clone(), Some(("le", &le)));
            sample(context, series, shape.is_delta, &point, below as f64);
        }
        let series = context.series(&format!("{name}_bucket"), labels.clone(), Some(("le", "+Inf")));
        sample(context, series, shape.is_delta, &point, count as f64);
        let series = context.series(&format!("{name}_count"), labels.clone(), None);
        sample(context, series, shape.is_delta, &point, count as f64);
        if let Some(sum) = sum {
            let series = context.series(&format!("{name}_sum"), labels, None);
            sample(context, series, shape.is_delta, &point, sum);
        }
        Ok(())
    })
}

/// A bound as Go writes it.
fn format_bound(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { format!("{bound}") }
}

pub(super) fn summaries(data: Reader<'_>, name: &str, context: &mut Context<'_, '_, '_>) -> Result<(), WireError> {
    each_point(data, |mut message| {
        let (mut point, mut count, mut sum, mut quantiles) = (Point::default(), 0u64, 0.0, Vec::new());
        while let Some(field) = message.field()? {
            match field.number {
                3 => point.time(&field)?,
                4 => count = field.fixed64()?,
                5 => sum = field.double()?,
                6 => {
                    let (mut quantile, mut value, mut parts) = (0.0, 0.0, field.message()?);
                    while let Some(part) = parts.field()? {
                        match part.number {
                            1 => quantile = part.double()?,
                            2 => value = part.double()?,
                            _ => {}
                        }
                    }
                    quantiles.push((quantile, value));
                }
                7 => attributes::read(field.message()?, &mut point.attributes)?,
                8 => point.flags(&field)?,
                _ => {}
            }
        }
        context.saw(point.ts_ms);
        let labels = point.labels();
        for (quantile, value) in quantiles {
            let quantile = format_bound(quantile);
            let series = context.series(name, labels.clone(), Some(("quantile", &quantile)));
            sample(context, series, false, &point, value);
        }
        let series = context.series(&format!("{name}_count"), labels.clone(), None);
        sample(context, series, false, &point, count as f64);
        let series = context.series(&format!("{name}_sum"), labels, None);
        sample(context, series, false, &point, sum);
        Ok(())
    })
}

pub(super) fn exponentials(
    data: Reader<'_>,
    name: &str,
    shape: &Shape,
    context: &mut Context<'_, '_, '_>,
) -> Result<(), WireError> {
    each_point(data, |mut message| {
        let (mut point, mut value) = (Point::default(), Histogram::default());
        let (mut positive, mut negative) = (Run::default(), Run::default());
        while let Some(field) = message.field()? {
            match field.number {
                1 => attributes::read(field.message()?, &mut point.attributes)?,
                3 => point.time(&field)?,
                4 => value.count = field.fixed64()? as f64,
                5 => value.sum = field.double()?,
                6 => value.schema = field.sint32()?,
                7 => value.zero_count = field.fixed64()? as f64,
                8 => positive = Run::read(field.message()?)?,
                9 => negative = Run::read(field.message()?)?,
                10 => point.flags(&field)?,
                14 => value.zero_threshold = field.double()?,
                _ => {}
            }
        }
        if shape.is_delta {
            context.intake.problems.add(|| format!("{name}: exponential histograms of changes are not taken"));
            return Ok(());
        }
        let shift = (value.schema - SCHEMA_MAX).max(0);
        if value.schema < SCHEMA_MIN || shift > 31 {
            let schema = value.schema;
            context.intake.problems.add(|| format!("{name}: scale {schema} must be between {SCHEMA_MIN} and 39"));
            return Ok(());
        }
        value.schema -= shift;
        (value.positive, value.negative) = (positive.buckets(shift), negative.buckets(shift));
        value.sum = point.value(value.sum);
        if let Err(error) = validate(&value, false, context.intake.limits.buckets_max) {
            context.intake.refuse_histogram(&format!("{name}: "), &error);
            return Ok(());
        }
        context.saw(point.ts_ms);
        let labels = point.labels();
        if let Some(series) = context.series(name, labels, None) {
            context.intake.histogram(series, point.ts_ms, value);
        }
        Ok(())
    })
}

/// Buckets from an offset on.
#[derive(Default)]
struct Run {
    offset: i32,
    counts: Vec<u64>,
}

impl Run {
    fn read(mut message: Reader<'_>) -> Result<Self, WireError> {
        let mut run = Self::default();
        while let Some(field) = message.field()? {
            match field.number {
                1 => run.offset = field.sint32()?,
                2 => field.varints(|count| run.counts.push(count))?,
                _ => {}
            }
        }
        Ok(run)
    }

    /// As spans without empty buckets, `shift` schemas coarser. OTLP's bucket `i` is Prometheus's `i + 1`.
    fn buckets(&self, shift: i32) -> Buckets {
        let mut buckets = Buckets::default();
        let mut last: Option<i64> = None;
        for (place, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let index = ((i64::from(self.offset) + place as i64) >> shift) + 1;
            match (last, buckets.counts.last_mut(), buckets.lengths.last_mut()) {
                (Some(last), Some(sum), _) if last == index => {
                    *sum += *count as f64;
                    continue;
                }
                (Some(last), _, Some(length)) if last + 1 == index => *length += 1,
                _ => {
                    let gap = last.map_or(index, |last| index - last - 1);
                    buckets.offsets.push(gap.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
                    buckets.lengths.push(1);
                }
            }
            buckets.counts.push(*count as f64);
            last = Some(index);
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_spans() {
        let run = Run { offset: -1, counts: vec![1, 0, 2, 3, 0, 0, 4] };
        let buckets = run.buckets(0);
        assert_eq!(
            (buckets.offsets, buckets.lengths, buckets.counts),
            (vec![0, 1, 2], vec![1, 2, 1], vec![1.0, 2.0, 3.0, 4.0])
        );
        let coarse = Run { offset: 0, counts: vec![1, 2, 3, 4, 5] }.buckets(1);
        assert_eq!((coarse.offsets, coarse.lengths, coarse.counts), (vec![1], vec![3], vec![3.0, 7.0, 5.0]));
    }
}
