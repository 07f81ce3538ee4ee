//! The rules as a step of the graph.

use crate::compile::RuleSet;
use crate::eval::Matching;
use arc_swap::ArcSwap;
use arrow::record_batch::RecordBatch;
use bodkin_engine::{Batch, Operator, Output};
use bodkin_schema::Stream;
use std::sync::Arc;

/// Runs the rules over batches of `events` and `audit`: each batch goes on unchanged, and behind it one of `findings`
/// where rules fired. Batches of other streams pass.
pub struct RulesOperator {
    rules: Arc<ArcSwap<RuleSet>>,
    matching: Matching,
    observer: Option<Observer>,
}

/// Is shown the rows of `findings` as they are made. It must not wait.
pub type Observer = Arc<dyn Fn(&RecordBatch) + Send + Sync>;

impl RulesOperator {
    /// Makes the operator. A set that is stored into `rules` is used from the next batch on; a batch is always run
    /// with one set.
    pub fn new(rules: Arc<ArcSwap<RuleSet>>, matching: Matching) -> Self {
        Self { rules, matching, observer: None }
    }

    /// The same with somebody who counts or shows what is found.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl Operator for RulesOperator {
    fn name(&self) -> &str {
        "rules"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let stream = Stream::from_name(&batch.stream);
        let found = stream.and_then(|stream| self.rules.load().over(stream, &batch.records, self.matching));
        if let (Some(found), Some(observer)) = (&found, &self.observer) {
            observer(found);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Options;
    use crate::load::RuleFile;
    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use bodkin_engine::{TimeRange, run_chain};
    use bodkin_schema::EventTime;

    fn rules(condition: &str) -> Arc<RuleSet> {
        let content = format!(
            "- rule: r\n  desc: d\n  condition: {condition}\n  output: 'by %user.name: %4proc.name|%toupper(proc.name) %fd.name'\n  \
             priority: critical\n  tags: [T1059, net]\n"
        );
        let options = Options { has_suggested_output: false, ..Options::default() };
        let (rules, report) = RuleSet::load(&[RuleFile { name: "f".to_owned(), content }], &options);
        Arc::new(rules.unwrap_or_else(|| panic!("{report}")))
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
        let swap = Arc::new(ArcSwap::new(rules("proc.name endswith sh or proc.name startswith bash")));
        let seen = run(RulesOperator::new(swap, Matching::First), events());
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
    fn other_streams_pass_and_a_reload_counts_from_the_next_batch() {
        let swap = Arc::new(ArcSwap::new(rules("proc.name = none")));
        let other = Batch::made("other", events().records);
        assert_eq!(run(RulesOperator::new(swap.clone(), Matching::All), other).len(), 1);
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(RulesOperator::new(swap.clone(), Matching::All))];
        let mut count = |batch: Batch| {
            let mut seen = 0;
            run_chain(&mut chain, batch, &mut |_| seen += 1);
            seen
        };
        assert_eq!(count(events()), 1);
        swap.store(rules("proc.name = sh"));
        assert_eq!(count(events()), 2);
    }
}
