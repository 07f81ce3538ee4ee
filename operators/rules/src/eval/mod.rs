//! Rules over a batch: which rules fire for which rows, and what they print.
//!
//! Nothing is decided twice, and nothing for a row that does not need it: a node is asked only about the rows that are
//! still open ([`evaluate`]), nodes with several parents keep their answers, a text of a dictionary is tested once per
//! value ([`text`]), a computed field that is part of a column is not computed at all ([`pieces`]), and any other for the
//! rows that are asked about ([`made`]). Only rows that fired are rendered ([`render`]).

pub(crate) mod batch;
pub(crate) mod bits;
pub(crate) mod column;
mod evaluate;
mod filter;
mod getopt;
mod made;
pub(crate) mod pieces;
pub(crate) mod render;
pub(crate) mod text;
pub(crate) mod types;
pub(crate) mod value;

use crate::compile::{RuleSet, Screen};
use crate::fields::EventSet;
use crate::fields::document::Document;
use crate::fields::event_type::EventType;
use crate::load::Source;
use arrow::buffer::BooleanBuffer;
use arrow::record_batch::RecordBatch;
use batch::View;
use bits::Bits;
use bodkin_schema::events::EVT_TYPE;
use column::Column;
use evaluate::Evaluator;
use serde::{Deserialize, Serialize};
use text::Memo;

/// Events to run rules over.
#[derive(Clone, Copy, Debug)]
pub enum Events<'a> {
    /// Rows of the stream `events`.
    Batch(&'a RecordBatch),
    /// JSON documents of a source.
    Documents(Source, &'a [Document]),
}

impl Events<'_> {
    /// The source of the events.
    pub fn source(&self) -> Source {
        match self {
            Self::Batch(_) => Source::Syscall,
            Self::Documents(source, _) => *source,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Batch(records) => records.num_rows(),
            Self::Documents(_, documents) => documents.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many rules may fire for one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// The first one in the order of definition.
    #[default]
    First,
    /// Every one.
    All,
}

/// A rule that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The event, by its number in the batch.
    pub row: usize,
    /// The rule, by its index in [`RuleSet::rules`].
    pub rule: usize,
}

impl RuleSet {
    /// The rules that fire, by row and then in the order of definition. The answer is a function of the rows alone
    /// (DET-1), whatever else is in the batch (RULE-1).
    pub fn evaluate(&self, events: Events<'_>, matching: Matching) -> Vec<Hit> {
        self.run(events, matching).0
    }

    /// The hits and the view that they were found in, to render from.
    pub(crate) fn run<'a>(&'a self, events: Events<'a>, matching: Matching) -> (Vec<Hit>, View<'a>) {
        let rules = self.source(events.source());
        let mut evaluator = Evaluator::new(rules, View::new(events, rules.graph.slots()));
        let mut hits = evaluator.run(self.rules(), matching);
        hits.sort_unstable();
        (hits, evaluator.into_view())
    }
}

impl EventSet {
    /// The rows of `events` whose type is in the set. Looks at each value of a dictionary once.
    pub fn passes(&self, rows: &RecordBatch) -> BooleanBuffer {
        let Some(Column::Text(types)) = rows.column_by_name(EVT_TYPE).map(Column::new) else {
            return BooleanBuffer::new_unset(rows.num_rows());
        };
        let mut passed = Bits::all(rows.num_rows());
        let is_in = |name: &[u8]| self.contains_index(EventType::of(name).index());
        types.view().retain(&mut passed, &mut Memo::default(), is_in);
        passed.into_buffer()
    }
}

impl Screen {
    /// The rows of `events` that pass, given at least the columns of [`Screen::columns`].
    pub fn passes(&self, rows: &RecordBatch) -> BooleanBuffer {
        let view = View::new(Events::Batch(rows), self.rules.graph.slots());
        Evaluator::new(&self.rules, view).screen(&self.roots).into_buffer()
    }
}
