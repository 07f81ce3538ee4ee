//! The built-in streams. A stream is what flows; the table of the same name is where it comes to rest.

use crate::{audit, dataflow, drops, events, findings, flow_rollup, flows, metrics, queries, rollup};
use arrow_schema::SchemaRef;
use std::fmt;

/// How soon a row is shed under pressure: the last class goes first (design: security > audit > metrics > debug).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Kernel events, findings and the account of what was lost.
    Security,
    /// Actions of users and APIs.
    Audit,
    /// Samples and series.
    Metrics,
    /// Everything else.
    Debug,
}

impl Class {
    /// Every class, the one that is kept longest first.
    pub const ALL: [Self; 4] = [Self::Security, Self::Audit, Self::Metrics, Self::Debug];

    /// The name in producers, folders, metrics and `drops.class`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Audit => "audit",
            Self::Metrics => "metrics",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A built-in stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// One kernel event with its process and container.
    Events,
    /// One labelled series.
    Series,
    /// One float sample of a series.
    Samples,
    /// Rows that were lost or shed.
    Drops,
    /// One native histogram sample of a series.
    Histograms,
    /// One rule that fired.
    Findings,
    /// One action of a user or an API.
    Audit,
    /// One query that was asked.
    Queries,
    /// One network conversation per interval.
    Flows,
    /// One partial result of a window operator.
    Windows,
    /// One answer of a scheduled query of an alert rule.
    Evaluations,
    /// One change of an alert's state.
    Alerts,
    /// One delivery that ended.
    Deliveries,
    /// A series over a minute.
    Rollup1m,
    /// A series over ten minutes.
    Rollup10m,
    /// A series over an hour.
    Rollup1h,
    /// A series over a UTC day.
    Rollup1d,
    /// Conversations with a service over a minute.
    Flows1m,
    /// Conversations with a service over ten minutes.
    Flows10m,
    /// Conversations with a service over an hour.
    Flows1h,
    /// Conversations with a service over a UTC day.
    Flows1d,
}

impl Stream {
    /// Every built-in stream.
    pub const ALL: [Self; 21] = [
        Self::Events,
        Self::Series,
        Self::Samples,
        Self::Drops,
        Self::Histograms,
        Self::Findings,
        Self::Audit,
        Self::Queries,
        Self::Flows,
        Self::Windows,
        Self::Evaluations,
        Self::Alerts,
        Self::Deliveries,
        Self::Rollup1m,
        Self::Rollup10m,
        Self::Rollup1h,
        Self::Rollup1d,
        Self::Flows1m,
        Self::Flows10m,
        Self::Flows1h,
        Self::Flows1d,
    ];

    /// The name on the wire and of the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Series => "series",
            Self::Samples => "samples",
            Self::Drops => "drops",
            Self::Histograms => "histograms",
            Self::Findings => "findings",
            Self::Audit => "audit",
            Self::Queries => "queries",
            Self::Flows => "flows",
            Self::Windows => "windows",
            Self::Evaluations => "evaluations",
            Self::Alerts => "alerts",
            Self::Deliveries => "deliveries",
            Self::Rollup1m => "rollup_1m",
            Self::Rollup10m => "rollup_10m",
            Self::Rollup1h => "rollup_1h",
            Self::Rollup1d => "rollup_1d",
            Self::Flows1m => "flows_1m",
            Self::Flows10m => "flows_10m",
            Self::Flows1h => "flows_1h",
            Self::Flows1d => "flows_1d",
        }
    }

    /// The stream of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// Whether a server makes its rows itself. Nobody sends them: a row of `deliveries` from outside would silence an
    /// alert, one of `windows` would change an answer.
    pub fn is_made(self) -> bool {
        match self {
            Self::Findings | Self::Queries | Self::Windows | Self::Evaluations | Self::Alerts | Self::Deliveries => {
                true
            }
            Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d => true,
            Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d => true,
            Self::Events
            | Self::Series
            | Self::Samples
            | Self::Drops
            | Self::Histograms
            | Self::Audit
            | Self::Flows => false,
        }
    }

    /// Whether its rows are made from the table of another stream, and none flow.
    pub fn is_derived(self) -> bool {
        let is_rollup = matches!(self, Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d);
        is_rollup || matches!(self, Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d)
    }

    /// The newest schema, as rows are seen in SQL: plain types, no dictionaries. On the wire every Utf8 column may
    /// be a dictionary of Utf8 with Int32 keys.
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Events => events::schema(),
            Self::Series => metrics::series_schema(),
            Self::Samples => metrics::samples_schema(),
            Self::Drops => drops::schema(),
            Self::Histograms => metrics::histograms_schema(),
            Self::Findings => findings::schema(),
            Self::Audit => audit::schema(),
            Self::Queries => queries::schema(),
            Self::Flows => flows::schema(),
            Self::Windows => dataflow::windows_schema(),
            Self::Evaluations => dataflow::evaluations_schema(),
            Self::Alerts => dataflow::alerts_schema(),
            Self::Deliveries => dataflow::deliveries_schema(),
            Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d => rollup::schema(),
            Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d => flow_rollup::schema(),
        }
    }

    /// The columns that files are sorted by, ascending (ORDER-1). None of them is ever null.
    pub fn sort_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &[events::CONTAINER_ID, events::TS],
            Self::Series => &[metrics::METRIC_ID, metrics::SERIES_ID],
            Self::Samples | Self::Histograms | Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d => {
                &[metrics::METRIC_ID, metrics::SERIES_ID, metrics::TS]
            }
            Self::Drops => &[drops::PRODUCER, drops::TS],
            Self::Findings => &[findings::RULE, findings::TS],
            Self::Audit => &[audit::ACTOR, audit::TS],
            Self::Queries => &[queries::PRINCIPAL, queries::TS],
            Self::Flows => &[flows::CONTAINER_ID, flows::TS],
            Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d => {
                &[flow_rollup::CONTAINER_ID, flow_rollup::TS]
            }
            Self::Windows => &[dataflow::OPERATOR, dataflow::TS],
            Self::Evaluations | Self::Alerts => &[dataflow::RULE, dataflow::TS],
            Self::Deliveries => &[dataflow::CHANNEL, dataflow::TS],
        }
    }

    /// The event-time column, if rows have one.
    pub fn time_column(self) -> Option<&'static str> {
        match self {
            Self::Events => Some(events::TS),
            Self::Series => None,
            Self::Samples | Self::Histograms => Some(metrics::TS),
            Self::Drops => Some(drops::TS),
            Self::Findings => Some(findings::TS),
            Self::Audit => Some(audit::TS),
            Self::Queries => Some(queries::TS),
            Self::Flows => Some(flows::TS),
            Self::Windows | Self::Evaluations | Self::Alerts | Self::Deliveries => Some(dataflow::TS),
            Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d => Some(rollup::TS),
            Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d => Some(flow_rollup::TS),
        }
    }

    /// The shedding class of its rows.
    pub fn class(self) -> Class {
        match self {
            Self::Events | Self::Drops | Self::Findings | Self::Alerts | Self::Deliveries => Class::Security,
            Self::Audit => Class::Audit,
            Self::Series | Self::Samples | Self::Histograms | Self::Flows | Self::Windows | Self::Evaluations => {
                Class::Metrics
            }
            Self::Rollup1m | Self::Rollup10m | Self::Rollup1h | Self::Rollup1d => Class::Metrics,
            Self::Flows1m | Self::Flows10m | Self::Flows1h | Self::Flows1d => Class::Metrics,
            Self::Queries => Class::Debug,
        }
    }

    /// What one row is, for `information_schema` and docs.
    pub fn comment(self) -> &'static str {
        match self {
            Self::Events => "one kernel event (exec, exit, open, connect, ...) with its process and container",
            Self::Series => "a labelled series",
            Self::Samples => "one float sample of a series",
            Self::Drops => "rows that were lost or shed, by class and reason",
            Self::Histograms => "one native histogram sample of a series",
            Self::Findings => "one rule that fired for one event",
            Self::Audit => "one action of a user or an API, as Kubernetes and cloud trails record it",
            Self::Queries => "one query that was asked",
            Self::Flows => "one network conversation per interval: bytes, packets, latency, process and container",
            Self::Windows => "one partial result of a window operator",
            Self::Evaluations => "one answer of a scheduled query of an alert rule",
            Self::Alerts => "one change of an alert's state",
            Self::Deliveries => "one delivery that ended: sent, or given up",
            Self::Rollup1m => "the samples of a series over a minute",
            Self::Rollup10m => "the samples of a series over ten minutes",
            Self::Rollup1h => "the samples of a series over an hour",
            Self::Rollup1d => "the samples of a series over a UTC day",
            Self::Flows1m => "the conversations of a process with a service over a minute",
            Self::Flows10m => "the conversations of a process with a service over ten minutes",
            Self::Flows1h => "the conversations of a process with a service over an hour",
            Self::Flows1d => "the conversations of a process with a service over a UTC day",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_columns_exist_and_are_never_null() {
        for stream in Stream::ALL {
            for column in stream.sort_columns().iter().chain(stream.time_column().iter()) {
                let schema = stream.schema();
                let field = schema.field_with_name(column).unwrap();
                assert!(!field.is_nullable(), "{stream}.{column} is a sort column and may be null");
            }
        }
    }

    #[test]
    fn every_column_has_a_comment() {
        for stream in Stream::ALL {
            for field in stream.schema().fields() {
                assert!(field.metadata().contains_key(crate::COMMENT), "{stream}.{} has no comment", field.name());
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for stream in Stream::ALL {
            assert_eq!(Stream::from_name(stream.name()), Some(stream));
        }
        assert_eq!(Stream::from_name("nothing"), None);
    }
}
