//! What would have been right: pure functions from a mistake to a hint.

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::functions::all_default_functions;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::functions_window::all_default_window_functions;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use std::sync::LazyLock;

/// What is said where a statement does more than read.
pub(crate) const ONLY_READS: &str = "SQL from outside only reads: SELECT, EXPLAIN, SHOW and DESCRIBE";
/// How a text is written.
const SINGLE_QUOTES: &str = "a text is written in single quotes";

/// Words that a misspelled keyword is compared with.
const KEYWORDS: [&str; 24] = [
    "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "BY", "HAVING", "LIMIT", "OFFSET", "JOIN", "LEFT", "INNER", "ON",
    "AS", "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "UNION", "DISTINCT", "EXPLAIN", "DESCRIBE",
];

/// Functions of other systems and what does the same here.
const FUNCTIONS_ELSEWHERE: [(&str, &str); 32] = [
    ("arg_max", "last_value(x ORDER BY y)"),
    ("arg_min", "first_value(x ORDER BY y)"),
    ("argmax", "last_value(x ORDER BY y)"),
    ("argmin", "first_value(x ORDER BY y)"),
    ("countif", "count(*) FILTER (WHERE ...)"),
    ("date_add", "ts + INTERVAL '1 hour'"),
    ("date_diff", "b - a, which is an interval"),
    ("date_sub", "ts - INTERVAL '1 hour'"),
    ("dateadd", "ts + INTERVAL '1 hour'"),
    ("datediff", "b - a, which is an interval"),
    ("dcount", "count(DISTINCT x)"),
    ("group_concat", "string_agg(x, ',')"),
    ("if", "CASE WHEN x THEN a ELSE b END"),
    ("iff", "CASE WHEN x THEN a ELSE b END"),
    ("iif", "CASE WHEN x THEN a ELSE b END"),
    ("json_extract", "json_get(x, 'a', 'b'), or x -> 'a' -> 'b'"),
    ("json_extract_path_text", "json_get_text(x, 'a', 'b'), or x ->> 'a'"),
    ("json_extract_string", "json_get_text(x, 'a', 'b'), or x ->> 'a'"),
    ("json_value", "json_get_text(x, 'a', 'b'), or x ->> 'a'"),
    ("len", "length(x)"),
    ("list", "array_agg(x)"),
    ("percentile", "approx_percentile_cont(x, 0.99)"),
    ("quantile", "approx_percentile_cont(x, 0.99)"),
    ("regexp_extract", "regexp_match(x, 'a(b)')[1]"),
    ("regexp_substr", "regexp_match(x, 'a(b)')[1]"),
    ("rlike", "regexp_like(x, 'pattern')"),
    ("strftime", "to_char(ts, '%Y-%m-%d')"),
    ("time_bucket", "date_bin(INTERVAL '10 minutes', ts)"),
    ("tostartofhour", "date_trunc('hour', ts)"),
    ("tostartofinterval", "date_bin(INTERVAL '10 minutes', ts)"),
    ("tostartofminute", "date_trunc('minute', ts)"),
    ("uniq", "count(DISTINCT x)"),
];

/// The candidate nearest to `name`, if one is near enough to be meant: at most a third of the letters differ.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let distances = candidates.into_iter().map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate));
    let (distance, candidate) = distances.min()?;
    let letters = name.chars().count().max(candidate.chars().count());
    (distance <= (letters / 3).max(1) && distance < letters).then_some(candidate)
}

/// Edit distance in which two letters that changed places are one edit.
fn distance(a: &str, b: &str) -> usize {
    let swapped = || {
        let mut letters: Vec<char> = a.chars().collect();
        (1..letters.len()).any(|index| {
            letters.swap(index - 1, index);
            let same = letters.iter().copied().eq(b.chars());
            letters.swap(index - 1, index);
            same
        })
    };
    let plain = levenshtein(a, b);
    if plain == 2 && swapped() { 1 } else { plain }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// The words of a text with their places; empty where the text has no words that can be told apart.
pub(crate) fn tokens(text: &str) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap_or_default();
    tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect()
}

/// The first place where `word` stands as a name.
pub(crate) fn locate(tokens: &[TokenWithSpan], word: &str) -> Option<Location> {
    let is_word = |token: &&TokenWithSpan| match &token.token {
        Token::Word(found) => found.value.eq_ignore_ascii_case(word),
        Token::SingleQuotedString(found) => found == word,
        _ => false,
    };
    tokens.iter().find(is_word).map(|token| token.span.start)
}

/// A column that does not exist. `valid`: the columns that could be meant; `elsewhere`: table and columns of all tables.
pub(crate) fn for_column(
    name: &str,
    valid: &[String],
    elsewhere: &[(&str, Vec<String>)],
    tokens: &[TokenWithSpan],
    at: Option<Location>,
) -> Option<String> {
    let index = at.and_then(|at| tokens.iter().position(|token| token.span.start == at));
    let at = index.and_then(|index| tokens.get(index));
    if let Some(Token::Word(word)) = at.map(|token| &token.token)
        && word.quote_style == Some('"')
        && !valid.iter().any(|column| column.eq_ignore_ascii_case(name))
    {
        return Some(format!("double quotes name a column; {SINGLE_QUOTES}: '{name}'"));
    }
    if let Some(near) = nearest(name, valid.iter().map(String::as_str)) {
        return Some(did_you_mean(near));
    }
    if is_alias(name, tokens) {
        return Some(format!("the alias {name} is not known in WHERE: repeat the expression, or use a subquery"));
    }
    let before = index.and_then(|index| tokens.get(index.checked_sub(1)?));
    if matches!(before.map(|token| &token.token), Some(Token::Eq | Token::DoubleEq | Token::Neq)) {
        return Some(format!("{SINGLE_QUOTES}: '{name}'"));
    }
    let holder = elsewhere.iter().find(|(_, columns)| columns.iter().any(|column| column == name));
    holder.map(|(table, _)| format!("table {table} has a column of that name"))
}

fn is_alias(name: &str, tokens: &[TokenWithSpan]) -> bool {
    let word = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(found) if found.value.eq_ignore_ascii_case(word));
    tokens.windows(2).any(|pair| matches!(pair, [a, b] if word(a, "as") && word(b, name)))
}

/// A table that does not exist.
pub(crate) fn for_table(name: &str, tables: &[&str]) -> String {
    let bare = name.rsplit('.').next().unwrap_or(name);
    if bare.contains('/') || bare.contains("://") || name.contains('/') {
        return "SQL from outside reads no files, only the tables that SHOW TABLES lists".to_owned();
    }
    match nearest(bare, tables.iter().copied()) {
        Some(near) => did_you_mean(near),
        None => "SHOW TABLES lists the tables".to_owned(),
    }
}

/// The names of all functions.
fn functions() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let scalar = all_default_functions().into_iter().chain(all_default_nested_functions());
        let scalar = scalar.map(|function| function.name().to_owned());
        let aggregate = all_default_aggregate_functions().into_iter().map(|function| function.name().to_owned());
        let window = all_default_window_functions().into_iter().map(|function| function.name().to_owned());
        scalar.chain(aggregate).chain(window).chain(["snapshot".to_owned()]).collect()
    });
    &NAMES
}

/// A function that does not exist.
pub(crate) fn for_function(name: &str) -> String {
    let name = name.to_lowercase();
    if let Some((_, same)) = FUNCTIONS_ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return format!("here it is {same}");
    }
    if let Some(percent) = name.strip_prefix('p').and_then(|digits| digits.parse::<u8>().ok()) {
        return format!("here it is approx_percentile_cont(x, {})", f64::from(percent) / 100.0);
    }
    match nearest(&name, functions().iter().map(String::as_str)) {
        Some(near) => did_you_mean(near),
        None => "SHOW FUNCTIONS lists the functions".to_owned(),
    }
}

/// A text that is not SQL; `found` is the word at which the parser stopped.
pub(crate) fn for_syntax(
    message: &str,
    found: Option<&str>,
    tokens: &[TokenWithSpan],
    at: Option<Location>,
) -> Option<String> {
    if message.starts_with("Unterminated string literal") {
        return Some("a text begins and ends with a single quote; a quote inside is doubled: 'it''s'".to_owned());
    }
    let found = found?;
    let index = at.and_then(|at| tokens.iter().position(|token| token.span.start == at));
    let before = index.and_then(|index| tokens.get(index.checked_sub(1)?)).map(|token| &token.token);
    if message.starts_with("Expected: an expression") && before == Some(&Token::Comma) {
        return Some(format!("remove the comma before {found}"));
    }
    if let Some((word, keyword)) = before.and_then(misspelled_keyword) {
        return Some(format!("did you mean `{keyword}` for {word}?"));
    }
    match found.to_uppercase().as_str() {
        word @ ("GROUP" | "ORDER") if !is_followed_by(tokens, index, "BY") => Some(format!("after {word} comes BY")),
        word if KEYWORDS.contains(&word) => order(word),
        word => nearest(word, KEYWORDS).map(did_you_mean),
    }
}

fn is_followed_by(tokens: &[TokenWithSpan], index: Option<usize>, word: &str) -> bool {
    let next = index.and_then(|index| tokens.get(index + 1)).map(|token| &token.token);
    matches!(next, Some(Token::Word(next)) if next.value.eq_ignore_ascii_case(word))
}

fn misspelled_keyword(token: &Token) -> Option<(&str, &'static str)> {
    let Token::Word(word) = token else { return None };
    let upper = word.value.to_uppercase();
    let near = nearest(&upper, KEYWORDS)?;
    (near != upper).then_some((word.value.as_str(), near))
}

fn order(keyword: &str) -> Option<String> {
    matches!(keyword, "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "FROM")
        .then(|| "the order is SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT".to_owned())
}

/// A value that cannot be what it is compared or cast to.
pub(crate) fn for_value(message: &str) -> Option<String> {
    let message = message.to_lowercase();
    if message.contains("timestamp") {
        return Some(
            "a time is RFC 3339 text or relative: '2026-11-22T10:00:00Z', now() - INTERVAL '1 hour'".to_owned(),
        );
    }
    if message.contains("interval") {
        return Some("an interval is a quoted text: INTERVAL '1 hour'".to_owned());
    }
    if message.contains("cannot cast string") {
        return Some("the column is a number: compare it with a number".to_owned());
    }
    (message.contains("divide by zero") || message.contains("dividebyzero"))
        .then(|| "nullif(x, 0) makes the quotient null instead".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let columns = ["comm", "cmdline", "container_id", "pid", "ppid"];
        assert_eq!(nearest("comn", columns), Some("comm"));
        assert_eq!(nearest("contaner_id", columns), Some("container_id"));
        assert_eq!(nearest("PDI", columns), Some("pid"));
        assert_eq!(nearest("severity", columns), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
