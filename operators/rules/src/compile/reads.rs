//! What rules read: fields, and the columns of `events` behind them.

use super::graph::{Check, Graph, Node, NodeId, Test};
use super::operand::Operand;
use super::output::Part;
use super::rule_set::{Rule, RuleSet};
use super::text_test::TextTest;
use crate::fields::{EventSet, FieldArg, FieldUse, Get, Kind};
use crate::finding::Subject;
use crate::load::Source;
use bodkin_schema::events;
use std::collections::BTreeSet;

/// What must hold of a row for which a rule of source `syscall` fires: what a scan can check by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Its event type is one of these.
    pub events: EventSet,
    /// And all of these hold.
    pub texts: Vec<TextRestriction>,
}

/// A text column that must have one of some values, or a value that is none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRestriction {
    /// Column of `events`.
    pub column: &'static str,
    /// The values, sorted.
    pub values: Vec<String>,
    /// The value must be another.
    pub is_negated: bool,
}

impl RuleSet {
    /// For each enabled rule of source `syscall` what must hold where it fires.
    pub fn restrictions(&self) -> Vec<Restriction> {
        let graph = &self.source(Source::Syscall).graph;
        let enabled = self.rules().iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        let of_rule = |rule: &Rule| {
            let mut texts = Vec::new();
            text_restrictions(graph, rule.root, &mut texts);
            Restriction { events: rule.events, texts }
        };
        enabled.map(of_rule).collect()
    }

    /// Fields that the condition of a rule reads, with their arguments; sorted.
    pub fn fields_of(&self, rule: &Rule) -> Vec<String> {
        let graph = &self.source(rule.source).graph;
        let fields: BTreeSet<String> = slots(graph, rule).iter().map(|slot| graph.slots()[*slot].to_string()).collect();
        fields.into_iter().collect()
    }

    /// Columns of `events` that the condition of a rule of source `syscall` reads; sorted.
    pub fn columns_of(&self, rule: &Rule) -> Vec<&'static str> {
        let graph = &self.source(rule.source).graph;
        sorted(slots(graph, rule).iter().flat_map(|slot| columns(&graph.slots()[*slot])))
    }

    /// Columns of `events` that a run of the enabled rules reads: for conditions, outputs, and who an event is about;
    /// sorted.
    pub fn columns(&self) -> Vec<&'static str> {
        let graph = &self.source(Source::Syscall).graph;
        let enabled = self.rules().iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        let mut found = BTreeSet::new();
        for rule in enabled {
            found.extend(slots(graph, rule));
            found.extend(output_slots(rule));
        }
        let read = found.iter().flat_map(|slot| columns(&graph.slots()[*slot]));
        sorted(read.chain(Subject::COLUMNS).chain([events::EVT_TYPE]))
    }

    /// Host names that rules compare addresses with, sorted: whoever makes events resolves them again and again, so
    /// that an address that one of them has now is found under that name (`local_name`, `remote_name`).
    pub fn host_names(&self) -> Vec<String> {
        let graph = &self.source(Source::Syscall).graph;
        let mut names = BTreeSet::new();
        for id in 0..graph.len() {
            let Node::Check(Check { left: Operand::Field(slot), test: Test::Text { test, .. }, .. }) = graph.node(id)
            else {
                continue;
            };
            if graph.slots()[*slot].info.name.ends_with("ip.name") {
                names.extend(test.texts().map(|text| String::from_utf8_lossy(text).into_owned()));
            }
        }
        names.into_iter().collect()
    }
}

/// Those of the parts of a conjunction.
fn text_restrictions(graph: &Graph, id: NodeId, found: &mut Vec<TextRestriction>) {
    match graph.node(id) {
        Node::And(children) => children.iter().for_each(|child| text_restrictions(graph, *child, found)),
        Node::Check(Check { left: Operand::Field(slot), test: Test::Text { test, all: false }, events: None }) => {
            let FieldUse { info, arg } = &graph.slots()[*slot];
            let is_plain = info.kind == Kind::Text && !info.is_list && *arg == FieldArg::None;
            let (Get::Column(column), true) = (info.get, is_plain) else { return };
            let is_negated = match test {
                TextTest::Equal(_) | TextTest::In(_) => false,
                TextTest::NotEqual(_) | TextTest::NotIn(_) => true,
                _ => return,
            };
            let values: Option<BTreeSet<String>> =
                test.texts().map(|text| std::str::from_utf8(text).ok().map(str::to_owned)).collect();
            if let Some(values) = values {
                found.push(TextRestriction { column, values: values.into_iter().collect(), is_negated });
            }
        }
        _ => {}
    }
}

fn sorted(columns: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    columns.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The columns of `events` that a field is made of.
pub(super) fn columns(field: &FieldUse) -> Vec<&'static str> {
    match field.info.get {
        Get::Column(name) | Get::MapColumn(name) => vec![name],
        Get::Derived(derived) => derived.inputs().to_vec(),
        Get::Ancestors { list, own } => vec![list, own],
        Get::Document(_) | Get::Nothing => Vec::new(),
    }
}

/// The columns of `events` that a node and all below it read.
pub(super) fn columns_under(graph: &Graph, root: NodeId) -> Vec<&'static str> {
    slots_under(graph, root).iter().flat_map(|slot| columns(&graph.slots()[*slot])).collect()
}

fn slots(graph: &Graph, rule: &Rule) -> BTreeSet<usize> {
    slots_under(graph, rule.root)
}

fn slots_under(graph: &Graph, root: NodeId) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut seen = vec![false; graph.len()];
    let mut open: Vec<NodeId> = vec![root];
    while let Some(id) = open.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        match graph.node(id) {
            Node::And(children) | Node::Or(children) => open.extend(children),
            Node::Not(child) => open.push(*child),
            Node::Check(check) => found.extend(fields_of_check(check)),
            Node::Constant(_) => {}
        }
    }
    found
}

/// The fields that a comparison reads, by slot.
pub(super) fn fields_of_check(check: &Check) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    operand(&check.left, &mut found);
    if let Test::Compare { right, .. } = &check.test {
        operand(right, &mut found);
    }
    found
}

fn output_slots(rule: &Rule) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for part in &rule.template.parts {
        if let Part::Value { operand: value, .. } = part {
            operand(value, &mut found);
        }
    }
    rule.template.fields.iter().for_each(|(_, value)| operand(value, &mut found));
    found
}

fn operand(written: &Operand, found: &mut BTreeSet<usize>) {
    match written {
        Operand::Field(slot) | Operand::Mapped(slot, _) => drop(found.insert(*slot)),
        Operand::Text(_) => {}
        Operand::List(items) | Operand::Concat(items) => items.iter().for_each(|item| operand(item, found)),
        Operand::Map(_, arg) | Operand::Len(arg) => operand(arg, found),
        Operand::Join(a, b) | Operand::GetOpt { args: a, options: b, .. } => {
            operand(a, found);
            operand(b, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, RuleFile};

    #[test]
    fn what_must_hold_where_a_rule_fires() {
        let content = "- rule: r\n  desc: d\n  condition: evt.type = connect and container.id != host and proc.name in (b, a) \
                       and not fd.name = x\n  output: o\n  priority: info\n";
        let file = RuleFile { name: "f".to_owned(), content: content.to_owned() };
        let rules = RuleSet::load(&[file], &Options::default()).0.unwrap();
        let mut all = rules.restrictions();
        assert_eq!(all[0].events.names().collect::<Vec<_>>(), ["connect"]);
        all[0].texts.sort_by_key(|text| text.column);
        let shown: Vec<_> =
            all[0].texts.iter().map(|text| (text.column, text.values.join(","), text.is_negated)).collect();
        assert_eq!(shown, [("comm", "a,b".to_owned(), false), ("container_id", "host".to_owned(), true)]);
    }

    #[test]
    fn fields_columns_and_names_of_a_rule() {
        let content = "- rule: r\n  desc: d\n  condition: evt.type = connect and fd.sip.name in (a.example, b.example) and \
                       proc.aname[2] = sh and len(proc.cwd) > 1\n  output: '%user.name'\n  priority: info\n";
        let file = RuleFile { name: "f".to_owned(), content: content.to_owned() };
        let options = Options { has_suggested_output: false, ..Options::default() };
        let rules = RuleSet::load(&[file], &options).0.unwrap();
        let rule = &rules.rules()[0];
        assert_eq!(rules.fields_of(rule), ["evt.type", "fd.sip.name", "proc.aname[2]", "proc.cwd"]);
        let read = rules.columns_of(rule);
        assert!(
            read.contains(&"remote_name") && read.contains(&"ancestor_names") && !read.contains(&"user"),
            "{read:?}"
        );
        assert!(rules.columns().contains(&"user"));
        assert_eq!(rules.host_names(), ["a.example", "b.example"]);
    }
}
