//! From a graph to what shards run: nodes in an order in which rows only go forward, in levels.
//!
//! Within a level rows go by nested calls. Between levels they go through the exchange, where they may change the shard;
//! an edge that would skip a level goes through a node of that level which only passes rows on. So whatever reaches a
//! level comes from the one before, and a barrier that has passed that one on every shard has nothing behind it.

use super::{Graph, GraphError, MakeOperator, OperatorSpec};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Where rows of a node go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// To a node of the same level.
    Node(usize),
    /// To a node of the next level: to the shard that owns the key, or the same shard where there is no key.
    Exchange { node: usize, key: Arc<[String]> },
    /// To the sinks, if the batch is of this stream.
    Store(Arc<str>),
    /// To the sinks, as rows of this stream.
    Feed(Arc<str>),
}

pub(crate) struct PlanNode {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) level: usize,
    pub(crate) targets: Vec<Target>,
    pub(crate) side_inputs: Vec<String>,
    pub(crate) key: Arc<[String]>,
    /// None passes rows on.
    pub(crate) make: Option<MakeOperator>,
}

impl std::fmt::Debug for PlanNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} -> {:?}", self.name, self.level, self.targets)
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    /// Sorted by level; within it every edge goes to a later node.
    pub(crate) nodes: Vec<PlanNode>,
    /// Where the rows of each stream go; streams share the level of no node.
    pub(crate) sources: BTreeMap<Arc<str>, Vec<Target>>,
    /// The nodes of each level; at least one level.
    pub(crate) levels: Vec<Range<usize>>,
}

impl Plan {
    pub(crate) fn new(graph: &Graph) -> Result<Self, GraphError> {
        check_names(graph)?;
        let order = sort(graph)?;
        let mut building = Building::default();
        for operator in order {
            building.place(operator);
        }
        building.connect(graph);
        Ok(building.finish(graph))
    }

    /// The names of the streams and nodes with such a target.
    pub(crate) fn readers(&self, is_it: impl Fn(&Target) -> bool) -> Vec<String> {
        let sources = self.sources.iter();
        let nodes = self.nodes.iter().map(|node| (&node.name, &node.targets));
        let reads = sources.chain(nodes).filter(|(_, targets)| targets.iter().any(&is_it));
        reads.map(|(name, _)| name.to_string()).collect()
    }
}

fn check_names(graph: &Graph) -> Result<(), GraphError> {
    let mut names: Vec<&str> = graph.streams.iter().map(String::as_str).collect();
    names.extend(graph.operators.iter().map(OperatorSpec::name));
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(GraphError::Twice { name: pair[0].to_owned() });
    }
    let no_input = |name: &str, input: &str| GraphError::NoInput {
        name: name.to_owned(),
        input: input.to_owned(),
        hint: nearest(input, &names),
    };
    let no_table = |name: &str, table: &str| GraphError::NoTable {
        name: name.to_owned(),
        table: table.to_owned(),
        tables: graph.streams.join(", "),
    };
    let is_table = |name: &String| graph.streams.contains(name);
    for operator in &graph.operators {
        if operator.reads.is_empty() {
            return Err(GraphError::Alone { name: operator.name.to_string() });
        }
        if let Some(input) = operator.reads.iter().find(|input| !names.contains(&input.as_str())) {
            return Err(no_input(&operator.name, input));
        }
        if let Some(table) = operator.stores.iter().chain(&operator.feeds).find(|table| !is_table(table)) {
            return Err(no_table(&operator.name, table));
        }
    }
    for (table, inputs) in &graph.fed {
        if !is_table(table) {
            return Err(no_table(table, table));
        }
        if let Some(input) = inputs.iter().find(|input| !names.contains(&input.as_str())) {
            return Err(no_input(table, input));
        }
    }
    Ok(())
}

/// The known name that shares the longest beginning or end with `name`, if that is at least half of it.
fn nearest(name: &str, names: &[&str]) -> Option<String> {
    let common = |other: &str| {
        let front = name.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
        let back = name.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).count();
        front.max(back)
    };
    let best = names.iter().max_by_key(|other| common(other))?;
    (2 * common(best) >= name.chars().count().max(2)).then(|| (*best).to_owned())
}

/// The operators, each behind all that it reads; in the order of the graph where that leaves a choice.
fn sort(graph: &Graph) -> Result<Vec<&OperatorSpec>, GraphError> {
    let mut waiting: Vec<&OperatorSpec> = graph.operators.iter().collect();
    let mut order: Vec<&OperatorSpec> = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |operator: &&OperatorSpec| {
            let is_there =
                |input: &String| graph.streams.contains(input) || order.iter().any(|placed| *placed.name == **input);
            operator.reads.iter().all(is_there)
        };
        let Some(next) = waiting.iter().position(is_ready) else {
            let names: Vec<&str> = waiting.iter().map(|operator| operator.name()).collect();
            return Err(GraphError::Circle { names: names.join(", ") });
        };
        order.push(waiting.remove(next));
    }
    Ok(order)
}

#[derive(Default)]
struct Building<'a> {
    placed: Vec<(&'a OperatorSpec, usize)>,
    nodes: Vec<PlanNode>,
    sources: HashMap<String, Vec<Target>>,
}

impl<'a> Building<'a> {
    fn level_of(&self, name: &str) -> usize {
        self.placed.iter().find(|(operator, _)| operator.name() == name).map_or(0, |(_, level)| *level)
    }

    fn place(&mut self, operator: &'a OperatorSpec) {
        let inputs = operator.reads.iter().map(|input| self.level_of(input)).max().unwrap_or_default();
        let level = if operator.key.is_empty() { inputs } else { inputs + 1 };
        self.placed.push((operator, level));
        let stores = operator.stores.iter().chain(&operator.delivers).map(|table| Target::Store(table.as_str().into()));
        let feeds = operator.feeds.iter().map(|table| Target::Feed(table.as_str().into()));
        self.nodes.push(PlanNode {
            name: operator.name.clone(),
            kind: operator.kind.clone(),
            level,
            targets: stores.chain(feeds).collect(),
            side_inputs: operator.side_inputs.clone(),
            key: operator.key.clone(),
            make: Some(operator.make.clone()),
        });
    }

    fn add_target(&mut self, from: &str, target: Target) {
        match self.nodes.iter_mut().find(|node| *node.name == *from) {
            Some(node) => node.targets.push(target),
            None => self.sources.entry(from.to_owned()).or_default().push(target),
        }
    }

    fn connect(&mut self, graph: &Graph) {
        for index in 0..self.placed.len() {
            let (operator, level) = self.placed[index];
            for input in &operator.reads {
                let last = if operator.key.is_empty() { level } else { level - 1 };
                let from = self.pass_on(input, last);
                let target = match operator.key.is_empty() {
                    true => Target::Node(index),
                    false => Target::Exchange { node: index, key: operator.key.clone() },
                };
                self.add_target(&from, target);
            }
        }
        for stream in &graph.streams {
            match graph.fed.get(stream) {
                Some(inputs) => {
                    for input in inputs {
                        self.add_target(input, Target::Feed(stream.as_str().into()));
                    }
                }
                None => self.add_target(stream, Target::Store(stream.as_str().into())),
            }
        }
    }

    /// Makes the rows of `name` reach `level`; the name of the node that has them there.
    fn pass_on(&mut self, name: &str, level: usize) -> String {
        let mut from = name.to_owned();
        for at in self.level_of(name) + 1..=level {
            let forward = format!("{name}@{at}");
            if !self.nodes.iter().any(|node| *node.name == *forward) {
                let node = self.nodes.len();
                self.nodes.push(PlanNode {
                    name: forward.as_str().into(),
                    kind: "forward".into(),
                    level: at,
                    targets: Vec::new(),
                    side_inputs: Vec::new(),
                    key: Arc::default(),
                    make: None,
                });
                self.add_target(&from, Target::Exchange { node, key: Arc::default() });
            }
            from = forward;
        }
        from
    }

    /// Sorts the nodes by level; those that pass rows on come first in theirs.
    fn finish(self, graph: &Graph) -> Plan {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|index| (self.nodes[*index].level, self.nodes[*index].make.is_some(), *index));
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| place[*old] = new);
        let moved = |targets: Vec<Target>| -> Vec<Target> {
            let moved = |target| match target {
                Target::Node(node) => Target::Node(place[node]),
                Target::Exchange { node, key } => Target::Exchange { node: place[node], key },
                other => other,
            };
            targets.into_iter().map(moved).collect()
        };
        let mut nodes: Vec<Option<PlanNode>> = self.nodes.into_iter().map(Some).collect();
        let nodes: Vec<PlanNode> = order
            .iter()
            .filter_map(|index| nodes[*index].take())
            .map(|node| PlanNode { targets: moved(node.targets), ..node })
            .collect();
        let last = nodes.last().map_or(0, |node| node.level);
        let level = |level: usize| {
            let start = nodes.partition_point(|node| node.level < level);
            start..nodes.partition_point(|node| node.level <= level)
        };
        let levels = (0..=last).map(level).collect();
        let mut targets = self.sources;
        let source = |stream: &String| (stream.as_str().into(), moved(targets.remove(stream).unwrap_or_default()));
        Plan { sources: graph.streams.iter().map(source).collect(), nodes, levels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Operator, Output};

    struct Nothing;

    impl Operator for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }

        fn on_batch(&mut self, _: Batch, _: &mut Output<'_>) {}
    }

    fn operator(name: &str) -> OperatorSpec {
        OperatorSpec::new(name, Arc::new(|| Box::new(Nothing)))
    }

    fn graph(operators: impl IntoIterator<Item = OperatorSpec>) -> Graph {
        let mut graph = Graph::of_streams(["events", "findings"]);
        operators.into_iter().for_each(|operator| graph.add(operator));
        graph
    }

    #[test]
    fn streams_go_to_their_tables_and_past_operators() {
        let plan = Plan::new(&graph([operator("rules").reads(&["events"]).stores(&["findings"])])).unwrap();
        let stores = |name: &str| Target::Store(name.into());
        assert_eq!(plan.sources["events"], [Target::Node(0), stores("events")]);
        assert_eq!(plan.sources["findings"], [stores("findings")]);
        assert_eq!(plan.nodes[0].targets, [stores("findings")]);
        assert!(plan.levels.len() == 1 && plan.levels[0] == (0..1), "{:?}", plan.levels);
    }

    #[test]
    fn edges_over_levels_pass_through_each() {
        let plan = Plan::new(&graph([
            operator("late").reads(&["count", "events"]),
            operator("count").reads(&["slim"]).key(&["pid"]),
            operator("slim").reads(&["events"]),
            operator("again").reads(&["late"]).key(&["comm"]),
        ]))
        .unwrap();
        let names: Vec<_> = plan.nodes.iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["slim", "events@1", "count", "late", "again"]);
        assert_eq!(plan.levels, [0..1, 1..4, 4..5]);
        for node in &plan.nodes {
            for target in &node.targets {
                match target {
                    Target::Node(to) => assert_eq!(plan.nodes[*to].level, node.level),
                    Target::Exchange { node: to, .. } => assert_eq!(plan.nodes[*to].level, node.level + 1),
                    _ => {}
                }
            }
        }
        assert_eq!(plan.nodes[1].targets, [Target::Node(3)]);
    }

    #[test]
    fn a_table_can_be_fed_by_an_operator_instead() {
        let mut graph = graph([operator("slim").reads(&["events"])]);
        graph.feed_table("events", &["slim"]);
        let plan = Plan::new(&graph).unwrap();
        assert_eq!(plan.sources["events"], [Target::Node(0)]);
        assert_eq!(plan.nodes[0].targets, [Target::Feed("events".into())]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |operators: Vec<OperatorSpec>| Plan::new(&graph(operators)).unwrap_err().to_string();
        assert!(error(vec![operator("a").reads(&["event"])]).ends_with("did you mean \"events\"?"));
        assert!(error(vec![operator("events").reads(&["events"])]).contains("two nodes called \"events\""));
        assert!(error(vec![operator("a")]).contains("reads nothing"));
        assert!(error(vec![operator("a").reads(&["events"]).stores(&["x"])]).contains("there are events, findings"));
        let circle = vec![operator("a").reads(&["b"]), operator("b").reads(&["a", "events"])];
        assert_eq!(error(circle), "the operators a, b read each other in a circle");
    }
}
