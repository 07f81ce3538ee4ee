//! What a server is asked, so that a rule sees history as it came.
//!
//! A rule over rows, or over PromQL, is one query. A rule over SQL is asked once for each moment: `now()` is that moment,
//! and of each table there are the rows up to it.

use super::{ROWS_MAX, TICKS_MAX, time};
use anyhow::{anyhow, bail};
use bodkin_alert::Rule;
use bodkin_alert::observe::{Kind, Observation, labels_text};
use bodkin_schema::Stream;
use serde_json::Value;
use std::collections::BTreeMap;

/// Moments at which a rule over SQL is asked.
const MOMENTS_MAX: i64 = 1_000;
/// Views over tables that have a time.
const VIEWS: [&str; 4] = ["processes", "file_events", "network_events", "metrics"];

/// A query, and the moment that all of its answer is of; none where each row has its own.
pub(super) struct Question {
    pub(super) text: String,
    pub(super) moment: Option<i64>,
}

/// What to ask for a rule, in the order of time.
///
/// # Errors
/// Where a rule over SQL is the same at all times.
pub(super) fn questions(rule: &Rule, start: i64, end: i64) -> anyhow::Result<Vec<Question>> {
    let Some(sql) = &rule.sql else {
        return Ok(vec![Question { text: query(rule, start, end)?, moment: None }]);
    };
    let every = i64::try_from(rule.every.as_micros()).unwrap_or(i64::MAX).max(1_000_000);
    let step = every.max((end - start) / MOMENTS_MAX);
    let count = ((end - start) / step).max(1);
    (1..=count).map(|number| at_moment(rule, sql, start + number * step)).collect()
}

/// The statement of a rule as of `moment`.
fn at_moment(rule: &Rule, sql: &str, moment: i64) -> anyhow::Result<Question> {
    let literal = format!("TIMESTAMP '{}'", time(moment));
    let sql = with_now(sql.trim().trim_end_matches(';'), &literal);
    let words: Vec<&str> = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let streams = Stream::ALL.into_iter().filter(|stream| stream.time_column().is_some()).map(Stream::name);
    let read: Vec<String> = streams
        .chain(VIEWS)
        .filter(|name| words.contains(name))
        .map(|name| format!("{name} AS (SELECT * FROM {name} WHERE ts <= {literal})"))
        .collect();
    if read.is_empty() {
        bail!("{}: its SQL reads no table that has a time, so that it is the same at all times", rule.name);
    }
    let (value, when, until) = conditions(rule);
    Ok(Question {
        text: format!(
            "WITH {} SELECT *, CAST({value} AS DOUBLE) AS \"__value\", {when} AS \"__firing\", \
             {until} AS \"__clear\" FROM ({sql})",
            read.join(", ")
        ),
        moment: Some(moment),
    })
}

/// A statement with the moment for `now()` and `current_timestamp`, outside of texts.
fn with_now(sql: &str, literal: &str) -> String {
    let mut made = String::with_capacity(sql.len());
    // Every other part is inside of quotes; a doubled quote ends one text and begins the next.
    for (at, part) in sql.split('\'').enumerate() {
        if at > 0 {
            made.push('\'');
        }
        if at % 2 == 1 {
            made.push_str(part);
            continue;
        }
        let lower = part.to_ascii_lowercase();
        let mut rest = 0;
        for (from, _) in lower.char_indices() {
            let is_inside = lower
                .get(..from)
                .is_some_and(|before| before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
            let found = ["now()", "current_timestamp()", "current_timestamp"];
            let word = found.into_iter().find(|word| lower.get(from..).is_some_and(|tail| tail.starts_with(word)));
            if let Some(word) = word.filter(|_| from >= rest && !is_inside) {
                made.push_str(part.get(rest..from).unwrap_or_default());
                made.push_str(literal);
                rest = from + word.len();
            }
        }
        made.push_str(part.get(rest..).unwrap_or_default());
    }
    made
}

/// The value, and the two conditions.
fn conditions(rule: &Rule) -> (&str, String, String) {
    let condition =
        |text: &Option<String>, otherwise: &str| text.as_ref().map_or(otherwise.to_owned(), |text| format!("({text})"));
    (rule.value.as_deref().unwrap_or("value"), condition(&rule.when, "true"), condition(&rule.until, "false"))
}

/// The rule's rows, or the answers of its query, in the order of time.
fn query(rule: &Rule, start: i64, end: i64) -> anyhow::Result<String> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (from, to) = (time(start), time(end));
    if let Some(node) = &rule.from {
        let by: String = rule.by.iter().map(|name| format!(", CAST({0} AS VARCHAR) AS {0}", quoted(name))).collect();
        let condition = rule.when.as_ref().map(|when| format!(" AND ({when})")).unwrap_or_default();
        let value = rule.value.as_deref().unwrap_or("1");
        // Operators have no table unless they are windows, whose rows count when they have ended.
        let ts = if bodkin_schema::Stream::from_name(node).is_some() { "ts" } else { "window_end" };
        return Ok(format!(
            "SELECT {ts} AS \"__ts\", CAST({value} AS DOUBLE) AS \"__value\"{by} FROM {} WHERE {ts} >= TIMESTAMP '{from}' \
             AND {ts} <= TIMESTAMP '{to}'{condition} ORDER BY 1 LIMIT {ROWS_MAX}",
            quoted(node)
        ));
    }
    let Some(promql) = &rule.promql else {
        bail!("{}: our own metrics have no history; scrape them, and write the rule over PromQL", rule.name);
    };
    let step = rule.every.as_secs().max(1).max(((end - start) / 1_000_000 / TICKS_MAX) as u64);
    let (value, when, until) = conditions(rule);
    Ok(format!(
        "SELECT ts AS \"__ts\", CAST({value} AS DOUBLE) AS \"__value\", labels, {when} AS \"__firing\", {until} AS \"__clear\" FROM promql('{}', \
         TIMESTAMP '{from}', TIMESTAMP '{to}', INTERVAL '{step} seconds') ORDER BY 1 LIMIT {ROWS_MAX}",
        promql.replace('\'', "''")
    ))
}

/// What the rows of an answer say of the rule.
///
/// # Errors
/// Where it is no answer of a server.
pub(super) fn observations(rule: &Rule, answer: &Value, moment: Option<i64>) -> anyhow::Result<Vec<Observation>> {
    let strange = || anyhow!("what answers is no Bodkin server");
    let columns: Vec<&str> =
        answer["columns"].as_array().ok_or_else(strange)?.iter().filter_map(|column| column["name"].as_str()).collect();
    let at = |name: &str| columns.iter().position(|column| *column == name);
    let rows = answer["rows"].as_array().ok_or_else(strange)?;
    let row = |row: &Value| {
        let cell = |name: &str| at(name).map_or(&Value::Null, |at| &row[at]);
        let own = || Some(cell("__ts").as_str()?.parse::<jiff::Timestamp>().ok()?.as_microsecond());
        let ts = moment.or_else(own)?;
        let mut labels = BTreeMap::new();
        for (at, name) in columns.iter().enumerate().filter(|(_, name)| !name.starts_with("__")) {
            match &row[at] {
                Value::String(text) => drop(labels.insert((*name).to_owned(), text.clone())),
                Value::Object(map) => {
                    labels.extend(
                        map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
                    );
                }
                Value::Number(number) if rule.by.iter().any(|by| by == name) => {
                    labels.insert((*name).to_owned(), number.to_string());
                }
                _ => {}
            }
        }
        if !rule.by.is_empty() {
            labels.retain(|name, _| rule.by.contains(name));
        }
        let kind = match (at("__firing"), cell("__firing").as_bool(), cell("__clear").as_bool()) {
            (None, ..) | (_, Some(true), _) => Kind::Firing,
            (_, _, Some(false)) if rule.until.is_some() => Kind::Held,
            _ => Kind::Clear,
        };
        let value = cell("__value").as_f64();
        Some(Observation { ts, rule: rule.name.clone(), kind, labels: labels_text(&labels), value })
    };
    Ok(rows.iter().filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rows_are_asked_for_at_once() {
        let rule = rule(r#"{"alert": "A", "from": "events", "when": "true", "by": ["host"]}"#);
        let asked = questions(&rule, 0, 1_000_000).unwrap();
        let sql = &asked[0].text;
        assert!(asked.len() == 1 && asked[0].moment.is_none());
        assert!(
            sql.contains("FROM \"events\" WHERE ts >= TIMESTAMP '1970-01-01T00:00:00Z'") && sql.contains("AND (true)"),
            "{sql}"
        );
    }

    #[test]
    fn sql_is_asked_at_each_moment() {
        let rule = rule(
            r#"{"alert": "B", "sql": "SELECT host, count(*) AS value FROM events WHERE ts > NOW() - INTERVAL '1m' AND comm <> 'now()' GROUP BY host;",
                "when": "value > 3", "every": "10s", "by": ["host"]}"#,
        );
        let asked = questions(&rule, 0, 60_000_000).unwrap();
        assert_eq!(
            asked.iter().map(|one| one.moment.unwrap() / 1_000_000).collect::<Vec<_>>(),
            [10, 20, 30, 40, 50, 60]
        );
        let moment = "TIMESTAMP '1970-01-01T00:00:20Z'";
        let sql = &asked[1].text;
        assert!(
            sql.starts_with(&format!("WITH events AS (SELECT * FROM events WHERE ts <= {moment}) SELECT")),
            "{sql}"
        );
        assert!(sql.contains(&format!("ts > {moment} - INTERVAL '1m' AND comm <> 'now()' GROUP BY host)")), "{sql}");
        assert_eq!(questions(&rule, 0, 30 * 86_400_000_000).unwrap().len(), MOMENTS_MAX as usize);
        let constant: Rule = serde_json::from_str(r#"{"alert": "C", "sql": "SELECT 1 AS value"}"#).unwrap();
        assert!(questions(&constant, 0, 1).is_err());
        let answer = serde_json::json!({
            "columns": [{"name": "host"}, {"name": "value"}, {"name": "__value"}, {"name": "__firing"}, {"name": "__clear"}],
            "rows": [["a", 4, 4.0, true, false], ["b", 1, 1.0, false, false]],
        });
        let seen = observations(&rule, &answer, asked[1].moment).unwrap();
        assert_eq!(
            seen.iter().map(|one| (one.kind, one.labels.as_str())).collect::<Vec<_>>(),
            [(Kind::Firing, r#"{"host":"a"}"#), (Kind::Clear, r#"{"host":"b"}"#)]
        );
    }
}
