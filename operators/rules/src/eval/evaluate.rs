//! Nodes over rows.

use super::batch::{Slot, View};
use super::bits::Bits;
use super::column::Column;
use super::filter;
use super::text::Memo;
use super::value::{self, Val};
use super::{Hit, Matching};
use crate::compile::{Check, Node, NodeId, Operand, Rule, SourceRules, Test};
use crate::fields::EventSet;

/// What is known of a node: about `asked` rows, of which it holds for `holds`.
struct Known {
    asked: Bits,
    holds: Bits,
}

/// One batch under evaluation.
pub(super) struct Evaluator<'a> {
    rules: &'a SourceRules,
    view: View<'a>,
    known: Vec<Option<Known>>,
    memo: Memo,
    /// Rows by sets of event types.
    gates: Vec<(EventSet, Bits)>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(rules: &'a SourceRules, view: View<'a>) -> Self {
        let known = rules.is_shared.iter().map(|_| None).collect();
        Self { rules, view, known, memo: Memo::default(), gates: Vec::new() }
    }

    pub(super) fn into_view(self) -> View<'a> {
        self.view
    }

    /// Runs the rules that are enabled.
    pub(super) fn run(&mut self, all_rules: &[Rule], matching: Matching) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut open = Bits::all(self.view.rows());
        let rules = self.rules;
        for index in &rules.rules {
            let rule = &all_rules[*index];
            if !rule.is_enabled {
                continue;
            }
            let rows = self.gated(&rule.events, &open);
            let fired = self.node(rule.root, rows);
            hits.extend(fired.iter().map(|row| Hit { row, rule: *index }));
            if matching == Matching::First {
                open.minus(&fired);
            }
        }
        hits
    }

    /// The rows that a screen lets pass.
    pub(super) fn screen(&mut self, roots: &[(EventSet, NodeId)]) -> Bits {
        let (mut passed, mut open) = (Bits::none(self.view.rows()), Bits::all(self.view.rows()));
        for (events, root) in roots {
            let rows = self.gated(events, &open);
            let found = self.node(*root, rows);
            open.minus(&found);
            passed.or(&found);
        }
        passed
    }

    /// The rows of `rows` that are of some event types; all for sources without types.
    fn gated(&mut self, events: &EventSet, rows: &Bits) -> Bits {
        let Some(types) = self.view.types() else { return rows.clone() };
        let place = self.gates.iter().position(|(known, _)| known == events).unwrap_or_else(|| {
            self.gates.push((*events, types.rows_of(events)));
            self.gates.len() - 1
        });
        self.gates[place].1.intersection(rows)
    }

    /// The rows of `rows` for which a node holds. The set is handed on and thinned out in place: in small batches a set
    /// costs as much to copy as a comparison of its rows.
    fn node(&mut self, id: NodeId, mut rows: Bits) -> Bits {
        if rows.is_empty() {
            return rows;
        }
        if !self.rules.is_shared[id] {
            return self.fresh(id, rows);
        }
        let Some(mut known) = self.known[id].take() else {
            let holds = self.fresh(id, rows.clone());
            self.known[id] = Some(Known { asked: rows, holds: holds.clone() });
            return holds;
        };
        if !rows.is_subset(&known.asked) {
            let open = rows.difference(&known.asked);
            known.asked.or(&open);
            known.holds.or(&self.fresh(id, open));
        }
        rows.and(&known.holds);
        self.known[id] = Some(known);
        rows
    }

    fn fresh(&mut self, id: NodeId, rows: Bits) -> Bits {
        let rules = self.rules;
        match rules.graph.node(id) {
            Node::Constant(true) => rows,
            Node::Constant(false) => Bits::none(rows.rows()),
            Node::Check(check) => self.check(check, rows),
            Node::Not(child) => {
                let mut rest = rows.clone();
                rest.minus(&self.node(*child, rows));
                rest
            }
            Node::And(children) => {
                let mut left = rows;
                for child in children {
                    if left.is_empty() {
                        break;
                    }
                    left = self.node(*child, left);
                }
                left
            }
            Node::Or(children) => {
                let mut holds = Bits::none(rows.rows());
                let Some((last, before)) = children.split_last() else { return holds };
                let mut left = rows;
                for child in before {
                    let found = self.node(*child, left.clone());
                    left.minus(&found);
                    holds.or(&found);
                    if left.is_empty() {
                        return holds;
                    }
                }
                holds.or(&self.node(*last, left));
                holds
            }
        }
    }

    fn check(&mut self, check: &Check, mut rows: Bits) -> Bits {
        if let Some(events) = &check.events
            && self.view.types().is_some()
        {
            return self.gated(events, &rows);
        }
        match (&check.left, &check.test) {
            (_, Test::Compare { .. }) => self.by_row(check, &mut rows),
            (Operand::Field(slot), _) => self.field(*slot, &[], &check.test, &mut rows),
            (Operand::Mapped(slot, maps), Test::Text { .. }) => self.field(*slot, maps, &check.test, &mut rows),
            _ => self.by_row(check, &mut rows),
        }
        rows
    }

    fn field(&mut self, slot: usize, maps: &[crate::compile::Map], test: &Test, rows: &mut Bits) {
        self.view.ensure(slot, rows);
        let values = self.view.slot(slot);
        match (test, values) {
            (Test::Exists, _) => values.keep_existing(rows, &mut self.memo),
            (Test::Text { test, all }, Slot::Column(Column::Texts(column))) => {
                filter::texts(column, test, *all, rows, &mut self.memo);
            }
            (Test::Text { test, all }, Slot::Column(Column::TextPair(a, b))) => {
                filter::text_pair([a.view(), b.view()], test, *all, rows, &mut self.memo);
            }
            (Test::Text { test, .. }, _) => {
                values.retain(rows, &mut self.memo, |text| filter::passes(test, maps, text));
            }
            (Test::Number { test, .. }, Slot::Column(Column::Number(column))) => filter::number(column, test, rows),
            (Test::Number { test, all }, Slot::Column(Column::Numbers(column))) => {
                filter::numbers(column, test, *all, rows);
            }
            (Test::Number { test, all }, Slot::Column(Column::NumberPair(a, b))) => {
                filter::number_pair(a, b, test, *all, rows);
            }
            (Test::Flag { passes_true, passes_false }, Slot::Column(Column::Flag(column))) => {
                filter::flag(column, *passes_true, *passes_false, rows);
            }
            _ => rows.clear(),
        }
    }

    /// Transformers of several operands, and comparisons of two fields: row by row.
    fn by_row(&mut self, check: &Check, rows: &mut Bits) {
        value::ensure(&mut self.view, &check.left, rows);
        if let Test::Compare { right, .. } = &check.test {
            value::ensure(&mut self.view, right, rows);
        }
        let view = &self.view;
        rows.retain(|row| value::of(view, &check.left, row).is_some_and(|found| holds(view, &check.test, &found, row)));
    }
}

fn holds(view: &View<'_>, test: &Test, found: &Val<'_>, row: usize) -> bool {
    match (test, found) {
        (Test::Exists, _) => true,
        (Test::Compare { op, right }, left) => {
            value::of(view, right, row).is_some_and(|right| value::compare(*op, left, &right))
        }
        (Test::Text { test, .. }, Val::Text(text)) => test.matches(text),
        (Test::Text { all: true, .. }, Val::List(items)) => {
            !items.is_empty() && items.iter().all(|item| holds(view, test, item, row))
        }
        (Test::Text { .. }, Val::List(items)) => items.iter().any(|item| holds(view, test, item, row)),
        (Test::Number { test, .. }, Val::Number(number)) => test.matches(*number),
        (Test::Flag { passes_true, passes_false }, Val::Flag(flag)) => {
            if *flag {
                *passes_true
            } else {
                *passes_false
            }
        }
        _ => false,
    }
}
