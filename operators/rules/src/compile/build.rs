//! Syntax trees to nodes.

use super::Problem;
use super::graph::{Check, Combine, FALSE, Graph, NodeId, NumberTest, TRUE, Test};
use super::operand::{self, Typed};
use super::value::{self, Allowance};
use crate::fields::event_type::{EVENT_TYPES, EventType};
use crate::fields::{EventSet, Kind};
use crate::load::Source;
use crate::syntax::suggest::did_you_mean;
use crate::syntax::{self, Expr, Literal, Macro, Modifier, Op, Span, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// A comparison that is wrong: which text and where.
pub(super) struct Wrong {
    pub(super) text: usize,
    pub(super) span: Span,
    pub(super) problem: Problem,
}

/// Builds the conditions of one source.
pub(super) struct Builder<'a> {
    pub(super) source: Source,
    pub(super) graph: &'a mut Graph,
    /// Warnings on comparisons that are valid and hardly meant.
    pub(super) doubts: Vec<Wrong>,
    /// Macros that were built, by the address of their shared tree.
    pub(super) macros: HashMap<*const Macro, Option<NodeId>>,
}

impl Builder<'_> {
    /// The node of a condition whose spans refer to `text`.
    pub(super) fn condition(&mut self, expr: &Expr, text: usize) -> Result<NodeId, Wrong> {
        match expr {
            Expr::And(children) => {
                let children = self.conditions(children, text)?;
                Ok(self.graph.and(children))
            }
            Expr::Or(children) => {
                let children = self.conditions(children, text)?;
                Ok(self.graph.or(children))
            }
            Expr::Not(child) => {
                let child = self.condition(child, text)?;
                Ok(self.graph.not(child))
            }
            Expr::Macro(body) => self.macro_(body),
            Expr::Name(name, span) => {
                Err(Wrong { text, span: *span, problem: Problem::new(format!("there is no macro '{name}'")) })
            }
            Expr::Check(check) => self.check(check, text).map_err(|problem| {
                let span = problem.span.unwrap_or(check.span);
                Wrong { text, span, problem }
            }),
        }
    }

    fn conditions(&mut self, children: &[Expr], text: usize) -> Result<Vec<NodeId>, Wrong> {
        children.iter().map(|child| self.condition(child, text)).collect()
    }

    fn macro_(&mut self, body: &Arc<Macro>) -> Result<NodeId, Wrong> {
        if let Some(Some(id)) = self.macros.get(&Arc::as_ptr(body)) {
            return Ok(*id);
        }
        let id = self.condition(&body.condition, body.text)?;
        self.macros.insert(Arc::as_ptr(body), Some(id));
        Ok(id)
    }

    fn check(&mut self, written: &syntax::Check, text: usize) -> Result<NodeId, Problem> {
        let name = written.to_string();
        if let Some(id) = self.graph.known_check(&name) {
            return Ok(id);
        }
        let left = operand::build(self.source, self.graph, &written.left)?;
        if !value::is_comparable(written.op, left.kind, left.is_list) {
            let what = if left.is_list { "list" } else { left.kind.name() };
            return Err(Problem::at(written.op_span, format!("'{}' does not work on a {what}", written.op)));
        }
        let literals = match &written.right {
            Value::None => {
                return Ok(self.graph.check(name, Check { left: left.operand, test: Test::Exists, events: None }));
            }
            Value::One(literal) => std::slice::from_ref(literal),
            Value::Many(literals) => literals,
            Value::Operand(right) => {
                let test = self.compare(written, &left, right)?;
                return Ok(self.graph.check(name, Check { left: left.operand, test, events: None }));
            }
        };
        self.doubt(written, literals, text);
        if let Some(constant) = constant(written, literals) {
            return Ok(self.graph.alias(name, if constant { TRUE } else { FALSE }));
        }
        let events = self.events(written, literals)?;
        let test = test(written, &left, literals, &mut self.graph.allowance)?;
        Ok(self.graph.check(name, Check { left: left.operand, test, events }))
    }

    /// The comparison of two operands.
    fn compare(&mut self, written: &syntax::Check, left: &Typed, right: &syntax::Operand) -> Result<Test, Problem> {
        let span = right.span();
        let right = operand::build(self.source, self.graph, right)?;
        if matches!(written.op, Op::Pmatch | Op::Regex) {
            return Err(Problem::at(written.op_span, format!("'{}' cannot compare two fields", written.op)));
        }
        if left.is_plain_only || right.is_plain_only || left.is_any_of {
            return Err(Problem::at(span, "one of these fields cannot be compared with another"));
        }
        if (left.kind, left.is_list) != (right.kind, right.is_list) {
            let name = |typed: &Typed| format!("{}{}", typed.kind.name(), if typed.is_list { " list" } else { "" });
            return Err(Problem::at(span, format!("a {} cannot be compared with a {}", name(left), name(&right))));
        }
        Ok(Test::Compare { op: written.op, right: right.operand })
    }

    /// The event types of a comparison of the event type.
    fn events(&self, written: &syntax::Check, literals: &[Literal]) -> Result<Option<EventSet>, Problem> {
        let syntax::Operand::Field(field) = &written.left else { return Ok(None) };
        let is_type = self.source == Source::Syscall && matches!(field.name.as_str(), "evt.type" | "syscall.type");
        let is_exact = matches!(written.op, Op::Eq | Op::Ne | Op::In | Op::Intersects) && written.modifier.is_none();
        if !is_type || !is_exact {
            return Ok(None);
        }
        let mut set = EventSet::NONE;
        for literal in literals {
            let name = literal.text();
            match EventType::from_name(&literal.bytes) {
                Some(event) => set.insert(event),
                None => {
                    let problem = Problem::at(literal.span, format!("there is no event type '{name}'"));
                    let hint = did_you_mean(&name, EVENT_TYPES.iter().copied());
                    return Err(Problem { hint, is_unknown: true, ..problem });
                }
            }
        }
        Ok(Some(if written.op == Op::Ne { set.complement() } else { set }))
    }

    /// Notes constants that look like fields, transformers, or missing values.
    fn doubt(&mut self, written: &syntax::Check, literals: &[Literal], text: usize) {
        let syntax::Operand::Field(field) = &written.left else { return };
        for literal in literals {
            let value = literal.text();
            let is_field = value.contains('.') && crate::fields::is_field(self.source, &value);
            let is_unsafe = value == "<NA>" && (field.name.starts_with("ka.") || field.name.starts_with("jevt."));
            let problem = if is_field {
                Problem::new(format!("'{value}' is a text here"))
                    .hint(format!("to compare with the field write val({value})"))
            } else if is_unsafe {
                Problem::new("a field without value is never equal to <NA>").hint("use 'exists'")
            } else if written.op == Op::Regex && is_simple(&value) {
                Problem::new(format!("'{value}' needs no regular expression"))
                    .hint("use =, contains, startswith or endswith")
            } else {
                continue;
            };
            self.doubts.push(Wrong { text, span: literal.span, problem });
        }
    }
}

/// A regular expression without anything special inside.
fn is_simple(pattern: &str) -> bool {
    let inner = pattern.trim_start_matches('^').trim_end_matches('$');
    let inner = inner.strip_prefix(".*").or(inner.strip_prefix(".+")).unwrap_or(inner);
    let inner = inner.strip_suffix(".*").or(inner.strip_suffix(".+")).unwrap_or(inner);
    !inner.contains(|c: char| ".+*?^$()[]{}|\\".contains(c))
}

/// The outcome of a comparison that is the same for every event: events are counted from 1.
fn constant(written: &syntax::Check, literals: &[Literal]) -> Option<bool> {
    let syntax::Operand::Field(field) = &written.left else { return None };
    if field.name != "evt.num" || written.modifier.is_some() {
        return None;
    }
    let numbers: Option<Vec<i64>> = literals.iter().map(|literal| value::number(Kind::Number, literal).ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.iter().all(|number| *number >= 0))?;
    match (written.op, numbers.as_slice()) {
        (Op::In | Op::Intersects, all) => all.iter().all(|number| *number == 0).then_some(false),
        (Op::Eq | Op::Le, [0]) | (Op::Lt, [0 | 1]) => Some(false),
        (Op::Ne | Op::Gt, [0]) | (Op::Ge, [0 | 1]) => Some(true),
        _ => None,
    }
}

/// The test of a comparison with constants.
fn test(
    written: &syntax::Check,
    left: &Typed,
    literals: &[Literal],
    allowance: &mut Allowance,
) -> Result<Test, Problem> {
    // A list is in a list if all of its values are; of both ends of a connection none may be equal.
    let is_pair = left.is_any_of && matches!(left.kind, Kind::Address | Kind::Network | Kind::Port);
    let all = left.is_list && written.op == Op::In || is_pair && written.op == Op::Ne;
    match left.kind {
        Kind::Number | Kind::Port => {
            let wanted = literals.iter().map(|literal| value::number(left.kind, literal)).collect::<Result<_, _>>()?;
            let combine = match written.modifier {
                Some(Modifier::AllOf) => Combine::All,
                Some(Modifier::OneOf) => Combine::One,
                _ => Combine::Any,
            };
            let op = if written.op.takes_list() { Op::Eq } else { written.op };
            Ok(Test::Number { test: NumberTest { op, wanted, combine }, all })
        }
        Kind::Flag => {
            let wanted = literals.iter().map(value::flag).collect::<Result<Vec<_>, _>>()?;
            let passes = |value: bool| {
                let mut each = wanted.iter().map(|wanted| (*wanted == value) != (written.op == Op::Ne));
                match written.modifier {
                    _ if wanted.is_empty() => false,
                    Some(Modifier::AllOf) => each.all(|holds| holds),
                    Some(Modifier::OneOf) => each.filter(|holds| *holds).count() == 1,
                    _ => each.any(|holds| holds),
                }
            };
            Ok(Test::Flag { passes_true: passes(true), passes_false: passes(false) })
        }
        kind => {
            let test = value::text_test(kind, written.op, written.modifier, literals, allowance)?;
            Ok(Test::Text { test, all })
        }
    }
}
