//! Detection: the rules that run, what they find, and the events of APIs that come in for them.

mod audit;
mod cursor;
mod findings;
mod live;
mod rules;
mod search;

pub use audit::AuditResponse;
pub(crate) use audit::{__path_cloudtrail, __path_k8s_audit, cloudtrail, k8s_audit};
pub use findings::FindingsResponse;
pub(crate) use findings::{__path_findings, findings};
pub(crate) use live::{__path_live, live};
pub(crate) use rules::{__path_list, __path_reload, list, reload};
pub use rules::{ReloadResponse, RuleMessage};
pub use search::DetectRequest;
pub(crate) use search::{__path_detect, detect};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bodkin_rules::{Document, Matching, Report, RuleFile, RuleSet, Source};
use bodkin_schema::{Principal, Tenant};
use std::fmt;
use std::sync::Arc;
use tokio::sync::broadcast;

/// The rules that a process runs.
#[derive(Clone)]
pub struct RunningRules {
    /// The files.
    pub files: Arc<Vec<RuleFile>>,
    /// What they compile to.
    pub rules: Arc<RuleSet>,
    /// How many of them may fire for one event.
    pub matching: Matching,
}

impl fmt::Debug for RunningRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningRules").field("rules", &self.rules.rules().len()).finish_non_exhaustive()
    }
}

/// Findings as they are made.
#[derive(Clone, Debug)]
pub struct LiveFindings {
    /// Whose they are.
    pub tenant: Tenant,
    /// Rows of `findings`.
    pub rows: RecordBatch,
}

/// Detection of the process that serves.
#[async_trait]
pub trait Detection: Send + Sync {
    /// The rules that run now.
    fn rules(&self) -> RunningRules;

    /// Reads the configured rule files again. Where they have an error, the rules that run stay.
    ///
    /// # Errors
    /// Why the files cannot be read, or the new rules cannot be put into force.
    async fn reload(&self) -> Result<Report, DetectionError>;

    /// Findings from now on, of all tenants.
    fn live(&self) -> broadcast::Receiver<Arc<LiveFindings>>;

    /// Stores documents as rows of `audit`, where the rules see them; resolves when they are durable, with the number of
    /// those that had come before and are not stored again.
    ///
    /// # Errors
    /// Why they are not stored.
    async fn store(
        &self,
        principal: &Principal,
        source: Source,
        documents: Vec<Document>,
    ) -> Result<u64, DetectionError>;

    /// Name of the host, which findings have that happen on none.
    fn hostname(&self) -> &str;
}

/// Why detection did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectionError {
    /// The files cannot be read.
    #[error("{0}")]
    Files(String),
    /// Too much is on its way; the sender should come again.
    #[error("{0}")]
    Overloaded(String),
    /// It failed by our fault.
    #[error("{0}")]
    Internal(String),
}

/// A process without rules: it finds nothing and takes no events of APIs.
#[derive(Debug)]
pub struct NoDetection {
    findings: broadcast::Sender<Arc<LiveFindings>>,
}

impl Default for NoDetection {
    fn default() -> Self {
        Self { findings: broadcast::Sender::new(1) }
    }
}

#[async_trait]
impl Detection for NoDetection {
    fn rules(&self) -> RunningRules {
        let rules = RuleSet::load(&[], &bodkin_rules::Options::default()).0;
        let rules = rules.expect("invariant: no files have no error");
        RunningRules { files: Arc::default(), rules: Arc::new(rules), matching: Matching::First }
    }

    async fn reload(&self) -> Result<Report, DetectionError> {
        Err(DetectionError::Files("this process has no rule files".to_owned()))
    }

    fn live(&self) -> broadcast::Receiver<Arc<LiveFindings>> {
        self.findings.subscribe()
    }

    async fn store(&self, _: &Principal, source: Source, _: Vec<Document>) -> Result<u64, DetectionError> {
        Err(DetectionError::Internal(format!("this process takes no events of source {source}")))
    }

    fn hostname(&self) -> &str {
        ""
    }
}

impl From<DetectionError> for crate::ApiError {
    fn from(error: DetectionError) -> Self {
        use axum::http::{HeaderValue, StatusCode, header};
        let message = error.to_string();
        match error {
            DetectionError::Files(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rule_files", message)
                .hint("the rules that ran before go on"),
            DetectionError::Overloaded(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            DetectionError::Internal(_) => Self::internal(message),
        }
    }
}
