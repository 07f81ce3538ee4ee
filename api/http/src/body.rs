//! The body of an answer: batches of the engine become bytes as the client takes them.

use crate::encode::{Encoder, Format};
use crate::engine::{SqlAnswer, SqlError, SqlErrorKind, SqlStats};
use crate::error::ApiError;
use crate::metrics::HttpCounters;
use crate::sql::too_slow;
use crate::state::{AppState, Limits};
use arrow::array::RecordBatch;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

/// Trailer with the stats of the query as JSON, for formats that have no room for them. It is sent to clients that
/// say `TE: trailers`.
pub const STATS_TRAILER: &str = "bodkin-stats";

/// Trailer with an error as JSON ([`crate::ErrorDetail`]), for clients that look for it and say so by
/// [`ERRORS_HEADER`]: it ends an answer that is not whole.
pub const ERROR_TRAILER: &str = "bodkin-error";

/// Header of a request: with the value `trailer`, an error after the first rows comes as [`ERROR_TRAILER`] rather than
/// as a cut connection.
pub const ERRORS_HEADER: &str = "bodkin-errors";

/// Makes the body of an answer. Nothing runs ahead of the client: a batch is asked for when the bytes of the one
/// before are gone.
///
/// An error ends the body without its end: the connection is cut, so that a client cannot take a part for the whole.
/// Only a client that promised to look at the trailers is told there what happened.
pub(crate) struct AnswerBody {
    answer: SqlAnswer,
    /// The batch that is being written, from `offset` on.
    batch: Option<RecordBatch>,
    offset: usize,
    rows: u64,
    format: Format,
    encoder: Box<dyn Encoder>,
    stage: Stage,
    has_error_trailer: bool,
    limits: Limits,
    counters: Arc<HttpCounters>,
}

enum Stage {
    Begin,
    Rows,
    Trailers,
    End,
}

impl AnswerBody {
    pub(crate) fn new(
        answer: SqlAnswer,
        first: Option<RecordBatch>,
        format: Format,
        encoder: Box<dyn Encoder>,
        state: &AppState,
    ) -> Self {
        Self {
            answer,
            batch: first,
            offset: 0,
            rows: 0,
            format,
            encoder,
            stage: Stage::Begin,
            has_error_trailer: false,
            limits: state.limits,
            counters: state.counters.clone(),
        }
    }

    /// Tells the client of errors by trailer.
    pub(crate) fn with_error_trailer(mut self, has_error_trailer: bool) -> Self {
        self.has_error_trailer = has_error_trailer;
        self
    }

    pub(crate) fn into_body(self) -> Body {
        let counters = self.counters.clone();
        let has_error_trailer = self.has_error_trailer;
        let frames = stream::try_unfold(self, |mut body| async move {
            Ok::<_, SqlError>(body.next_frame().await?.map(|frame| (frame, body)))
        });
        // A panic of the engine while rows flow is an error of this answer alone.
        let caught = AssertUnwindSafe(frames).catch_unwind().map(move |frame| {
            let panicked = |_| Err(SqlError::new(SqlErrorKind::Internal, "the query hit a fault of ours"));
            let frame = frame.unwrap_or_else(panicked);
            if let Err(error) = &frame {
                counters.aborted.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = error.message, "answer broke off");
            }
            match frame {
                Err(error) if has_error_trailer => error_trailer(&error).ok_or(error),
                frame => frame,
            }
        });
        Body::new(StreamBody::new(caught))
    }

    async fn next_frame(&mut self) -> Result<Option<Frame<Bytes>>, SqlError> {
        let mut out = Vec::new();
        // An encoder may hold back what it is given; an empty frame would be no progress.
        while out.is_empty() {
            match self.stage {
                Stage::Begin => {
                    self.encoder.begin(&mut out).map_err(unwritable)?;
                    self.stage = Stage::Rows;
                    if self.batch.is_some() {
                        self.write_rows(&mut out)?;
                    }
                }
                Stage::Rows => {
                    if self.batch.is_none() {
                        self.batch = self.next_batch().await?;
                    }
                    self.write_rows(&mut out)?;
                }
                Stage::Trailers => {
                    self.stage = Stage::End;
                    return Ok(self.trailers().map(Frame::trailers));
                }
                Stage::End => return Ok(None),
            }
        }
        Ok(Some(Frame::data(out.into())))
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        match timeout(self.limits.query_timeout, self.answer.batches.next()).await {
            Ok(batch) => batch.transpose(),
            Err(_) => Err(too_slow(&self.limits)),
        }
    }

    /// Writes the next rows of the batch at hand, or the end of the answer where there is none.
    fn write_rows(&mut self, out: &mut Vec<u8>) -> Result<(), SqlError> {
        let Some(batch) = &self.batch else {
            self.stage = Stage::Trailers;
            let stats = self.stats();
            return self.encoder.finish(&stats, out).map_err(unwritable);
        };
        let rows = self.format.rows_at_once(batch).min(batch.num_rows() - self.offset);
        let part = batch.slice(self.offset, rows);
        self.encoder.batch(&part, out).map_err(unwritable)?;
        self.rows += rows as u64;
        self.offset += rows;
        if self.offset == batch.num_rows() {
            self.batch = None;
            self.offset = 0;
        }
        Ok(())
    }

    fn stats(&self) -> SqlStats {
        SqlStats { rows: self.rows, ..(self.answer.stats)() }
    }

    fn trailers(&self) -> Option<HeaderMap> {
        let stats = serde_json::to_string(&self.stats()).ok()?;
        let value = HeaderValue::try_from(stats).ok()?;
        Some(HeaderMap::from_iter([(HeaderName::from_static(STATS_TRAILER), value)]))
    }
}

fn error_trailer(error: &SqlError) -> Option<Frame<Bytes>> {
    let detail = serde_json::to_vec(ApiError::from(error.clone()).detail()).ok()?;
    let value = HeaderValue::from_bytes(&detail).ok()?;
    Some(Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static(ERROR_TRAILER), value)])))
}

fn unwritable(error: arrow::error::ArrowError) -> SqlError {
    SqlError::new(SqlErrorKind::Execution, format!("the answer cannot be written: {error}"))
}
