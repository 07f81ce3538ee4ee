//! The rules as a step of the graph.
//!
//! Which rules run is a side input: it is logged before it counts, and counts from its place in the log on, after a crash
//! as before it (RULE-1, DET-1).

use crate::compile::{Options, RuleSet};
use crate::eval::Matching;
use crate::load::{Report, RuleFile};
use arrow::record_batch::RecordBatch;
use bodkin_engine::{Batch, Operator, Output, SideInput};
use bodkin_schema::{Stream, Tenant};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The side input that says which rules run; its value is [`RulesInForce`].
pub const RULES_INPUT: &str = "rules";

/// Rules as they run: everything that decides what fires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesInForce {
    /// The files, in order.
    pub files: Vec<RuleFile>,
    /// How they are loaded.
    pub options: Options,
    /// How many rules may fire for one event.
    pub matching: Matching,
}

/// A set of rules, what it was made of, and what there was to say.
#[derive(Debug)]
struct Loaded {
    rules: RulesInForce,
    set: Arc<RuleSet>,
    report: Report,
}

/// Compiles rules once for all shards. Holds the newest set.
#[derive(Debug, Default)]
pub struct RuleLoader {
    newest: Mutex<Option<Loaded>>,
}

impl RuleLoader {
    /// The set of rules, and what there is to say about it. There is no set where there is an error; the newest one stays
    /// then.
    pub fn load(&self, rules: &RulesInForce) -> (Option<Arc<RuleSet>>, Report) {
        // Held while rules compile: other shards want the same ones.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = newest.as_ref().filter(|known| known.rules == *rules) {
            return (Some(known.set.clone()), known.report.clone());
        }
        let (set, report) = RuleSet::load(&rules.files, &rules.options);
        let set = set.map(Arc::new);
        if let Some(set) = &set {
            *newest = Some(Loaded { rules: rules.clone(), set: set.clone(), report: report.clone() });
        }
        (set, report)
    }
}

/// Runs the rules over batches of `events` and `audit`: each batch goes on unchanged, and behind it one of `findings`
/// where rules fired. Batches of other streams pass. Until [`RULES_INPUT`] has a value there are no rules.
pub struct RulesOperator {
    loader: Arc<RuleLoader>,
    rules: Option<Arc<RuleSet>>,
    matching: Matching,
    observer: Option<Observer>,
}

/// Is shown a tenant's rows of `findings` as they are made. It must not wait.
pub type Observer = Arc<dyn Fn(&Tenant, &RecordBatch) + Send + Sync>;

impl RulesOperator {
    /// Makes the operator.
    pub fn new(loader: Arc<RuleLoader>) -> Self {
        Self { loader, rules: None, matching: Matching::default(), observer: None }
    }

    /// The same with somebody who counts or shows what is found.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl fmt::Debug for RulesOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulesOperator").field("matching", &self.matching).finish_non_exhaustive()
    }
}

impl Operator for RulesOperator {
    fn name(&self) -> &str {
        "rules"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let stream = Stream::from_name(&batch.stream);
        let found = stream.zip(self.rules.as_ref());
        let found = found.and_then(|(stream, rules)| rules.over(stream, &batch.records, self.matching));
        if let (Some(found), Some(observer)) = (&found, &self.observer) {
            observer(&batch.tenant, found);
        }
        let made = found.map(|found| Batch {
            tenant: batch.tenant.clone(),
            ingest_time: batch.ingest_time,
            position: batch.position,
            ..Batch::made(Stream::Findings.name(), found)
        });
        out.emit(batch);
        if let Some(made) = made {
            out.emit(made);
        }
    }

    /// Rules with an error are not logged; where a log of another version holds some, those that ran before go on.
    fn on_side_input(&mut self, input: &SideInput, _: &mut Output<'_>) {
        if &*input.name != RULES_INPUT {
            return;
        }
        let rules = match RulesInForce::deserialize(&*input.value) {
            Ok(rules) => rules,
            Err(error) => {
                return tracing::error!(position = input.position.0, %error, "rules in the log are not understood");
            }
        };
        match self.loader.load(&rules) {
            (Some(set), _) => {
                self.rules = Some(set);
                self.matching = rules.matching;
            }
            (None, report) => tracing::error!(position = input.position.0, "rules in the log have errors\n{report}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use bodkin_engine::{TimeRange, run_chain};
    use bodkin_schema::{EventTime, Position};

    fn rules(condition: &str) -> RulesInForce {
        let content = format!(
            "- rule: r\n  desc: d\n  condition: {condition}\n  output: 'by %user.name: %4proc.name|%toupper(proc.name) %fd.name'\n  \
             priority: critical\n  tags: [T1059, net]\n"
        );
        let options = Options { has_suggested_output: false, ..Options::default() };
        RulesInForce { files: vec![RuleFile { name: "f".to_owned(), content }], options, matching: Matching::First }
    }

    fn put(operator: &mut RulesOperator, rules: &RulesInForce) {
        let value = Arc::new(serde_json::to_value(rules).unwrap());
        let input = SideInput { name: RULES_INPUT.into(), value, position: Position(1) };
        operator.on_side_input(&input, &mut Output::new(&mut |_| {}));
    }

    fn operator(rules: &RulesInForce) -> RulesOperator {
        let mut operator = RulesOperator::new(Arc::default());
        put(&mut operator, rules);
        operator
    }

    fn events() -> Batch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![5, 1_000_000]).with_timezone("UTC"))),
            ("evt_type", Arc::new(StringArray::from(vec!["execve", "execve"]))),
            ("comm", Arc::new(StringArray::from(vec!["sh", "bash-long"]))),
            ("user", Arc::new(StringArray::from(vec![Some("root"), None]))),
            ("host", Arc::new(StringArray::from(vec!["h", "h"]))),
            ("incarnation", Arc::new(Int64Array::from(vec![1, 1]))),
            ("cpu", Arc::new(Int64Array::from(vec![0, 0]))),
            ("seq", Arc::new(Int64Array::from(vec![7, 8]))),
        ];
        Batch::made("events", RecordBatch::try_from_iter(columns).unwrap())
    }

    fn run(operator: RulesOperator, batch: Batch) -> Vec<Batch> {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(operator)];
        let mut seen = Vec::new();
        run_chain(&mut chain, batch, &mut |batch| seen.push(batch));
        seen
    }

    fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        (0..column.len()).map(|row| column.is_valid(row).then(|| column.value(row).to_owned())).collect()
    }

    #[test]
    fn findings_follow_their_events() {
        let seen = run(operator(&rules("proc.name endswith sh or proc.name startswith bash")), events());
        assert_eq!(seen.iter().map(|batch| &*batch.stream).collect::<Vec<_>>(), ["events", "findings"]);
        let found = &seen[1];
        assert_eq!(found.event_time, Some(TimeRange { min: EventTime(5), max: EventTime(1_000_000) }));
        let outputs: Vec<String> = column(&found.records, "output").into_iter().flatten().collect();
        let expected = [
            "00:00:00.000005000: Critical by root: sh  |SH <NA>",
            "00:00:01.000000000: Critical by <NA>: bash|BASH-LONG <NA>",
        ];
        assert_eq!(outputs, expected);
        let fields = &column(&found.records, "output_fields")[1];
        assert_eq!(
            fields.as_deref(),
            Some(r#"{"evt.time":1000000000,"fd.name":null,"proc.name":"bash-long","user.name":null}"#)
        );
        assert_eq!(column(&found.records, "event_id")[0].as_deref(), Some("h/1/0/7"));
        let techniques = found.records.column_by_name("techniques").unwrap().as_list::<i32>().value(0);
        assert_eq!(techniques.as_string::<i32>().value(0), "T1059");
    }

    #[test]
    fn other_streams_pass_and_new_rules_count_from_their_place_on() {
        let other = Batch::made("other", events().records);
        assert_eq!(run(operator(&rules("proc.name = sh")), other).len(), 1);
        let mut operator = RulesOperator::new(Arc::default());
        let mut count = |rules: Option<RulesInForce>| {
            if let Some(rules) = rules {
                put(&mut operator, &rules);
            }
            let mut seen = 0;
            operator.on_batch(events(), &mut Output::new(&mut |_| seen += 1));
            seen
        };
        assert_eq!(count(None), 1, "no rules yet");
        assert_eq!(count(Some(rules("proc.name = none"))), 1);
        assert_eq!(count(Some(rules("proc.name = sh"))), 2);
        assert_eq!(count(Some(rules("proc.nam = sh"))), 2, "rules with an error change nothing");
    }

    #[test]
    fn shards_share_a_set() {
        let loader = RuleLoader::default();
        let first = loader.load(&rules("proc.name = sh")).0.unwrap();
        assert!(Arc::ptr_eq(&first, &loader.load(&rules("proc.name = sh")).0.unwrap()));
        assert!(loader.load(&rules("proc.nam = sh")).0.is_none());
        assert!(Arc::ptr_eq(&first, &loader.load(&rules("proc.name = sh")).0.unwrap()));
    }
}
