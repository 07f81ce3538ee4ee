//! `bodkin alerts test`: when a rule would have fired over what a server has stored.

use crate::config::ServerConfig;
use crate::graph::Which;
use crate::sql::http::post_json;
use anyhow::{Context, anyhow, bail};
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use bodkin_alert::observe::{Kind, Observation, labels_text, to_rows};
use bodkin_alert::{AlertOperator, AlertsConfig, Board, Rule, RuleKind};
use bodkin_engine::{Batch, Operator, Output};
use bodkin_schema::{Clock, EventTime, SystemClock, dataflow};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows of history that are looked at.
const ROWS_MAX: usize = 1_000_000;
/// Ticks of a replay: of a month, one a minute.
const TICKS_MAX: i64 = 43_200;
/// Columns of the picture, and its lines.
const WIDTH: usize = 72;
const LINES_MAX: usize = 20;

/// Arguments of `bodkin alerts test`.
#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    which: Which,
    /// Configuration with the rule; it need not be the server's
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How far back: 30d, 12h
    #[arg(long, value_name = "DURATION", default_value = "1d")]
    since: String,
    /// The rule
    #[arg(value_name = "RULE")]
    rule: String,
}

/// A change of state: time, state, labels.
struct Change {
    ts: i64,
    state: String,
    labels: String,
}

pub(super) async fn run(args: TestArgs) -> anyhow::Result<()> {
    let config = ServerConfig::read(Some(&args.config))?.flow().alerts;
    let found = config.rules.iter().find(|rule| rule.name == args.rule).cloned();
    let names = || config.rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>().join(", ");
    let rule = found.with_context(|| format!("there is no rule {:?}; there are: {}", args.rule, names()))?;
    let since = bodkin_alert::config::parse_duration(&args.since).map_err(|reason| anyhow!("--since: {reason}"))?;
    let end = SystemClock::default().now().micros();
    let start = end.saturating_sub(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let answer = post_json(&args.which.server()?, "/api/v1/sql", &json!({"query": query(&rule, start, end)?})).await?;
    let seen = observations(&rule, &answer)?;
    let is_cut = seen.len() >= ROWS_MAX;
    let changes = replay(rule, seen, start, end);
    let text = picture(&changes, start, end);
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if is_cut {
        writeln!(out, "only the first {ROWS_MAX} rows were looked at: ask for less time")?;
    }
    Ok(())
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
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
        bail!("{}: a rule over SQL cannot be moved back in time; rules over rows and over PromQL can", rule.name);
    };
    let step = rule.every.as_secs().max(1).max(((end - start) / 1_000_000 / TICKS_MAX) as u64);
    let condition =
        |text: &Option<String>, otherwise: &str| text.as_ref().map_or(otherwise.to_owned(), |text| format!("({text})"));
    Ok(format!(
        "SELECT ts AS \"__ts\", CAST({} AS DOUBLE) AS \"__value\", labels, {} AS \"__firing\", {} AS \"__clear\" FROM promql('{}', \
         TIMESTAMP '{from}', TIMESTAMP '{to}', INTERVAL '{step} seconds') ORDER BY 1 LIMIT {ROWS_MAX}",
        rule.value.as_deref().unwrap_or("value"),
        condition(&rule.when, "true"),
        condition(&rule.until, "false"),
        promql.replace('\'', "''")
    ))
}

fn observations(rule: &Rule, answer: &Value) -> anyhow::Result<Vec<Observation>> {
    let strange = || anyhow!("what answers is no Bodkin server");
    let columns: Vec<&str> =
        answer["columns"].as_array().ok_or_else(strange)?.iter().filter_map(|column| column["name"].as_str()).collect();
    let at = |name: &str| columns.iter().position(|column| *column == name);
    let rows = answer["rows"].as_array().ok_or_else(strange)?;
    let row = |row: &Value| {
        let cell = |name: &str| at(name).map_or(&Value::Null, |at| &row[at]);
        let ts: jiff::Timestamp = cell("__ts").as_str()?.parse().ok()?;
        let mut labels = BTreeMap::new();
        for (at, name) in columns.iter().enumerate().filter(|(_, name)| !name.starts_with("__")) {
            match &row[at] {
                Value::String(text) => drop(labels.insert((*name).to_owned(), text.clone())),
                Value::Object(map) => {
                    labels.extend(
                        map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
                    );
                }
                _ => {}
            }
        }
        let kind = match (at("__firing"), cell("__firing").as_bool(), cell("__clear").as_bool()) {
            (None, ..) | (_, Some(true), _) => Kind::Firing,
            (_, _, Some(false)) if rule.until.is_some() => Kind::Held,
            _ => Kind::Clear,
        };
        let value = cell("__value").as_f64();
        Some(Observation {
            ts: ts.as_microsecond(),
            rule: rule.name.clone(),
            kind,
            labels: labels_text(&labels),
            value,
        })
    };
    Ok(rows.iter().filter_map(row).collect())
}

/// Runs the rule over its observations; time goes on between them.
fn replay(rule: Rule, seen: Vec<Observation>, start: i64, end: i64) -> Vec<Change> {
    let is_query = rule.kind() == Ok(RuleKind::Query);
    let name = rule.name.clone();
    let config = Arc::new(AlertsConfig { rules: vec![rule], ..AlertsConfig::default() });
    let mut operator = AlertOperator::new(config, Arc::new(Board::default()));
    let mut changes = Vec::new();
    let mut give = |now: i64, observations: &[Observation]| {
        let batch = Batch { ingest_time: EventTime(now), ..Batch::made("observations", to_rows(observations)) };
        operator.on_batch(batch, &mut Output::new(&mut |made| changes.extend(read(&made))));
    };
    let special =
        |now: i64, kind: Kind| Observation { ts: now, rule: name.clone(), kind, labels: "{}".to_owned(), value: None };
    let step = ((end - start) / TICKS_MAX).max(1_000_000);
    let mut ticked = start;
    for moment in seen.chunk_by(|one, other| one.ts == other.ts) {
        let now = moment.first().map_or(end, |one| one.ts);
        while ticked + step < now {
            ticked += step;
            give(ticked, &[special(ticked, Kind::Tick)]);
        }
        let mut moment = moment.to_vec();
        if is_query {
            moment.push(special(now, Kind::Done));
        }
        give(now, &moment);
    }
    while ticked + step <= end {
        ticked += step;
        give(ticked, &[special(ticked, Kind::Tick)]);
    }
    changes
}

/// The changes in a batch of table `alerts`.
fn read(batch: &Batch) -> Vec<Change> {
    let column = |name: &str| batch.records.column_by_name(name);
    let (Some(times), Some(states), Some(labels)) =
        (column(dataflow::TS), column(dataflow::STATE), column(dataflow::LABELS))
    else {
        return Vec::new();
    };
    let (times, states, labels) =
        (times.as_primitive::<TimestampMicrosecondType>(), states.as_string::<i32>(), labels.as_map());
    let change = |row: usize| {
        let entries = labels.value(row);
        let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
        let pairs = names.iter().flatten().zip(values.iter().flatten());
        let own = pairs.filter(|(name, _)| !["alertname", "severity"].contains(name));
        let text = own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ");
        Change { ts: times.value(row), state: states.value(row).to_owned(), labels: format!("{{{text}}}") }
    };
    (0..batch.records.num_rows()).map(change).collect()
}

/// Each change in a line, then a line for each label set: `#` where it fires, `-` where it is pending.
fn picture(changes: &[Change], start: i64, end: i64) -> String {
    let mut text = String::new();
    let mut by_labels: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        text.push_str(&format!("{}  {:<8}  {}\n", time(change.ts), change.state, change.labels));
        by_labels.entry(&change.labels).or_default().push(change);
    }
    let fired = changes.iter().filter(|change| change.state == "firing").count();
    text.push_str(&format!(
        "\nfired {fired} times for {} label sets between {} and {}\n",
        by_labels.len(),
        time(start),
        time(end)
    ));
    let column = |ts: i64| (((ts - start) as f64 / (end - start).max(1) as f64) * WIDTH as f64) as usize;
    for (labels, changes) in by_labels.iter().take(LINES_MAX) {
        let mut line = vec![' '; WIDTH];
        for (at, change) in changes.iter().enumerate() {
            let until = changes.get(at + 1).map_or(WIDTH, |next| column(next.ts) + 1);
            let mark = match change.state.as_str() {
                "firing" => '#',
                "pending" => '-',
                _ => continue,
            };
            let from = column(change.ts).min(WIDTH - 1);
            line[from..until.clamp(from + 1, WIDTH)].fill(mark);
        }
        text.push_str(&format!("|{}| {labels}\n", line.into_iter().collect::<String>()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_over_history_shows_when_it_fired() {
        let rule = r#"{"alert": "A", "from": "events", "when": "true", "by": ["host"], "for": "10s", "keep": "20s"}"#;
        let rule: Rule = serde_json::from_str(rule).unwrap();
        let answer = json!({
            "columns": [{"name": "__ts"}, {"name": "__value"}, {"name": "host"}],
            "rows": (0..5).map(|n| json!([format!("1970-01-01T00:10:{:02}Z", n * 5), 1.0, "a"])).collect::<Vec<_>>(),
        });
        let seen = observations(&rule, &answer).unwrap();
        let changes = replay(rule.clone(), seen, 0, 3_600_000_000);
        let states: Vec<(i64, &str)> =
            changes.iter().map(|change| (change.ts / 1_000_000, change.state.as_str())).collect();
        assert_eq!(states, [(600, "pending"), (610, "firing"), (641, "resolved")]);
        let text = picture(&changes, 0, 3_600_000_000);
        assert!(text.contains("fired 1 times for 1 label sets") && text.contains("|            #"), "{text}");
        let sql = query(&rule, 0, 1_000_000).unwrap();
        assert!(
            sql.contains("FROM \"events\" WHERE ts >= TIMESTAMP '1970-01-01T00:00:00Z'") && sql.contains("AND (true)"),
            "{sql}"
        );
        let sql: Rule = serde_json::from_str(r#"{"alert": "B", "sql": "SELECT 1"}"#).unwrap();
        assert!(query(&sql, 0, 1).is_err());
    }
}
