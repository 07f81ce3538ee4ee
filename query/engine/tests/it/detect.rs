//! RULE-1: rules over history find what they find in the rows as they come, wherever those lie.

use crate::fixture::{DAY, Event, Memory, event_rows, rows, table};
use arrow::array::{AsArray, RecordBatch};
use bodkin_query::{QueryEngine, QueryOptions, RuleCatalog, Search};
use bodkin_rules::{Documents, Matching, Options, RuleFile, RuleSet, Source, audit_rows};
use bodkin_schema::{EventTime, Principal, Stream};
use proptest::prelude::*;
use std::sync::Arc;

const RULES: &str = "\
- macro: container
  condition: (container.id != host)
- rule: Shell in container
  desc: d
  condition: evt.type in (execve, execveat) and container and proc.name in (sh, bash)
  output: shell %proc.name %proc.pid
  priority: WARNING
- rule: Connection
  desc: d
  condition: evt.type = connect and fd.rport = 443 and not proc.name = curl
  output: to %fd.rport by %user.name
  priority: NOTICE
- rule: Root
  desc: d
  condition: user.name = root
  output: root
  priority: INFO
  warn_evttypes: false
- rule: Anonymous
  desc: d
  condition: ka.user.name = system:anonymous
  output: anonymous %ka.verb
  priority: ERROR
  source: k8s_audit
";

#[derive(Debug)]
struct Rules(Arc<Vec<RuleFile>>);

impl RuleCatalog for Rules {
    fn files(&self) -> Arc<Vec<RuleFile>> {
        self.0.clone()
    }

    fn matching(&self) -> Matching {
        Matching::All
    }
}

fn files() -> Vec<RuleFile> {
    vec![RuleFile { name: "dir/rules.yaml".to_owned(), content: RULES.to_owned() }]
}

fn rule_set() -> Arc<RuleSet> {
    Arc::new(RuleSet::load(&files(), &Options::default()).0.unwrap())
}

fn engine(memory: &Arc<Memory>) -> QueryEngine {
    let rules: Arc<dyn RuleCatalog> = Arc::new(Rules(Arc::new(files())));
    memory.engine_with(QueryOptions { rules: Some(rules), ..QueryOptions::default() })
}

fn event(ts: i64, kind: usize) -> Event {
    let evt_type = ["execve", "openat", "connect", "execveat"][kind % 4];
    let comm = ["sh", "curl", "nginx"][kind / 4 % 3];
    let user = [Some("root"), None, Some("app")][kind / 12 % 3];
    let remote_port = (evt_type == "connect").then_some([443, 80][kind / 36 % 2]);
    Event { ts: DAY + ts, evt_type, pid: (kind % 7) as i32, comm, user, remote_port, ..Event::default() }
}

/// Time, rule and output of findings, sorted.
fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (rules, outputs, fields) = (text("rule"), text("output"), text("output_fields"));
        all.extend(
            (0..batch.num_rows())
                .map(|row| format!("{} {} {}", rules.value(row), outputs.value(row), fields.value(row))),
        );
    }
    all.sort();
    all
}

async fn searched(engine: &QueryEngine, matching: Matching, since: Option<i64>) -> Vec<String> {
    let search = Search { rules: rule_set(), matching, since: since.map(|us| EventTime(DAY + us)), until: None };
    shown(&engine.detect(&Principal::default(), search).await.unwrap().collect().await.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rule_1_history_equals_live(batches in prop::collection::vec(prop::collection::vec(0usize..72, 1..60), 1..5), flushes in 0usize..3) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::open().await;
            let engine = engine(&memory);
            let (mut live, mut ts) = ([Vec::new(), Vec::new()], 0);
            for (index, kinds) in batches.iter().enumerate() {
                let events: Vec<Event> = kinds.iter().map(|kind| { ts += 1000; event(ts, *kind) }).collect();
                let records = event_rows(&events);
                for (live, matching) in live.iter_mut().zip([Matching::First, Matching::All]) {
                    live.extend(rule_set().over(Stream::Events, &records, matching));
                }
                memory.write(Stream::Events, records, "default", DAY);
                memory.write(Stream::Events, event_rows(&[event(0, 0), event(0, 2)]), "other", DAY);
                if index < flushes {
                    memory.flush().await;
                }
            }
            for (live, matching) in live.iter().zip([Matching::First, Matching::All]) {
                assert_eq!(searched(&engine, matching, None).await, shown(live));
            }
        });
    }
}

#[tokio::test]
async fn sql_names_rules_files_and_texts() {
    let memory = Memory::open().await;
    memory.write(Stream::Events, event_rows(&[event(1000, 0), event(2000, 2), event(3000, 15)]), "default", DAY);
    memory.flush().await;
    memory.write(Stream::Events, event_rows(&[event(4000, 12)]), "default", DAY);
    let engine = engine(&memory);
    let counts = |call: &str| format!("SELECT rule, count(*) FROM {call} GROUP BY rule ORDER BY rule");
    let all = ["Connection 1", "Root 2", "Shell in container 2"];
    for call in ["detect('')", "detect('rules.yaml')", "detect('dir/rules.yaml', matching => 'all')"] {
        assert_eq!(rows(&engine, &counts(call)).await, all, "{call}");
    }
    assert_eq!(rows(&engine, &counts("detect('Root')")).await, ["Root 2"]);
    assert_eq!(
        rows(&engine, &counts("detect('', matching => 'first')")).await,
        ["Connection 1", "Root 1", "Shell in container 2"]
    );
    assert_eq!(rows(&engine, &counts("detect('', until => '2026-11-22T00:00:00.002Z')")).await, ["Root 1"]);
    assert_eq!(rows(&engine, "SELECT pid FROM detect('') WHERE ts >= '2026-11-22T00:00:00.004Z'").await, ["5"]);
    let inline = "detect('- rule: any\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: info\n')";
    assert_eq!(rows(&engine, &counts(inline)).await, ["any 2"]);
    let joined = "SELECT e.comm, d.rule FROM detect('Connection') d JOIN events e ON d.ts = e.ts";
    assert_eq!(rows(&engine, joined).await, ["sh Connection"]);
    for (call, part) in [
        ("detect('nothing')", "neither a rule nor a rule file"),
        ("detect('', since => 'soon')", "is no time"),
        ("detect('', sinse => '1d')", "has no argument 'sinse'"),
        ("detect(5)", "detect takes texts"),
        ("detect('- rule: x')", "error["),
    ] {
        let error = table(&engine, &counts(call)).await.unwrap_err().to_string();
        assert!(error.contains(part), "{call}: {error}");
    }
}

#[tokio::test]
async fn scans_leave_out_what_no_rule_wants() {
    let memory = Memory::open().await;
    memory.write(Stream::Events, event_rows(&[event(1000, 24)]), "default", DAY);
    memory.flush().await;
    let plan = table(&engine(&memory), "EXPLAIN SELECT rule FROM detect('Shell in container', since => '1970-01-01')")
        .await
        .unwrap();
    assert!(plan.contains("DetectFilesExec"), "{plan}");
    for part in ["execveat", "container_id", "ts@"] {
        assert!(plan.contains(part), "{part} in {plan}");
    }
    assert!(!plan.contains("remote_addr"), "only columns that the rule reads\n{plan}");
}

#[tokio::test]
async fn audit_rows_are_searched_too() {
    let memory = Memory::open().await;
    let events = br#"[{"kind":"Event","auditID":"a","stageTimestamp":"2026-11-22T00:00:00Z","verb":"get","user":{"username":"system:anonymous"}},
        {"kind":"Event","auditID":"b","stageTimestamp":"2026-11-22T00:00:01Z","verb":"get","user":{"username":"eve"}}]"#;
    let documents = Documents::parse(Source::K8sAudit, events).unwrap().documents;
    let records = audit_rows(Source::K8sAudit, &documents);
    let live = rule_set().over(Stream::Audit, &records, Matching::All).unwrap();
    memory.write(Stream::Audit, records, "default", DAY);
    memory.flush().await;
    let engine = engine(&memory);
    assert_eq!(searched(&engine, Matching::All, None).await, shown(&[live]));
    assert!(searched(&engine, Matching::All, Some(1)).await.is_empty());
    assert_eq!(rows(&engine, "SELECT event_id, source FROM detect('Anonymous')").await, ["a k8s_audit"]);
    assert_eq!(rows(&engine, "SELECT actor, verb FROM audit ORDER BY ts").await, ["system:anonymous get", "eve get"]);
}
