//! Commands to verdicts, as the measuring tool counts them: an instant query passes when it is right, and right again as
//! the middle step of a range query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bodkin_promql::{Engine, FloatHistogram, Labels, QueryOptions, QueryResult, SampleValue, Value};

use super::nhcb;
use super::notation::Line;
use super::parse::{Command, Eval, Expect};
use crate::memory::{Memory, Point};

/// Runs a section on a store of its own; calls back with each query and why it failed, if it did.
pub(crate) fn run(engine: &Engine, section: &[Command], mut verdict: impl FnMut(&Eval, Option<String>)) {
    let mut store = Memory::default();
    for command in section {
        match command {
            Command::Load { step_ms, with_nhcb, lines, starts } => {
                load(&mut store, *step_ms, lines, starts);
                if *with_nhcb {
                    load(&mut store, *step_ms, &nhcb::series(lines), &[]);
                }
            }
            Command::Eval(eval) => verdict(eval, check(engine, &store, eval).err()),
        }
    }
}

fn load(store: &mut Memory, step_ms: i64, lines: &[Line], starts: &[Vec<Option<i64>>]) {
    for (i, (labels, values)) in lines.iter().enumerate() {
        for (k, point) in values.iter().enumerate() {
            let Some(point) = point else { continue };
            let time_ms = step_ms * k as i64;
            let start = starts.get(i).and_then(|s| s.get(k)).copied().flatten();
            store.put(labels, time_ms, point.clone(), start.map_or(0, |offset| time_ms + offset));
        }
    }
}

type Verdict = Result<(), String>;

fn query(engine: &Engine, store: &Memory, eval: &Eval) -> Result<QueryResult, bodkin_promql::Error> {
    let options = QueryOptions::default();
    if eval.is_range {
        return engine.range(store, &eval.query, eval.start_ms, eval.end_ms, eval.step_ms, &options);
    }
    engine.instant(store, &eval.query, eval.at_ms, &options)
}

fn check(engine: &Engine, store: &Memory, eval: &Eval) -> Verdict {
    let result = match (query(engine, store, eval), eval.fails) {
        (Ok(_), true) => return Err("wanted an error, got a result".to_owned()),
        (Err(error), false) => return Err(format!("error: {error}")),
        (Err(error), true) => {
            let text = error.to_string();
            let wrong = eval.expects.iter().any(|(kind, expect)| kind == "fail" && !expect.accepts(&text));
            return if wrong { Err(format!("not the error that was wanted: {text:?}")) } else { Ok(()) };
        }
        (Ok(result), false) => result,
    };
    check_annotations(eval, &result)?;
    match &result.value {
        Value::Matrix(_) if eval.is_range => {
            return check_matrix(eval, &result.value, eval.start_ms, eval.end_ms, eval.step_ms);
        }
        Value::Matrix(_) => {
            let (start, end, step) = eval.range_vector.ok_or("got a matrix for an instant query")?;
            return check_matrix(eval, &result.value, start, end, step);
        }
        Value::String { value, .. } => {
            let right = Some(value) == eval.string.as_ref();
            return if right { Ok(()) } else { Err(format!("wanted {:?}, got {value:?}", eval.string)) };
        }
        Value::Scalar { value, .. } => {
            let wanted = eval.scalar.ok_or("got a scalar, wanted a vector")?;
            if !almost_equal(wanted, *value) {
                return Err(format!("wanted scalar {wanted}, got {value}"));
            }
        }
        Value::Vector { samples, .. } => {
            let rows = samples.iter().map(|s| (s.labels.clone(), to_point(&s.value))).collect();
            check_vector(eval, rows, eval.is_ordered)?;
        }
    }
    let has_context = ["start()", "end()", "range()", "step()"].iter().any(|c| eval.query.contains(c));
    if eval.range_vector.is_some() || eval.string.is_some() || has_context {
        return Ok(());
    }
    check_range_mode(engine, store, eval).map_err(|e| format!("range mode: {e}"))
}

fn check_range_mode(engine: &Engine, store: &Memory, eval: &Eval) -> Verdict {
    let (start, end) = (eval.at_ms - 60_000, eval.at_ms + 60_000);
    let options = QueryOptions::default();
    let result = engine.range(store, &eval.query, start, end, 60_000, &options).map_err(|e| e.to_string())?;
    if eval.is_ordered {
        return Ok(());
    }
    let Value::Matrix(series) = result.value else { return Err("no matrix".to_owned()) };
    let mut rows = Vec::new();
    for s in &series {
        let float = s.timestamps.iter().position(|t| *t == eval.at_ms).map(|i| Point::Float(s.values[i]));
        let histogram = s.histograms.iter().find(|(t, _)| *t == eval.at_ms);
        let point = float.or(histogram.map(|(_, h)| Point::Histogram(Arc::clone(h))));
        rows.extend(point.map(|p| (s.labels.clone(), p)));
    }
    match eval.scalar {
        Some(wanted) => match rows.as_slice() {
            [(_, Point::Float(value))] if almost_equal(wanted, *value) => Ok(()),
            _ => Err(format!("wanted scalar {wanted}, got {rows:?}")),
        },
        None => check_vector(eval, rows, false),
    }
}

fn to_point(value: &SampleValue) -> Point {
    match value {
        SampleValue::Float(value) => Point::Float(*value),
        SampleValue::Histogram(histogram) => Point::Histogram(Arc::clone(histogram)),
    }
}

fn check_annotations(eval: &Eval, result: &QueryResult) -> Verdict {
    if eval.wants_warning && result.warnings.is_empty() {
        return Err("wanted a warning".to_owned());
    }
    if eval.wants_info && result.infos.is_empty() && result.warnings.is_empty() {
        return Err("wanted an info".to_owned());
    }
    for (kind, got) in [("warn", &result.warnings), ("info", &result.infos)] {
        let of_kind = |wanted: &str| -> Vec<&Expect> {
            eval.expects.iter().filter(|(k, _)| k == wanted).map(|(_, expect)| expect).collect()
        };
        let wanted = of_kind(kind);
        for expect in &wanted {
            if !got.iter().any(|text| expect.accepts(text)) {
                return Err(format!("no {kind} as wanted in {got:?}"));
            }
        }
        let other = got.iter().find(|text| !wanted.iter().any(|e| e.accepts(text)));
        if let (Some(other), false) = (other, wanted.is_empty()) {
            return Err(format!("unexpected {kind} {other:?}"));
        }
        if !of_kind(&format!("no_{kind}")).is_empty() && !got.is_empty() {
            return Err(format!("unexpected {kind} {got:?}"));
        }
    }
    Ok(())
}

fn check_vector(eval: &Eval, rows: Vec<(Labels, Point)>, is_ordered: bool) -> Verdict {
    if eval.scalar.is_some() {
        return Err("wanted a scalar, got a vector".to_owned());
    }
    // Of a series that a script names twice the last counts.
    let wanted: BTreeMap<&Labels, (usize, Option<&Point>)> = eval
        .series
        .iter()
        .enumerate()
        .map(|(n, (labels, values))| (labels, (n, values.first().and_then(Option::as_ref))))
        .collect();
    let mut seen = BTreeSet::new();
    for (position, (labels, point)) in rows.iter().enumerate() {
        let (n, value) = wanted.get(labels).ok_or_else(|| format!("unexpected series {labels} = {point:?}"))?;
        if !seen.insert(labels.clone()) {
            return Err(format!("series twice: {labels}"));
        }
        if is_ordered && *n != position {
            return Err(format!("{labels} at {position}, wanted at {n}"));
        }
        if !value.is_some_and(|value| same(value, point)) {
            return Err(format!("{labels}: wanted {value:?}, got {point:?}"));
        }
    }
    match wanted.keys().find(|labels| !seen.contains(**labels)) {
        Some(missing) => Err(format!("missing series {missing}")),
        None => Ok(()),
    }
}

fn check_matrix(eval: &Eval, value: &Value, start: i64, end: i64, step: i64) -> Verdict {
    let Value::Matrix(series) = value else { return Err("no matrix".to_owned()) };
    if eval.is_ordered || eval.scalar.is_some() {
        return Err("got a matrix where none was wanted".to_owned());
    }
    let wanted: BTreeMap<&Labels, &Vec<Option<Point>>> = eval.series.iter().map(|(l, v)| (l, v)).collect();
    let mut seen = BTreeSet::new();
    if series.windows(2).any(|w| w[0].labels > w[1].labels) {
        return Err("the result is not sorted by labels".to_owned());
    }
    for s in series {
        let values = wanted.get(&s.labels).ok_or_else(|| format!("unexpected series {}", s.labels))?;
        seen.insert(s.labels.clone());
        let mut got: BTreeMap<i64, Point> =
            s.timestamps.iter().zip(s.values.iter()).map(|(t, v)| (*t, Point::Float(*v))).collect();
        got.extend(s.histograms.iter().map(|(t, h)| (*t, Point::Histogram(Arc::clone(h)))));
        let mut want = BTreeMap::new();
        for (n, value) in values.iter().enumerate() {
            let time = start + n as i64 * step;
            if time > end {
                return Err(format!("the script wants points past the end for {}", s.labels));
            }
            if let Some(value) = value {
                want.insert(time, value);
            }
        }
        if !want.keys().eq(got.keys()) {
            return Err(format!("{}: wanted {want:?}, got {got:?}", s.labels));
        }
        for (time, value) in want {
            if !same(value, &got[&time]) {
                return Err(format!("{} at {time}: wanted {value:?}, got {:?}", s.labels, got[&time]));
            }
        }
    }
    match wanted.keys().find(|labels| !seen.contains(**labels)) {
        Some(missing) => Err(format!("missing series {missing}")),
        None => Ok(()),
    }
}

fn same(a: &Point, b: &Point) -> bool {
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => almost_equal(*a, *b),
        (Point::Histogram(a), Point::Histogram(b)) => same_histogram(a, b),
        _ => false,
    }
}

fn same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let visible = |h: &FloatHistogram| -> Vec<_> {
        let zero = (h.zero_count > 0.0).then(|| h.zero_bucket());
        let mut all: Vec<_> = h.negative().collect();
        all.reverse();
        all.extend(zero);
        all.extend(h.positive());
        all.retain(|b| b.count != 0.0);
        all
    };
    let (left, right) = (visible(a), visible(b));
    almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && left.len() == right.len()
        && left.iter().zip(&right).all(|(a, b)| {
            (a.lower_inclusive, a.upper_inclusive) == (b.lower_inclusive, b.upper_inclusive)
                && almost_equal(a.lower, b.lower)
                && almost_equal(a.upper, b.upper)
                && almost_equal(a.count, b.count)
        })
}

/// Relative to the sum of magnitudes, as Prometheus's own tests compare.
pub(crate) fn almost_equal(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-6;
    let is_stale = |v: f64| v.to_bits() == bodkin_promql::storage::STALE_NAN;
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference.is_finite() && difference / sum.min(f64::MAX) < TOLERANCE
}
