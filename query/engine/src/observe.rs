//! Telling of queries that have ended: the query log.

use crate::answer::StatsReport;
use bodkin_schema::{EventTime, Principal};
use std::fmt;

/// A query that has ended.
#[derive(Clone, Debug)]
pub struct EndedQuery {
    /// When it was asked.
    pub started: EventTime,
    /// Who asked.
    pub principal: Principal,
    /// What was asked.
    pub text: String,
    /// What it took.
    pub report: StatsReport,
    /// Why it has no whole answer.
    pub error: Option<String>,
}

/// Is told of each query once. Called where answers are made: it must not wait.
pub trait QueryObserver: Send + Sync + fmt::Debug {
    /// The query has ended: answered, failed, or dropped by who asked.
    fn ended(&self, query: EndedQuery);
}
