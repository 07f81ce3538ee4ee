//! The graph: which operators see which streams, and what is stored where.
//!
//! ```text
//!  stream events ----------------------------> table events
//!          |
//!          +--> operator rules --(findings)--> table findings
//! ```
//! A source is a stream, a sink is a table. Every stream goes to the table of its name unless [`Graph::feed_table`] says
//! otherwise. An operator reads streams and other operators; what it emits goes to the operators that read it, and to
//! the tables among [`OperatorSpec::stores`] by the name of the batch's stream. Nothing goes in a circle.

mod picture;
mod plan;

pub use picture::{GraphStatus, NodeKind, NodeStatus};
pub(crate) use plan::{Plan, Target};

use crate::Operator;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Makes an operator; called once for each shard.
pub type MakeOperator = Arc<dyn Fn() -> Box<dyn Operator> + Send + Sync>;

/// An operator of the graph and its edges.
#[derive(Clone)]
pub struct OperatorSpec {
    name: Arc<str>,
    kind: Arc<str>,
    reads: Vec<String>,
    stores: Vec<String>,
    feeds: Option<String>,
    delivers: Vec<String>,
    key: Arc<[String]>,
    side_inputs: Vec<String>,
    make: MakeOperator,
}

impl fmt::Debug for OperatorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorSpec")
            .field("name", &self.name)
            .field("reads", &self.reads)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

impl OperatorSpec {
    /// An operator without edges. Its name must not be a stream's.
    pub fn new(name: &str, make: MakeOperator) -> Self {
        Self {
            name: name.into(),
            kind: name.into(),
            reads: Vec::new(),
            stores: Vec::new(),
            feeds: None,
            delivers: Vec::new(),
            key: Arc::default(),
            side_inputs: Vec::new(),
            make,
        }
    }

    /// The streams and operators that it reads.
    #[must_use]
    pub fn reads(mut self, inputs: &[&str]) -> Self {
        self.reads = inputs.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The tables that its batches go to, each by the name of its stream.
    #[must_use]
    pub fn stores(mut self, tables: &[&str]) -> Self {
        self.stores = tables.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The channels that its batches of stream `deliver/<channel>` go to: see [`crate::Outbox`].
    #[must_use]
    pub fn delivers(mut self, channels: &[&str]) -> Self {
        self.delivers = channels.iter().map(|name| format!("{}{name}", crate::outbox::DELIVER_STREAM)).collect();
        self
    }

    /// The table that all its rows go to, whatever their stream is called.
    #[must_use]
    pub fn feeds(mut self, table: &str) -> Self {
        self.feeds = Some(table.to_owned());
        self
    }

    /// The columns by which rows are spread over the shards before it. Without a key rows stay on the shard where
    /// their producer's lanes are.
    #[must_use]
    pub fn key(mut self, columns: &[&str]) -> Self {
        self.key = columns.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The side inputs that it wants.
    #[must_use]
    pub fn side_inputs(mut self, names: &[&str]) -> Self {
        self.side_inputs = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// What it is, for pictures: `rules`, `sql`, `filter`.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = kind.into();
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Streams, operators and tables.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    streams: Vec<String>,
    operators: Vec<OperatorSpec>,
    /// Tables that are not fed by the stream of their name.
    fed: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// A graph in which each stream goes to its table.
    pub fn of_streams<'a>(streams: impl IntoIterator<Item = &'a str>) -> Self {
        Self { streams: streams.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Adds an operator.
    pub fn add(&mut self, operator: OperatorSpec) {
        self.operators.push(operator);
    }

    /// Feeds a table from `inputs` and not from the stream of its name. Their rows take the table's name.
    pub fn feed_table(&mut self, table: &str, inputs: &[&str]) {
        self.fed.insert(table.to_owned(), inputs.iter().map(|name| (*name).to_owned()).collect());
    }

    /// Checks the graph.
    ///
    /// # Errors
    /// What is wrong, and with which operator.
    pub fn check(&self) -> Result<(), GraphError> {
        Plan::new(self).map(drop)
    }
}

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two nodes of one name.
    #[error("there are two nodes called {name:?}: streams and operators share their names")]
    Twice {
        /// The name.
        name: String,
    },
    /// An input that does not exist.
    #[error("{name:?} reads {input:?}, which is no stream and no operator{}", hint.as_ref().map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default())]
    NoInput {
        /// Who reads.
        name: String,
        /// What it reads.
        input: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A node that reads nothing.
    #[error("{name:?} reads nothing: name its inputs")]
    Alone {
        /// The node.
        name: String,
    },
    /// A table that does not exist.
    #[error("{name:?} stores into {table:?}, which is no table; there are {tables}")]
    NoTable {
        /// Who stores.
        name: String,
        /// Where.
        table: String,
        /// The tables.
        tables: String,
    },
    /// Operators that wait for each other.
    #[error("the operators {names} read each other in a circle")]
    Circle {
        /// They.
        names: String,
    },
}

impl GraphError {
    /// The operator or table that it is about, for a place in a file.
    pub fn node(&self) -> &str {
        match self {
            Self::Twice { name } | Self::NoInput { name, .. } | Self::Alone { name } | Self::NoTable { name, .. } => {
                name
            }
            Self::Circle { names } => names.split(", ").next().unwrap_or_default(),
        }
    }
}
