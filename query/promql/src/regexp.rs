//! RE2's regular expressions for labels: fully anchored, `.` matches a line break.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// Compiled programs of one expression stay below this.
const PROGRAM_BYTES_MAX: usize = 10 << 20;
/// An expression with more alternatives than this is not listed.
const LITERALS_MAX: usize = 256;
/// RE2 in Go refuses longer repetitions.
const REPEAT_MAX: u32 = 1000;

/// A compiled, anchored expression.
#[derive(Debug)]
pub struct LabelRegex {
    regex: Regex,
    literals: Option<Vec<String>>,
    prefix: String,
}

impl LabelRegex {
    /// Compiles an expression in RE2's syntax; fails with what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let translated = translate(pattern)?;
        let regex = compile(&format!("^(?s:{translated})$"), pattern)?;
        let hir = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(&translated).ok();
        let literals = hir.as_ref().and_then(list_literals);
        let prefix = hir.as_ref().map(literal_prefix).unwrap_or_default();
        Ok(Self { regex, literals, prefix })
    }

    /// Says whether the whole value matches.
    pub fn matches(&self, value: &str) -> bool {
        match &self.literals {
            Some(literals) => literals.iter().any(|literal| literal == value),
            None => value.starts_with(&self.prefix) && self.regex.is_match(value),
        }
    }

    /// All values that match, where the expression is a choice of at most 256 literals.
    pub fn literals(&self) -> Option<&[String]> {
        self.literals.as_deref()
    }

    /// What each matching value begins with; `""` where nothing is known.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The anchored expression, for captures.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

fn compile(anchored: &str, pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(anchored)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(250)
        .build()
        .map_err(|error| describe(&error, pattern))
}

/// Names the fault in the words of Go's regexp/syntax where it has some.
fn describe(error: &regex::Error, pattern: &str) -> String {
    let text = error.to_string();
    let kinds = [
        ("unclosed group", "missing closing ): `"),
        ("unopened group", "unexpected ): `"),
        ("unclosed character class", "missing closing ]: `"),
        ("repetition operator missing expression", "missing argument to repetition operator: `"),
        ("invalid character class range", "invalid character class range: `"),
        ("compiled regex exceeds size limit", "expression too large: `"),
    ];
    for (ours, theirs) in kinds {
        if text.contains(ours) {
            let operand = if ours.starts_with("repetition") { repetition_of(pattern) } else { pattern };
            return format!("error parsing regexp: {theirs}{operand}`");
        }
    }
    let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("error parsing regexp: {last}: `{pattern}`")
}

/// The repetition operator that Go names in its error.
fn repetition_of(pattern: &str) -> &str {
    pattern.find(['*', '+', '?']).map_or(pattern, |at| &pattern[at..=at])
}

/// Rewrites what RE2 knows and Rust's regex does not: `\Q...\E`, `\C`, octal escapes, `[[:word:]]` stays.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex_syntax::escape(literal));
            rest = after;
            continue;
        }
        if c == '\\' {
            rest = translate_escape(&mut out, rest, pattern)?;
            continue;
        }
        if c == '[' {
            rest = translate_class(&mut out, rest, pattern)?;
            continue;
        }
        if c == '{' {
            rest = translate_brace(&mut out, rest)?;
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    Ok(out)
}

fn translate_escape<'a>(out: &mut String, rest: &'a str, pattern: &str) -> Result<&'a str, String> {
    let Some(escaped) = rest[1..].chars().next() else {
        return Err(format!("error parsing regexp: trailing backslash at end of expression: `{pattern}`")
            .replace(&format!(": `{pattern}`"), ": ``"));
    };
    let after = &rest[1 + escaped.len_utf8()..];
    match escaped {
        'C' => out.push_str("(?s:.)"),
        'z' | 'A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
            // RE2's classes are ASCII's; Rust's would be Unicode's.
            out.push_str(match escaped {
                'd' => "[0-9]",
                'D' => "[^0-9]",
                's' => "[\\t\\n\\f\\r ]",
                'S' => "[^\\t\\n\\f\\r ]",
                'w' => "[0-9A-Za-z_]",
                'W' => "[^0-9A-Za-z_]",
                'b' => "(?-u:\\b)",
                'B' => "(?-u:\\B)",
                'A' => "\\A",
                _ => "\\z",
            });
        }
        '1'..='7' if !after.starts_with(|c: char| c.is_digit(8)) => {
            return Err(format!("error parsing regexp: invalid escape sequence: `\\{escaped}`"));
        }
        '0'..='7' => {
            let digits: String = rest[1..].chars().take(3).take_while(|c| c.is_digit(8)).collect();
            let code = u32::from_str_radix(&digits, 8).unwrap_or(0);
            out.push_str(&format!("\\x{{{code:x}}}"));
            return Ok(&rest[1 + digits.len()..]);
        }
        'p' | 'P' | 'x' | 'a' | 'f' | 't' | 'n' | 'r' | 'v' => {
            out.push('\\');
            out.push(escaped);
        }
        c if c.is_ascii_punctuation() => {
            out.push_str(&regex_syntax::escape(&c.to_string()));
        }
        c => return Err(format!("error parsing regexp: invalid escape sequence: `\\{c}`")),
    }
    Ok(after)
}

/// Copies a bracketed class. Rust gives `[`, `&&`, `--` and `~~` inside a meaning that RE2 does not.
fn translate_class<'a>(out: &mut String, rest: &'a str, pattern: &str) -> Result<&'a str, String> {
    out.push('[');
    let mut at = 1;
    if rest[at..].starts_with('^') {
        out.push('^');
        at += 1;
    }
    let mut is_first = true;
    while let Some(c) = rest[at..].chars().next() {
        if c == ']' && !is_first {
            out.push(']');
            return Ok(&rest[at + 1..]);
        }
        is_first = false;
        if rest[at..].starts_with("[:")
            && let Some(end) = rest[at..].find(":]")
        {
            out.push_str(&rest[at..at + end + 2]);
            at += end + 2;
            continue;
        }
        if c == '\\' {
            let before = rest[at..].len();
            let mut piece = String::new();
            let after = translate_escape(&mut piece, &rest[at..], pattern)?;
            out.push_str(&piece);
            at += before - after.len();
            continue;
        }
        if matches!(c, '[' | '&' | '~' | ']') {
            out.push('\\');
        }
        out.push(c);
        at += c.len_utf8();
    }
    Err(format!("error parsing regexp: missing closing ]: `{rest}`"))
}

/// A brace that is no repetition is a literal in RE2.
fn translate_brace<'a>(out: &mut String, rest: &'a str) -> Result<&'a str, String> {
    let Some((inside, after)) = rest[1..].split_once('}') else {
        out.push_str("\\{");
        return Ok(&rest[1..]);
    };
    let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
    let is_number = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(low) || !(high.is_empty() || is_number(high)) {
        out.push_str("\\{");
        return Ok(&rest[1..]);
    }
    let low_count: u32 = low.parse().unwrap_or(u32::MAX);
    let high_count: u32 = if high.is_empty() { low_count } else { high.parse().unwrap_or(u32::MAX) };
    if low_count > REPEAT_MAX || high_count > REPEAT_MAX || high_count < low_count {
        return Err(format!("error parsing regexp: invalid repeat count: `{{{inside}}}`"));
    }
    out.push('{');
    out.push_str(inside);
    out.push('}');
    Ok(after)
}

/// The literals of an expression that is a choice of few.
fn list_literals(hir: &Hir) -> Option<Vec<String>> {
    let literals = match hir.kind() {
        HirKind::Empty => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8(literal.0.to_vec()).ok()?],
        HirKind::Capture(capture) => list_literals(&capture.sub)?,
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(list_literals(part)?);
                if all.len() > LITERALS_MAX {
                    return None;
                }
            }
            all
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let next = list_literals(part)?;
                if all.len() * next.len() > LITERALS_MAX {
                    return None;
                }
                all = all.iter().flat_map(|a| next.iter().map(move |b| format!("{a}{b}"))).collect();
            }
            all
        }
        HirKind::Class(class) => list_class(class)?,
        _ => return None,
    };
    (literals.len() <= LITERALS_MAX).then_some(literals)
}

fn list_class(class: &regex_syntax::hir::Class) -> Option<Vec<String>> {
    let regex_syntax::hir::Class::Unicode(class) = class else { return None };
    let count: usize = class.ranges().iter().map(|r| r.len()).sum();
    if count > 16 {
        return None;
    }
    Some(class.iter().flat_map(|r| (r.start()..=r.end()).map(String::from)).collect())
}

fn literal_prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        HirKind::Capture(capture) => literal_prefix(&capture.sub),
        HirKind::Concat(parts) => match parts.first() {
            Some(first) => literal_prefix(first),
            None => String::new(),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        LabelRegex::new(pattern).unwrap().matches(value)
    }

    #[test]
    fn is_anchored_and_dot_takes_a_line_break() {
        assert!(!matches("b", "abc"));
        assert!(matches("a.c", "a\nc"));
        assert!(matches("a|bc", "bc") && !matches("a|bc", "abc"));
        assert!(matches("", "") && !matches("", "x"));
    }

    #[test]
    fn speaks_re2() {
        assert!(matches(r"\Qa.b[\E.*", "a.b[x"));
        assert!(matches(r"[[:alpha:]]+\d", "abc1"));
        assert!(matches(r"a{,3}", "a{,3}"));
        assert!(matches(r"[a&&b]+", "a&b"));
        assert!(matches(r"(?i)ABC", "aBc"));
        assert!(matches(r"\/x\-y", "/x-y"));
        assert!(!matches(r"\d", "\u{663}"));
    }

    #[test]
    fn lists_what_narrows_a_scan() {
        let listed = LabelRegex::new("foo|bar(1|2)").unwrap();
        assert_eq!(listed.literals().unwrap(), ["foo", "bar1", "bar2"]);
        let open = LabelRegex::new("node_.*").unwrap();
        assert_eq!((open.literals(), open.prefix()), (None, "node_"));
    }

    #[test]
    fn refuses_the_hostile() {
        assert_eq!(LabelRegex::new("(").unwrap_err(), "error parsing regexp: missing closing ): `(`");
        assert!(LabelRegex::new("((a{1000}){1000}){1000}").is_err());
        assert!(LabelRegex::new(&"(".repeat(100_000)).is_err());
        assert!(LabelRegex::new("a{1001}").is_err());
        assert!(LabelRegex::new(r"(a)\1").is_err());
    }
}
