//! `sum_over_time` and `avg_over_time` of native histograms.

use std::sync::Arc;

use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::eval::range::RangeContext;
use crate::histogram::{FloatHistogram, HistogramSum, IncompatibleBuckets, ResetHint};

/// What the hints of many histograms say together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HintsSeen {
    reset: bool,
    not_reset: bool,
}

impl HintsSeen {
    pub(crate) fn see(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }

    pub(crate) fn collide(self) -> bool {
        self.reset && self.not_reset
    }
}

/// A running average of histograms: sum by count, incremental from where the sum would overflow.
#[derive(Clone, Debug)]
pub(crate) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    is_incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: FloatHistogram) -> Self {
        Self { sum: HistogramSum::new(first), count: 1.0, is_incremental: false }
    }

    /// Adds a histogram; says whether custom bounds were reconciled.
    pub(crate) fn add(
        &mut self,
        histogram: &FloatHistogram,
        bounds: crate::histogram::Bounds,
    ) -> Result<bool, IncompatibleBuckets> {
        self.count += 1.0;
        if !self.is_incremental {
            let mut next = self.sum.clone();
            let outcome = next.add(histogram, bounds)?;
            if !next.has_overflow() {
                self.sum = next;
                return Ok(outcome.bounds_reconciled);
            }
            self.is_incremental = true;
            self.sum.div(self.count - 1.0);
        }
        self.sum.mul((self.count - 1.0) / self.count);
        let mut part = histogram.clone();
        part.div(self.count);
        Ok(self.sum.add(&part, bounds)?.bounds_reconciled)
    }

    /// The average.
    pub(crate) fn finish(mut self) -> FloatHistogram {
        if !self.is_incremental {
            self.sum.div(self.count);
        }
        self.sum.finish()
    }
}

/// Sum or average of the histograms of a window; `None` where they do not go together.
pub(crate) fn sum_or_avg(
    is_avg: bool,
    histograms: &[Arc<FloatHistogram>],
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let (first, rest) = histograms.split_first()?;
    let span = context.first_argument;
    let mut hints = HintsSeen::default();
    histograms.iter().for_each(|h| hints.see(h.reset_hint));
    let mut reconciled = false;
    let result = if is_avg {
        let mut mean = HistogramMean::new(FloatHistogram::clone(first));
        rest.iter().try_for_each(|h| mean.add(h, context.bounds).map(|r| reconciled |= r)).map(|()| mean.finish())
    } else {
        let mut sum = HistogramSum::new(FloatHistogram::clone(first));
        rest.iter()
            .try_for_each(|h| sum.add(h, context.bounds).map(|o| reconciled |= o.bounds_reconciled))
            .map(|()| sum.finish())
    };
    match result {
        Ok(total) => {
            if hints.collide() {
                notes.add(&Annotation::ResetCollision(HistogramOperation::Aggregation), span);
            }
            if reconciled {
                notes.add(&Annotation::MismatchedCustomBuckets(HistogramOperation::Aggregation), span);
            }
            Some(total)
        }
        Err(error) => {
            notes.add(&incompatible(error, metric), span);
            None
        }
    }
}

/// What to say of histograms that do not go together.
pub(crate) fn incompatible(error: IncompatibleBuckets, metric: &str) -> Annotation<'_> {
    match error {
        IncompatibleBuckets::Schema => Annotation::MixedExponentialCustom { metric },
        IncompatibleBuckets::Bounds => Annotation::IncompatibleCustomBuckets { metric },
    }
}
