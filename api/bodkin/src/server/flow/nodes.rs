//! The nodes that alerts and forwarders add to the graph.

use super::Flow;
use anyhow::{Context, anyhow};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use bodkin_alert::observe::{Answers, TIME_COLUMN, VALUE_COLUMN};
use bodkin_alert::operator::SILENCES_INPUT;
use bodkin_alert::{AlertOperator, Observe, Rule, RuleKind};
use bodkin_engine::{Batch, Graph, MakeOperator, Operator, OperatorSpec, Output, run_chain};
use bodkin_expr::{Filter, OfStream, Sql};
use bodkin_forward::ForwardOperator;
use bodkin_schema::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Node with the findings that rules of this server made, and those that came from others.
const FOUND: &str = "found";
/// Node with the changes of alerts.
const ALERTED: &str = "alerted";
/// Node of the states of alerts.
const ALERTING: &str = "alerting";

/// Several chains of operators over the same rows.
struct Chains(Vec<Vec<Box<dyn Operator>>>);

impl Operator for Chains {
    fn name(&self) -> &str {
        "alert"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        for chain in &mut self.0 {
            run_chain(chain, batch.clone(), &mut |made| out.emit(made));
        }
    }
}

impl Flow {
    /// Adds the nodes; `schemas` are the columns of streams and operators.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub(crate) fn add_to(&self, graph: &mut Graph, schemas: &BTreeMap<String, SchemaRef>) -> anyhow::Result<()> {
        let mut used = BTreeSet::new();
        self.add_alerts(graph, schemas, &mut used)?;
        for (name, section) in &self.config.forward {
            let place = || format!("forward.{name}");
            let mut columns = columns(&section.inputs, schemas).with_context(place)?;
            let mut inputs = nodes(&section.inputs, &mut used);
            if let Some(condition) = &section.filter {
                let filter = Filter::new(condition, &columns).context("filter").with_context(place)?;
                let node = format!("forward.{name}.filter");
                add(graph, &node, "filter", Arc::new(move || Box::new(filter.clone())), &inputs);
                inputs = vec![node];
            }
            if let Some(text) = &section.sql {
                let node = format!("forward.{name}.sql");
                let sql = Sql::new(text, &node, &columns).context("sql").with_context(place)?;
                columns = Sql::output(text, &columns).context("sql").with_context(place)?;
                add(graph, &node, "sql", Arc::new(move || Box::new(sql.clone())), &inputs);
                inputs = vec![node];
            }
            tracing::debug!(forward = name, columns = columns.fields().len(), "forwarded");
            let forward = ForwardOperator::new(name, &section.to);
            let reads: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let spec = OperatorSpec::new(&format!("forward.{name}"), Arc::new(move || Box::new(forward.clone())));
            graph.add(spec.kind("forward").reads(&reads).delivers(&[&section.to]));
        }
        add_made(graph, &used, self.alerts.is_used());
        Ok(())
    }

    fn add_alerts(
        &self,
        graph: &mut Graph,
        schemas: &BTreeMap<String, SchemaRef>,
        used: &mut BTreeSet<&'static str>,
    ) -> anyhow::Result<()> {
        if !self.alerts.is_used() {
            return Ok(());
        }
        let mut by_input: BTreeMap<&str, Vec<(Sql, Observe)>> = BTreeMap::new();
        for rule in &self.alerts.rules {
            if let Some(from) = &rule.from {
                let place = || format!("alerts.rules.{}", rule.name);
                let columns = columns(std::slice::from_ref(from), schemas).with_context(place)?;
                by_input.entry(from).or_default().push(observer(rule, &columns).with_context(place)?);
            }
        }
        let mut reads = vec!["alert.answers".to_owned()];
        for (from, observers) in by_input {
            let inputs = nodes(&[from.to_owned()], used);
            let chains = move || -> Box<dyn Operator> {
                let chain = |(sql, observe): &(Sql, Observe)| -> Vec<Box<dyn Operator>> {
                    vec![Box::new(sql.clone()), Box::new(observe.clone())]
                };
                Box::new(Chains(observers.iter().map(chain).collect()))
            };
            let node = format!("alert.{from}");
            add(graph, &node, "alert", Arc::new(chains), &inputs);
            reads.push(node);
        }
        let evaluations = vec![Stream::Evaluations.name().to_owned()];
        add(graph, "alert.answers", "alert", Arc::new(|| Box::new(Answers)), &evaluations);
        // Ticks move time; nobody reads them later.
        let kept = Filter::new("kind <> 'tick'", &Stream::Evaluations.schema())?;
        add(graph, "alert.evaluations", "filter", Arc::new(move || Box::new(kept.clone())), &evaluations);
        graph.feed_table(Stream::Evaluations.name(), &["alert.evaluations"]);
        let (config, board) = (self.alerts.clone(), self.board.clone());
        let make =
            Arc::new(move || -> Box<dyn Operator> { Box::new(AlertOperator::new(config.clone(), board.clone())) });
        let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
        let channels = self.alerts.route.iter().flat_map(|route| route.channels()).collect::<Vec<_>>();
        let spec = OperatorSpec::new(ALERTING, make).kind("alerts").reads(&reads).key(&AlertOperator::key());
        graph.add(spec.stores(&[Stream::Alerts.name()]).delivers(&channels).side_inputs(&[SILENCES_INPUT]));
        Ok(())
    }
}

/// What a rule sees of the rows of a node with these columns.
fn observer(rule: &Rule, columns: &SchemaRef) -> anyhow::Result<(Sql, Observe)> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut by = rule.by.clone();
    by.sort();
    let labels: Vec<String> =
        by.iter().map(|name| format!(", CAST({} AS VARCHAR) AS {}", quoted(name), quoted(name))).collect();
    let is_time = |name: &&&str| {
        let field = columns.field_with_name(name);
        field.is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)))
    };
    let time = ["ts", "window_start"].iter().find(is_time).map_or("NULL".to_owned(), |name| quoted(name));
    let value = rule.value.as_deref().unwrap_or("1");
    let condition = rule.when.as_ref().map(|when| format!(" WHERE ({when})")).unwrap_or_default();
    let text = format!(
        "SELECT CAST({time} AS TIMESTAMP(6)) AS \"{TIME_COLUMN}\", CAST({value} AS DOUBLE) AS \"{VALUE_COLUMN}\"{} \
         FROM input{condition}",
        labels.concat()
    );
    // Each part alone first, so that an error is about what was written.
    if let Some(when) = &rule.when {
        Filter::new(when, columns).context("when")?;
    }
    let sql = Sql::new(&text, "observed", columns).context("by, value")?;
    let per_labels = match rule.kind().map_err(|reason| anyhow!(reason))? {
        RuleKind::Count { at_least, .. } => at_least as usize,
        _ => 1,
    };
    Ok((sql, Observe::new(&rule.name, per_labels)))
}

fn add(graph: &mut Graph, name: &str, kind: &str, make: MakeOperator, inputs: &[String]) {
    let reads: Vec<&str> = inputs.iter().map(String::as_str).collect();
    graph.add(OperatorSpec::new(name, make).kind(kind).reads(&reads));
}

/// The columns that all inputs have.
fn columns(inputs: &[String], schemas: &BTreeMap<String, SchemaRef>) -> anyhow::Result<SchemaRef> {
    let mut found: Option<SchemaRef> = None;
    for input in inputs {
        let schema = schemas.get(input).with_context(|| {
            format!(
                "there is no stream and no operator {input:?}; there are {}",
                schemas.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        })?;
        match &found {
            Some(other) if other != schema => return Err(anyhow!("its inputs have different columns")),
            _ => found = Some(schema.clone()),
        }
    }
    found.context("inputs: name a stream or an operator")
}

/// The nodes that have the rows of `inputs`: what operators of this server write to a stream's table included.
fn nodes(inputs: &[String], used: &mut BTreeSet<&'static str>) -> Vec<String> {
    let node = |input: &String| match input.as_str() {
        "findings" => {
            used.insert(FOUND);
            FOUND.to_owned()
        }
        "alerts" => {
            used.insert(ALERTED);
            ALERTED.to_owned()
        }
        other => other.to_owned(),
    };
    inputs.iter().map(node).collect()
}

fn add_made(graph: &mut Graph, used: &BTreeSet<&'static str>, has_alerts: bool) {
    let mut of_stream = |node: &str, stream: Stream, inputs: &[&str]| {
        let only = OfStream::new(stream.name());
        let spec = OperatorSpec::new(node, Arc::new(move || Box::new(only.clone())));
        graph.add(spec.kind("stream").reads(inputs));
    };
    if used.contains(FOUND) {
        of_stream(FOUND, Stream::Findings, &["rules", Stream::Findings.name()]);
    }
    if used.contains(ALERTED) {
        let inputs = [ALERTING, Stream::Alerts.name()];
        of_stream(ALERTED, Stream::Alerts, inputs.get(usize::from(!has_alerts)..).unwrap_or_default());
    }
}
