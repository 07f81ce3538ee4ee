//! `bodkin alerts test`: when a rule would have fired over what a server has stored.

mod ask;

use crate::config::ServerConfig;
use crate::graph::Which;
use crate::sql::http::post_json;
use anyhow::{Context, anyhow};
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use ask::{observations, questions};
use bodkin_alert::observe::{Kind, Observation, to_rows};
use bodkin_alert::{AlertOperator, AlertsConfig, Board, Rule, RuleKind};
use bodkin_engine::{Batch, Operator, Output};
use bodkin_schema::{Clock, EventTime, SystemClock, dataflow};
use serde_json::json;
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
    let server = args.which.server()?;
    let mut seen = Vec::new();
    for question in questions(&rule, start, end)? {
        let answer = post_json(&server, "/api/v1/sql", &json!({"query": question.text})).await?;
        seen.extend(observations(&rule, &answer, question.moment)?);
        // A query that gives nothing says that nothing holds.
        seen.extend(question.moment.map(|ts| done(&rule, ts)));
        if seen.len() >= ROWS_MAX {
            break;
        }
    }
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

/// All series of the moment `ts` were given.
fn done(rule: &Rule, ts: i64) -> Observation {
    Observation { ts, rule: rule.name.clone(), kind: Kind::Done, labels: "{}".to_owned(), value: None }
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// Runs the rule over its observations; time goes on between them.
fn replay(rule: Rule, seen: Vec<Observation>, start: i64, end: i64) -> Vec<Change> {
    let is_query = rule.kind() == Ok(RuleKind::Query);
    let name = rule.name.clone();
    let config = Arc::new(AlertsConfig { rules: vec![rule], ..AlertsConfig::default() });
    let mut operator = AlertOperator::new(config, Arc::new(Board::default())).over_history();
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
        if is_query && moment.iter().all(|one| one.kind != Kind::Done) {
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
        let seen = observations(&rule, &answer, None).unwrap();
        let changes = replay(rule.clone(), seen, 0, 3_600_000_000);
        let states: Vec<(i64, &str)> =
            changes.iter().map(|change| (change.ts / 1_000_000, change.state.as_str())).collect();
        assert_eq!(states, [(600, "pending"), (610, "firing"), (641, "resolved")]);
        let text = picture(&changes, 0, 3_600_000_000);
        assert!(text.contains("fired 1 times for 1 label sets") && text.contains("|            #"), "{text}");
    }
}
