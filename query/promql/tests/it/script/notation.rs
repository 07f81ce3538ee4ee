//! The series notation: `name{l="v"} 1 2+3x4 _ stale {{schema:0 ...}}x2`.

use std::sync::Arc;

use bodkin_promql::histogram::{Bounds, ResetHint};
use bodkin_promql::storage::STALE_NAN;
use bodkin_promql::{BucketSpan, FloatHistogram, Labels, parse_duration_ms};

use crate::memory::Point;

/// A line of the notation: the series and its points, `None` for a gap.
pub(crate) type Line = (Labels, Vec<Option<Point>>);

pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(positive) => parse_duration_ms(positive).ok().map(|ms| -ms),
        None => parse_duration_ms(text).ok(),
    }
}

pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    if digits.eq_ignore_ascii_case("inf") {
        return Some(sign * f64::INFINITY);
    }
    if digits.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| sign * n as f64);
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return i64::from_str_radix(digits, 8).ok().map(|n| sign * n as f64);
    }
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        if let Ok(value) = digits.parse::<f64>() {
            return Some(sign * value);
        }
        return parse_duration_ms(digits).ok().map(|ms| sign * ms as f64 / 1000.0);
    }
    None
}

/// A series with its values.
pub(crate) fn line(text: &str) -> Result<Line, String> {
    let (labels, rest) = metric(text)?;
    Ok((labels, values(rest)?))
}

/// A string literal at the start of a text, and what follows.
pub(crate) fn string(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().ok_or("no string")?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            let literal = &text[..=at];
            let parsed = bodkin_promql::parse(literal).map_err(|e| e.to_string())?;
            let bodkin_promql::ast::ExprKind::String(bytes) = parsed.kind else { return Err("no string".into()) };
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), &text[at + 1..]));
        }
    }
    Err(format!("open string in {text:?}"))
}

fn metric(text: &str) -> Result<(Labels, &str), String> {
    let end = text.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    let after_blank = rest.trim_start();
    if after_blank.starts_with('{') && !after_blank.starts_with("{{") {
        rest = &after_blank[1..];
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let key;
            if rest.starts_with(['"', '\'', '`']) {
                (key, rest) = string(rest)?;
                rest = rest.trim_start();
                if rest.starts_with([',', '}']) {
                    pairs[0].1 = key;
                    continue;
                }
            } else {
                let end = rest.find(['=', ' ', '\t']).ok_or_else(|| format!("bad labels in {text:?}"))?;
                key = rest[..end].to_owned();
                rest = rest[end..].trim_start();
            }
            rest = rest.strip_prefix('=').ok_or_else(|| format!("bad labels in {text:?}"))?.trim_start();
            let value;
            (value, rest) = string(rest)?;
            pairs.push((key, value));
        }
    }
    Ok((Labels::from_pairs(pairs), rest))
}

fn values(text: &str) -> Result<Vec<Option<Point>>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = if rest.starts_with("{{") { histogram_item(rest, &mut out)? } else { plain_item(rest, &mut out)? };
        rest = rest.trim_start();
    }
    Ok(out)
}

fn histogram_item<'a>(text: &'a str, out: &mut Vec<Option<Point>>) -> Result<&'a str, String> {
    let (mut current, mut rest) = histogram(text)?;
    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-') && rest[1..].starts_with("{{"));
    let mut step = None;
    if sign.is_some() {
        let (parsed, after) = histogram(&rest[1..])?;
        (step, rest) = (Some(parsed), after);
    }
    let Some(after) = rest.strip_prefix('x') else {
        out.push(Some(Point::Histogram(Arc::new(current))));
        return Ok(rest);
    };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let times: usize = after[..end].parse().map_err(|_| format!("bad count in {text:?}"))?;
    for _ in 0..=times {
        out.push(Some(Point::Histogram(Arc::new(current.clone()))));
        if let Some(step) = &step {
            let added = if sign == Some('-') {
                current.sub(step, Bounds::Reconcile)
            } else {
                current.add(step, Bounds::Reconcile)
            };
            added.map_err(|e| format!("{e:?} in {text:?}"))?;
        }
    }
    Ok(&after[end..])
}

fn plain_item<'a>(text: &'a str, out: &mut Vec<Option<Point>>) -> Result<&'a str, String> {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (item, rest) = text.split_at(end);
    let bad = || format!("bad value {item:?}");
    let (head, count) = match item.rsplit_once('x') {
        Some((head, count)) if !head.is_empty() => (head, Some(count.parse::<usize>().map_err(|_| bad())?)),
        _ => (item, None),
    };
    match head {
        "_" => out.extend((0..count.unwrap_or(1)).map(|_| None)),
        "stale" => {
            let stale = f64::from_bits(STALE_NAN);
            out.extend((0..count.map_or(1, |n| n + 1)).map(|_| Some(Point::Float(stale))));
        }
        _ => {
            // The sign of a step comes after a digit; that of an exponent after an `e`.
            let step_at = head
                .char_indices()
                .skip(1)
                .find(|(at, c)| matches!(c, '+' | '-') && !head[..*at].ends_with(['e', 'E']));
            let (first, step) = match step_at {
                Some((at, _)) => (number(&head[..at]).ok_or_else(bad)?, Some(number(&head[at..]).ok_or_else(bad)?)),
                None => (number(head).ok_or_else(bad)?, None),
            };
            let mut value = first;
            for _ in 0..count.map_or(1, |n| n + 1) {
                out.push(Some(Point::Float(value)));
                value += step.unwrap_or(0.0);
            }
        }
    }
    Ok(rest)
}

/// `{{schema:0 sum:1 ...}}`, and what follows.
fn histogram(text: &str) -> Result<(FloatHistogram, &str), String> {
    let bad = || format!("bad histogram in {text:?}");
    let end = text.find("}}").ok_or_else(bad)?;
    let mut rest = text[2..end].trim();
    let mut h = FloatHistogram::default();
    let (mut offsets, mut buckets) = ([0i32; 2], [Vec::new(), Vec::new()]);
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(bad)?;
        let value;
        if let Some(list) = after.strip_prefix('[') {
            let end = list.find(']').ok_or_else(bad)?;
            value = &list[..end];
            rest = list[end + 1..].trim_start();
        } else {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            value = &after[..end];
            rest = after[end..].trim_start();
        }
        let float = || number(value).ok_or_else(bad);
        let list = || value.split_whitespace().map(|v| number(v).ok_or_else(bad)).collect::<Result<Vec<f64>, _>>();
        match key.trim() {
            "schema" => h.schema = value.parse().map_err(|_| bad())?,
            "sum" => h.sum = float()?,
            "count" => h.count = float()?,
            "z_bucket" => h.zero_count = float()?,
            "z_bucket_w" => h.zero_threshold = float()?,
            "custom_values" => h.custom_values = list()?.into(),
            "offset" => offsets[0] = value.parse().map_err(|_| bad())?,
            "n_offset" => offsets[1] = value.parse().map_err(|_| bad())?,
            "buckets" => buckets[0] = list()?,
            "n_buckets" => buckets[1] = list()?,
            "counter_reset_hint" => {
                h.reset_hint = match value {
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            _ => return Err(bad()),
        }
    }
    let spans = |offset: i32, buckets: &[f64]| {
        if buckets.is_empty() { vec![] } else { vec![BucketSpan { offset, length: buckets.len() as u32 }] }
    };
    h.positive_spans = spans(offsets[0], &buckets[0]);
    h.negative_spans = spans(offsets[1], &buckets[1]);
    [h.positive_buckets, h.negative_buckets] = buckets;
    Ok((h, &text[end + 2..]))
}
