//! Newtypes for the ids that cross a crate boundary.

use std::fmt;
use std::sync::Arc;

/// Number of a batch within its [`Lane`], counted from 1 and fixed when the batch is spooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// One life of a producer: microseconds since the epoch at its start, so that a later life is a larger number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Number of an epoch of one node, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that follows this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A place in the write-ahead log: bytes written before it since the log began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Who sends: `<host_id>/<class>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer(pub Arc<str>);

impl Producer {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Producer {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sequence number counts in: one producer's one life on one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Who sends.
    pub producer: Producer,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Name of the stream.
    pub stream: Arc<str>,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.producer, self.incarnation.0, self.stream)
    }
}

/// Whose rows they are. Today there is one, [`Tenant::default`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub Arc<str>);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// On whose behalf a request, a Flight call or a query runs. Made by one hook per listener, never by a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Whose rows are visible (ISO-1).
    pub tenant: Tenant,
    /// Name for the query log; empty where nobody logged in.
    pub name: Arc<str>,
}
