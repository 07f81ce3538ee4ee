//! A quick look at rows of `events` with few of their columns: which of them a rule may fire for.
//!
//! A scan reads the columns of the screen for all rows, and all other columns only for the rows that pass. So a screen
//! keeps of the conditions what leaves few rows and reads little: comparisons that hold for certain texts or numbers.
//! Everything else counts as true, as does what is negated. A row for which a rule fires passes.
//!
//! A sieve comes behind a screen. It keeps every comparison of columns that it may read, also those that are dear, and
//! negations of what it keeps whole: what passes is little more than the rows for which rules fire.

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
        self.relaxed(Keeps::Selective, is_cheap)
    }

    /// The sieve of the enabled rules of source `syscall`; `is_readable` says which columns it may read.
    pub fn sieve(&self, is_readable: impl Fn(&str) -> bool) -> Screen {
        self.relaxed(Keeps::Everything, is_readable)
    }

    fn relaxed(&self, keeps: Keeps, is_readable: impl Fn(&str) -> bool) -> Screen {
        let graph = &self.source(Source::Syscall).graph;
        let mut relaxed =
            Relaxed { from: graph, to: graph.without_nodes(), known: FxHashMap::default(), keeps, is_readable };
        let enabled = self.rules().iter().filter(|rule| rule.is_enabled && rule.source == Source::Syscall);
        let root = |rule: &Rule| (rule.events, relaxed.node(rule.root).id);
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

/// Which comparisons are worth their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Those that hold for few values.
    Selective,
    Everything,
}

/// A node that holds wherever the one that it was made of does.
#[derive(Clone, Copy)]
struct Made {
    id: NodeId,
    /// It holds nowhere else.
    is_whole: bool,
}

impl Made {
    const ANY: Self = Self { id: TRUE, is_whole: false };
}

struct Relaxed<'a, F> {
    from: &'a Graph,
    to: Graph,
    known: FxHashMap<NodeId, Made>,
    keeps: Keeps,
    is_readable: F,
}

impl<F: Fn(&str) -> bool> Relaxed<'_, F> {
    fn node(&mut self, id: NodeId) -> Made {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let node = match self.from.node(id) {
            Node::Constant(value) => Made { id: self.to.constant(*value), is_whole: true },
            Node::And(children) => {
                let (children, is_whole) = self.nodes(children);
                Made { id: self.to.and(children), is_whole }
            }
            Node::Or(children) => {
                let (children, is_whole) = self.nodes(children);
                Made { id: self.to.or(children), is_whole }
            }
            Node::Not(child) => match self.node(*child) {
                Made { id, is_whole: true } => Made { id: self.to.not(id), is_whole: true },
                _ => Made::ANY,
            },
            Node::Check(check) if self.keeps == Keeps::Everything => self.whole(id, check),
            Node::Check(check) => Made { id: self.check(id, check), is_whole: false },
        };
        self.known.insert(id, node);
        node
    }

    fn nodes(&mut self, children: &[NodeId]) -> (Vec<NodeId>, bool) {
        let made: Vec<Made> = children.iter().map(|child| self.node(*child)).collect();
        (made.iter().map(|made| made.id).collect(), made.iter().all(|made| made.is_whole))
    }

    /// A comparison as it is, if all that it compares can be read.
    fn whole(&mut self, id: NodeId, check: &Check) -> Made {
        let fields = reads::fields_of_check(check).into_iter().map(|slot| &self.from.slots()[slot]);
        let mut columns = fields.flat_map(reads::columns);
        match columns.all(|column| (self.is_readable)(column)) {
            true => Made { id: self.to.check(id.to_string(), check.clone()), is_whole: true },
            false => Made::ANY,
        }
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
        let is_cheap = reads::columns(field).iter().all(|column| (self.is_readable)(column));
        if is_cheap { self.to.check(id.to_string(), check.clone()) } else { TRUE }
    }

    /// The name of a descriptor is the path where there is one. Where there is none, the columns that make the name are
    /// not looked at, and any name may be.
    fn path(&mut self, id: NodeId, check: &Check) -> NodeId {
        let Ok(path) = fields::find(Source::Syscall, PATH_FIELD, None) else { return TRUE };
        if !reads::columns(&path).iter().all(|column| (self.is_readable)(column)) {
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
