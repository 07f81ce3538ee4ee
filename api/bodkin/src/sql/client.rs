//! A server as a [`SqlEngine`]: one connection per query, Arrow on the wire.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use async_trait::async_trait;
use bodkin_http::encode::Format;
use bodkin_http::{
    DetectRequest, DetectSearch, ERROR_TRAILER, ERRORS_HEADER, ErrorBody, ErrorDetail, STATS_TRAILER, SqlAnswer,
    SqlEngine, SqlError, SqlErrorKind, SqlRequest, SqlStats,
};
use bodkin_schema::Principal;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, TE, USER_AGENT};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ERROR_BYTES_MAX: usize = 1 << 20;

/// A server's HTTP listener.
#[derive(Debug)]
pub(crate) struct Remote {
    url: Url,
    host: String,
    port: u16,
}

impl Remote {
    /// Reads `http://host[:port][/prefix]`; the scheme may be missing.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(crate) fn parse(server: &str) -> Result<Self, String> {
        let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let url = Url::parse(&text).map_err(|error| format!("server {server:?} is no URL: {error}"))?;
        if url.scheme() != "http" {
            return Err(format!("server {server:?} has scheme {}, only http is spoken", url.scheme()));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(format!("server {server:?} names no host")),
        };
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self { url, host, port })
    }

    /// Asks for `path` and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// Where nobody answers, or the answer breaks off.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> Result<(StatusCode, Bytes), SqlError> {
        let request = Request::get(format!("{}{path}", self.url.path().trim_end_matches('/')))
            .header(HOST, self.url.authority().rsplit('@').next().unwrap_or_default())
            .header(USER_AGENT, concat!("bodkin/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, accept)
            .body(Full::default())
            .map_err(|error| failure(format!("query cannot be sent: {error}"), None))?;
        let response = self.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| failure(format!("the answer broke off: {error}"), None))?;
        Ok((status, body.to_bytes()))
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// Where no server answers.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SqlError> {
        let unreachable = |reason: String| {
            let hint = "start a server with bodkin up, name one by --server, or read a folder by --data-dir";
            failure(format!("no server answers at {}: {reason}", self.address()), Some(hint.to_owned()))
        };
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port))).await {
            Ok(stream) => stream.map_err(|error| unreachable(error.to_string()))?,
            Err(_) => return Err(unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        let broken = |error: hyper::Error| failure(format!("server at {} broke off: {error}", self.address()), None);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its errors come out of the response and its body as well.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    /// A request for `path` below the server's URL, to be completed.
    pub(crate) fn request(&self, method: Method, path: &str) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.path().trim_end_matches('/')))
            .header(HOST, self.url.authority().rsplit('@').next().unwrap_or_default())
            .header(USER_AGENT, concat!("bodkin/", env!("CARGO_PKG_VERSION")))
    }

    fn answer_request(&self, path: &str, body: &impl Serialize) -> Result<Request<Full<Bytes>>, SqlError> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| failure(format!("query cannot be sent: {error}"), None))?;
        self.request(Method::POST, path)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, Format::ArrowStream.media_type())
            .header(TE, "trailers")
            .header(ERRORS_HEADER, "trailer")
            .body(Full::from(body))
            .map_err(|error| failure(format!("query cannot be sent: {error}"), None))
    }

    fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

#[async_trait]
impl SqlEngine for Remote {
    async fn sql(&self, _principal: &Principal, query: &str) -> Result<SqlAnswer, SqlError> {
        self.answer(self.answer_request("/api/v1/sql", &SqlRequest { query: query.to_owned() })?).await
    }

    async fn detect(&self, _principal: &Principal, search: DetectSearch) -> Result<SqlAnswer, SqlError> {
        self.answer(self.answer_request("/api/v1/detect", &DetectRequest::new(&search))?).await
    }
}

impl Remote {
    /// Sends a request that is answered with rows.
    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<SqlAnswer, SqlError> {
        let response = self.send(request).await?;
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        if content_type.as_deref() != Some(Format::ArrowStream.media_type().as_bytes()) {
            return Err(failure(format!("what answers at {} is no Bodkin server", self.address()), None));
        }
        let stats = Arc::new(Mutex::new(SqlStats::default()));
        let mut batches = Batches {
            body: response.into_body(),
            decoder: StreamDecoder::new(),
            bytes: Buffer::default(),
            stats: stats.clone(),
        };
        let (schema, first) = batches.begin().await?;
        let rest = stream::try_unfold(batches, |mut batches| async move {
            Ok(batches.next().await?.map(|batch| (batch, batches)))
        });
        let first = stream::iter(first.map(Ok));
        let read = move || *stats.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(SqlAnswer { schema, batches: first.chain(rest).boxed(), stats: Box::new(read) })
    }
}

/// The batches of a response, decoded as they arrive.
struct Batches {
    body: Incoming,
    decoder: StreamDecoder,
    bytes: Buffer,
    stats: Arc<Mutex<SqlStats>>,
}

impl Batches {
    /// Reads up to the schema; a batch may come with it.
    async fn begin(&mut self) -> Result<(SchemaRef, Option<RecordBatch>), SqlError> {
        loop {
            let batch = self.decode()?;
            if let Some(schema) = self.decoder.schema() {
                return Ok((schema, batch));
            }
            if !self.read().await? {
                return Err(failure("the answer ended before its schema", None));
            }
        }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        loop {
            if let Some(batch) = self.decode()? {
                return Ok(Some(batch));
            }
            if !self.read().await? {
                self.decoder.finish().map_err(|error| failure(format!("the answer is cut: {error}"), None))?;
                return Ok(None);
            }
        }
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        while !self.bytes.is_empty() {
            let decoded = self.decoder.decode(&mut self.bytes);
            if let Some(batch) = decoded.map_err(|error| failure(format!("the answer is malformed: {error}"), None))? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Takes the next frame; false at the end of the body.
    async fn read(&mut self) -> Result<bool, SqlError> {
        let Some(frame) = self.body.frame().await else { return Ok(false) };
        let frame = frame.map_err(|error| {
            let hint = "the log of the server says why";
            failure(format!("the answer broke off: {error}"), Some(hint.to_owned()))
        })?;
        match frame.into_data() {
            Ok(data) => self.bytes = Buffer::from(data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.read_trailers(&trailers)?;
                }
            }
        }
        Ok(true)
    }

    fn read_trailers(&mut self, trailers: &HeaderMap) -> Result<(), SqlError> {
        if let Some(error) = trailers.get(ERROR_TRAILER) {
            return Err(match serde_json::from_slice::<ErrorDetail>(error.as_bytes()) {
                Ok(detail) => sql_error(detail),
                Err(_) => failure("the query failed after its first rows", None),
            });
        }
        // Stats are for information: without them the answer is as good.
        let stats = trailers.get(STATS_TRAILER).and_then(|stats| serde_json::from_slice(stats.as_bytes()).ok());
        if let Some(stats) = stats {
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        }
        Ok(())
    }
}

/// Reads the error of a response that is no answer.
pub(super) async fn refusal(response: Response<Incoming>) -> SqlError {
    let status = response.status();
    let body = match Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failure(format!("server answered {status} and broke off: {error}"), None),
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => sql_error(body.error),
        Err(_) => {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            failure(format!("server answered {status}: {text}"), None)
        }
    }
}

fn sql_error(detail: ErrorDetail) -> SqlError {
    let kind = SqlErrorKind::from_code(&detail.code).unwrap_or(SqlErrorKind::Internal);
    SqlError { kind, message: detail.message, line: detail.line, column: detail.column, hint: detail.hint }
}

fn failure(message: impl Into<String>, hint: Option<String>) -> SqlError {
    SqlError { hint, ..SqlError::new(SqlErrorKind::Internal, message) }
}
