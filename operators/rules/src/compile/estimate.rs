//! What a node costs and how many rows it leaves: guesses by which the parts of conditions are ordered.
//!
//! A wrong guess costs time, never an answer.

use super::graph::{Check, Combine, Test};
use super::operand::Operand;
use super::text_test::TextTest;
use crate::fields::derive::Derived;
use crate::fields::{FieldUse, Get};
use crate::syntax::Op;

/// A guess about a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// Nanoseconds per row.
    pub(super) cost: f32,
    /// The share of rows for which it holds.
    pub(super) passes: f32,
}

/// The least share that counts: a part that takes nothing away comes last, and nothing is divided by zero.
const SHARE_MIN: f32 = 0.001;

impl Estimate {
    pub(super) fn of(check: &Check, slots: &[FieldUse]) -> Self {
        if check.events.is_some() {
            // Rows lie by event type already.
            return Self { cost: 0.1, passes: 0.3 };
        }
        let (test, passes) = match &check.test {
            Test::Exists => (0.5, 0.8),
            Test::Flag { passes_true: true, passes_false: false } => (0.5, 0.2),
            Test::Flag { .. } => (0.5, 0.7),
            Test::Number { test, .. } => (1.0, passes_number(test.op, test.combine)),
            Test::Text { test, .. } => (test.cost() as f32, passes_text(test)),
            Test::Compare { .. } => (100.0, 0.3),
        };
        Self { cost: operand(&check.left, slots) + test, passes }
    }

    /// Nanoseconds for each row that it takes away: in this order the parts of an `and` cost least.
    pub(super) fn to_refuse(self) -> f32 {
        self.cost / (1.0 - self.passes).max(SHARE_MIN)
    }

    /// Nanoseconds for each row that it decides in an `or`.
    pub(super) fn to_accept(self) -> f32 {
        self.cost / self.passes.max(SHARE_MIN)
    }
}

/// Nanoseconds to come by a value.
fn operand(left: &Operand, slots: &[FieldUse]) -> f32 {
    match left {
        Operand::Field(slot) => slots.get(*slot).map_or(1.0, field),
        Operand::Mapped(slot, maps) => slots.get(*slot).map_or(1.0, field) + 20.0 * maps.len() as f32,
        _ => 200.0,
    }
}

fn field(field: &FieldUse) -> f32 {
    match field.info.get {
        Get::Column(_) | Get::Nothing => 1.0,
        // Cut out of a column, or whole columns at once.
        Get::Derived(
            Derived::FdName | Derived::FdType | Derived::FdTypeChar | Derived::FdNumber | Derived::ParentName,
        ) => 1.0,
        Get::Derived(Derived::FdNameRaw | Derived::FdDirectory | Derived::FdFilename | Derived::Cwd) => 4.0,
        Get::Derived(derived) if derived.form() != crate::fields::derive::Form::Text => 3.0,
        Get::Ancestors { .. } => 10.0,
        Get::Derived(_) | Get::MapColumn(_) => 30.0,
        Get::Document(_) => 100.0,
    }
}

fn passes_number(op: Op, combine: Combine) -> f32 {
    match (op, combine) {
        (Op::Eq, Combine::Any | Combine::One) => 0.1,
        (Op::Ne, _) => 0.7,
        _ => 0.5,
    }
}

fn passes_text(test: &TextTest) -> f32 {
    match test {
        TextTest::NotEqual(_) | TextTest::NotIn(_) => 0.9,
        TextTest::Order(..) => 0.5,
        TextTest::Address { is_negated, .. } | TextTest::Network { is_negated, .. } => {
            if *is_negated {
                0.9
            } else {
                0.1
            }
        }
        TextTest::All(tests) => tests.iter().map(passes_text).product(),
        TextTest::Any(tests) | TextTest::One(tests) => {
            1.0 - tests.iter().map(|test| 1.0 - passes_text(test)).product::<f32>()
        }
        _ => 0.03,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_few_rows_for_little_comes_first() {
        let dear_and_sure = Estimate { cost: 20.0, passes: 0.01 };
        let cheap_exception = Estimate { cost: 4.0, passes: 0.95 };
        let cheap_flag = Estimate { cost: 1.0, passes: 0.3 };
        assert!(cheap_flag.to_refuse() < dear_and_sure.to_refuse());
        assert!(dear_and_sure.to_refuse() < cheap_exception.to_refuse());
        assert!(cheap_exception.to_accept() < cheap_flag.to_accept() * 2.0);
        assert!(Estimate { cost: 1.0, passes: 1.0 }.to_refuse().is_finite());
    }
}
