//! What templates can call.

use super::humanize::{humanize, humanize_1024, humanize_duration, humanize_percentage, humanize_timestamp};
use super::print::sprintf;
use super::{Context, TemplateError, Val};
use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

type Outcome = Result<Val, TemplateError>;

fn fault<T>(text: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(text.into()))
}

/// Calls a function by its name.
pub(super) fn call(name: &str, args: Vec<Val>, context: &Context<'_>) -> Outcome {
    let text = |at: usize| -> Result<Rc<str>, TemplateError> {
        match args.get(at) {
            Some(Val::Text(text)) => Ok(text.clone()),
            Some(other) => fault(format!("{name}: wrong type of argument {other}; expected string")),
            None => fault(format!("wrong number of args for {name}")),
        }
    };
    let number = |at: usize| args.get(at).map_or_else(|| fault(format!("wrong number of args for {name}")), to_float);
    let arg = |at: usize| args.get(at).ok_or_else(|| TemplateError(format!("wrong number of args for {name}")));
    let said = |text: String| Ok(Val::Text(text.into()));
    match name {
        "query" => {
            let samples = (context.query)(&text(0)?).map_err(|error| TemplateError(format!("query: {error}")))?;
            Ok(Val::List(Rc::new(samples.into_iter().map(|sample| Val::Sample(Rc::new(sample))).collect())))
        }
        "first" => match arg(0)? {
            Val::List(items) if !items.is_empty() => Ok(items[0].clone()),
            _ => fault("first() called on vector with no elements"),
        },
        "label" | "value" | "strvalue" => of_sample(name, &args),
        "sortByLabel" => sort_by_label(&text(0)?, arg(1)?),
        "humanize" => said(humanize(number(0)?)),
        "humanize1024" => said(humanize_1024(number(0)?)),
        "humanizeDuration" => said(humanize_duration(number(0)?)),
        "humanizePercentage" => said(humanize_percentage(number(0)?)),
        "humanizeTimestamp" => said(humanize_timestamp(number(0)?)?),
        "toTime" => said(humanize_timestamp(number(0)?)?),
        "toDuration" => said(humanize_duration(number(0)?)),
        "now" => fault("now: an alert has the time of its evaluation"),
        "title" => said(title(&text(0)?)),
        "toUpper" => said(text(0)?.to_uppercase()),
        "toLower" => said(text(0)?.to_lowercase()),
        "match" => Ok(Val::Bool(regex(&text(0)?)?.is_match(&text(1)?))),
        "reReplaceAll" => {
            let (pattern, replacement, subject) = (text(0)?, text(1)?, text(2)?);
            said(regex(&pattern)?.replace_all(&subject, replacement.as_ref()).into_owned())
        }
        "stripPort" => said(strip_port(&text(0)?).to_owned()),
        "stripDomain" => said(strip_domain(&text(0)?)),
        "parseDuration" => match bodkin_promql::parse_duration_ms(&text(0)?) {
            Ok(ms) => Ok(Val::Float(ms as f64 / 1000.0)),
            Err(error) => fault(error.to_string()),
        },
        "graphLink" => said(format!("/graph?g0.expr={}&g0.tab=0", escape_query(&text(0)?))),
        "tableLink" => said(format!("/graph?g0.expr={}&g0.tab=1", escape_query(&text(0)?))),
        "safeHtml" => said(text(0)?.to_string()),
        "externalURL" => said(context.external_url.to_owned()),
        "pathPrefix" => said(path_of(context.external_url).to_owned()),
        "args" => {
            let named = args.iter().enumerate().map(|(at, value)| (format!("arg{at}"), value.clone()));
            Ok(Val::Named(Rc::new(named.collect::<BTreeMap<_, _>>())))
        }
        "printf" => said(sprintf(&text(0)?, &args[1..])?),
        "print" => said(args.iter().map(ToString::to_string).collect()),
        "println" => said(args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n"),
        "not" => Ok(Val::Bool(!arg(0)?.is_true())),
        "len" => match arg(0)? {
            Val::Text(text) => Ok(Val::Int(text.len() as i64)),
            Val::List(items) => Ok(Val::Int(items.len() as i64)),
            Val::Labels(labels) => Ok(Val::Int(labels.len() as i64)),
            other => fault(format!("len of {other}")),
        },
        "index" => index(arg(0)?, arg(1)?),
        "eq" => {
            let first = arg(0)?;
            Ok(Val::Bool(args[1..].iter().any(|other| compare(first, other) == Some(Ordering::Equal))))
        }
        "ne" => Ok(Val::Bool(compare(arg(0)?, arg(1)?) != Some(Ordering::Equal))),
        "lt" => Ok(Val::Bool(compare(arg(0)?, arg(1)?).is_some_and(Ordering::is_lt))),
        "le" => Ok(Val::Bool(compare(arg(0)?, arg(1)?).is_some_and(Ordering::is_le))),
        "gt" => Ok(Val::Bool(compare(arg(0)?, arg(1)?).is_some_and(Ordering::is_gt))),
        "ge" => Ok(Val::Bool(compare(arg(0)?, arg(1)?).is_some_and(Ordering::is_ge))),
        "urlquery" => said(escape_query(&text(0)?)),
        "html" => said(escape_html(&text(0)?)),
        _ => fault(format!("function {name:?} not defined")),
    }
}

fn to_float(value: &Val) -> Result<f64, TemplateError> {
    match value {
        Val::Float(float) => Ok(*float),
        Val::Int(int) => Ok(*int as f64),
        Val::Text(text) => {
            text.parse().or_else(|_| fault(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")))
        }
        other => fault(format!("can't convert {other} to float")),
    }
}

fn of_sample(name: &str, args: &[Val]) -> Outcome {
    match (name, args) {
        ("value", [Val::Sample(sample)]) => Ok(Val::Float(sample.value)),
        ("strvalue", [Val::Sample(sample)]) => Ok(Val::Text(label_of(&sample.labels, "__value__").into())),
        ("label", [Val::Text(label), Val::Sample(sample)]) => Ok(Val::Text(label_of(&sample.labels, label).into())),
        _ => fault(format!("{name} wants a sample of a query")),
    }
}

fn label_of<'a>(labels: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

fn sort_by_label(label: &str, list: &Val) -> Outcome {
    let Val::List(items) = list else { return fault("sortByLabel wants the samples of a query") };
    let key = |item: &Val| match item {
        Val::Sample(sample) => label_of(&sample.labels, label).to_owned(),
        _ => String::new(),
    };
    let mut sorted = items.as_ref().clone();
    sorted.sort_by_cached_key(key);
    Ok(Val::List(Rc::new(sorted)))
}

fn index(of: &Val, at: &Val) -> Outcome {
    match (of, at) {
        (Val::List(items), Val::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned();
            item.ok_or_else(|| TemplateError(format!("index out of range: {at}")))
        }
        (Val::Labels(labels), Val::Text(name)) => Ok(Val::Text(label_of(labels, name).into())),
        _ => fault(format!("can't index {of} by {at}")),
    }
}

fn compare(left: &Val, right: &Val) -> Option<Ordering> {
    match (left, right) {
        (Val::Text(left), Val::Text(right)) => Some(left.cmp(right)),
        (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
        (Val::Int(left), Val::Int(right)) => Some(left.cmp(right)),
        (Val::Int(_) | Val::Float(_), Val::Int(_) | Val::Float(_)) => {
            to_float(left).ok()?.partial_cmp(&to_float(right).ok()?)
        }
        (Val::Nil, Val::Nil) => Some(Ordering::Equal),
        _ => None,
    }
}

fn regex(pattern: &str) -> Result<Regex, TemplateError> {
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.map_err(|error| TemplateError(format!("regex {pattern:?}: {error}")))
}

/// Each word with a capital.
fn title(text: &str) -> String {
    let mut is_start = true;
    let capital = |c: char| {
        let out: Vec<char> = if is_start { c.to_uppercase().collect() } else { vec![c] };
        is_start = !c.is_alphanumeric();
        out
    };
    text.chars().flat_map(capital).collect()
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && (!name.contains(':') || name.ends_with(']')) => {
            name.trim_start_matches('[').trim_end_matches(']')
        }
        _ => host,
    }
}

fn strip_domain(host_port: &str) -> String {
    let host = strip_port(host_port);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return host_port.to_owned();
    }
    let short = host.split('.').next().unwrap_or_default();
    match host_port.strip_prefix(host) {
        Some(port) => format!("{short}{port}"),
        None => short.to_owned(),
    }
}

fn path_of(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    after.find('/').map_or("", |at| after[at..].trim_end_matches('/'))
}

/// Escapes as Go's `url.QueryEscape`.
pub(super) fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
