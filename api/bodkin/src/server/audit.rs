//! Events of APIs on their way into the log, each once.
//!
//! Senders send again what was not answered, and CloudTrail writes some records twice. An event is known by its identity
//! (Kubernetes: `auditID` and `stage`, CloudTrail: `eventID`) and by all that it says, as identities are made by others; the newest [`KNOWN_MAX`] are remembered, and after a start
//! those that came today or yesterday are read back from the table. One without identity is always new.

use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use bodkin_http::DetectionError;
use bodkin_ingest::{LocalProducer, Refusal};
use bodkin_query::QueryEngine;
use bodkin_rules::{Document, Source, audit_identity, audit_rows};
use bodkin_schema::{Clock, Principal, Stream, Tenant};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Events that are remembered; they take some 8 MiB.
const KNOWN_MAX: usize = 1 << 18;

/// Days of arrival whose events are read after a start: this one and the one before.
const READ_BACK_US: i64 = 86_400_000_000;

/// Rows of `audit` that go into one batch of the log.
const ROWS_MAX: usize = 4096;

/// Takes events of APIs. One put at a time, so that who sends an event again is not told that it is durable before it is.
pub(crate) struct AuditIntake {
    producer: LocalProducer,
    engine: Arc<QueryEngine>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    duplicates: AtomicU64,
}

/// Which events were stored lately.
#[derive(Debug, Default)]
struct Known {
    /// Tenants whose events were read back.
    tenants: HashSet<Tenant>,
    events: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Known {
    /// Says whether an event is new, and remembers it.
    fn insert(&mut self, event: u64) -> bool {
        if !self.events.insert(event) {
            return false;
        }
        self.order.push_back(event);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
        true
    }

    fn forget(&mut self, events: &[u64]) {
        let gone: HashSet<&u64> = events.iter().collect();
        self.order.retain(|event| !gone.contains(event));
        self.events.retain(|event| !gone.contains(event));
    }
}

/// What an event is known by; none where it has no identity.
fn key(tenant: &Tenant, source: Source, event: &Value) -> Option<u64> {
    let identity = audit_identity(source, event)?;
    let mut hasher = DefaultHasher::new();
    (&tenant.0, source.name(), identity, event.to_string()).hash(&mut hasher);
    Some(hasher.finish())
}

impl AuditIntake {
    pub(crate) fn new(producer: LocalProducer, engine: Arc<QueryEngine>, clock: Arc<dyn Clock>) -> Self {
        Self { producer, engine, clock, known: Mutex::default(), duplicates: AtomicU64::new(0) }
    }

    /// Events that had come before.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Stores the documents that are new; resolves when they are durable, with the number of those that are not.
    ///
    /// # Errors
    /// Where the log takes nothing. Nothing is remembered then, and some may be stored all the same.
    pub(crate) async fn store(
        &self,
        principal: &Principal,
        source: Source,
        mut documents: Vec<Document>,
    ) -> Result<u64, DetectionError> {
        let mut known = self.known.lock().await;
        if known.tenants.insert(principal.tenant.clone())
            && let Err(error) = self.read_back(principal, &mut known).await
        {
            known.tenants.remove(&principal.tenant);
            return Err(DetectionError::Overloaded(format!("stored events cannot be looked at: {error:#}")));
        }
        let count = documents.len();
        let mut new = Vec::new();
        documents.retain(|document| {
            let Some(event) = key(&principal.tenant, source, &document.value) else { return true };
            let is_new = known.insert(event);
            new.extend(is_new.then_some(event));
            is_new
        });
        let duplicates = (count - documents.len()) as u64;
        self.duplicates.fetch_add(duplicates, Ordering::Relaxed);
        let logged = self.log(&principal.tenant, source, &documents).await;
        if logged.is_err() {
            known.forget(&new);
        }
        logged.map(|()| duplicates)
    }

    async fn log(&self, tenant: &Tenant, source: Source, documents: &[Document]) -> Result<(), DetectionError> {
        let batches = documents.chunks(ROWS_MAX).map(|part| (Stream::Audit, audit_rows(source, part))).collect();
        let refused = |refusal: Refusal| DetectionError::Overloaded(format!("the log takes nothing: {refusal}"));
        for ticket in self.producer.put(tenant, batches).await.map_err(refused)? {
            ticket.await.map_err(|error| DetectionError::Overloaded(format!("the log takes nothing: {error}")))?;
        }
        Ok(())
    }

    /// Remembers what the table holds of late.
    async fn read_back(&self, principal: &Principal, known: &mut Known) -> anyhow::Result<()> {
        let since = jiff::Timestamp::from_microsecond(self.clock.now().micros().saturating_sub(READ_BACK_US))?;
        let since = since.strftime("%Y-%m-%d");
        let query = format!("SELECT source, raw FROM audit WHERE date >= DATE '{since}' LIMIT {KNOWN_MAX}");
        let answer = self.engine.sql(principal, &query).await?;
        for batch in answer.collect().await? {
            read_rows(&batch, &principal.tenant, known).context("rows of audit are not as expected")?;
        }
        Ok(())
    }
}

fn read_rows(batch: &RecordBatch, tenant: &Tenant, known: &mut Known) -> Option<()> {
    let (sources, raw) = (batch.column(0).as_string_opt::<i32>()?, batch.column(1).as_string_opt::<i32>()?);
    for (source, raw) in sources.iter().zip(raw).filter_map(|(source, raw)| source.zip(raw)) {
        let document = Source::from_name(source).zip(serde_json::from_str(raw).ok());
        let event = document.and_then(|(source, value)| key(tenant, source, &value));
        if let Some(event) = event {
            known.insert(event);
        }
    }
    Some(())
}

impl std::fmt::Debug for AuditIntake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditIntake").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_are_known() {
        let mut known = Known::default();
        assert!(known.insert(1) && !known.insert(1));
        known.forget(&[1]);
        assert!(known.insert(1));
        (2..KNOWN_MAX as u64 + 2).for_each(|event| assert!(known.insert(event)));
        assert!(!known.insert(2), "the first of the newest");
        assert!(known.insert(1), "the oldest is forgotten");
        assert_eq!((known.events.len(), known.order.len()), (KNOWN_MAX, KNOWN_MAX));
    }

    #[test]
    fn rows_are_read_back_as_they_were_keyed() {
        let documents = bodkin_rules::Documents::parse(
            Source::K8sAudit,
            br#"{"kind":"Event","auditID":"a","stage":"ResponseComplete","stageTimestamp":"2026-01-02T03:04:05Z"}"#,
        );
        let documents = documents.unwrap().documents;
        let rows = audit_rows(Source::K8sAudit, &documents);
        let rows = rows.project(&[1, 9]).unwrap();
        let mut known = Known::default();
        read_rows(&rows, &Tenant::default(), &mut known).unwrap();
        let mut event = documents[0].value.clone();
        assert_eq!(audit_identity(Source::K8sAudit, &event).unwrap(), "a/ResponseComplete");
        let key = |event: &Value| key(&Tenant::default(), Source::K8sAudit, event).unwrap();
        assert!(!known.insert(key(&event)));
        event["verb"] = "get".into();
        assert!(known.insert(key(&event)), "it says something else");
    }
}
