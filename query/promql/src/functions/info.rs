//! `info`: labels of info metrics, found by `instance` and `job`.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::annotations::Annotations;
use crate::ast::{Call, Expr, ExprKind};
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::instant::{Give, InstantTask, Look};
use crate::eval::matrix::{Row, StepMatrix, Steps, is_absent, same_labelset};
use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::options::Release;
use crate::storage::SelectHints;

/// The labels by which an info series belongs to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric that is meant where none is named.
const TARGET_INFO: &str = "target_info";

impl Evaluator<'_> {
    /// `info(v)`, `info(v, {label=~"..."})`
    pub(crate) fn info(&self, call: &Call, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let base = self.vector(&call.args[0], steps, notes)?;
        let selector = match call.args.get(1).map(|arg| &arg.kind) {
            Some(ExprKind::Vector(selector)) => selector.matchers.as_slice(),
            _ => &[],
        };
        let (name_matchers, data_matchers): (Vec<&Matcher>, Vec<&Matcher>) =
            selector.iter().partition(|m| m.name == METRIC_NAME);
        let is_named = name_matchers.iter().any(|m| !m.matches(""));
        // To 3.5, no series is an info series where a selector names no metric.
        let knows_infos = self.release != Release::V3_5 || !name_matchers.is_empty() || call.args.len() < 2;
        let name_matchers = effective_name_matchers(&name_matchers)?;
        let names = |row: &Row| name_matchers.iter().all(|m| m.matches(row.labels.metric_name()));
        let is_info: Vec<bool> = base.rows.iter().map(|row| knows_infos && names(row)).collect();
        let infos = self.select_infos(&base, &is_info, &name_matchers, &data_matchers, &call.args[0], steps, notes)?;
        let has_room = |rows: usize| self.check_size(rows, steps.count);
        let enriched = Enrich {
            base: &base,
            infos: &infos,
            is_info: &is_info,
            data_matchers: &data_matchers,
            release: self.release,
        };
        let mut matrix = enriched.run(has_room)?.charged(&self.control)?;
        if self.release == Release::V3_5 {
            // As 3.5 does: names are kept, and where nothing identifies any series, one that is to have an info metric
            // by its name is left out.
            matrix.rows.iter_mut().for_each(|row| row.drops_name = false);
            if is_named && !(0..base.len()).any(|i| !is_info[i] && is_identified(&base.rows[i].labels)) {
                matrix.retain_rows(|row| name_matchers.iter().all(|m| m.matches(row.labels.metric_name())));
            }
        }
        Ok(matrix)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    fn select_infos(
        &self,
        base: &StepMatrix,
        is_info: &[bool],
        name_matchers: &[Matcher],
        data_matchers: &[&Matcher],
        argument: &Expr,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let mut matchers = Vec::new();
        for label in IDENTIFYING {
            let values: FxHashSet<&str> = base
                .rows
                .iter()
                .zip(is_info)
                .filter(|(_, is_info)| !**is_info)
                .map(|(row, _)| row.labels.get(label))
                .filter(|value| !value.is_empty())
                .collect();
            if values.is_empty() {
                continue;
            }
            let mut values: Vec<String> = values.into_iter().map(regex_syntax::escape).collect();
            values.sort_unstable();
            matchers.push(regex_matcher(label, &values.join("|"))?);
        }
        let mut infos = StepMatrix::new(steps.count);
        if matchers.is_empty() {
            return Ok(infos);
        }
        matchers.extend(data_matchers.iter().map(|m| (*m).clone()));
        matchers.extend(name_matchers.iter().cloned());
        let (at_ms, offset_ms) = self.reference(argument, 0)?.unwrap_or((None, 0));
        let mut look = Look { at_ms, offset_ms, lookback_ms: self.lookback_ms };
        let from = look.time(steps.start_ms).saturating_sub(self.lookback_ms).saturating_add(1);
        let to = look.time(steps.last());
        let hints = SelectHints { function: "info", step_ms: self.query.step_ms, ..SelectHints::default() };
        let selection = self.select(&matchers, (from, to), hints, notes)?;
        if self.release == Release::V3_5 && at_ms.is_none() {
            // 3.5 reads what lies behind the offset and then forgets it.
            look.offset_ms = 0;
        }
        let mut task = InstantTask::new(steps, &look, Give::InfoTime);
        let series = selection.series();
        for (i, chunk) in series.chunks(1024).enumerate() {
            let from = i * 1024;
            let batch = self.read(selection.as_ref(), from..from + chunk.len())?;
            task.fill(&mut infos, chunk, &batch.batch)?;
        }
        self.counts.add(steps, &task.counts);
        infos.charged(&self.control)
    }

    /// The `@` and the offsets that govern the first selector of an expression.
    fn reference(&self, expr: &Expr, offset_ms: i64) -> Result<Option<(Option<i64>, i64)>, Error> {
        crate::stack::grow(|| match &expr.kind {
            ExprKind::Vector(selector) => {
                let at_ms = self.at_time(selector.at);
                let own_ms = self.offset(&selector.offset)?;
                Ok(Some((at_ms, if at_ms.is_some() { own_ms } else { own_ms.saturating_add(offset_ms) })))
            }
            ExprKind::Matrix(matrix) => {
                let at_ms = self.at_time(matrix.selector.at);
                let own_ms = self.offset(&matrix.selector.offset)?;
                Ok(Some((at_ms, if at_ms.is_some() { own_ms } else { own_ms.saturating_add(offset_ms) })))
            }
            ExprKind::Subquery(subquery) => {
                let at_ms = self.at_time(subquery.at);
                let own_ms = self.offset(&subquery.offset)?;
                let outer_ms = if at_ms.is_some() { own_ms } else { own_ms.saturating_add(offset_ms) };
                let found = self.reference(&subquery.expr, outer_ms)?;
                Ok(found.map(|(inner_at, offset)| (inner_at.or(at_ms), offset)))
            }
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.reference(inner, offset_ms),
            ExprKind::Aggregate(aggregate) => self.reference(&aggregate.expr, offset_ms),
            ExprKind::Binary(binary) => match self.reference(&binary.lhs, offset_ms)? {
                Some(found) => Ok(Some(found)),
                None => self.reference(&binary.rhs, offset_ms),
            },
            ExprKind::Call(call) => {
                for arg in &call.args {
                    if let Some(found) = self.reference(arg, offset_ms)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            ExprKind::Number(_) | ExprKind::String(_) => Ok(None),
        })
    }
}

fn regex_matcher(name: &str, pattern: &str) -> Result<Matcher, Error> {
    Matcher::new(MatchOp::Regex, name, pattern).map_err(Error::Execution)
}

/// The matchers of the name of info metrics: `target_info` for none, anything like `..._info` beside negative ones.
fn effective_name_matchers(given: &[&Matcher]) -> Result<Vec<Matcher>, Error> {
    let given: Vec<Matcher> = given.iter().map(|m| (*m).clone()).collect();
    if given.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex)) {
        return Ok(given);
    }
    if given.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
    }
    let mut all = vec![regex_matcher(METRIC_NAME, ".+_info")?];
    all.extend(given);
    Ok(all)
}

struct Enrich<'a> {
    base: &'a StepMatrix,
    /// Info series; their values are the times of their samples in milliseconds.
    infos: &'a StepMatrix,
    is_info: &'a [bool],
    data_matchers: &'a [&'a Matcher],
    release: Release,
}

/// What an info series is found by: its name and the identifying labels.
type Signature<'a> = (&'a str, [&'a str; 2]);

impl Enrich<'_> {
    fn run(&self, has_room: impl Fn(usize) -> Result<(), Error>) -> Result<StepMatrix, Error> {
        let mut by_signature: FxHashMap<Signature<'_>, Vec<usize>> = FxHashMap::default();
        for (i, row) in self.infos.rows.iter().enumerate() {
            by_signature.entry((row.labels.metric_name(), identity(&row.labels))).or_default().push(i);
        }
        let mut names: Vec<&str> = by_signature.keys().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        self.check_duplicates(&by_signature)?;
        let mut out = StepMatrix::new(self.base.steps);
        let mut row_of: FxHashMap<Labels, usize> = FxHashMap::default();
        for (i, row) in self.base.iter().enumerate() {
            let candidates: Vec<&[usize]> = names
                .iter()
                .filter_map(|name| by_signature.get(&(*name, identity(&row.row.labels))).map(Vec::as_slice))
                .collect();
            let mut cached: Option<(Vec<usize>, Option<Labels>)> = None;
            for step in 0..self.base.steps {
                if !row.has(step) {
                    continue;
                }
                let labels = if self.is_info[i] {
                    Some(row.row.labels.clone())
                } else {
                    let found: Vec<usize> = candidates.iter().filter_map(|rows| self.newest(rows, step)).collect();
                    match &cached {
                        Some((known, labels)) if *known == found => labels.clone(),
                        _ => {
                            let labels = self.labels(&row.row.labels, &found)?;
                            cached = Some((found, labels.clone()));
                            labels
                        }
                    }
                };
                let Some(labels) = labels else { continue };
                has_room(out.len() + 1)?;
                let target = *row_of.entry(labels).or_insert_with_key(|labels| {
                    out.push_absent(Row { labels: labels.clone(), drops_name: row.row.drops_name })
                });
                if out.row(target).has(step) {
                    return Err(same_labelset());
                }
                out.values[target * self.base.steps + step] = row.values[step];
                if let Some(histogram) = row.histogram(step) {
                    out.set_histogram(target, step, std::sync::Arc::clone(histogram));
                }
            }
        }
        Ok(out)
    }

    /// The info series with the newest sample.
    fn newest(&self, rows: &[usize], step: usize) -> Option<usize> {
        let time = |i: &usize| self.infos.values[*i * self.infos.steps + step];
        rows.iter().filter(|i| !is_absent(time(i))).max_by(|a, b| time(a).total_cmp(&time(b))).copied()
    }

    /// Fails where two info series of one signature have samples of one time.
    fn check_duplicates(&self, by_signature: &FxHashMap<Signature<'_>, Vec<usize>>) -> Result<(), Error> {
        for rows in by_signature.values().filter(|rows| rows.len() > 1) {
            for step in 0..self.infos.steps {
                let Some(newest) = self.newest(rows, step) else { continue };
                let time = |i: usize| self.infos.values[i * self.infos.steps + step];
                let Some(other) = rows.iter().copied().find(|i| *i != newest && time(*i) == time(newest)) else {
                    continue;
                };
                let (first, second) = (other.min(newest), other.max(newest));
                let at = time(newest) as i64;
                return Err(Error::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {at}, new {} @ {at}",
                    self.infos.rows[first].labels, self.infos.rows[second].labels
                )));
            }
        }
        Ok(())
    }

    /// The labels with those of info series; `None` where the series is left out.
    fn labels(&self, base: &Labels, found: &[usize]) -> Result<Option<Labels>, Error> {
        let must_add = !self.data_matchers.iter().all(|m| m.matches(""));
        if found.is_empty() && must_add {
            return Ok(None);
        }
        let mut added = Labels::empty();
        for info in found {
            for (name, value) in self.infos.rows[*info].labels.iter() {
                let is_wanted = self.data_matchers.is_empty() || self.data_matchers.iter().any(|m| m.name == name);
                if name == METRIC_NAME || !is_wanted {
                    continue;
                }
                let known = added.get(name);
                if !known.is_empty() && known != value {
                    return Err(Error::Execution(format!("conflicting label: {name}")));
                }
                if !base.has(name) {
                    added = added.with(name, value);
                }
            }
        }
        if self.release == Release::V3_5 && must_add && added.iter().next().is_none() {
            return Ok(None);
        }
        let labels = added.iter().fold(base.clone(), |labels, (name, value)| labels.with(name, value));
        Ok(Some(labels))
    }
}

fn is_identified(labels: &Labels) -> bool {
    identity(labels).iter().any(|value| !value.is_empty())
}

fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.get(name))
}
