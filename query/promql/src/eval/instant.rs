//! Instant selectors: the newest sample at each step that is not too old.

use std::sync::Arc;

use super::matrix::{Row, StepMatrix, Steps, is_absent};
use super::plan::LookPlan;
use super::samples::{Floats, Histograms, floats_of, histograms_of};
use crate::error::Error;
use crate::labels::Labels;
use crate::storage::{SampleBatch, is_stale};

/// Times are kept below this, so that differences and sums of a few fit into 64 bits.
pub(crate) const TIME_MAX_MS: i64 = 1 << 61;

/// What a selector gives of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Give {
    /// Its value.
    Value,
    /// Its time in seconds, for `timestamp`.
    Time,
    /// The time in seconds since when it counts, for `start_timestamp`.
    StartTime,
    /// Its time in milliseconds; a histogram is an error. For `info`.
    InfoTime,
}

/// Where a selector looks at each step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The time of an `@`.
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
    pub(crate) lookback_ms: i64,
}

impl Look {
    /// The time at which a step looks for samples.
    #[inline]
    pub(crate) fn time(&self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms).clamp(-TIME_MAX_MS, TIME_MAX_MS)
    }
}

/// An instant selector on its way through a stretch of series.
pub(crate) struct InstantTask<'a> {
    steps: &'a Steps,
    look: &'a Look,
    give: Give,
    plan: LookPlan,
    /// Samples that each step looked at.
    pub(crate) counts: Vec<u64>,
}

impl<'a> InstantTask<'a> {
    pub(crate) fn new(steps: &'a Steps, look: &'a Look, give: Give) -> Self {
        Self { steps, look, give, plan: LookPlan::default(), counts: vec![0; steps.count] }
    }

    /// Adds rows with what the selector finds in a batch of series.
    pub(crate) fn fill(
        &mut self,
        matrix: &mut StepMatrix,
        series: &[Labels],
        batch: &SampleBatch,
    ) -> Result<(), Error> {
        for (i, labels) in series.iter().enumerate() {
            let floats = floats_of(&batch.floats, i);
            let histograms = histograms_of(batch.histograms.as_ref(), i);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let drops_name = matches!(self.give, Give::Time | Give::StartTime);
            let row = matrix.push_absent(Row { labels: labels.clone(), drops_name });
            self.fill_floats(&mut matrix.values[row * self.steps.count..], &floats);
            if !histograms.is_empty() {
                if self.give == Give::InfoTime {
                    let text = format!("this should be an info metric, with float samples: {labels}");
                    return Err(Error::Execution(text));
                }
                fill_mixed(matrix, row, (&floats, &histograms), self.steps, self.look, self.give, &mut self.counts);
            }
            matrix.drop_last_if_empty();
        }
        Ok(())
    }

    fn fill_floats(&mut self, out: &mut [f64], floats: &Floats<'_>) {
        self.plan.prepare(floats.times, self.steps, self.look);
        for ((slot, found), count) in out.iter_mut().zip(&self.plan.found).zip(&mut self.counts) {
            if *found == LookPlan::NONE {
                continue;
            }
            let found = *found as usize;
            let value = floats.values[found];
            if is_stale(value) {
                continue;
            }
            *slot = match self.give {
                Give::Value => value,
                Give::Time => floats.times[found] as f64 / 1000.0,
                Give::StartTime => floats.start(found) as f64 / 1000.0,
                Give::InfoTime => floats.times[found] as f64,
            };
            *count += 1;
        }
    }
}

fn fill_mixed(
    matrix: &mut StepMatrix,
    row: usize,
    (floats, histograms): (&Floats<'_>, &Histograms<'_>),
    steps: &Steps,
    look: &Look,
    give: Give,
    counts: &mut [u64],
) {
    let at = row * steps.count;
    let mut next = 0;
    for (step, count) in counts.iter_mut().enumerate() {
        let time_ms = look.time(steps.time(step));
        while next < histograms.len() && histograms.times[next] <= time_ms {
            next += 1;
        }
        let Some(found) = next.checked_sub(1) else { continue };
        let found_ms = histograms.times[found];
        let newer_float = floats.times.partition_point(|t| *t <= time_ms).checked_sub(1).map(|i| floats.times[i]);
        if newer_float.is_some_and(|float_ms| float_ms > found_ms) {
            continue;
        }
        // The histogram is newer than the float that was found: it, or its staleness, counts.
        if !is_absent(matrix.values[at + step]) {
            *count -= 1;
        }
        matrix.values[at + step] = super::matrix::ABSENT;
        let histogram = &histograms.values[found];
        if found_ms <= time_ms.saturating_sub(look.lookback_ms) || is_stale(histogram.sum) {
            continue;
        }
        *count += histogram_samples(histogram.bytes());
        match give {
            Give::Value => matrix.set_histogram(row, step, Arc::clone(histogram)),
            Give::Time => matrix.values[at + step] = found_ms as f64 / 1000.0,
            Give::StartTime => matrix.values[at + step] = histograms.start(found) as f64 / 1000.0,
            Give::InfoTime => {}
        }
    }
}

/// For how many samples a histogram counts.
pub(crate) fn histogram_samples(bytes: usize) -> u64 {
    (bytes as u64 + 8).div_ceil(16)
}
