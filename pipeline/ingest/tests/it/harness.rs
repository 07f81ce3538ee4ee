//! A server with only DoPut, a client, and rows to send.

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use bodkin_ingest::{
    Downstream, IngestLimits, IngestService, IngestedBatch, PutAck, PutMetadata, ReplayReport, flight_put,
};
use bodkin_schema::{Position, Principal, Stream, SystemClock};
use bodkin_wal::ipc::encode;
use bodkin_wal::{Compression, IpcMessage, Wal, WalOptions};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Keeps what is handed over.
#[derive(Default)]
pub(crate) struct Collected(Mutex<Vec<IngestedBatch>>);

impl Downstream for Collected {
    fn push(&self, batch: IngestedBatch) {
        self.0.lock().unwrap().push(batch);
    }
}

impl Collected {
    pub(crate) fn batches(&self) -> Vec<IngestedBatch> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.batches().iter().map(|batch| batch.seq.0).collect()
    }
}

pub(crate) struct Server {
    pub(crate) service: Arc<IngestService>,
    pub(crate) collected: Arc<Collected>,
    pub(crate) report: ReplayReport,
    pub(crate) address: String,
    pub(crate) client: FlightServiceClient<Channel>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, IngestLimits::default()).await
    }

    pub(crate) async fn start_with(dir: &Path, limits: IngestLimits) -> Self {
        let clock = Arc::new(SystemClock::default());
        let wal = Arc::new(Wal::open(dir, WalOptions::default(), clock.clone()).unwrap());
        let collected = Arc::new(Collected::default());
        let service = IngestService::new(wal, clock, limits, collected.clone());
        let report = service.replay(Position(0), []).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let flight =
            FlightServiceServer::new(OnlyPut(service.clone())).max_decoding_message_size(limits.message_bytes_max());
        let serving = tonic::transport::Server::builder()
            .add_service(flight)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        let address = format!("http://{address}");
        let client = connect(address.clone()).await;
        Self { service, collected, report, address, client, task }
    }

    pub(crate) async fn put(&self, messages: Vec<FlightData>) -> Answers {
        put(self.client.clone(), messages).await
    }

    /// Ends everything and closes the log.
    pub(crate) async fn stop(self) {
        self.task.abort();
        self.task.await.ok();
        drop(self.client);
        self.service.wal().close();
        // Sessions end when their connection is gone; the lock of the log is free when the last of them is.
        let deadline = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&self.service) > 1 {
            assert!(Instant::now() < deadline, "a session outlives its connection");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(crate) async fn connect(address: String) -> FlightServiceClient<Channel> {
    let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
    FlightServiceClient::new(channel).max_encoding_message_size(256 << 20)
}

/// What a put was answered.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) acks: Vec<PutAck>,
    pub(crate) error: Option<Status>,
}

impl Answers {
    pub(crate) fn acked(&self) -> Vec<u64> {
        self.acks.iter().map(|ack| ack.acked_seq).collect()
    }

    /// One answer for each batch; each covers its batch, and may cover later ones that the same sync made durable.
    pub(crate) fn assert_acked(&self, sent: &[u64]) {
        assert!(self.error.is_none(), "{self:?}");
        let acked = self.acked();
        assert_eq!(acked.len(), sent.len(), "{acked:?}");
        assert!(acked.is_sorted() && acked.iter().zip(sent).all(|(acked, sent)| acked >= sent), "{acked:?}");
        assert!(acked.last() <= sent.iter().max(), "{acked:?}");
    }

    pub(crate) fn refusal(&self) -> (tonic::Code, &str) {
        let error = self.error.as_ref().expect("a refusal");
        (error.code(), error.message())
    }
}

pub(crate) async fn put(mut client: FlightServiceClient<Channel>, messages: Vec<FlightData>) -> Answers {
    let mut answers = Answers { acks: Vec::new(), error: None };
    let mut results = match client.do_put(stream::iter(messages)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Answers { error: Some(status), ..answers },
    };
    while let Some(result) = results.next().await {
        match result {
            Ok(PutResult { app_metadata }) => answers.acks.push(serde_json::from_slice(&app_metadata).unwrap()),
            Err(status) => answers.error = Some(status),
        }
    }
    answers
}

/// The messages of a put: the schema, then each numbered batch with its dictionaries.
pub(crate) fn messages(stream: &str, batches: &[(u64, RecordBatch)], compression: Compression) -> Vec<FlightData> {
    let mut messages = Vec::new();
    for (seq, records) in batches {
        let frame = encode(records, compression).unwrap();
        if messages.is_empty() {
            let descriptor = FlightDescriptor::new_path(vec![stream.to_owned()]);
            messages.push(FlightData { flight_descriptor: Some(descriptor), ..data(frame.schema) });
        }
        messages.extend(frame.dictionaries.into_iter().map(data));
        messages.push(FlightData { app_metadata: metadata(*seq), ..data(frame.batch) });
    }
    messages
}

pub(crate) fn metadata(seq: u64) -> bytes::Bytes {
    let metadata = PutMetadata { producer: "host/metrics".into(), incarnation: 7, seq };
    serde_json::to_vec(&metadata).unwrap().into()
}

fn data(message: IpcMessage) -> FlightData {
    FlightData { data_header: message.header, data_body: message.body, ..FlightData::default() }
}

/// A put of samples with those numbers, ten rows each.
pub(crate) fn samples_put(seqs: impl IntoIterator<Item = u64>) -> Vec<FlightData> {
    let batches: Vec<_> = seqs.into_iter().map(|seq| (seq, samples(10, seq as i64))).collect();
    messages("samples", &batches, Compression::None)
}

pub(crate) fn samples(count: usize, first: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + count as i64));
    let ts = TimestampMicrosecondArray::from_iter_values(0..count as i64).with_timezone("UTC");
    let values = Float64Array::from_iter_values((0..count).map(|row| row as f64));
    let columns: Vec<ArrayRef> = vec![ids.clone(), ids, Arc::new(ts), Arc::new(values)];
    RecordBatch::try_new(Stream::Samples.schema(), columns).unwrap()
}

/// Drops whose texts are dictionaries.
pub(crate) fn drops(count: usize, label: &str) -> RecordBatch {
    let text = |column: &str| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        (0..count).for_each(|row| builder.append_value(format!("{label} {column} {}", row % 3)));
        Arc::new(builder.finish())
    };
    let ts = TimestampMicrosecondArray::from_iter_values(0..count as i64).with_timezone("UTC");
    let counts = Int64Array::from_iter_values(0..count as i64);
    let columns: Vec<ArrayRef> = vec![Arc::new(ts), text("producer"), text("class"), text("reason"), Arc::new(counts)];
    let fields = Stream::Drops
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()))
        .collect::<Vec<Field>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The texts of a column, whatever its form.
pub(crate) fn texts(records: &RecordBatch, column: &str) -> Vec<String> {
    let plain = arrow::compute::cast(records.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    let plain = plain.as_any().downcast_ref::<StringArray>().unwrap();
    plain.iter().map(|text| text.unwrap().to_owned()).collect()
}

struct OnlyPut(Arc<IngestService>);

type Answer<T> = Result<Response<T>, Status>;

fn none<T>() -> Answer<T> {
    Err(Status::unimplemented("this server takes puts only"))
}

#[tonic::async_trait]
impl FlightService for OnlyPut {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        Ok(flight_put(&self.0, Principal::default(), request))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        none()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        none()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        none()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        none()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        none()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answer<Self::DoGetStream> {
        none()
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<Self::DoActionStream> {
        none()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        none()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        none()
    }
}
