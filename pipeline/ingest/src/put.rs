//! One put: the gRPC side. Messages are read by a task of their own, so that reading goes on while earlier batches
//! are on their way to the disk; acknowledgements leave in the order in which batches came.
//!
//! ```text
//!  messages --> session task --> verify, decode, log        (at most credit_bytes without an answer)
//!                    |
//!                    +-- promises, in order --> answers: waits for each --> PutResult
//! ```

use crate::session::{Promise, Session};
use crate::{IngestService, Refusal};
use arrow_flight::{FlightData, PutResult};
use bodkin_schema::Principal;
use futures::Stream;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

/// Promises that wait to be kept; each holds a batch's bytes of the stream's credit besides.
const PROMISES_MAX: usize = 256;

/// Answers of one put.
pub type PutStream = BoxStream<'static, Result<PutResult, Status>>;

/// What stands in `app_metadata` of each batch, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutMetadata {
    /// Who sends: `<host_id>/<class>`.
    pub producer: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// Number of the batch in its lane, from 1.
    pub seq: u64,
}

/// What stands in `app_metadata` of each answer, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutAck {
    /// Up to here all batches of the lane are durable or were shed.
    pub acked_seq: u64,
    /// Bytes that the sender may have unacknowledged on this stream from now on.
    pub credit_bytes: u64,
}

/// Serves a put of a gRPC server.
pub fn flight_put(
    service: &Arc<IngestService>,
    principal: Principal,
    request: Request<Streaming<FlightData>>,
) -> Response<PutStream> {
    Response::new(do_put(service, principal, request.into_inner()))
}

/// Serves a put from any stream of messages, the first one included (where it was peeked at, chain it). Each answer is
/// one batch that is durable and was handed over, in the order in which they came. A refusal is the last item.
/// Dropping the answers ends the put; what was already given to the log still becomes durable. Needs a tokio runtime.
pub fn do_put(
    service: &Arc<IngestService>,
    principal: Principal,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> PutStream {
    let (session, answers) = put_parts(service, principal, messages);
    tokio::spawn(session);
    answers
}

/// As [`do_put`], for a caller that runs the reading side itself; it may be dropped like the answers.
pub fn put_parts(
    service: &Arc<IngestService>,
    principal: Principal,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> (impl Future<Output = ()> + Send + 'static, PutStream) {
    let (promises, answers) = mpsc::channel(PROMISES_MAX);
    service.counters.stream();
    let session = Session::new(service.clone(), principal, promises);
    (session.run(messages), Box::pin(futures::stream::unfold(Some((service.clone(), answers)), answer)))
}

type Answers = (Arc<IngestService>, mpsc::Receiver<Promise>);

async fn answer(state: Option<Answers>) -> Option<(Result<PutResult, Status>, Option<Answers>)> {
    let (service, mut answers) = state?;
    let refusal = match answers.recv().await? {
        Promise::Batch(batch) => match batch.kept().await {
            Ok(key) => {
                let acked_seq = service.lanes.durable(&key).0;
                let ack = PutAck { acked_seq, credit_bytes: service.credit_bytes() };
                return Some((Ok(result(ack)), Some((service, answers))));
            }
            Err(refusal) => refusal,
        },
        Promise::Refused(refusal) => refusal,
        // The sender's side failed; it is told what it told us.
        Promise::Broken(status) => return Some((Err(status), None)),
    };
    service.counters.refused(&refusal);
    tracing::debug!(%refusal, "put refused");
    Some((Err(Refusal::into(refusal)), None))
}

fn result(ack: PutAck) -> PutResult {
    let json = serde_json::to_vec(&ack).expect("invariant: two numbers always serialize");
    PutResult { app_metadata: json.into() }
}
