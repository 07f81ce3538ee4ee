//! Scripts to commands.

use regex::Regex;
use std::sync::LazyLock;

use super::notation::{Line, duration_ms, line, number, string};

/// A step of a script.
pub(crate) enum Command {
    Load { step_ms: i64, with_nhcb: bool, lines: Vec<Line>, starts: Vec<Vec<Option<i64>>> },
    Eval(Box<Eval>),
}

/// A query and what must come of it.
#[derive(Default)]
pub(crate) struct Eval {
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) is_range: bool,
    pub(crate) at_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) fails: bool,
    pub(crate) is_ordered: bool,
    pub(crate) wants_warning: bool,
    pub(crate) wants_info: bool,
    pub(crate) expects: Vec<(String, Expect)>,
    pub(crate) string: Option<String>,
    pub(crate) range_vector: Option<(i64, i64, i64)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<Line>,
}

/// What a text must be like.
pub(crate) enum Expect {
    Any,
    Is(String),
    Matches(Regex),
}

impl Expect {
    pub(crate) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            // Scripts do not name the details of repaired buckets.
            Self::Is(wanted) => {
                let plain = without_position(text);
                [text, plain, plain.split(", from buckets ").next().unwrap_or(plain)].contains(&wanted.as_str())
            }
            Self::Matches(regex) => regex.is_match(text),
        }
    }
}

/// An annotation without the ` (1:5)` at its end.
pub(crate) fn without_position(text: &str) -> &str {
    static POSITION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" \(\d+:\d+\)$").unwrap());
    POSITION.find(text).map_or(text, |found| &text[..found.start()])
}

static LOAD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^load(?:_(with_nhcb))?\s+(.+?)$").unwrap());
static INSTANT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$").unwrap());
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$").unwrap()
});
static EXPECT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$").unwrap()
});
static EXPECT_RANGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$").unwrap());

/// The sections of a script: what stands between two `clear`.
pub(crate) fn sections(text: &str) -> Vec<Vec<Command>> {
    let lines: Vec<&str> = text.lines().map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let (mut sections, mut current, mut at) = (Vec::new(), Vec::new(), 0);
    while at < lines.len() {
        let word = lines[at].split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        match word.as_str() {
            "" => at += 1,
            "clear" => {
                sections.push(std::mem::take(&mut current));
                at += 1;
            }
            _ if word.starts_with("load") => current.push(load(&lines, &mut at)),
            _ => {
                let eval = eval(&lines, &mut at).unwrap_or_else(|e| panic!("line {at}: {e}"));
                current.push(Command::Eval(Box::new(eval)));
            }
        }
    }
    sections.push(current);
    sections.retain(|s| s.iter().any(|c| matches!(c, Command::Eval(_))));
    sections
}

fn load(lines: &[&str], at: &mut usize) -> Command {
    let found = LOAD.captures(lines[*at]).unwrap_or_else(|| panic!("cannot read {:?}", lines[*at]));
    let step_ms = duration_ms(&found[2]).unwrap_or_else(|| panic!("bad step in {:?}", lines[*at]));
    let with_nhcb = found.get(1).is_some();
    let (mut series, mut starts, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    *at += 1;
    while *at < lines.len() && !lines[*at].is_empty() {
        let text = lines[*at];
        *at += 1;
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        if text[..end].ends_with("@st") {
            pending = start_times(&text[end..]);
            continue;
        }
        series.push(line(text).unwrap_or_else(|e| panic!("{e}")));
        starts.push(std::mem::take(&mut pending));
    }
    Command::Load { step_ms, with_nhcb, lines: series, starts }
}

/// Start timestamps, relative to the sample of the line below: `_`, `-1m`, `-1mx2`, `-30s-1mx2`.
fn start_times(text: &str) -> Vec<Option<i64>> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let (head, count) = match item.rsplit_once('x') {
            Some((head, count)) => (head, count.parse::<usize>().ok()),
            None => (item, None),
        };
        if head == "_" {
            out.extend((0..count.unwrap_or(1)).map(|_| None));
            continue;
        }
        let step_at = head.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let (first, step) = head.split_at(step_at.unwrap_or(head.len()));
        let read = |text: &str| duration_ms(text.trim_start_matches('+')).unwrap_or_else(|| panic!("bad {item:?}"));
        let step_ms = if step.is_empty() { 0 } else { read(step) };
        let mut start_ms = read(first);
        for _ in 0..count.map_or(1, |n| n + 1) {
            out.push(Some(start_ms));
            start_ms += step_ms;
        }
    }
    out
}

fn eval(lines: &[&str], at: &mut usize) -> Result<Eval, String> {
    let text = lines[*at];
    let mut eval = Eval { line: *at + 1, ..Eval::default() };
    let bad = |part: &str| format!("cannot read {part:?}");
    let modifier = if let Some(found) = INSTANT.captures(text) {
        eval.query = found[3].to_owned();
        eval.at_ms = duration_ms(found.get(2).map_or("0", |m| m.as_str())).ok_or_else(|| bad(text))?;
        found.get(1).map(|m| m.as_str())
    } else if let Some(found) = RANGE.captures(text) {
        eval.is_range = true;
        eval.query = found[5].to_owned();
        let part = |i: usize| duration_ms(&found[i]).ok_or_else(|| bad(text));
        (eval.start_ms, eval.end_ms, eval.step_ms) = (part(2)?, part(3)?, part(4)?);
        found.get(1).map(|m| m.as_str())
    } else {
        *at += 1;
        return Err(bad(text));
    };
    eval.fails = modifier == Some("fail");
    eval.is_ordered = modifier == Some("ordered");
    eval.wants_warning = modifier == Some("warn");
    eval.wants_info = modifier == Some("info");
    *at += 1;
    while *at < lines.len() && !lines[*at].is_empty() {
        result_line(lines[*at], &mut eval)?;
        *at += 1;
    }
    Ok(eval)
}

fn result_line(text: &str, eval: &mut Eval) -> Result<(), String> {
    if let Some(message) = text.strip_prefix("expected_fail_message") {
        eval.expects.push(("fail".to_owned(), Expect::Is(message.trim().to_owned())));
    } else if let Some(pattern) = text.strip_prefix("expected_fail_regexp") {
        let regex = Regex::new(pattern.trim()).map_err(|e| e.to_string())?;
        eval.expects.push(("fail".to_owned(), Expect::Matches(regex)));
    } else if let Some(found) = EXPECT_RANGE.captures(text) {
        let part = |i: usize| duration_ms(&found[i]).ok_or_else(|| text.to_owned());
        eval.range_vector = Some((part(1)?, part(2)?, part(3)?));
        eval.at_ms = part(2)?;
    } else if let Some(literal) = text.strip_prefix("expect string") {
        eval.string = Some(string(literal.trim())?.0);
    } else if let Some(found) = EXPECT.captures(text) {
        let wanted = found.get(3).map_or("", |m| m.as_str()).trim();
        let expect = match found.get(2).map(|m| m.as_str()) {
            Some("msg") => Expect::Is(wanted.to_owned()),
            Some(_) => Expect::Matches(Regex::new(wanted).map_err(|e| e.to_string())?),
            None => Expect::Any,
        };
        match &found[1] {
            "ordered" => eval.is_ordered = true,
            "fail" => eval.fails = true,
            _ => {}
        }
        eval.expects.push((found[1].to_owned(), expect));
    } else if let Some(value) = number(text) {
        eval.scalar = Some(value);
    } else {
        eval.series.push(line(text)?);
    }
    Ok(())
}
