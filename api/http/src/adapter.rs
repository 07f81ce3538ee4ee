//! Bodkin's own engine as a [`SqlEngine`].

use crate::engine::{DetectSearch, SqlAnswer, SqlEngine, SqlError, SqlErrorKind, SqlStats};
use async_trait::async_trait;
use bodkin_query::{Answer, QueryEngine, QueryError, Search};
use bodkin_schema::Principal;
use futures::StreamExt;

#[async_trait]
impl SqlEngine for QueryEngine {
    async fn sql(&self, principal: &Principal, query: &str) -> Result<SqlAnswer, SqlError> {
        Ok(answered(QueryEngine::sql(self, principal, query).await?))
    }

    async fn detect(&self, principal: &Principal, search: DetectSearch) -> Result<SqlAnswer, SqlError> {
        let DetectSearch { rules, matching, since, until, .. } = search;
        Ok(answered(QueryEngine::detect(self, principal, Search { rules, matching, since, until }).await?))
    }
}

fn answered(answer: Answer) -> SqlAnswer {
    let stats = answer.stats;
    let read = move || {
        let report = stats.report();
        SqlStats {
            rows: report.rows,
            elapsed_ms: report.elapsed_ms,
            bytes_scanned: report.bytes_scanned,
            files_scanned: report.files_scanned,
            files_pruned: report.files_pruned,
        }
    };
    let batches = answer.stream.map(|batch| batch.map_err(SqlError::from)).boxed();
    SqlAnswer { schema: answer.schema, batches, stats: Box::new(read) }
}

impl From<QueryError> for SqlError {
    fn from(error: QueryError) -> Self {
        // Both enums name a kind by the word that stands in answers.
        let kind = SqlErrorKind::from_code(error.kind.code()).unwrap_or(SqlErrorKind::Internal);
        Self { kind, message: error.message, line: error.line, column: error.column, hint: error.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_query::ErrorKind;

    #[test]
    fn every_kind_of_the_engine_keeps_its_word() {
        let kinds = [
            ErrorKind::Syntax,
            ErrorKind::Plan,
            ErrorKind::NotFound,
            ErrorKind::Denied,
            ErrorKind::Limit,
            ErrorKind::Timeout,
            ErrorKind::Execution,
            ErrorKind::Internal,
        ];
        for kind in kinds {
            let error = SqlError::from(QueryError::new(kind, "m").with_hint("h"));
            assert_eq!((error.kind.code(), error.hint.as_deref()), (kind.code(), Some("h")));
        }
    }
}
