//! Rules to a graph: each distinct comparison, conjunction and disjunction of all rules of a source is one node.
//!
//! [`build`] turns syntax trees into nodes with types checked and constants folded, [`value`] reads constants as the
//! type of their field, [`gate`] finds the event types that a condition can be true for, [`output`] reads output
//! templates. The result is a [`RuleSet`].

mod build;
mod estimate;
mod gate;
mod glob;
mod graph;
mod messages;
mod operand;
mod options;
mod output;
mod paths;
mod pattern;
mod reads;
mod rule_set;
mod screen;
mod text_test;
mod value;

pub(crate) use glob::Glob;
pub(crate) use graph::{Check, Node, NodeId, NumberTest, Test};
pub(crate) use operand::{Map, Operand};
pub use options::{AppendOutput, Options, Switch};
pub(crate) use output::{Part, Template};
pub use reads::{Restriction, TextRestriction};
pub(crate) use rule_set::SourceRules;
pub use rule_set::{Rule, RuleSet};
pub use screen::Screen;
pub(crate) use text_test::{TextTest, is_ordered};

use crate::syntax::Span;

/// What is wrong with a comparison or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Where, if not the whole comparison.
    pub(crate) span: Option<Span>,
    /// A field or event type is not known, so that `skip-if-unknown-filter` applies.
    pub(crate) is_unknown: bool,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, span: None, is_unknown: false }
    }

    pub(crate) fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::new(message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
