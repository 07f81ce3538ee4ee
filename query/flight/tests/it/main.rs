//! The service behind a real listener, asked by a Flight SQL client and by a plain Flight client.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop where something is wrong, as tests do")]

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo};
use arrow_flight::{FlightClient, FlightDescriptor, FlightInfo, Ticket};
use async_trait::async_trait;
use bodkin_engine::{Batch, Sink};
use bodkin_flight::SqlService;
use bodkin_query::{Catalog, CatalogError, QueryEngine, QueryOptions};
use bodkin_schema::{Principal, Stream, SystemClock, Tenant, drops};
use bodkin_table::{Snapshot, TableSnapshot, Tables};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::sync::Arc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

#[derive(Debug)]
struct Memory(Tables);

#[async_trait]
impl Catalog for Memory {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, CatalogError> {
        Ok(self.0.snapshot())
    }

    async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<Arc<TableSnapshot>, CatalogError> {
        Err(CatalogError::NoSuchVersion { stream, version })
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.0.store().clone()
    }
}

fn drop_rows(reason: &str, rows: usize) -> RecordBatch {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows as i64).with_timezone("UTC")),
        text("h/security"),
        text("security"),
        text(reason),
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
    ];
    RecordBatch::try_new(drops::schema(), columns).unwrap()
}

/// A listener over `drops` with three rows of tenant `a` and one of tenant `b`; header `tenant` names the principal's.
async fn listen() -> Channel {
    let tables =
        Tables::open(Arc::new(InMemory::new()), "memory:///".parse().unwrap(), "n", Arc::new(SystemClock::default()));
    let tables = tables.await.unwrap();
    for (tenant, reason, rows) in [("a", "ring_full", 3), ("b", "spool_full", 1)] {
        let mut batch = Batch::made("drops", drop_rows(reason, rows));
        batch.tenant = Tenant(tenant.into());
        tables.write(batch);
    }
    let engine = QueryEngine::new(Arc::new(Memory(tables)), QueryOptions::default()).unwrap();
    let service = SqlService::new(
        Arc::new(engine),
        Arc::new(|metadata, _| {
            let tenant = metadata.get("tenant").and_then(|tenant| tenant.to_str().ok());
            let tenant = tenant.ok_or_else(|| Status::unauthenticated("no tenant"))?;
            Ok(Principal { tenant: Tenant(tenant.into()), ..Principal::default() })
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        Server::builder().add_service(service.into_server()).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn sql_client(tenant: &str) -> FlightSqlServiceClient<Channel> {
    let mut client = FlightSqlServiceClient::new(listen().await);
    client.set_header("tenant", tenant);
    client
}

async fn plain_client(tenant: &str) -> FlightClient {
    let mut client = FlightClient::new(listen().await);
    client.add_header("tenant", tenant).unwrap();
    client
}

async fn fetch(client: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> Vec<RecordBatch> {
    let described = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert!(batches.iter().all(|batch| *batch.schema() == described), "the answer has the schema of its description");
    batches
}

fn code(error: FlightError) -> (Code, String) {
    match error {
        FlightError::Tonic(status) => (status.code(), status.message().to_owned()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn statements_are_answered() {
    let mut client = sql_client("a").await;
    for text in [
        "SELECT reason, count FROM drops ORDER BY count",
        "SELECT reason, count FROM drops UNION ALL SELECT 'x', 1.5",
        "SELECT arrow_cast(reason, 'Utf8View') v, array_agg(class) l FROM drops GROUP BY 1",
        "EXPLAIN SELECT count(*) FROM drops",
        "SHOW TABLES",
        "DESCRIBE drops",
    ] {
        let info = client.execute(text.to_owned(), None).await.unwrap();
        let batches = fetch(&mut client, info).await;
        assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() > 0, "{text}");
        let types = batches[0].schema();
        assert!(types.fields().iter().all(|field| field.data_type() != &DataType::Utf8View), "{text}");
    }
}

#[tokio::test]
async fn prepared_statements_are_answered_more_than_once() {
    let mut client = sql_client("a").await;
    let mut prepared = client.prepare("SELECT sum(count) AS n FROM drops".to_owned(), None).await.unwrap();
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
    for _ in 0..2 {
        let info = prepared.execute().await.unwrap();
        let batches = fetch(&mut client, info).await;
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 3);
    }
    prepared.close().await.unwrap();
}

#[tokio::test]
async fn metadata_is_there() {
    let mut client = sql_client("a").await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(fetch(&mut client, info).await[0].column(0).as_string::<i32>().value(0), "bodkin");
    let wanted = CommandGetTables {
        table_name_filter_pattern: Some("dr%".to_owned()),
        include_schema: true,
        ..Default::default()
    };
    let info = client.get_tables(wanted).await.unwrap();
    let tables = fetch(&mut client, info).await;
    assert_eq!((tables[0].num_rows(), tables[0].column(2).as_string::<i32>().value(0)), (1, "drops"));
    let info = client.get_table_types().await.unwrap();
    assert_eq!(fetch(&mut client, info).await[0].num_rows(), 2);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    assert_eq!(fetch(&mut client, info).await[0].num_rows(), 2);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert!(fetch(&mut client, info).await[0].num_rows() > 3);
    let info = client.get_db_schemas(Default::default()).await.unwrap();
    assert_eq!(fetch(&mut client, info).await[0].column(1).as_string::<i32>().value(0), "public");
}

#[tokio::test]
async fn the_short_form_needs_no_flight_sql() {
    let mut client = plain_client("a").await;
    let command = r#"{"query": "SELECT count(*) AS n FROM drops"}"#;
    let info = client.get_flight_info(FlightDescriptor::new_cmd(command)).await.unwrap();
    let by_info = info.endpoint[0].ticket.clone().unwrap();
    for ticket in [by_info, Ticket::new(command)] {
        let batches: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 3);
    }
    let schema = client.get_schema(FlightDescriptor::new_cmd(command)).await.unwrap();
    assert_eq!(schema.field(0).name(), "n");
    let error = client.get_flight_info(FlightDescriptor::new_cmd("{}")).await.unwrap_err();
    assert_eq!(code(error).0, Code::InvalidArgument);
}

/// ISO-1: a ticket holds no authority: whoever brings it sees the rows of its own tenant.
#[tokio::test]
async fn a_ticket_of_another_shows_ones_own_rows() {
    let mut client = plain_client("a").await;
    let command = FlightDescriptor::new_cmd(r#"{"query": "SELECT DISTINCT reason FROM drops"}"#);
    let ticket = client.get_flight_info(command).await.unwrap().endpoint[0].ticket.clone().unwrap();
    let reasons = async |client: &mut FlightClient| {
        let batches: Vec<RecordBatch> = client.do_get(ticket.clone()).await.unwrap().try_collect().await.unwrap();
        batches[0].column(0).as_string::<i32>().value(0).to_owned()
    };
    assert_eq!(reasons(&mut client).await, "ring_full");
    client.metadata_mut().insert("tenant", "b".parse().unwrap());
    assert_eq!(reasons(&mut client).await, "spool_full");
    client.metadata_mut().remove("tenant");
    assert_eq!(code(client.do_get(ticket.clone()).await.unwrap_err()).0, Code::Unauthenticated);
}

#[tokio::test]
async fn mistakes_are_explained() {
    let mut client = plain_client("a").await;
    for (text, expected, message) in [
        (
            "SELECT resaon FROM drops",
            Code::NotFound,
            "column resaon does not exist (line 1, column 8); hint: did you mean `reason`?",
        ),
        ("SELECT count( FROM drops", Code::InvalidArgument, "line 1"),
        ("DROP TABLE drops", Code::PermissionDenied, "only reads"),
    ] {
        let command = serde_json::json!({"query": text}).to_string();
        let (code, found) = code(client.get_flight_info(FlightDescriptor::new_cmd(command)).await.unwrap_err());
        assert_eq!(code, expected, "{text}");
        assert!(found.contains(message), "{found}");
    }
    let late = r#"{"query": "SELECT 1 / (count - 2) FROM drops"}"#;
    let stream = client.do_get(Ticket::new(late)).await.unwrap();
    let (code, found) = code(stream.try_collect::<Vec<_>>().await.unwrap_err());
    assert!(code == Code::InvalidArgument && found.to_lowercase().contains("divide by zero"), "{found}");
}

#[tokio::test]
async fn large_rows_come_in_messages_that_a_client_takes() {
    let mut client = plain_client("a").await;
    let command = r#"{"query": "SELECT repeat('x', 10000) FROM range(2000)"}"#;
    let batches: Vec<RecordBatch> = client.do_get(Ticket::new(command)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2000);
}

#[tokio::test]
async fn a_handshake_is_accepted_and_rows_are_not() {
    let mut client = plain_client("a").await;
    client.handshake("anyone").await.unwrap();
    let mut client = sql_client("a").await;
    assert!(client.execute_update("INSERT INTO drops VALUES (1)".to_owned(), None).await.is_err());
}
