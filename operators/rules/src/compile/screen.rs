//! A quick look at rows of `events` with few of their columns: which of them a rule may fire for.
//!
//! A scan reads the columns of the screen for all rows, and all other columns only for the rows that pass. So a screen
//! keeps of the conditions what leaves few rows and reads little: comparisons that hold for certain texts or numbers.
//! Everything else counts as true, as does what is negated. A row for which a rule fires passes.

use super::graph::{Check, Graph, Node, NodeId, TRUE, Test};
use super::operand::Operand;
use super::reads;
use super::rule_set::{Rule, RuleSet, SourceRules, shared};
use super::text_test::TextTest;
use crate::fields::derive::Derived;
use crate::fields::{self, EventSet, Get};
use crate::load::Source;
use crate::syntax::Op;
use bodkin_schema::events;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// A test of rows of `events` that holds for every row for which one of some rules fires.
#[derive(Debug)]
pub struct Screen {
    pub(crate) rules: SourceRules,
    /// What may fire for which event types.
    pub(crate) roots: Vec<(EventSet, NodeId)>,
    columns: Vec<&'static str>,
}

impl Screen {
    /// The columns that it reads, sorted.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }
}

impl RuleSet {
    /// The screen of the enabled rules of source `syscall`; `is_cheap` says which columns it may read.
    pub fn screen(&self, is_cheap: impl Fn(&str) -> bool) -> Screen {
        let graph = &self.source(Source::Syscall).graph;
        let mut relaxed = Relaxed { from: graph, to: graph.without_nodes(), known: FxHashMap::default(), is_cheap };
        let enabled = self.rules().iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        let root = |rule: &Rule| (rule.events, relaxed.node(rule.root));
        let roots: Vec<(EventSet, NodeId)> = enabled.map(root).collect();
        let graph = relaxed.to;
        let mut columns = BTreeSet::from([events::EVT_TYPE]);
        for (_, root) in &roots {
            columns.extend(reads::columns_under(&graph, *root));
        }
        let is_shared = shared(&graph, roots.iter().map(|(_, root)| *root));
        let rules = SourceRules { graph, rules: Vec::new(), is_shared };
        Screen { rules, roots, columns: columns.into_iter().collect() }
    }
}

struct Relaxed<'a, F> {
    from: &'a Graph,
    to: Graph,
    known: FxHashMap<NodeId, NodeId>,
    is_cheap: F,
}

impl<F: Fn(&str) -> bool> Relaxed<'_, F> {
    /// A node that holds wherever `id` does.
    fn node(&mut self, id: NodeId) -> NodeId {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let node = match self.from.node(id) {
            Node::Constant(value) => self.to.constant(*value),
            Node::And(children) => {
                let children = children.iter().map(|child| self.node(*child)).collect();
                self.to.and(children)
            }
            Node::Or(children) => {
                let children = children.iter().map(|child| self.node(*child)).collect();
                self.to.or(children)
            }
            Node::Not(_) => TRUE,
            Node::Check(check) => self.check(id, check),
        };
        self.known.insert(id, node);
        node
    }

    fn check(&mut self, id: NodeId, check: &Check) -> NodeId {
        let (Operand::Field(slot) | Operand::Mapped(slot, _)) = &check.left else { return TRUE };
        if check.events.is_none() && !is_selective(&check.test) {
            return TRUE;
        }
        let field = &self.from.slots()[*slot];
        if matches!(field.info.get, Get::Derived(Derived::FdName)) {
            return self.path(id, check);
        }
        let is_cheap = reads::columns(field).iter().all(|column| (self.is_cheap)(column));
        if is_cheap { self.to.check(id.to_string(), check.clone()) } else { TRUE }
    }

    /// The name of a descriptor is the path where there is one. Where there is none, the columns that make the name are
    /// not looked at, and any name may be.
    fn path(&mut self, id: NodeId, check: &Check) -> NodeId {
        let Ok(path) = fields::find(Source::Syscall, PATH_FIELD, None) else { return TRUE };
        if !reads::columns(&path).iter().all(|column| (self.is_cheap)(column)) {
            return TRUE;
        }
        let slot = self.to.slot(path);
        let left = match &check.left {
            Operand::Mapped(_, maps) => Operand::Mapped(slot, maps.clone()),
            _ => Operand::Field(slot),
        };
        let passes = self.to.check(id.to_string(), Check { left, test: check.test.clone(), events: None });
        let exists = Check { left: Operand::Field(slot), test: Test::Exists, events: None };
        let exists = self.to.check("path".to_owned(), exists);
        let is_missing = self.to.not(exists);
        self.to.or(vec![passes, is_missing])
    }
}

/// The field that is the column `path` as it is.
const PATH_FIELD: &str = "fs.path.name";

/// Holds for few of the values that there are.
fn is_selective(test: &Test) -> bool {
    match test {
        Test::Text { test, .. } => is_selective_text(test),
        Test::Number { test, .. } => test.op == Op::Eq,
        Test::Flag { passes_true, passes_false } => *passes_true && !passes_false,
        Test::Exists | Test::Compare { .. } => false,
    }
}

fn is_selective_text(test: &TextTest) -> bool {
    match test {
        TextTest::NotEqual(_) | TextTest::NotIn(_) | TextTest::Order(..) => false,
        TextTest::Address { is_negated, .. } | TextTest::Network { is_negated, .. } => !is_negated,
        TextTest::All(tests) => tests.iter().any(is_selective_text),
        TextTest::Any(tests) | TextTest::One(tests) => tests.iter().all(is_selective_text),
        _ => true,
    }
}
