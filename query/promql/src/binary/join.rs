//! Arithmetic and comparisons between vectors: rows find each other by labels.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::element::{Element, Outcome};
use super::matching::{Groups, match_labels};
use super::{Operand, arithmetic};
use crate::annotations::Annotations;
use crate::ast::{Binary, Cardinality, VectorMatching};
use crate::control::QueryControl;
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::matrix::{Row, RowRef, StepMatrix, drop_name, is_absent, same_labelset};
use crate::labels::Labels;
use crate::options::Release;
use crate::position::Span;

/// A join of two matrices. The side of one is `one`, the other `many`; in a join of one to one that is the right side.
pub(super) struct Join<'a> {
    binary: &'a Binary,
    matching: VectorMatching,
    element: Element,
    release: Release,
    drops_names_late: bool,
    control: &'a QueryControl,
    many: &'a StepMatrix,
    one: &'a StepMatrix,
    /// The left operand is the side of one.
    is_swapped: bool,
}

/// Why a join fails, and at which step. The first step counts, at which Prometheus would have stopped.
struct Failure {
    step: usize,
    error: Error,
}

/// What has come of a join so far.
struct Joined {
    matrix: StepMatrix,
    row_of: FxHashMap<Labels, usize>,
    /// The match group of the row, and by which pair it last got a value at a step.
    group_of: Vec<usize>,
}

impl<'a> Join<'a> {
    pub(super) fn new(
        evaluator: &'a Evaluator<'_>,
        binary: &'a Binary,
        span: Span,
        left: &'a StepMatrix,
        right: &'a StepMatrix,
    ) -> Self {
        let matching = binary.matching.clone().unwrap_or_default();
        let is_swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if is_swapped { (right, left) } else { (left, right) };
        Self {
            binary,
            matching,
            element: Element { op: binary.op, span, bounds: evaluator.bounds() },
            release: evaluator.release,
            drops_names_late: evaluator.features.delayed_name_removal,
            control: &evaluator.control,
            many,
            one,
            is_swapped,
        }
    }

    /// What stands for a missing row of the side of one, and of the other.
    fn fills(&self) -> (Option<f64>, Option<f64>) {
        // As in Prometheus, the sides of `fill_left` and `fill_right` are not swapped with the operands.
        (self.matching.fill_right, self.matching.fill_left)
    }

    pub(super) fn run(&self, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let steps = self.many.steps;
        let groups = Groups::new(&self.matching, self.many, self.one);
        let mut both = self.steps_with_both();
        let mut ones: Vec<Vec<usize>> = vec![Vec::new(); groups.count];
        for (i, group) in groups.right.iter().enumerate() {
            ones[*group].push(i);
        }
        let mut failure = self.check_one(&ones, &both);
        let mut fail = |found: Result<(), Failure>, both: &mut [bool]| {
            failure = found.err().or_else(|| failure.take());
            if let Some(failure) = &failure {
                both[failure.step..].fill(false);
            }
        };
        fail(Ok(()), &mut both);
        let mut said = Said::new(self.release);
        let mut joined = Joined { matrix: StepMatrix::new(steps), row_of: FxHashMap::default(), group_of: Vec::new() };
        // Which steps of a group have had a match, where that matters.
        let needs_matched = self.fills().1.is_some() || self.matching.cardinality == Cardinality::OneToOne;
        let mut manys: Vec<u32> = vec![0; groups.count];
        groups.left.iter().for_each(|group| manys[*group] += 1);
        let mut matched: FxHashMap<usize, Vec<bool>> = FxHashMap::default();
        for (i, group) in groups.left.iter().enumerate() {
            self.control.check()?;
            let pair = Pair { many: self.many.row(i), ones: &ones[*group], group: *group };
            let must_track = needs_matched && (manys[*group] > 1 || self.fills().1.is_some());
            let slot = must_track.then(|| matched.entry(*group).or_insert_with(|| vec![false; steps]));
            fail(self.join_row(&pair, slot, &both, &mut joined, &mut said), &mut both);
        }
        if let Some(fill) = self.fills().1 {
            for (i, group) in groups.right.iter().enumerate() {
                let slot = matched.entry(*group).or_insert_with(|| vec![false; steps]);
                fail(self.fill_many(self.one.row(i), *group, fill, slot, &both, &mut joined, &mut said), &mut both);
            }
        }
        if let Some(failure) = failure {
            return Err(failure.error);
        }
        said.tell(notes);
        let mut matrix = joined.matrix;
        matrix.drop_empty();
        Ok(matrix)
    }

    /// At which steps both sides have any value. Where one has none, nothing is matched and nothing is wrong.
    fn steps_with_both(&self) -> Vec<bool> {
        let any = |matrix: &StepMatrix| {
            let mut has = vec![false; matrix.steps];
            for row in matrix.iter() {
                has.iter_mut().enumerate().for_each(|(step, has)| *has |= row.has(step));
            }
            has
        };
        let (many, one) = (any(self.many), any(self.one));
        let fills = self.fills().0.is_some() || self.fills().1.is_some();
        many.into_iter().zip(one).map(|(m, o)| if fills { m || o } else { m && o }).collect()
    }

    /// The first step at which the side of one has two rows of a group.
    fn check_one(&self, ones: &[Vec<usize>], both: &[bool]) -> Option<Failure> {
        let mut found: Option<(usize, usize, usize)> = None;
        for rows in ones.iter().filter(|rows| rows.len() > 1) {
            let steps = found.map_or(self.one.steps, |(step, ..)| step + 1);
            for step in (0..steps).filter(|step| both[*step]) {
                let mut present = rows.iter().filter(|i| self.one.row(**i).has(step));
                if let (Some(first), Some(second)) = (present.next(), present.next()) {
                    let here = (step, *second, *first);
                    found = Some(found.map_or(here, |known| known.min(here)));
                    break;
                }
            }
        }
        found.map(|(step, second, first)| Failure { step, error: self.duplicate(first, second) })
    }

    fn duplicate(&self, first: usize, second: usize) -> Error {
        let side = if self.is_swapped { "left" } else { "right" };
        let group = match_labels(&self.one.rows[second].labels, &self.matching);
        let (mut a, mut b) = (self.one.rows[second].labels.to_string(), self.one.rows[first].labels.to_string());
        if self.release != Release::V3_5 && a > b {
            std::mem::swap(&mut a, &mut b);
        }
        Error::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{a}, \
             {b}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    /// Joins one row of the side of many.
    fn join_row(
        &self,
        pair: &Pair<'_>,
        mut matched: Option<&mut Vec<bool>>,
        both: &[bool],
        joined: &mut Joined,
        said: &mut Said,
    ) -> Result<(), Failure> {
        let fill = self.fills().0;
        if pair.ones.is_empty() && fill.is_none() {
            return Ok(());
        }
        if let ([one], None, None) = (pair.ones, fill, matched.as_ref())
            && self.join_floats(pair, self.one.row(*one), joined)
        {
            return Ok(());
        }
        let mut targets: FxHashMap<Option<usize>, usize> = FxHashMap::default();
        for (step, both) in both.iter().enumerate() {
            if !both || !pair.many.has(step) {
                continue;
            }
            let found = pair.ones.iter().copied().find(|i| self.one.row(*i).has(step));
            let one: Operand<'_> = match (found, fill) {
                (Some(i), _) => operand(&self.one.row(i), step),
                (None, Some(fill)) => (fill, None),
                (None, None) => continue,
            };
            let outcome = self.compute(operand(&pair.many, step), one, said.at(step));
            if matches!(outcome, Outcome::Nothing) {
                continue;
            }
            if self.release == Release::V3_5 && matches!(outcome, Outcome::Dropped) && !self.binary.returns_bool {
                continue;
            }
            self.mark(matched.as_deref_mut(), step).map_err(|error| Failure { step, error })?;
            if matches!(outcome, Outcome::Dropped) && !self.binary.returns_bool {
                continue;
            }
            let target = match targets.get(&found) {
                Some(target) => *target,
                None => {
                    let filled = match_labels(&pair.many.row.labels, &self.matching);
                    let one_labels = found.map_or(&filled, |i| &self.one.rows[i].labels);
                    let target = self.target(&pair.many.row.labels, one_labels, pair.group, joined);
                    targets.insert(found, target);
                    target
                }
            };
            self.put(outcome, target, step, pair.group, joined).map_err(|error| Failure { step, error })?;
        }
        Ok(())
    }

    /// The fast way: one row with one row, floats only, arithmetic. False where it is not that.
    fn join_floats(&self, pair: &Pair<'_>, one: RowRef<'_>, joined: &mut Joined) -> bool {
        let Some(f) = arithmetic(self.binary.op) else { return false };
        let has_histograms = |row: &RowRef<'_>| row.histograms.iter().any(Option::is_some);
        if has_histograms(&pair.many) || has_histograms(&one) {
            return false;
        }
        let labels = self.result_labels(&pair.many.row.labels, &one.row.labels);
        if joined.row_of.contains_key(&labels) {
            return false;
        }
        let steps = self.many.steps;
        let target = joined.add(labels, false, pair.group);
        let out = &mut joined.matrix.values[target * steps..];
        for ((out, many), one) in out.iter_mut().zip(pair.many.values).zip(one.values) {
            if !is_absent(*many) && !is_absent(*one) {
                *out = if self.is_swapped { f(*one, *many) } else { f(*many, *one) };
            }
        }
        true
    }

    /// Computes rows of the side of one that nothing has matched, with a value filled in for the other side.
    #[allow(clippy::too_many_arguments, reason = "what a join knows so far")]
    fn fill_many(
        &self,
        one: RowRef<'_>,
        group: usize,
        fill: f64,
        matched: &mut Vec<bool>,
        both: &[bool],
        joined: &mut Joined,
        said: &mut Said,
    ) -> Result<(), Failure> {
        let mut target = None;
        let filled = match_labels(&one.row.labels, &self.matching);
        for step in 0..self.one.steps {
            if !both[step] || matched[step] || !one.has(step) {
                continue;
            }
            let outcome = self.compute((fill, None), operand(&one, step), said.at(step));
            if matches!(outcome, Outcome::Nothing) {
                continue;
            }
            self.mark(Some(&mut *matched), step).map_err(|error| Failure { step, error })?;
            if matches!(outcome, Outcome::Dropped) && !self.binary.returns_bool {
                continue;
            }
            let target = *target.get_or_insert_with(|| self.target(&filled, &one.row.labels, group, joined));
            self.put(outcome, target, step, group, joined).map_err(|error| Failure { step, error })?;
        }
        Ok(())
    }

    fn compute(&self, many: Operand<'_>, one: Operand<'_>, notes: &mut Annotations) -> Outcome {
        if self.is_swapped { self.element.apply(one, many, notes) } else { self.element.apply(many, one, notes) }
    }

    /// Notes that a group has a match at a step; a join of one to one may have one only.
    fn mark(&self, matched: Option<&mut Vec<bool>>, step: usize) -> Result<(), Error> {
        let Some(matched) = matched else { return Ok(()) };
        if matched[step] && self.matching.cardinality == Cardinality::OneToOne {
            let text = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            return Err(Error::Execution(text.to_owned()));
        }
        matched[step] = true;
        Ok(())
    }

    fn target(&self, many: &Labels, one: &Labels, group: usize, joined: &mut Joined) -> usize {
        let labels = self.result_labels(many, one);
        match joined.row_of.get(&labels) {
            Some(row) => *row,
            None => joined.add(labels, self.binary.returns_bool, group),
        }
    }

    fn put(
        &self,
        outcome: Outcome,
        target: usize,
        step: usize,
        group: usize,
        joined: &mut Joined,
    ) -> Result<(), Error> {
        if joined.matrix.row(target).has(step) {
            let is_same_group = joined.group_of[target] == group && self.matching.cardinality != Cardinality::OneToOne;
            return Err(if is_same_group {
                let text = "multiple matches for labels: grouping labels must ensure unique matches";
                Error::Execution(text.to_owned())
            } else {
                same_labelset()
            });
        }
        let at = target * self.many.steps + step;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Dropped => joined.matrix.values[at] = 0.0,
            _ if self.binary.returns_bool => joined.matrix.values[at] = 1.0,
            Outcome::Float(value) => joined.matrix.values[at] = value,
            Outcome::Histogram(histogram) => joined.matrix.set_histogram(target, step, histogram),
        }
        Ok(())
    }

    /// The labels of the result of two rows.
    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let drops_now = !self.drops_names_late && self.binary.returns_bool;
        let mut labels = if arithmetic(self.binary.op).is_some() || drops_now { drop_name(many) } else { many.clone() };
        if self.matching.cardinality == Cardinality::OneToOne {
            let is_named = |name: &str| self.matching.labels.iter().any(|l| l == name);
            labels = labels.without(|name| is_named(name) != self.matching.is_on);
        }
        for name in &self.matching.include {
            labels = labels.with(name, one.get(name));
        }
        labels
    }
}

/// What is to be said of a join. Prometheus 3.5 tells of the last pair of each step that had anything to say.
struct Said {
    is_last_only: bool,
    all: Annotations,
    last: BTreeMap<usize, Annotations>,
    next: Option<usize>,
}

impl Said {
    fn new(release: Release) -> Self {
        let is_last_only = release == Release::V3_5;
        Self { is_last_only, all: Annotations::default(), last: BTreeMap::new(), next: None }
    }

    /// Where the next pair, of this step, is written down.
    fn at(&mut self, step: usize) -> &mut Annotations {
        if self.is_last_only {
            self.settle();
            self.next = Some(step);
        }
        &mut self.all
    }

    fn settle(&mut self) {
        if let Some(step) = self.next.take()
            && !self.all.is_empty()
        {
            self.last.insert(step, std::mem::take(&mut self.all));
        }
    }

    fn tell(mut self, notes: &mut Annotations) {
        self.settle();
        self.last.into_values().for_each(|said| notes.merge(said));
        notes.merge(self.all);
    }
}

/// A row of the side of many and what it may match.
struct Pair<'a> {
    many: RowRef<'a>,
    ones: &'a [usize],
    group: usize,
}

impl Joined {
    fn add(&mut self, labels: Labels, drops_name: bool, group: usize) -> usize {
        let row = self.matrix.push_absent(Row { labels: labels.clone(), drops_name });
        self.row_of.insert(labels, row);
        self.group_of.push(group);
        row
    }
}

fn operand<'a>(row: &RowRef<'a>, step: usize) -> Operand<'a> {
    (row.values[step], row.histogram(step))
}
