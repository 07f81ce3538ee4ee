//! Constants of rules, read as the type of the field that they are compared with.

use super::Problem;
use super::glob::Glob;
use super::paths::PathSet;
use super::pattern;
use super::text_test::{TextSet, TextTest};
use crate::fields::Kind;
use crate::fields::address::{Network, service_port};
use crate::syntax::{Literal, Modifier, Op};
use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use regex::bytes::RegexBuilder;
use std::net::IpAddr;

/// Bytes that a compiled regular expression may take; most take less than the first.
const REGEX_BYTES: [usize; 2] = [1 << 16, 1 << 20];
/// Texts that are searched for in one pass: to prepare for more takes time that grows with their square.
const NEEDLES_MAX: usize = 1024;
/// Bytes of a path of `pmatch`: no path of Linux is longer.
const PATH_BYTES_MAX: usize = 4096;

/// What the matchers of a graph may still take.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    /// Bytes of texts that are searched for together.
    needle_bytes: usize,
    /// Bytes of compiled regular expressions.
    regex_bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { needle_bytes: 1 << 20, regex_bytes: 24 << 20 }
    }
}

impl Allowance {
    /// Takes from what is left; false where it is not enough.
    fn take(left: &mut usize, bytes: usize) -> bool {
        let is_enough = *left >= bytes;
        *left -= if is_enough { bytes } else { 0 };
        is_enough
    }
}

/// Says whether an operator exists for a type.
pub(super) fn is_comparable(op: Op, kind: Kind, is_list: bool) -> bool {
    use Op::{Contains, EndsWith, Eq, Exists, Ge, Gt, In, Intersects, Le, Lt, Ne, StartsWith};
    if is_list {
        return matches!(op, Exists | In | Intersects);
    }
    match kind {
        Kind::Text => !matches!(op, Op::Bcontains | Op::BstartsWith),
        Kind::Bytes => {
            matches!(
                op,
                Exists | Eq | Ne | Contains | In | StartsWith | EndsWith | Intersects | Op::Bcontains | Op::BstartsWith
            )
        }
        Kind::Number | Kind::Port => matches!(op, Exists | Eq | Ne | Lt | Le | Gt | Ge | In | Intersects),
        Kind::Flag | Kind::Address | Kind::Network => matches!(op, Exists | Eq | Ne | In | Intersects),
    }
}

/// The test of a text, buffer, address or network against constants.
pub(super) fn text_test(
    kind: Kind,
    op: Op,
    modifier: Option<Modifier>,
    literals: &[Literal],
    allowance: &mut Allowance,
) -> Result<TextTest, Problem> {
    if op.takes_list() {
        return list_test(kind, op, literals);
    }
    let texts = || literals.iter().map(|literal| literal.bytes.clone().into_boxed_slice());
    match (modifier, op, kind) {
        (Some(_), _, _) if literals.is_empty() => return Ok(TextTest::Any(Vec::new())),
        (Some(Modifier::AnyOf), Op::Eq, Kind::Text | Kind::Bytes) => return Ok(TextTest::In(TextSet::new(texts()))),
        (Some(Modifier::AllOf), Op::Ne, Kind::Text | Kind::Bytes) => return Ok(TextTest::NotIn(TextSet::new(texts()))),
        _ => {}
    }
    let tests = literals.iter().map(|literal| one_test(kind, op, literal, allowance)).collect::<Result<Vec<_>, _>>()?;
    match modifier {
        Some(Modifier::AnyOf) => Ok(any(tests, allowance)),
        Some(Modifier::AllOf) => Ok(TextTest::All(tests)),
        Some(Modifier::OneOf) => Ok(TextTest::One(tests)),
        None => tests.into_iter().next().ok_or_else(|| Problem::new("a value is missing")),
    }
}

fn list_test(kind: Kind, op: Op, literals: &[Literal]) -> Result<TextTest, Problem> {
    match kind {
        Kind::Address => {
            let wanted = literals.iter().map(address).collect::<Result<_, _>>()?;
            Ok(TextTest::Address { wanted, is_negated: false })
        }
        Kind::Network => {
            let wanted = literals.iter().map(network).collect::<Result<_, _>>()?;
            Ok(TextTest::Network { wanted, is_negated: false })
        }
        _ if op == Op::Pmatch => {
            let mut paths = PathSet::default();
            for literal in literals {
                if literal.bytes.len() > PATH_BYTES_MAX {
                    return Err(Problem::at(literal.span, format!("a path has at most {PATH_BYTES_MAX} bytes")));
                }
                paths.insert(&literal.bytes);
            }
            Ok(TextTest::Paths(paths))
        }
        _ => Ok(TextTest::In(TextSet::new(literals.iter().map(|literal| literal.bytes.clone().into_boxed_slice())))),
    }
}

fn one_test(kind: Kind, op: Op, literal: &Literal, allowance: &mut Allowance) -> Result<TextTest, Problem> {
    let bytes = || literal.bytes.clone().into_boxed_slice();
    let is_negated = op == Op::Ne;
    match kind {
        Kind::Address => return Ok(TextTest::Address { wanted: vec![address(literal)?], is_negated }),
        Kind::Network => return Ok(TextTest::Network { wanted: vec![network(literal)?], is_negated }),
        _ => {}
    }
    Ok(match op {
        Op::Eq => TextTest::Equal(bytes()),
        Op::Ne => TextTest::NotEqual(bytes()),
        Op::Contains => TextTest::Contains(Box::new(Finder::new(&literal.bytes).into_owned())),
        Op::Icontains => match finder(&[&literal.bytes], true, allowance) {
            Some(finder) => TextTest::ContainsAny(finder),
            None => return Err(Problem::at(literal.span, "the texts of icontains take too much memory")),
        },
        Op::Bcontains => TextTest::Contains(Box::new(Finder::new(&unhex(literal)?).into_owned())),
        Op::StartsWith => TextTest::StartsWith(bytes()),
        Op::BstartsWith => TextTest::StartsWith(unhex(literal)?.into()),
        Op::EndsWith => TextTest::EndsWith(bytes()),
        Op::Glob => TextTest::Glob(Glob::new(&literal.bytes, false)),
        Op::Iglob => TextTest::Glob(Glob::new(&literal.bytes, true)),
        Op::Regex => TextTest::Regex(regex(literal, allowance)?),
        _ => TextTest::Order(op, bytes()),
    })
}

/// One test for several of which any will do.
pub(super) fn any(tests: Vec<TextTest>, allowance: &mut Allowance) -> TextTest {
    let mut prefixes = Vec::new();
    let mut suffixes = Vec::new();
    let mut equals = Vec::new();
    let mut others = Vec::new();
    for test in tests {
        match test {
            TextTest::StartsWith(text) => prefixes.push(text),
            TextTest::StartsWithAny(texts) => prefixes.extend(texts),
            TextTest::EndsWith(text) => suffixes.push(text),
            TextTest::EndsWithAny(texts) => suffixes.extend(texts),
            TextTest::Equal(text) => equals.push(text),
            TextTest::In(set) => equals.extend(set.into_texts()),
            other => others.push(other),
        }
    }
    // Sets first: they cost least.
    let mut all = Vec::new();
    if !equals.is_empty() {
        all.push(TextTest::In(TextSet::new(equals)));
    }
    if !prefixes.is_empty() {
        all.push(TextTest::StartsWithAny(prefixes));
    }
    if !suffixes.is_empty() {
        all.push(TextTest::EndsWithAny(suffixes));
    }
    let (searched, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|test| matches!(test, TextTest::Contains(_)));
    for some in searched.chunks(NEEDLES_MAX) {
        let needles: Vec<&[u8]> = some.iter().filter_map(needle).collect();
        match (needles.len() > 1).then(|| finder(&needles, false, allowance)).flatten() {
            Some(found) => all.push(TextTest::ContainsAny(found)),
            None => all.extend_from_slice(some),
        }
    }
    all.extend(others);
    if all.len() == 1 { all.swap_remove(0) } else { TextTest::Any(all) }
}

fn needle(test: &TextTest) -> Option<&[u8]> {
    match test {
        TextTest::Contains(finder) => Some(finder.needle()),
        _ => None,
    }
}

/// Finds any of the texts in one pass; none where that would take too much memory.
fn finder(needles: &[&[u8]], ignores_case: bool, allowance: &mut Allowance) -> Option<AhoCorasick> {
    let bytes = needles.iter().map(|needle| needle.len()).sum();
    Allowance::take(&mut allowance.needle_bytes, bytes).then_some(())?;
    AhoCorasick::builder().ascii_case_insensitive(ignores_case).build(needles).ok()
}

fn regex(literal: &Literal, allowance: &mut Allowance) -> Result<regex::bytes::Regex, Problem> {
    let pattern = pattern::translated(&literal.text());
    let build = |pattern: &str, bytes: usize| {
        RegexBuilder::new(pattern).multi_line(true).size_limit(bytes).dfa_size_limit(REGEX_BYTES[0]).build()
    };
    let message = |e: regex::Error| {
        let text = e.to_string();
        let line = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Problem::at(literal.span, format!("not a regular expression: {line}"))
    };
    let alone = || build(&pattern, REGEX_BYTES[1]).map_err(message);
    // A stray ')' would close the group below.
    if pattern.contains(')') {
        alone()?;
    }
    let whole = format!(r"\A(?:{pattern})\z");
    for bytes in REGEX_BYTES {
        match build(&whole, bytes) {
            Ok(regex) if Allowance::take(&mut allowance.regex_bytes, bytes) => return Ok(regex),
            Ok(_) => return Err(Problem::at(literal.span, "all regular expressions together take too much memory")),
            // What is wrong is told in what was written.
            Err(e) if bytes == REGEX_BYTES[1] => return alone().and(Err(message(e))),
            Err(_) => {}
        }
    }
    Err(Problem::at(literal.span, "not a regular expression"))
}

fn unhex(literal: &Literal) -> Result<Vec<u8>, Problem> {
    let digit = |b: &u8| (*b as char).to_digit(16).map(|digit| digit as u8);
    let digits: Option<Vec<u8>> = literal.bytes.iter().map(digit).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => Ok(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()),
        _ => Err(Problem::at(literal.span, "expected an even number of hexadecimal digits")),
    }
}

fn address(literal: &Literal) -> Result<IpAddr, Problem> {
    let text = literal.text();
    let wrong = || Problem::at(literal.span, format!("'{text}' is no IP address"));
    text.parse().map_err(|_| match Network::parse(&text) {
        Some(_) => wrong().hint("networks are compared with fd.net, fd.cnet, fd.snet, fd.lnet and fd.rnet"),
        None => wrong(),
    })
}

fn network(literal: &Literal) -> Result<Network, Problem> {
    let text = literal.text();
    let problem =
        || Problem::at(literal.span, format!("'{text}' is no IP network")).hint("a network is written as 10.0.0.0/8");
    Network::parse(&text).ok_or_else(problem)
}

/// A whole number, decimal or hexadecimal; what follows the point is cut off. A port may be written by name.
pub(super) fn number(kind: Kind, literal: &Literal) -> Result<i64, Problem> {
    let text = literal.text();
    if let Some(port) = Some(kind).filter(|kind| *kind == Kind::Port).and_then(|_| service_port(&text)) {
        return Ok(port);
    }
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(saturate),
        None => text.parse::<i64>().ok().or_else(|| text.parse::<u64>().ok().map(saturate)).or_else(|| fraction(&text)),
    };
    parsed.ok_or_else(|| Problem::at(literal.span, format!("'{text}' is no {}", kind.name())))
}

/// No column holds a number that large, so the largest that it could hold compares alike.
fn saturate(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn fraction(text: &str) -> Option<i64> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    text.parse::<f64>().ok().filter(|_| is_number).map(|float| float as i64)
}

/// `true` or `false`.
pub(super) fn flag(literal: &Literal) -> Result<bool, Problem> {
    match literal.bytes.as_slice() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Problem::at(literal.span, format!("'{}' is neither true nor false", literal.text()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{Expr, Value, parse_condition};

    /// Compiles `x.y <condition>` for a field of that type and asks it about `text`.
    fn holds(kind: Kind, condition: &str, text: &str) -> bool {
        let Expr::Check(check) = parse_condition(&format!("x.y {condition}")).unwrap() else { panic!("{condition}") };
        let literals = match check.right {
            Value::One(literal) => vec![literal],
            Value::Many(literals) => literals,
            other => panic!("{other:?}"),
        };
        text_test(kind, check.op, check.modifier, &literals, &mut Allowance::default())
            .unwrap()
            .matches(text.as_bytes())
    }

    /// One row per operator, type and special case: type, condition, text, whether it holds.
    #[test]
    fn operators_on_text() {
        use Kind::{Address, Bytes, Network, Text};
        for (kind, condition, text, expected) in [
            (Text, "= abc", "abc", true),
            (Text, "= abc", "ABC", false),
            (Text, "= \"\"", "", true),
            (Text, "!= abc", "abd", true),
            (Text, "!= abc", "abc", false),
            (Text, "< 5", "45", true),
            (Text, "< 5", "6", false),
            (Text, "<= 5", "5", true),
            (Text, "> 5", "50", true),
            (Text, ">= 5", "4999", false),
            (Text, "contains b", "abc", true),
            (Text, "contains \"\"", "abc", true),
            (Text, "contains B", "abc", false),
            (Text, "icontains B", "abc", true),
            (Text, "icontains \u{c9}", "\u{e9}", false),
            (Text, "startswith ab", "abc", true),
            (Text, "startswith bc", "abc", false),
            (Text, "endswith bc", "abc", true),
            (Text, "endswith abcd", "abc", false),
            (Text, "glob 'a*/c'", "a/b/c", true),
            (Text, "glob 'b*'", "abc", false),
            (Text, "iglob 'A?C'", "abc", true),
            (Text, "regex 'b'", "abc", false),
            (Text, "regex '[ab]+c'", "abc", true),
            (Text, "regex 'a|abc'", "abc", true),
            (Text, "regex '^abc$'", "abc", true),
            (Text, "regex '.*\u{e9}.'", "x\u{e9}y", true),
            (Text, "regex 'ab{2'", "ab{2", true),
            (Text, "regex 'a[[]c&&'", "a[c&&", true),
            (Text, "in (abc, d)", "abc", true),
            (Text, "in (abc, d)", "ab", false),
            (Text, "in ()", "abc", false),
            (Text, "intersects (abc, d)", "d", true),
            (Text, "pmatch (/etc, /var/run)", "/etc/x", true),
            (Text, "pmatch (/etc)", "/etcx", false),
            (Text, "startswith oneof (a, ab)", "abc", false),
            (Text, "startswith oneof (a, b)", "abc", true),
            (Text, "startswith anyof (x, ab)", "abc", true),
            (Text, "contains allof (a, b)", "abc", true),
            (Text, "contains allof (a, z)", "abc", false),
            (Text, "contains anyof (z, bc)", "abc", true),
            (Text, "= anyof (x, abc)", "abc", true),
            (Text, "!= allof (x, abc)", "abc", false),
            (Text, "!= allof (x, y)", "abc", true),
            (Text, "!= anyof (x, abc)", "abc", true),
            (Text, "!= oneof (x, abc)", "abc", true),
            (Text, "regex anyof ('x', 'a.c')", "abc", true),
            (Text, "glob allof ('a*', '*c')", "abc", true),
            (Text, "icontains anyof (X, BC)", "abc", true),
            (Text, "endswith anyof (b, c)", "abc", true),
            (Text, "= anyof ()", "abc", false),
            (Text, "= allof ()", "abc", false),
            (Text, "= \"a\\x00b\"", "a\0b", true),
            (Bytes, "bcontains 6263", "abcd", true),
            (Bytes, "bcontains 6264", "abcd", false),
            (Bytes, "bstartswith 6162", "abcd", true),
            (Bytes, "bstartswith 62", "abcd", false),
            (Bytes, "contains bc", "abcd", true),
            (Address, "= 1.2.3.4", "1.2.3.4", true),
            (Address, "!= 1.2.3.4", "1.2.3.4", false),
            (Address, "!= 1.2.3.4", "::1", true),
            (Address, "= 1.2.3.4", "::1", false),
            (Address, "= \"::1\"", "0:0:0:0:0:0:0:1", true),
            (Address, "in (1.1.1.1, \"::1\")", "::1", true),
            (Address, "= 1.2.3.4", "no address", false),
            (Address, "!= 1.2.3.4", "no address", false),
            (Network, "= 10.0.0.0/8", "10.1.2.3", true),
            (Network, "!= 10.0.0.0/8", "10.1.2.3", false),
            (Network, "!= 10.0.0.0/8", "::1", true),
            (Network, "in (10.0.0.0/8, 192.168.0.0/16)", "192.168.7.7", true),
            (Network, "in (\"fe80::/10\")", "fe80::7", true),
        ] {
            assert_eq!(holds(kind, condition, text), expected, "{kind:?} {condition} on {text:?}");
        }
    }

    #[test]
    fn numbers_and_flags() {
        let literal = |text: &str| Literal { bytes: text.as_bytes().to_vec(), span: Default::default() };
        for (text, expected) in [
            ("7", 7),
            ("-7", -7),
            ("+7", 7),
            ("0x1F", 31),
            ("1.9", 1),
            ("1e+3", 1000),
            ("18446744073709551615", i64::MAX),
        ] {
            assert_eq!(number(Kind::Number, &literal(text)).unwrap(), expected, "{text}");
        }
        assert_eq!(number(Kind::Port, &literal("https")).unwrap(), 443);
        for text in ["", "x", "7x", "0x", "https", "nan", "inf"] {
            assert!(number(Kind::Number, &literal(text)).is_err(), "{text}");
        }
        assert!(flag(&literal("true")).unwrap() && !flag(&literal("false")).unwrap());
        assert!(flag(&literal("TRUE")).is_err());
    }

    #[test]
    fn wrong_constants_are_refused() {
        let message = |kind, condition: &str| {
            let Expr::Check(check) = parse_condition(&format!("x.y {condition}")).unwrap() else {
                panic!("{condition}")
            };
            let Value::One(literal) = check.right else { panic!("{condition}") };
            text_test(kind, check.op, None, &[literal], &mut Allowance::default()).unwrap_err().message
        };
        assert_eq!(message(Kind::Address, "= localhost"), "'localhost' is no IP address");
        assert_eq!(message(Kind::Network, "= 10.0.0.0"), "'10.0.0.0' is no IP network");
        assert!(message(Kind::Text, "regex 'a('").starts_with("not a regular expression"));
        assert!(message(Kind::Text, "regex 'a)(b'").starts_with("not a regular expression"));
        assert!(message(Kind::Text, "regex '(a{1000}){1000}'").contains("size limit"));
        assert!(message(Kind::Bytes, "bcontains 123").contains("hexadecimal"));
    }
}
