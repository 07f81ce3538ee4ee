//! What this crate needs of a query engine, without naming one.
//!
//! Keeping the trait here keeps the types of the engine's library out of the surface, and lets the surface be tested
//! with answers from literals.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_rules::{Matching, RuleFile, RuleSet};
use bodkin_schema::{EventTime, Principal};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// Answers SQL.
#[async_trait]
pub trait SqlEngine: Send + Sync {
    /// Plans and starts one read-only statement on behalf of `principal`.
    ///
    /// Safe to drop at any point: dropping the future or the answer's stream cancels the query.
    ///
    /// # Errors
    /// What is wrong with the statement, or why it cannot run now. What goes wrong later comes out of the stream.
    async fn sql(&self, principal: &Principal, query: &str) -> Result<SqlAnswer, SqlError>;

    /// Starts a search of rules over stored rows on behalf of `principal`; its answer has the columns of `findings`.
    ///
    /// Safe to drop, as [`SqlEngine::sql`].
    ///
    /// # Errors
    /// Why it cannot run; an engine that has no rules says so.
    async fn detect(&self, principal: &Principal, search: DetectSearch) -> Result<SqlAnswer, SqlError> {
        let _ = (principal, search);
        Err(SqlError::new(SqlErrorKind::Denied, "this engine runs no rules"))
    }
}

/// Rules to run over stored rows.
#[derive(Clone)]
pub struct DetectSearch {
    /// The rules, compiled.
    pub rules: Arc<RuleSet>,
    /// The files that they come from.
    pub files: Vec<RuleFile>,
    /// How many of them may fire for one event.
    pub matching: Matching,
    /// Events from then on.
    pub since: Option<EventTime>,
    /// Events before then.
    pub until: Option<EventTime>,
}

impl fmt::Debug for DetectSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectSearch").field("since", &self.since).field("until", &self.until).finish_non_exhaustive()
    }
}

/// A running query.
pub struct SqlAnswer {
    /// Schema of every batch.
    pub schema: SchemaRef,
    /// The rows as they come.
    pub batches: BoxStream<'static, Result<RecordBatch, SqlError>>,
    /// Counters of the query so far; read once more when the stream has ended.
    pub stats: Box<dyn Fn() -> SqlStats + Send + Sync>,
}

impl fmt::Debug for SqlAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlAnswer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// What a query gave and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SqlStats {
    /// Rows of the answer.
    pub rows: u64,
    /// Wall time from the arrival of the query to the last batch.
    pub elapsed_ms: f64,
    /// Bytes read from files and the tail.
    pub bytes_scanned: u64,
    /// Files that were opened.
    #[serde(default)]
    pub files_scanned: u64,
    /// Files that statistics ruled out.
    #[serde(default)]
    pub files_pruned: u64,
}

/// What the caller can do about a query that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The text is no SQL: correct it.
    Syntax,
    /// The statement does not fit the tables: a missing column, types that do not match.
    Plan,
    /// A table, view or function does not exist.
    NotFound,
    /// The statement is not allowed from outside (SQL from outside reads only).
    Denied,
    /// It needs more memory or rows than a query may have.
    Limit,
    /// It took too long.
    Timeout,
    /// Too much runs already: try again later.
    Overloaded,
    /// It started and failed by its own fault: a division by zero, a text that is no number.
    Execution,
    /// It failed by ours: storage, a bug.
    Internal,
}

impl SqlErrorKind {
    const ALL: [Self; 9] = [
        Self::Syntax,
        Self::Plan,
        Self::NotFound,
        Self::Denied,
        Self::Limit,
        Self::Timeout,
        Self::Overloaded,
        Self::Execution,
        Self::Internal,
    ];

    /// The kind with this word; none where the word is of another version or of no query.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Plan => "plan",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Execution => "execution",
            Self::Internal => "internal",
        }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What the caller can do about it.
    pub kind: SqlErrorKind,
    /// What is wrong.
    pub message: String,
    /// Line in the query, from 1.
    pub line: Option<u64>,
    /// Column in that line, in characters from 1.
    pub column: Option<u64>,
    /// What to try instead.
    pub hint: Option<String>,
}

impl SqlError {
    /// An error without a place or a hint.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), line: None, column: None, hint: None }
    }
}
