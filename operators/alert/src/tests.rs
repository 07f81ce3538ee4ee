//! What the operator does with observations, step by step.

mod clock;
mod muted;
mod sources;

use crate::observe::{Kind, Observation, to_rows};
use crate::{AlertOperator, AlertsConfig, Board, PostedAlert, SILENCES_INPUT};
use arrow::array::AsArray;
use bodkin_engine::{Batch, Operator, Output, SideInput};
use bodkin_forward::{Message, Status};
use bodkin_schema::{Epoch, EventTime, Position};
use std::sync::Arc;

const S: i64 = 1_000_000;

/// An operator and what came out of it.
struct World {
    operator: AlertOperator,
    board: Arc<Board>,
    config: Arc<AlertsConfig>,
    states: Vec<String>,
    /// Channel, key, message.
    sent: Vec<(String, String, Message)>,
    ticked: Option<i64>,
}

impl World {
    fn new(config: &str) -> Self {
        let config: AlertsConfig = serde_json::from_str(config).unwrap();
        config.check(&["ops", "pager"]).unwrap();
        let (config, board) = (Arc::new(config), Arc::new(Board::default()));
        let operator = AlertOperator::new(config.clone(), board.clone());
        Self { operator, board, config, states: Vec::new(), sent: Vec::new(), ticked: None }
    }

    fn observe(&mut self, second: i64, observations: &[(&str, Kind, &str, f64)]) {
        let observation = |(rule, kind, host, value): &(&str, Kind, &str, f64)| Observation {
            ts: second * S,
            rule: (*rule).to_owned(),
            kind: *kind,
            labels: format!("{{\"host\":\"{host}\"}}"),
            value: Some(*value),
        };
        self.take(second, &observations.iter().map(observation).collect::<Vec<_>>());
    }

    fn post(&mut self, second: i64, alert: &PostedAlert) {
        self.take(second, &[alert.observation(second * S)]);
    }

    fn take(&mut self, second: i64, observations: &[Observation]) {
        let rows = to_rows(observations);
        let batch = Batch { ingest_time: EventTime(second * S), ..Batch::made("observations", rows) };
        let mut seen = Vec::new();
        self.operator.on_batch(batch, &mut Output::new(&mut |batch| seen.push(batch)));
        for batch in seen {
            assert_eq!(batch.ingest_time, EventTime(second * S));
            let text = |name: &str, row: usize| {
                batch.records.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned()
            };
            for row in 0..batch.records.num_rows() {
                match batch.stream.strip_prefix("deliver/") {
                    Some(channel) => {
                        let message = Message::parse(&text("body", row)).unwrap();
                        self.sent.push((channel.to_owned(), text("key", row), message));
                    }
                    None => self.states.push(format!("{second} {} {}", text("rule", row), text("state", row))),
                }
            }
        }
    }

    /// Time passes, a tick in each second, or in ten where it is long.
    fn tick(&mut self, second: i64) {
        let from = self.ticked.map_or(second, |last| (last + 1).min(second));
        let step = if second - from > 1000 { 10 } else { 1 };
        for between in (from..second).step_by(step) {
            self.tick_once(between);
        }
        self.tick_once(second);
    }

    /// A tick, with nothing since the last one.
    fn tick_once(&mut self, second: i64) {
        self.ticked = Some(second);
        self.observe(second, &[("", Kind::Tick, "", 0.0)]);
    }

    /// Status and number of alerts of each notification since the last call.
    fn told(&mut self) -> Vec<(String, Status, usize)> {
        let told = |(channel, _, message): (String, String, Message)| match message {
            Message::Notification(notification) => (channel, notification.status, notification.alerts.len()),
            Message::Rows(_) => panic!("no notification"),
        };
        std::mem::take(&mut self.sent).into_iter().map(told).collect()
    }

    fn states(&mut self) -> Vec<String> {
        std::mem::take(&mut self.states)
    }

    fn silence(&mut self, value: serde_json::Value) {
        let input = SideInput { name: SILENCES_INPUT.into(), value: Arc::new(value), position: Position(1) };
        self.operator.on_side_input(&input, &mut Output::new(&mut |_| {}));
    }

    fn restart(&mut self) {
        let states = self.operator.on_barrier(Epoch(1));
        self.operator = AlertOperator::new(self.config.clone(), self.board.clone());
        for (group, state) in states {
            self.operator.restore(group, state).unwrap();
        }
    }
}

fn ops(count: usize, status: Status) -> (String, Status, usize) {
    ("ops".to_owned(), status, count)
}

#[test]
fn a_row_fires_at_once_and_ends_after_its_time() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Shadow", "from": "events", "when": "true", "by": ["host"], "keep": "1m", "severity": "critical",
            "annotations": {"summary": "{{ labels.host }} read {{ value }}"}}], "route": {"channel": "ops"}}"#,
    );
    world.observe(100, &[("Shadow", Kind::Firing, "a", 3.0)]);
    let Message::Notification(notification) = &world.sent[0].2 else { panic!() };
    let alert = &notification.alerts[0];
    assert_eq!(alert.annotations["summary"], "a read 3.0");
    assert_eq!((alert.labels["severity"].as_str(), alert.starts_at.as_str()), ("critical", "1970-01-01T00:01:40Z"));
    assert_eq!(world.told(), [ops(1, Status::Firing)]);
    assert_eq!(world.board.alerts().len(), 1);
    // The same again is the same alert.
    world.observe(120, &[("Shadow", Kind::Firing, "a", 3.0)]);
    world.tick(170);
    assert!(world.told().is_empty());
    world.tick(181);
    assert_eq!(world.told(), [ops(1, Status::Resolved)]);
    assert_eq!(world.states(), ["100 Shadow firing", "181 Shadow resolved"]);
    assert!(world.board.alerts().is_empty());
}

#[test]
fn a_condition_has_to_hold_and_hysteresis_keeps_it() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Load", "sql": "x", "when": "value > 10", "until": "value < 8", "for": "30s"}],
            "route": {"channel": "ops", "group_interval": "0s"}}"#,
    );
    let answer = |world: &mut World, second: i64, kind: Kind| {
        world.observe(second, &[("Load", kind, "a", 1.0), ("Load", Kind::Done, "", 0.0)]);
    };
    answer(&mut world, 0, Kind::Firing);
    answer(&mut world, 15, Kind::Held);
    assert_eq!(world.states(), ["0 Load pending", "15 Load inactive"], "a gap begins anew");
    answer(&mut world, 30, Kind::Firing);
    world.tick(59);
    world.tick(60);
    assert_eq!(world.states(), ["30 Load pending", "60 Load firing"]);
    answer(&mut world, 75, Kind::Held);
    assert!(world.states().is_empty(), "between the thresholds it goes on");
    answer(&mut world, 90, Kind::Clear);
    assert_eq!(world.states(), ["90 Load resolved"]);
    assert_eq!(world.told(), [ops(1, Status::Firing), ops(1, Status::Resolved)]);
    // A series that is not in the answer any more is gone.
    answer(&mut world, 105, Kind::Firing);
    world.observe(140, &[("Load", Kind::Done, "", 0.0)]);
    assert_eq!(world.states(), ["105 Load pending", "140 Load inactive"]);
}

#[test]
fn counts_and_silence_of_a_source() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Many", "from": "events", "when": "true", "count": 3, "over": "10s", "keep": "0s"},
            {"alert": "Silent", "from": "events", "absent": "1m"}], "route": {"channel": "ops"}}"#,
    );
    for second in [0, 20, 25] {
        world.observe(second, &[("Many", Kind::Firing, "a", 1.0), ("Silent", Kind::Firing, "a", 1.0)]);
    }
    assert!(world.states().is_empty());
    world.observe(30, &[("Many", Kind::Firing, "a", 1.0)]);
    world.tick(41);
    assert_eq!(world.states(), ["30 Many firing", "41 Many resolved"]);
    world.tick(84);
    world.tick(85);
    world.tick(86);
    assert_eq!(world.states(), ["85 Silent firing"]);
    world.observe(100, &[("Silent", Kind::Firing, "a", 1.0)]);
    assert_eq!(world.states(), ["100 Silent resolved"]);
}

#[test]
fn alerts_are_grouped_routed_and_repeated() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "A", "from": "events", "when": "true", "keep": "1h"},
            {"alert": "B", "from": "events", "when": "true", "severity": "critical", "keep": "1h"}],
            "route": {"channel": "ops", "group_wait": "5s", "group_interval": "10s", "repeat": "1m",
            "routes": [{"match": {"severity": "~crit.*"}, "channel": "pager", "repeat": "1m"}]}}"#,
    );
    world.observe(0, &[("A", Kind::Firing, "a", 1.0), ("B", Kind::Firing, "a", 1.0)]);
    assert_eq!(world.told(), [("pager".to_owned(), Status::Firing, 1)], "that route waits for nobody");
    world.observe(3, &[("A", Kind::Firing, "b", 1.0)]);
    world.tick(5);
    assert_eq!(world.told(), [ops(2, Status::Firing)]);
    world.observe(6, &[("A", Kind::Firing, "c", 1.0)]);
    assert!(world.told().is_empty(), "the group was told a moment ago");
    world.tick(15);
    assert_eq!(world.told(), [ops(3, Status::Firing)]);
    world.tick(60);
    assert_eq!(world.told(), [("pager".to_owned(), Status::Firing, 1)]);
    world.tick(74);
    world.tick(75);
    world.tick(76);
    assert_eq!(world.told(), [ops(3, Status::Firing)]);
}

#[test]
fn silences_and_inhibition_mute() {
    let mut world = World::new(
        r#"{"rules": [{"alert": "Warn", "from": "events", "when": "true", "keep": "1h"},
            {"alert": "Crit", "from": "events", "when": "true", "severity": "critical", "keep": "1m"}],
            "route": {"channel": "ops", "group_by": ["..."], "group_interval": "0s"},
            "inhibit": [{"source": {"severity": "critical"}, "target": {"severity": "warning"}, "equal": ["host"]}]}"#,
    );
    world.observe(0, &[("Crit", Kind::Firing, "a", 1.0)]);
    world.observe(1, &[("Warn", Kind::Firing, "a", 1.0), ("Warn", Kind::Firing, "b", 1.0)]);
    assert_eq!(world.told().len(), 2, "the warning about a is muted, that about b is not");
    let muted: Vec<_> = world.board.alerts().into_iter().filter(|alert| !alert.inhibited_by.is_empty()).collect();
    assert_eq!((muted.len(), muted[0].labels["host"].as_str()), (1, "a"));
    world.tick(62);
    assert_eq!(world.told(), [ops(1, Status::Resolved), ops(1, Status::Firing)], "nothing mutes it any more");
    world.silence(serde_json::json!([{"id": "s", "matchers": [{"name": "host", "value": "c", "isRegex": false}],
        "starts_at": 0, "ends_at": 100 * S, "created_by": "x", "comment": "", "updated_at": 0}]));
    world.observe(70, &[("Warn", Kind::Firing, "c", 1.0)]);
    assert!(world.told().is_empty());
    assert_eq!(world.board.alerts().iter().filter(|alert| alert.silenced_by == ["s"]).count(), 1);
    world.tick(100);
    assert_eq!(world.told(), [ops(1, Status::Firing)], "the silence has ended and the alert goes on");
}

#[test]
fn det_1_a_restart_goes_on_and_keys_are_the_same_again() {
    let config = r#"{"rules": [{"alert": "A", "from": "events", "when": "true", "for": "10s", "keep": "20s"}],
        "route": {"channel": "ops", "group_interval": "0s", "repeat": "5s"}}"#;
    let run = |restarts: &[i64]| {
        let mut world = World::new(config);
        for second in 0..60 {
            if second < 30 {
                world.observe(second, &[("A", Kind::Firing, "a", 1.0)]);
            } else {
                world.tick(second);
            }
            if restarts.contains(&second) {
                world.restart();
            }
        }
        let keys: Vec<String> = world.sent.iter().map(|(_, key, _)| key.clone()).collect();
        let mut unique = keys.clone();
        unique.dedup();
        assert_eq!(keys, unique, "every notification has a key of its own");
        (keys, world.states)
    };
    let (keys, states) = run(&[]);
    assert_eq!(states, ["0 A pending", "10 A firing", "50 A resolved"]);
    assert!(keys.len() > 5, "{}", keys.len());
    assert_eq!(run(&[0, 5, 11, 33, 49, 50]), (keys, states));
}

#[test]
fn alerts_of_others_are_routed_and_end() {
    let mut world = World::new(
        r#"{"route": {"channel": "ops", "group_interval": "0s", "routes": [{"channel": "pager", "match": {"severity": "critical"}}]}}"#,
    );
    let alert = |second: i64, ends: i64| {
        let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        PostedAlert {
            labels: text(&[("alertname", "Disk"), ("severity", "critical"), ("empty", "")]),
            annotations: text(&[("summary", "full")]),
            starts_at: second * S,
            ends_at: ends * S,
            generator_url: "http://prometheus/graph".to_owned(),
        }
    };
    assert!(alert(1, 2).check().is_ok() && alert(2, 1).check().is_err());
    world.post(10, &alert(10, 100));
    assert_eq!(world.told(), [("pager".to_owned(), Status::Firing, 1)]);
    let shown = world.board.alerts();
    assert_eq!(
        (shown[0].rule.as_str(), shown[0].generator_url.as_str(), shown[0].labels.len()),
        ("Disk", "http://prometheus/graph", 2)
    );
    // Posted again it goes on, and is the same alert.
    world.post(90, &alert(50, 180));
    world.restart();
    world.tick(150);
    assert!(world.told().is_empty());
    world.tick(181);
    assert_eq!(world.told(), [("pager".to_owned(), Status::Resolved, 1)]);
    world.tick(200);
    world.post(200, &alert(200, 500));
    world.post(210, &alert(200, 205));
    assert_eq!(world.told().len(), 2, "who posts may end it, too");
    assert_eq!(world.states(), ["10 Disk firing", "180 Disk resolved", "200 Disk firing", "210 Disk resolved"]);
    assert!(world.board.alerts().is_empty());
}

#[test]
fn a_learned_series_that_ends_fires_for_a_day() {
    let mut world =
        World::new(r#"{"rules": [{"alert": "Odd", "promql": "x", "anomaly": {}}], "route": {"channel": "ops"}}"#);
    // Real times: what is learned must not be forgotten because it has never fired.
    let (start, step) = (1_800_000_000, 1800);
    let steps = 9 * 86_400 / step;
    for at in 0..steps {
        let now = start + at * step;
        world.observe(
            now,
            &[("Odd", Kind::Firing, "a", 10.0 + (at % 5) as f64), ("Odd", Kind::Firing, "b", 1.0 + (at % 3) as f64)],
        );
        world.observe(now, &[("Odd", Kind::Done, "", 0.0)]);
    }
    assert!(world.states().is_empty());
    for at in steps..steps + 2 * 86_400 / step {
        let now = start + at * step;
        world.observe(now, &[("Odd", Kind::Firing, "b", 1.0 + (at % 3) as f64)]);
        world.observe(now, &[("Odd", Kind::Done, "", 0.0)]);
    }
    let at = |steps: i64| start + 9 * 86_400 + steps * step;
    assert_eq!(world.states(), [format!("{} Odd firing", at(2)), format!("{} Odd resolved", at(47))]);
}

#[test]
fn labels_without_end_are_bounded_and_unknown_rules_are_nothing() {
    let mut world =
        World::new(r#"{"rules": [{"alert": "A", "from": "events", "when": "true"}], "route": {"channel": "ops"}}"#);
    world.observe(0, &[("Other", Kind::Firing, "a", 1.0), ("A", Kind::Firing, "a", f64::NAN)]);
    assert_eq!(world.states(), ["0 A firing"]);
    world.restart();
    assert_eq!(world.board.alerts().len(), 1);
}

#[test]
fn rules_come_with_the_program_where_there_are_alerts() {
    let config = |text: &str| -> AlertsConfig { serde_json::from_str::<AlertsConfig>(text).unwrap().with_shipped() };
    assert!(config("{}").rules.is_empty());
    let routed = config(r#"{"route": {"channel": "ops"}}"#);
    assert_eq!(routed.rules.len(), 3);
    routed.check(&["ops"]).unwrap();
    assert!(config(r#"{"route": {"channel": "ops"}, "shipped": false}"#).rules.is_empty());
    let own = config(r#"{"rules": [{"alert": "BodkinStale", "sql": "x"}]}"#);
    assert!(own.rules.len() == 3 && own.rules.iter().filter(|rule| rule.name == "BodkinStale").count() == 1);
}

#[test]
fn configuration_errors_say_where() {
    for (config, what) in [
        (r#"{"rules": [{"alert": "A"}]}"#, "exactly one of from, sql, promql and own"),
        (r#"{"rules": [{"alert": "A", "from": "events"}]}"#, "when, count or absent"),
        (r#"{"rules": [{"alert": "A", "from": "events", "count": 3}]}"#, "count needs over"),
        (r#"{"rules": [{"alert": "A", "sql": "x", "absent": "1m"}]}"#, "rules over rows"),
        (r#"{"rules": [{"alert": "A", "sql": "x"}, {"alert": "A", "sql": "x"}]}"#, "a name of its own"),
        (r#"{"rules": [{"alert": "A", "sql": "x", "annotations": {"s": "{{ a"}}]}"#, "annotations.s"),
        (r#"{"route": {"channel": "none"}}"#, "there are: ops"),
        (r#"{"route": {"channel": "ops", "match": {"a": "~("}}}"#, "alerts.route"),
    ] {
        let config: AlertsConfig = serde_json::from_str(config).unwrap();
        let error = config.check(&["ops"]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_reload_ends_alerts_without_a_rule_and_moves_the_others() {
    let rules = r#"{"rules": [{"alert": "A", "from": "events", "when": "true"}, {"alert": "B", "from": "events", "when": "true"}],
        "route": {"channel": "ops", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "0s",
        "routes": [{"match": {"alertname": "B"}, "channel": "ops"}]}, "shipped": false}"#;
    let mut world = World::new(rules);
    world.observe(1, &[("A", Kind::Firing, "a", 1.0), ("B", Kind::Firing, "a", 1.0)]);
    assert_eq!(world.told().len(), 2);
    let state = world.operator.on_barrier(Epoch(1)).remove(0);
    let again = |config: &str| {
        let mut next = World::new(config);
        next.operator.restore(state.0, state.1.clone()).unwrap();
        next.tick(2);
        next
    };
    let mut same = again(rules);
    assert!(same.told().is_empty() && same.states.is_empty(), "nothing has changed: {:?}", same.states);
    // A is gone, and B goes to another channel.
    let mut next = again(
        r#"{"rules": [{"alert": "B", "from": "events", "when": "true"}], "shipped": false,
        "route": {"channel": "ops", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "0s",
        "routes": [{"match": {"alertname": "B"}, "channel": "pager"}]}}"#,
    );
    assert_eq!(next.states, ["2 A resolved"]);
    assert_eq!(next.told(), [("ops".into(), Status::Resolved, 1), ("pager".into(), Status::Firing, 1)]);
    next.tick(90_000);
    assert!(next.told().iter().all(|told| told.0 == "pager"), "what is over is not repeated");
}
