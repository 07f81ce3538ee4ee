//! Priorities of rules and sources of events.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad it is when a rule fires, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// The system is unusable.
    Emergency,
    /// Act at once.
    Alert,
    /// Critical.
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Normal but significant.
    Notice,
    /// Of interest.
    Informational,
    /// For debugging.
    Debug,
}

impl Priority {
    /// Every priority and its name.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Emergency, "Emergency"),
        (Self::Alert, "Alert"),
        (Self::Critical, "Critical"),
        (Self::Error, "Error"),
        (Self::Warning, "Warning"),
        (Self::Notice, "Notice"),
        (Self::Informational, "Informational"),
        (Self::Debug, "Debug"),
    ];

    /// As Falco writes it in its output.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Reads a priority in any case; `info` is `informational`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case("info") { "informational" } else { name };
        Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(priority, _)| *priority)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the events of a rule come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Kernel events.
    Syscall,
    /// Kubernetes audit events.
    K8sAudit,
    /// Records of AWS CloudTrail.
    AwsCloudtrail,
    /// Any other JSON documents.
    Json,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 4] = [Self::Syscall, Self::K8sAudit, Self::AwsCloudtrail, Self::Json];

    /// The name in rule files and findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::K8sAudit => "k8s_audit",
            Self::AwsCloudtrail => "aws_cloudtrail",
            Self::Json => "json",
        }
    }

    /// The key under which a document of the source says its identity; none for kernel events.
    pub(crate) fn id_key(self) -> Option<&'static str> {
        match self {
            Self::Syscall => None,
            Self::K8sAudit => Some("auditID"),
            Self::AwsCloudtrail => Some("eventID"),
            Self::Json => Some("id"),
        }
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
