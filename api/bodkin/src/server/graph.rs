//! The graph of a server: every stream to its table, and the operators that look at them on the way.

use super::enriching;
use super::flow::Flow;
use super::rules::RuleKeeper;
use anyhow::{Context, anyhow, bail};
use arrow::datatypes::SchemaRef;
use bodkin_engine::{Graph, MakeOperator, Operator, OperatorSpec};
use bodkin_enrich::EnrichConfig;
use bodkin_expr::{Filter, OfStream, Sample, Sql, route};
use bodkin_rules::{RULES_INPUT, RulesOperator};
use bodkin_schema::Stream;
use bodkin_window::{Room, WindowMerge, WindowPartial, WindowPlan};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a server runs without configuration. Operators of ours are added here: see [`bodkin_engine::OperatorSpec`].
fn default_graph(rules: impl Fn() -> RulesOperator + Send + Sync + 'static) -> Graph {
    let mut graph = Graph::of_streams(fed().map(Stream::name));
    let reads = [Stream::Events.name(), Stream::Audit.name()];
    let make = Arc::new(move || Box::new(rules()) as Box<dyn Operator>);
    let rules = OperatorSpec::new("rules", make).reads(&reads).side_inputs(&[RULES_INPUT]);
    graph.add(rules.stores(&[Stream::Findings.name()]));
    graph
}

/// The default graph with what a configuration file adds to it.
///
/// # Errors
/// What is wrong, with the key and its line.
pub(crate) fn configured(file: Option<&Path>, rules: &Arc<RuleKeeper>, flow: &Flow) -> anyhow::Result<Graph> {
    let rules = rules.clone();
    let mut graph = default_graph(move || rules.operator());
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).with_context(|| format!("--config {}", file.display()))?;
        let section = GraphSection::of_file(&text).with_context(|| format!("--config {}", file.display()))?;
        let added = section.add_to(&mut graph, &flow.windows().room());
        let added = added.with_context(|| format!("--config {}", file.display()));
        let Added { schemas, windows } = added?;
        flow.windows().set(windows);
        flow.add_to(&mut graph, &schemas).with_context(|| format!("--config {}", file.display()))?;
        graph.check().with_context(|| format!("--config {}", file.display()))?;
    }
    Ok(graph)
}

/// The graph of a configuration, without rules.
///
/// # Errors
/// What is wrong, with the operator and its line.
#[cfg(test)]
pub(crate) fn graph_of(text: &str) -> anyhow::Result<Graph> {
    let mut graph = default_graph(|| RulesOperator::new(Arc::default()));
    GraphSection::of_file(text)?.add_to(&mut graph, &Room::default())?;
    Ok(graph)
}

/// A configuration file, as far as the graph is in it. Whether its other keys are known is for those to say who read
/// them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    graph: GraphSection,
}

/// The section `graph` of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GraphSection {
    /// Operators by name.
    operators: BTreeMap<String, Spanned<OperatorSection>>,
    /// Tables that are fed by these inputs and not by the stream of their name.
    tables: BTreeMap<String, Spanned<Vec<String>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorSection {
    /// Streams and operators.
    inputs: Vec<String>,
    /// The table that its rows go to.
    #[serde(default)]
    into: Option<String>,
    /// SELECT ... FROM input WHERE ...
    #[serde(default)]
    sql: Option<String>,
    /// A condition.
    #[serde(default)]
    filter: Option<String>,
    /// A share of the rows.
    #[serde(default)]
    sample: Option<SampleSection>,
    /// Ways for rows, the first that fits.
    #[serde(default)]
    route: Option<Vec<WaySection>>,
    /// Tags and lookups as further columns.
    #[serde(default)]
    enrich: Option<EnrichConfig>,
    /// SELECT ... GROUP BY ..., tumble(ts, '10s')
    #[serde(default)]
    window: Option<String>,
    /// The rows of a window that is still open are emitted, too, at each batch.
    #[serde(default)]
    early: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleSection {
    /// From 0 to 1.
    keep: f64,
    /// Columns whose rows stay together.
    #[serde(default)]
    by: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaySection {
    /// Other operators read it as `<operator>.<to>`.
    to: String,
    /// A condition; without one, the rest.
    #[serde(default)]
    when: Option<String>,
}

/// What an operator is made of, and the columns that it emits.
pub(super) struct Made {
    pub(super) spec: OperatorSpec,
    schema: SchemaRef,
    /// It says itself what it reads.
    pub(super) is_inner: bool,
    /// Its rows are the operator's, and go to the table that is named; others are on their way to those.
    pub(super) is_end: bool,
    /// The statement, if it is a window.
    window: Option<Arc<WindowPlan>>,
}

/// What a section added to a graph.
pub(crate) struct Added {
    /// Columns of streams and operators.
    pub(crate) schemas: BTreeMap<String, SchemaRef>,
    /// Statements of window operators.
    pub(crate) windows: BTreeMap<String, Arc<WindowPlan>>,
}

impl GraphSection {
    fn of_file(text: &str) -> anyhow::Result<Self> {
        let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_empty) {
            return Ok(Self::default());
        }
        let file: ConfigFile = serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}"))?;
        Ok(file.graph)
    }

    /// Adds the section's operators to `graph` and checks the whole; each shard of a window has `room`.
    ///
    /// # Errors
    /// What is wrong, with the operator and its line.
    pub(crate) fn add_to(&self, graph: &mut Graph, room: &Room) -> anyhow::Result<Added> {
        let (mut schemas, mut windows) = (streams(), BTreeMap::new());
        let mut waiting: Vec<_> = self.operators.iter().collect();
        while !waiting.is_empty() {
            let is_ready = |(_, section): &(&String, &Spanned<OperatorSection>)| {
                section.value.reads().all(|input| schemas.contains_key(input))
            };
            // What is left waits for something that is not there, or for itself: the check of the graph says so.
            let next = waiting.iter().position(is_ready).unwrap_or_default();
            let (name, section) = waiting.remove(next);
            let made = section.value.make(name, &schemas, room).with_context(|| place(name, section))?;
            for Made { spec, schema, window, .. } in made {
                windows.extend(window.map(|plan| (spec.name().to_owned(), plan)));
                schemas.insert(spec.name().to_owned(), schema);
                graph.add(spec);
            }
        }
        for (table, inputs) in &self.tables {
            graph.feed_table(table, &inputs.value.iter().map(String::as_str).collect::<Vec<_>>());
        }
        graph.check().map_err(|error| {
            let node = error.node().split('.').next().unwrap_or_default();
            let operator = self.operators.get(node).map(|section| place(node, section));
            let table =
                self.tables.get(node).map(|inputs| format!("graph.tables.{node}, line {}", inputs.referenced.line()));
            let place = operator.or(table).unwrap_or_else(|| "graph".to_owned());
            anyhow!(error).context(place)
        })?;
        Ok(Added { schemas, windows })
    }
}

/// The columns of the streams.
fn streams() -> BTreeMap<String, SchemaRef> {
    fed().map(|stream| (stream.name().to_owned(), stream.schema())).collect()
}

/// What flows: tables that are made from other tables do not.
fn fed() -> impl Iterator<Item = Stream> {
    Stream::ALL.into_iter().filter(|stream| !stream.is_derived())
}

fn place(name: &str, section: &Spanned<OperatorSection>) -> String {
    format!("graph.operators.{name}, line {}", section.referenced.line())
}

impl OperatorSection {
    /// All that it reads.
    fn reads(&self) -> impl Iterator<Item = &String> {
        let dimension = self.enrich.as_ref().and_then(|enrich| enrich.dimension.as_ref());
        self.inputs.iter().chain(dimension.map(|dimension| &dimension.from))
    }

    fn make(&self, name: &str, schemas: &BTreeMap<String, SchemaRef>, room: &Room) -> anyhow::Result<Vec<Made>> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            bail!("a name has letters, digits, _ and - only");
        }
        // An input that is not there is the graph's to report; its columns are nobody's then.
        let known = self.inputs.iter().find_map(|input| schemas.get(input)).cloned();
        let schema = known.unwrap_or_else(|| Stream::Events.schema());
        if let Some(other) = self.inputs.iter().filter_map(|input| schemas.get(input)).find(|other| **other != schema) {
            let names =
                |schema: &SchemaRef| schema.fields().iter().take(4).map(|f| f.name().clone()).collect::<Vec<_>>();
            bail!("its inputs have different columns: {:?}... and {:?}...", names(&schema), names(other));
        }
        let inputs: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let mut made = match (&self.sql, &self.filter, &self.sample, &self.route, &self.window, &self.enrich) {
            (Some(sql), None, None, None, None, None) => vec![make_sql(name, sql, &schema)?],
            (None, Some(condition), None, None, None, None) => vec![make_filter(name, condition, &schema)?],
            (None, None, Some(sample), None, None, None) => vec![make_sample(name, sample, &schema)?],
            (None, None, None, Some(ways), None, None) => make_ways(name, ways, &schema)?,
            (None, None, None, None, Some(text), None) => self.make_window(name, text, &schema, room)?,
            (None, None, None, None, None, Some(config)) => enriching::make(name, config, &inputs, schemas, &schema)?,
            _ => bail!("an operator has exactly one of sql, filter, sample, route, window and enrich"),
        };
        if self.early && self.window.is_none() {
            bail!("early is for windows");
        }
        for Made { spec, schema, is_inner, is_end, .. } in &mut made {
            if !*is_inner {
                *spec = spec.clone().reads(&inputs);
            }
            if let Some(table) = self.into.as_ref().filter(|_| *is_end) {
                check_columns(table, schema)?;
                *spec = spec.clone().feeds(table);
            }
        }
        Ok(made)
    }

    /// Rows to partials; partials, by their group, to windows; of what those emit, the finished rows.
    fn make_window(&self, name: &str, text: &str, schema: &SchemaRef, room: &Room) -> anyhow::Result<Vec<Made>> {
        let inputs: Vec<&str> = self.inputs.iter().map(String::as_str).collect();
        let (early, room) = (self.early, room.clone());
        let plan = Arc::new(WindowPlan::new(text, &inputs, schema).context("window")?);
        let (partial, merge) = (format!("{name}.partial"), format!("{name}.merge"));
        let of_rows = WindowPartial::new(&partial, plan.clone());
        let (of_partials, window) = (plan.clone(), name.to_owned());
        let key = plan.key();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let only = OfStream::new(name);
        let mut all = vec![
            made(&partial, "window", Arc::new(move || Box::new(of_rows.clone())), plan.output_schema()),
            made(
                &merge,
                "window",
                Arc::new(move || Box::new(WindowMerge::new(&window, of_partials.clone(), early).within(room.clone()))),
                plan.output_schema(),
            ),
            made(name, "stream", Arc::new(move || Box::new(only.clone())), plan.output_schema()),
        ];
        if let [partials, merging, finished] = all.as_mut_slice() {
            merging.spec = merging.spec.clone().reads(&[&partial]).key(&key).stores(&[Stream::Windows.name()]);
            finished.spec = finished.spec.clone().reads(&[&merge]);
            (merging.is_inner, finished.is_inner) = (true, true);
            (partials.is_end, merging.is_end) = (false, false);
            finished.window = Some(plan);
        }
        Ok(all)
    }
}

pub(super) fn made(name: &str, kind: &str, make: MakeOperator, schema: &SchemaRef) -> Made {
    Made {
        spec: OperatorSpec::new(name, make).kind(kind),
        schema: schema.clone(),
        is_inner: false,
        is_end: true,
        window: None,
    }
}

fn make_sql(name: &str, text: &str, schema: &SchemaRef) -> anyhow::Result<Made> {
    let output = Sql::output(text, schema).context("sql")?;
    let sql = Sql::new(text, name, schema).context("sql")?;
    Ok(made(name, "sql", Arc::new(move || Box::new(sql.clone())), &output))
}

fn make_filter(name: &str, condition: &str, schema: &SchemaRef) -> anyhow::Result<Made> {
    let filter = Filter::new(condition, schema).context("filter")?;
    Ok(made(name, "filter", Arc::new(move || Box::new(filter.clone())), schema))
}

fn make_sample(name: &str, section: &SampleSection, schema: &SchemaRef) -> anyhow::Result<Made> {
    if let Some(column) = section.by.iter().find(|column| schema.column_with_name(column).is_none()) {
        bail!("sample.by: there is no column {column:?}");
    }
    let sample = Sample::new(section.keep, &section.by.iter().map(String::as_str).collect::<Vec<_>>());
    let sample = sample.context("sample.keep")?;
    Ok(made(name, "sample", Arc::new(move || Box::new(sample.clone())), schema))
}

fn make_ways(name: &str, ways: &[WaySection], schema: &SchemaRef) -> anyhow::Result<Vec<Made>> {
    // Each condition alone first, so that an error is about what was written.
    for condition in ways.iter().filter_map(|way| way.when.as_deref()) {
        Filter::new(condition, schema).context("route")?;
    }
    let ways: Vec<_> = ways.iter().map(|way| (format!("{name}.{}", way.to), way.when.clone())).collect();
    route(&ways)
        .into_iter()
        .map(|(name, condition)| {
            let filter = Filter::new(&condition, schema).context("route")?;
            Ok(made(&name, "route", Arc::new(move || Box::new(filter.clone())), schema))
        })
        .collect()
}

/// Refuses rows that no row of the table can be.
fn check_columns(table: &str, schema: &SchemaRef) -> anyhow::Result<()> {
    let Some(stream) = Stream::from_name(table) else { return Ok(()) };
    let wanted = stream.schema();
    let required = wanted.fields().iter().filter(|field| !field.is_nullable());
    let missing: Vec<&str> = required
        .filter(|field| schema.column_with_name(field.name()).is_none())
        .map(|field| field.name().as_str())
        .collect();
    if !missing.is_empty() {
        bail!("into: every row of table {table} has {}: select them, too", missing.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_rules() -> Graph {
        default_graph(|| RulesOperator::new(Arc::default()))
    }

    fn graph(yaml: &str) -> anyhow::Result<Graph> {
        // As the section of a file whose first line is `graph:`.
        let section = GraphSection::of_file(&format!("graph:\n {}", yaml.replace('\n', "\n ")))?;
        let mut graph = no_rules();
        section.add_to(&mut graph, &Room::default())?;
        Ok(graph)
    }

    fn error(yaml: &str) -> String {
        format!("{:#}", graph(yaml).unwrap_err())
    }

    #[test]
    fn the_default_is_a_graph() {
        no_rules().check().unwrap();
    }

    #[test]
    fn operators_and_tables() {
        graph(
            "operators:\n  quiet: {inputs: [events], filter: \"evt_type <> 'close'\"}\n  \
             half: {inputs: [quiet], sample: {keep: 0.5, by: [pid]}}\n  \
             slim: {inputs: [half], sql: 'SELECT pid, comm FROM input'}\n  \
             ways: {inputs: [events], route: [{to: failed, when: result < 0}, {to: rest}]}\n  \
             late: {inputs: [ways.failed, ways.rest], filter: 'pid > 1', into: events}\n\
             tables:\n  events: [quiet]\n",
        )
        .unwrap();
    }

    #[test]
    fn a_dimension_reads_another_operator() {
        let text = "operators:\n  a: {inputs: [flows], enrich: {dimension: {from: b, key: [host, pid], columns: [exe], prefix: p_}}}\n  \
                    b: {inputs: [events], filter: \"evt_type = 'execve'\"}\n  \
                    c: {inputs: [a], filter: \"p_exe = '/bin/sh'\", into: flows}\n";
        graph(text).unwrap();
        let wrong = error(&text.replace("[exe]", "[exx]"));
        assert!(wrong.starts_with("graph.operators.a, line 3: enrich: dimension: b has no column \"exx\""), "{wrong}");
        let wrong = error(&text.replace("from: b", "from: d"));
        assert!(wrong.contains("reads \"d\", which is no stream and no operator"), "{wrong}");
    }

    #[test]
    fn errors_name_the_operator_and_its_line() {
        let found =
            error("operators:\n  a: {inputs: [events], filter: pid > 1}\n  b: {inputs: [evnts], filter: pid > 1}\n");
        assert!(
            found.starts_with("graph.operators.b, line 4: ") && found.contains("did you mean \"events\"?"),
            "{found}"
        );
        let found = error("operators:\n  a: {inputs: [events], filter: pd > 1}\n");
        assert!(found.starts_with("graph.operators.a, line 3: filter: ") && found.contains("pd"), "{found}");
        let found = error("operators:\n  a: {inputs: [events], filter: pid > 1, sql: SELECT 1}\n");
        assert!(found.contains("exactly one of"), "{found}");
        let found = error("operators:\n  a: {inputs: [events], sql: SELECT pid FROM input, into: events}\n");
        assert!(found.contains("every row of table events has ts"), "{found}");
        let found = error("operators:\n  a: {inputs: [b], filter: pid > 1}\n  b: {inputs: [a], filter: pid > 1}\n");
        assert!(found.contains("in a circle"), "{found}");
        let found = error("tables:\n  events: [nothing]\n");
        assert!(found.starts_with("graph.tables.events, line 3: "), "{found}");
        let found = error("operators:\n  a: {inputs: [events], filter: pid > 1, outputs: []}\n");
        assert!(found.contains("outputs") && found.contains('3'), "{found}");
        let found = error("operators:\n  a: {inputs: [events, samples], filter: ts > '2026-01-01'}\n");
        assert!(found.contains("different columns"), "{found}");
    }
}
