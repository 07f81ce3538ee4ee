//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`, of classic and of native histograms.

use rustc_hash::FxHashMap;

use super::classic::{self, ClassicBucket};
use crate::annotations::{Annotation, Annotations, Monotonicity};
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::matrix::{Row, StepMatrix, Steps, is_absent};
use crate::eval::parallel;
use crate::histogram::{self, FloatHistogram};
use crate::labels::{BUCKET, Labels};
use crate::options::Release;
use crate::position::Span;

/// What is asked of each histogram, a value for each step.
pub(crate) enum Question {
    /// A quantile.
    Quantile(Vec<f64>),
    /// The part between two values.
    Fraction(Vec<f64>, Vec<f64>),
}

/// Where annotations point to.
#[derive(Clone, Copy)]
pub(crate) struct Spans {
    /// The vector.
    pub(crate) vector: Span,
    /// What native histograms are blamed on.
    pub(crate) native: Span,
}

/// The rows that make one histogram.
struct Group {
    labels: Labels,
    /// Classic buckets by their bound.
    classic: Vec<(f64, usize)>,
    /// Rows with native histograms.
    native: Vec<usize>,
}

impl Evaluator<'_> {
    /// Answers a question about each histogram of a matrix, in a row each.
    pub(crate) fn ask_histograms(
        &self,
        matrix: &StepMatrix,
        question: &Question,
        spans: Spans,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let groups = group(matrix, self.release, spans.vector, notes);
        let asked = Asked { matrix, question, spans, steps, release: self.release };
        let piece = groups.len().div_ceil(2 * self.threads.max(1)).max(16);
        let pieces: Vec<&[Group]> = groups.chunks(piece).collect();
        let threads = if matrix.values.len() < 20_000 { 1 } else { self.threads };
        let mut whole = StepMatrix::new(steps.count);
        parallel::in_order(
            pieces.len(),
            threads,
            |i| {
                self.control.check()?;
                let mut notes = Annotations::default();
                let mut part = StepMatrix::new(steps.count);
                for group in pieces[i] {
                    asked.answer(group, &mut part, &mut notes);
                    part.drop_last_if_empty();
                }
                Ok((part.charged(&self.control)?, notes))
            },
            |(part, part_notes)| {
                notes.merge(part_notes);
                whole.append(part);
                Ok(())
            },
        )?;
        Ok(whole)
    }
}

/// The name of a metric where it is to be said: 3.5 says an empty one too.
fn named(labels: &Labels, release: Release) -> Option<&str> {
    Some(labels.metric_name()).filter(|name| release == Release::V3_5 || !name.is_empty())
}

/// Finds the rows that belong together: those that differ in `le` only.
fn group(matrix: &StepMatrix, release: Release, span: Span, notes: &mut Annotations) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: FxHashMap<Labels, usize> = FxHashMap::default();
    let mut find = |groups: &mut Vec<Group>, labels: Labels| {
        *known.entry(labels).or_insert_with_key(|labels| {
            groups.push(Group { labels: labels.clone(), classic: Vec::new(), native: Vec::new() });
            groups.len() - 1
        })
    };
    for (i, row) in matrix.iter().enumerate() {
        if row.values.iter().any(|v| !is_absent(*v)) {
            let text = row.row.labels.get(BUCKET);
            match parse_bound(text) {
                Some(upper) => {
                    let at = find(&mut groups, row.row.labels.without(|name| name == BUCKET));
                    groups[at].classic.push((upper, i));
                }
                None => {
                    let metric = named(&row.row.labels, release);
                    notes.add(&Annotation::BadBucketLabel { metric, label: text }, span);
                }
            }
        }
        if row.histograms.iter().any(Option::is_some) {
            let at = find(&mut groups, row.row.labels.clone());
            groups[at].native.push(i);
        }
    }
    for group in &mut groups {
        group.classic.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    groups
}

/// The bound that a label names, as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || ["inf", "infinity", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    if !is_number {
        return None;
    }
    text.parse().ok()
}

struct Asked<'a> {
    matrix: &'a StepMatrix,
    question: &'a Question,
    spans: Spans,
    steps: &'a Steps,
    release: Release,
}

impl Asked<'_> {
    fn guards_infinity(&self) -> bool {
        self.release != Release::V3_5
    }

    fn answer(&self, group: &Group, part: &mut StepMatrix, notes: &mut Annotations) {
        let row = part.push_absent(Row { labels: group.labels.clone(), drops_name: true });
        let metric = named(&group.labels, self.release);
        let mut buckets: Vec<ClassicBucket> = Vec::with_capacity(group.classic.len());
        for step in 0..self.steps.count {
            buckets.clear();
            for (upper, i) in &group.classic {
                let count = self.matrix.values[i * self.steps.count + step];
                if !is_absent(count) {
                    buckets.push(ClassicBucket { upper: *upper, count });
                }
            }
            let native = group.native.iter().find_map(|i| self.matrix.row(*i).histogram(step));
            let value = match (native, buckets.is_empty()) {
                (None, true) => continue,
                (Some(_), false) => {
                    notes.add(&Annotation::MixedClassicNative { metric }, self.spans.vector);
                    continue;
                }
                (Some(native), true) => self.native(native, step, metric, notes),
                (None, false) => self.classic(&mut buckets, step, metric, notes),
            };
            part.values[row * self.steps.count + step] = value;
        }
    }

    fn native(&self, native: &FloatHistogram, step: usize, metric: Option<&str>, notes: &mut Annotations) -> f64 {
        let (value, effect) = match self.question {
            Question::Quantile(q) => histogram::quantile(q[step], native),
            Question::Fraction(lower, upper) => {
                histogram::fraction(lower[step], upper[step], native, self.guards_infinity())
            }
        };
        let annotation = match effect {
            histogram::NanEffect::None => return value,
            histogram::NanEffect::Result => Annotation::QuantileNanResult { metric },
            histogram::NanEffect::Skew => Annotation::QuantileNanSkew { metric },
            histogram::NanEffect::Excluded => Annotation::FractionNans { metric },
        };
        notes.add(&annotation, self.spans.native);
        value
    }

    fn classic(
        &self,
        buckets: &mut Vec<ClassicBucket>,
        step: usize,
        metric: Option<&str>,
        notes: &mut Annotations,
    ) -> f64 {
        match self.question {
            Question::Fraction(lower, upper) => {
                classic::fraction(lower[step], upper[step], buckets, self.guards_infinity())
            }
            Question::Quantile(q) => {
                let (value, repair) = classic::quantile(q[step], buckets);
                if let Some(repair) = repair {
                    let details = (self.release != Release::V3_5).then(|| Monotonicity {
                        time_ms: self.steps.time(step),
                        bucket_min: repair.bucket_min,
                        bucket_max: repair.bucket_max,
                        difference_max: repair.difference_max,
                    });
                    notes.add(&Annotation::ForcedMonotonicity { metric, details }, self.spans.vector);
                }
                value
            }
        }
    }
}
