//! Prometheus's text format and OpenMetrics, as pages of exporters are: one sample a line.
//!
//! A line is looked at as bytes; nothing is copied but values with escapes.

use crate::gateway::WriteError;
use crate::intake::{Intake, LabelSource};
use crate::memory::Metadata;
use crate::own::{OwnExemplar, OwnValue};
use crate::page::PageSample;
use crate::series::SeriesError;
use std::borrow::Cow;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `text/plain; version=0.0.4`: times in milliseconds.
    Prometheus,
    /// `application/openmetrics-text`: times in seconds.
    OpenMetrics,
}

/// One sample of a page.
#[derive(Clone, Debug, PartialEq)]
struct Line<'a> {
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    numbers: Numbers,
}

/// What follows name and labels.
#[derive(Clone, Debug, PartialEq)]
struct Numbers {
    value: f64,
    ts_ms: Option<i64>,
    exemplar: Option<OwnExemplar>,
}

/// The labels of a series as it was written, the name as `__name__` among them.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn labels_of(series: &str) -> Result<Vec<(String, String)>, String> {
    let (labels, rest) = series_of(series)?;
    if !rest.trim().is_empty() {
        return Err(format!("{rest:?} after the labels"));
    }
    Ok(labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

/// Reads a page: `sample` is called for each line that is one, and says whether it goes on.
///
/// # Errors
/// The first line that is none.
pub(crate) fn read_page(
    page: &str,
    format: TextFormat,
    mut sample: impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<Vec<Metadata>, String> {
    let (mut metadata, mut said): (Vec<Metadata>, Option<Metadata>) = (Vec::new(), None);
    let mut kind = "unknown";
    for (number, line) in page.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            if format == TextFormat::OpenMetrics && comment.trim() == "EOF" {
                break;
            }
            if comment_line(comment, &mut said, &mut metadata) {
                kind = said.as_ref().map_or(kind, |said| said.kind);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let end = series_end(line).ok_or_else(|| format!("line {}: no value", number + 1))?;
        let (series, rest) = line.split_at(end);
        let numbers = numbers_of(rest, format).map_err(|why| format!("line {}: {why}", number + 1))?;
        let (value, exemplars) = (OwnValue::Float(numbers.value), numbers.exemplar.into_iter().collect());
        let found = PageSample { series, value, ts_ms: numbers.ts_ms, kind, exemplars };
        sample(found).map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    metadata.extend(said);
    Ok(metadata)
}

/// Where name and labels end: at the closing brace, or before the first blank.
fn series_end(line: &str) -> Option<usize> {
    let open = line.find(['{', ' ', '\t'])?;
    let brace = open + line[open..].find(|c: char| c != ' ' && c != '\t')?;
    if line.as_bytes().get(brace) != Some(&b'{') {
        return Some(open);
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, byte) in line.bytes().enumerate().skip(brace) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}

struct Pairs<'s>(&'s [(Cow<'s, str>, Cow<'s, str>)]);

impl<'s> LabelSource<'s> for Pairs<'s> {
    fn labels(&self, into: &mut Vec<(&'s str, &'s str)>) -> Result<(), SeriesError> {
        into.extend(self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        Ok(())
    }
}

/// Reads a page; samples without a time get `now_ms`. A line that is none is a problem, the others are taken.
pub(crate) fn read(page: &[u8], format: TextFormat, now_ms: i64, intake: &mut Intake<'_>) -> Result<(), WriteError> {
    let page =
        std::str::from_utf8(page).map_err(|error| WriteError::Text(format!("the page is not UTF-8: {error}")))?;
    let mut key = Vec::new();
    let mut said: Option<Metadata> = None;
    for (number, line) in page.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            comment_line(comment, &mut said, &mut intake.metadata);
            continue;
        }
        if line.is_empty() {
            continue;
        }
        match parse_line(line, format) {
            Ok(parsed) => take(parsed, now_ms, &mut key, intake, number),
            Err(why) => intake.problems.add(|| format!("line {}: {why}", number + 1)),
        }
    }
    intake.metadata.extend(said);
    Ok(())
}

fn take(line: Line<'_>, now_ms: i64, key: &mut Vec<u8>, intake: &mut Intake<'_>, number: usize) {
    key.clear();
    for (name, value) in &line.labels {
        for text in [name, value] {
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
    }
    match intake.series(key, &Pairs(&line.labels)) {
        Ok(series) => {
            let Numbers { value, ts_ms, exemplar } = line.numbers;
            let ts_ms = ts_ms.unwrap_or(now_ms);
            intake.sample(series, ts_ms, value);
            if let Some(OwnExemplar { labels, value, ts_ms: own_ms }) = exemplar {
                intake.exemplar(series.series_id, labels, value, own_ms.unwrap_or(ts_ms));
            }
        }
        Err(error) => intake.problems.add(|| format!("line {}: {error}", number + 1)),
    }
}

/// `# HELP name text`, `# TYPE name kind`, `# UNIT name unit`; other comments say nothing. True where it says a kind.
fn comment_line(comment: &str, said: &mut Option<Metadata>, metadata: &mut Vec<Metadata>) -> bool {
    let mut words = comment.trim_start().splitn(3, [' ', '\t']);
    let (Some(keyword @ ("HELP" | "TYPE" | "UNIT")), Some(name)) = (words.next(), words.next()) else {
        return false;
    };
    let text = words.next().unwrap_or_default();
    if said.as_ref().is_none_or(|said| said.name != name) {
        metadata.extend(said.take());
        *said = Some(Metadata { name: name.to_owned(), kind: "unknown", help: String::new(), unit: String::new() });
    }
    let Some(said) = said else { return false };
    match keyword {
        "HELP" => said.help = unescape(text, false).into_owned(),
        "UNIT" => said.unit = text.to_owned(),
        _ => said.kind = kind_of(text),
    }
    keyword == "TYPE"
}

fn kind_of(text: &str) -> &'static str {
    const KINDS: [&str; 7] = ["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    KINDS.into_iter().find(|kind| *kind == text.trim()).unwrap_or("unknown")
}

fn parse_line(line: &str, format: TextFormat) -> Result<Line<'_>, String> {
    let (labels, rest) = series_of(line)?;
    Ok(Line { labels, numbers: numbers_of(rest, format)? })
}

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Name and labels, and what follows them.
fn series_of(line: &str) -> Result<(Labels<'_>, &str), String> {
    let end = line.find(['{', ' ', '\t']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::with_capacity(8);
    if !name.is_empty() {
        labels.push((Cow::Borrowed("__name__"), Cow::Borrowed(name)));
    }
    rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = label_list(inside, &mut labels)?;
    }
    Ok((labels, rest))
}

/// Value, time, and what follows a "#": an exemplar in OpenMetrics, nothing that is looked at elsewhere.
fn numbers_of(rest: &str, format: TextFormat) -> Result<Numbers, String> {
    let (numbers, exemplar) = match rest.split_once(" #") {
        Some((numbers, text)) if format == TextFormat::OpenMetrics => (numbers, Some(exemplar_of(text)?)),
        Some((numbers, _)) => (numbers, None),
        None => (rest, None),
    };
    let mut numbers = numbers.split_ascii_whitespace();
    let value = numbers.next().ok_or("no value").and_then(|text| number(text).ok_or("the value is no number"))?;
    let ts_ms = match numbers.next() {
        None => None,
        Some(text) => Some(time(text, format).ok_or_else(|| format!("{text:?} is no time"))?),
    };
    match numbers.next() {
        Some(more) => Err(format!("{more:?} after the time")),
        None => Ok(Numbers { value, ts_ms, exemplar }),
    }
}

/// Labels, value, and perhaps a time.
fn exemplar_of(text: &str) -> Result<OwnExemplar, String> {
    let inside = text.trim_start().strip_prefix('{').ok_or("an exemplar without labels")?;
    let mut labels = Vec::new();
    let rest = label_list(inside, &mut labels)?;
    let mut numbers = rest.split_ascii_whitespace();
    let value = numbers.next().and_then(number).ok_or("an exemplar without a value")?;
    let ts_ms = match numbers.next() {
        None => None,
        Some(text) => Some(time(text, TextFormat::OpenMetrics).ok_or("an exemplar's time is none")?),
    };
    if numbers.next().is_some() {
        return Err("more than a time after an exemplar".to_owned());
    }
    let labels = labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    Ok(OwnExemplar { labels, value, ts_ms })
}

fn number(text: &str) -> Option<f64> {
    // Rust also reads "infinity" and an empty fraction, which do no harm.
    text.parse().ok()
}

fn time(text: &str, format: TextFormat) -> Option<i64> {
    match format {
        TextFormat::Prometheus => text.parse().ok(),
        TextFormat::OpenMetrics => {
            let seconds: f64 = text.parse().ok()?;
            (seconds.abs() < 9e15).then(|| (seconds * 1000.0).round() as i64)
        }
    }
}

/// The labels up to the closing brace, and what follows it.
fn label_list<'a>(mut rest: &'a str, labels: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, after) = quoted_text(quoted)?;
                let after = after.trim_start();
                // A quoted text without a value is the metric's name.
                if !after.starts_with('=') {
                    labels.push((Cow::Borrowed("__name__"), name));
                    rest = after.strip_prefix(',').unwrap_or(after);
                    continue;
                }
                (name, after)
            }
            None => {
                let end = rest.find('=').ok_or("a label without a value")?;
                let (name, after) = rest.split_at(end);
                (Cow::Borrowed(name.trim_end()), after)
            }
        };
        let after = after.strip_prefix('=').map(str::trim_start).and_then(|after| after.strip_prefix('"'));
        let (value, after) = quoted_text(after.ok_or("a label's value is not quoted")?)?;
        if name.is_empty() {
            return Err("a label without a name".to_owned());
        }
        labels.push((name, value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return Err("labels are not separated by commas".to_owned()),
        };
    }
}

/// A text up to its closing quote, and what follows it.
fn quoted_text(text: &str) -> Result<(Cow<'_, str>, &str), String> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Ok((unescape(&text[..index], true), &text[index + 1..])),
            _ => {}
        }
    }
    Err("a text has no closing quote".to_owned())
}

fn unescape(text: &str, has_quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if has_quotes => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (Vec<(String, String)>, f64, Option<i64>);

    fn line(text: &str) -> Result<Parts, String> {
        let line = parse_line(text, TextFormat::Prometheus)?;
        let labels = line.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Ok((labels, line.numbers.value, line.numbers.ts_ms))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    #[test]
    fn lines() {
        assert_eq!(line("up 1"), Ok((pairs(&[("__name__", "up")]), 1.0, None)));
        assert_eq!(
            line(r#"http_requests_total{method="post",code="200",} 1027 1395066363000"#),
            Ok((
                pairs(&[("__name__", "http_requests_total"), ("method", "post"), ("code", "200")]),
                1027.0,
                Some(1_395_066_363_000)
            ))
        );
        assert_eq!(
            line(r#"x { a = "C:\\DIR\n\"f\"" } +Inf"#),
            Ok((pairs(&[("__name__", "x"), ("a", "C:\\DIR\n\"f\"")]), f64::INFINITY, None))
        );
        assert_eq!(
            line(r#"{"my.metric", "a.b"="}"} -1e3 -3982045"#),
            Ok((pairs(&[("__name__", "my.metric"), ("a.b", "}")]), -1000.0, Some(-3_982_045)))
        );
        assert_eq!(line(r#"x_bucket{le="1"} 3 # {trace_id="a"} 0.5"#).unwrap().1, 3.0);
        for nonsense in [
            "up",
            "up x",
            "up{",
            "up{a} 1",
            "up{a=1} 1",
            "up{a=\"1} 1",
            "up 1 2 3",
            "up{a=\"1\"b=\"2\"} 1",
            "{=\"a\"} 1",
        ] {
            assert!(line(nonsense).is_err(), "{nonsense}");
        }
        let page = "# TYPE a counter\n# HELP a it\na{b=\"}\\\"\"} 1\na {b=\"c\"} 2 7 # {t=\"x\"} 1\nb 3\n# EOF\n";
        let mut read = Vec::new();
        let metadata = read_page(page, TextFormat::OpenMetrics, |sample| {
            let OwnValue::Float(value) = sample.value else { return Err("no float".to_owned()) };
            read.push((sample.labels()?, value, sample.ts_ms));
            Ok(())
        });
        assert_eq!(metadata.unwrap()[0].kind, "counter");
        let of = |b: &str| pairs(&[("__name__", "a"), ("b", b)]);
        let b = (pairs(&[("__name__", "b")]), 3.0, None);
        assert_eq!(read, [(of("}\""), 1.0, None), (of("c"), 2.0, Some(7000)), b]);
        assert!(read_page("a 1\nb x\n", TextFormat::Prometheus, |_| Ok(())).unwrap_err().starts_with("line 2"));
        let open = parse_line("up 1 1.5", TextFormat::OpenMetrics).unwrap();
        assert_eq!((open.numbers.ts_ms, open.numbers.exemplar), (Some(1500), None));
    }

    #[test]
    fn exemplars_of_open_metrics() {
        let exemplar = |text: &str| parse_line(text, TextFormat::OpenMetrics).map(|line| line.numbers.exemplar);
        let labels = || vec![("trace_id".to_owned(), "a #}".to_owned())];
        assert_eq!(
            exemplar(r#"h_bucket{le="1"} 3 # {trace_id="a #}"} 0.5 1.25"#),
            Ok(Some(OwnExemplar { labels: labels(), value: 0.5, ts_ms: Some(1250) }))
        );
        assert_eq!(
            exemplar(r#"c_total 3 7 # {trace_id="a #}"} 1"#),
            Ok(Some(OwnExemplar { labels: labels(), value: 1.0, ts_ms: None }))
        );
        assert_eq!(parse_line("c_total 3 # {} x", TextFormat::Prometheus).unwrap().numbers.exemplar, None);
        for nonsense in ["c 1 # a", "c 1 # {a=\"b\"}", "c 1 # {a=\"b\"} 1 x", "c 1 # {a=\"b\"} 1 2 3", "c 1 # {a} 1"] {
            assert!(exemplar(nonsense).is_err(), "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn safe_1_any_text_ends(text in "\\PC{0,60}") {
            let _ = parse_line(&text, TextFormat::Prometheus);
            let _ = read_page(&text, TextFormat::OpenMetrics, |sample| sample.labels().map(drop));
        }
    }
}
