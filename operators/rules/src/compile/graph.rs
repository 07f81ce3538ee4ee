//! The nodes that all rules of a source share.

use super::estimate::Estimate;
use super::operand::Operand;
use super::text_test::TextTest;
use super::value::{self, Allowance};
use crate::fields::{EventSet, FieldArg, FieldUse};
use crate::syntax::Op;
use rustc_hash::FxHashMap;

/// A node by its index.
pub(crate) type NodeId = usize;

/// A condition or a part of one.
#[derive(Debug)]
pub(crate) enum Node {
    Constant(bool),
    Check(Check),
    And(Vec<NodeId>),
    Or(Vec<NodeId>),
    Not(NodeId),
}

/// A comparison with everything decided that does not depend on the row.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) left: Operand,
    pub(crate) test: Test,
    /// The event types that it holds for, where it compares the event type.
    pub(crate) events: Option<EventSet>,
}

/// What is asked of the left side.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Exists,
    /// Of several values all must pass, or any.
    Text {
        test: TextTest,
        all: bool,
    },
    Number {
        test: NumberTest,
        all: bool,
    },
    /// Whether true and whether false passes.
    Flag {
        passes_true: bool,
        passes_false: bool,
    },
    /// A comparison with another operand of the row.
    Compare {
        op: Op,
        right: Operand,
    },
}

/// How several tests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    Any,
    All,
    One,
}

/// A test of a number.
#[derive(Clone, Debug)]
pub(crate) struct NumberTest {
    pub(crate) op: Op,
    pub(crate) wanted: Vec<i64>,
    pub(crate) combine: Combine,
}

impl NumberTest {
    pub(crate) fn matches(&self, number: i64) -> bool {
        let mut each = self.wanted.iter().map(|wanted| super::is_ordered(self.op, number.cmp(wanted)));
        match self.combine {
            _ if self.wanted.is_empty() => false,
            Combine::Any => each.any(|holds| holds),
            Combine::All => each.all(|holds| holds),
            Combine::One => each.filter(|holds| *holds).take(2).count() == 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Check(String),
    And(Vec<NodeId>),
    Or(Vec<NodeId>),
    Not(NodeId),
    /// Checks of one operand that became one.
    Merged(Vec<NodeId>),
}

/// The nodes of a source and the fields that they read.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    estimates: Vec<Estimate>,
    known: FxHashMap<Key, NodeId>,
    slots: Vec<FieldUse>,
    slot_of: FxHashMap<(&'static str, FieldArg), usize>,
    pub(super) allowance: Allowance,
}

pub(crate) const FALSE: NodeId = 0;
pub(crate) const TRUE: NodeId = 1;

impl Graph {
    pub(crate) fn new() -> Self {
        let nodes = vec![Node::Constant(false), Node::Constant(true)];
        let estimates = vec![Estimate { cost: 0.0, passes: 0.0 }, Estimate { cost: 0.0, passes: 1.0 }];
        Self { nodes, estimates, ..Self::default() }
    }

    /// An empty graph over the same fields.
    pub(crate) fn without_nodes(&self) -> Self {
        Self { slots: self.slots.clone(), slot_of: self.slot_of.clone(), ..Self::new() }
    }

    pub(crate) fn constant(&self, value: bool) -> NodeId {
        if value { TRUE } else { FALSE }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The fields that nodes read, by slot.
    pub(crate) fn slots(&self) -> &[FieldUse] {
        &self.slots
    }

    pub(crate) fn slot(&mut self, field: FieldUse) -> usize {
        *self.slot_of.entry((field.info.name, field.arg.clone())).or_insert_with(|| {
            self.slots.push(field);
            self.slots.len() - 1
        })
    }

    /// The node of a comparison that was built before, by its canonical text.
    pub(crate) fn known_check(&self, text: &str) -> Option<NodeId> {
        self.known.get(&Key::Check(text.to_owned())).copied()
    }

    pub(crate) fn check(&mut self, text: String, check: Check) -> NodeId {
        let estimate = Estimate::of(&check, &self.slots);
        self.add(Key::Check(text), Node::Check(check), estimate)
    }

    /// A comparison whose outcome is known.
    pub(crate) fn alias(&mut self, text: String, id: NodeId) -> NodeId {
        self.known.insert(Key::Check(text), id);
        id
    }

    pub(crate) fn not(&mut self, child: NodeId) -> NodeId {
        match self.nodes[child] {
            Node::Constant(value) => {
                if value {
                    FALSE
                } else {
                    TRUE
                }
            }
            Node::Not(inner) => inner,
            _ => {
                let Estimate { cost, passes } = self.estimates[child];
                self.add(Key::Not(child), Node::Not(child), Estimate { cost, passes: 1.0 - passes })
            }
        }
    }

    pub(crate) fn and(&mut self, children: Vec<NodeId>) -> NodeId {
        let mut flat = Vec::with_capacity(children.len());
        for child in children {
            match &self.nodes[child] {
                Node::Constant(false) => return FALSE,
                Node::Constant(true) => {}
                _ => flat.push(child),
            }
        }
        // What leaves few rows for little comes first. In the order of definition otherwise.
        let mut seen = rustc_hash::FxHashSet::default();
        flat.retain(|child| seen.insert(*child));
        flat.sort_by(|a, b| self.estimates[*a].to_refuse().total_cmp(&self.estimates[*b].to_refuse()));
        match flat.as_slice() {
            [] => TRUE,
            [only] => *only,
            _ => {
                let mut all = Estimate { cost: 0.0, passes: 1.0 };
                for child in &flat {
                    all.cost += all.passes * self.estimates[*child].cost;
                    all.passes *= self.estimates[*child].passes;
                }
                self.add(Key::And(flat.clone()), Node::And(flat), all)
            }
        }
    }

    pub(crate) fn or(&mut self, children: Vec<NodeId>) -> NodeId {
        let mut flat: Vec<NodeId> = Vec::with_capacity(children.len());
        for child in children {
            match &self.nodes[child] {
                Node::Constant(true) => return TRUE,
                Node::Constant(false) => {}
                Node::Or(inner) => flat.extend(inner),
                _ => flat.push(child),
            }
        }
        let mut flat = self.merge(flat);
        let mut seen = rustc_hash::FxHashSet::default();
        flat.retain(|child| seen.insert(*child));
        flat.sort_by(|a, b| self.estimates[*a].to_accept().total_cmp(&self.estimates[*b].to_accept()));
        match flat.as_slice() {
            [] => FALSE,
            [only] => *only,
            _ => {
                let (mut cost, mut refused) = (0.0, 1.0);
                for child in &flat {
                    cost += refused * self.estimates[*child].cost;
                    refused *= 1.0 - self.estimates[*child].passes;
                }
                let all = Estimate { cost, passes: 1.0 - refused };
                self.add(Key::Or(flat.clone()), Node::Or(flat), all)
            }
        }
    }

    /// Makes one check of all that test the text of one operand.
    fn merge(&mut self, children: Vec<NodeId>) -> Vec<NodeId> {
        let mut out: Vec<NodeId> = Vec::new();
        let mut groups: Vec<(Operand, Vec<NodeId>)> = Vec::new();
        for child in children {
            match &self.nodes[child] {
                Node::Check(Check { left, test: Test::Text { test, all: false }, events: None })
                    if test.is_mergeable() =>
                {
                    match groups.iter_mut().find(|(operand, _)| operand == left) {
                        Some((_, members)) => members.push(child),
                        None => groups.push((left.clone(), vec![child])),
                    }
                }
                _ => out.push(child),
            }
        }
        for (left, mut members) in groups {
            members.sort_unstable();
            members.dedup();
            if let [only] = members.as_slice() {
                out.push(*only);
                continue;
            }
            let key = Key::Merged(members.clone());
            if let Some(known) = self.known.get(&key) {
                out.push(*known);
                continue;
            }
            let tests = members.iter().filter_map(|member| match &self.nodes[*member] {
                Node::Check(Check { test: Test::Text { test, .. }, .. }) => Some(test.clone()),
                _ => None,
            });
            let test = Test::Text { test: value::any(tests.collect(), &mut self.allowance), all: false };
            let check = Check { left, test, events: None };
            let estimate = Estimate::of(&check, &self.slots);
            out.push(self.add(key, Node::Check(check), estimate));
        }
        out
    }

    fn add(&mut self, key: Key, node: Node, estimate: Estimate) -> NodeId {
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        self.nodes.push(node);
        self.estimates.push(estimate);
        self.known.insert(key, self.nodes.len() - 1);
        self.nodes.len() - 1
    }
}
