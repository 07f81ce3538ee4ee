//! Tables in memory with a few rows, and an engine over them.

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use bodkin_engine::{Batch, Sink};
use bodkin_query::{Catalog, CatalogError, QueryEngine, QueryError, QueryOptions};
use bodkin_schema::{Epoch, EventTime, Principal, Stream, SystemClock, Tenant, events, metrics};
use bodkin_table::{Snapshot, TableSnapshot, Tables};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2026-11-22T00:00:00Z.
pub(crate) const DAY: i64 = 1_795_305_600_000_000;

/// A catalog over tables whose rows are visible at once.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) tables: Tables,
    epoch: AtomicU64,
}

#[async_trait]
impl Catalog for Memory {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, CatalogError> {
        Ok(self.tables.snapshot())
    }

    async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<Arc<TableSnapshot>, CatalogError> {
        match self.tables.snapshot_at(stream, version).await {
            Ok(table) => Ok(Arc::new(table)),
            Err(_) => Err(CatalogError::NoSuchVersion { stream, version }),
        }
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.tables.store().clone()
    }
}

impl Memory {
    pub(crate) async fn open() -> Arc<Self> {
        Self::open_on(Arc::new(InMemory::new())).await
    }

    /// What a store holds already.
    pub(crate) async fn open_on(store: Arc<dyn ObjectStore>) -> Arc<Self> {
        let url = "memory:///".parse().unwrap();
        let clock = Arc::new(SystemClock::default());
        let tables = Tables::open(store, url, "node", clock).await.unwrap();
        Arc::new(Self { tables, epoch: AtomicU64::new(1) })
    }

    pub(crate) fn write(&self, stream: Stream, records: RecordBatch, tenant: &str, ingested: i64) {
        let mut batch = Batch::made(stream.name(), records);
        batch.tenant = Tenant(tenant.into());
        batch.ingest_time = EventTime(ingested);
        self.tables.write(batch);
    }

    /// Ends an epoch: what was written so far is in files.
    pub(crate) async fn flush(&self) {
        let epoch = Epoch(self.epoch.fetch_add(1, Ordering::Relaxed));
        self.tables.seal(epoch);
        let prepared = self.tables.prepare(epoch).await.unwrap();
        self.tables.commit(epoch, &prepared).await.unwrap();
    }

    /// Spreads every query over two cores, however few rows there are.
    pub(crate) fn engine(self: &Arc<Self>) -> QueryEngine {
        self.engine_with(QueryOptions { few_rows_max: 0, ..QueryOptions::default() })
    }

    pub(crate) fn engine_with(self: &Arc<Self>, options: QueryOptions) -> QueryEngine {
        QueryEngine::new(self.clone(), QueryOptions { cores: 2, ..options }).unwrap()
    }
}

/// What a test says of an event; the rest is filled in.
#[derive(Clone, Default)]
pub(crate) struct Event {
    pub(crate) ts: i64,
    pub(crate) evt_type: &'static str,
    pub(crate) pid: i32,
    pub(crate) comm: &'static str,
    pub(crate) user: Option<&'static str>,
    pub(crate) path: Option<&'static str>,
    pub(crate) path2: Option<&'static str>,
    pub(crate) remote_port: Option<i32>,
}

/// Rows of `events`, text as dictionaries, as they come off the wire.
pub(crate) fn event_rows(rows: &[Event]) -> RecordBatch {
    let text = |of: &dyn Fn(&Event) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let columns = events::schema();
    let columns = columns.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            events::TS => Arc::new(
                rows.iter().map(|row| Some(row.ts)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
            ),
            events::TS_NS => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.ts * 1000))),
            events::EVT_TYPE => text(&|row| Some(row.evt_type)),
            events::PID => Arc::new(rows.iter().map(|row| Some(row.pid)).collect::<Int32Array>()),
            events::COMM => text(&|row| Some(row.comm)),
            events::USER => text(&|row| row.user),
            events::PATH => text(&|row| row.path),
            events::PATH2 => text(&|row| row.path2),
            events::REMOTE_PORT => Arc::new(rows.iter().map(|row| row.remote_port).collect::<Int32Array>()),
            events::CONTAINER_ID => text(&|row| Some(if row.pid % 2 == 0 { "host" } else { "0123456789ab" })),
            _ if field.is_nullable() => new_null_array(field.data_type(), rows.len()),
            _ => match field.data_type() {
                DataType::Utf8 => Arc::new(StringArray::from(vec!["h"; rows.len()])),
                DataType::Int32 => Arc::new(Int32Array::from(vec![0; rows.len()])),
                DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows.len()])),
                _ => Arc::new(Int64Array::from(vec![0; rows.len()])),
            },
        }
    });
    dictionaries(events::schema().as_ref(), columns.collect())
}

fn dictionaries(schema: &Schema, columns: Vec<ArrayRef>) -> RecordBatch {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let pairs = schema.fields().iter().zip(columns).map(|(field, column)| {
        if field.data_type() == &DataType::Utf8 {
            let field = field.as_ref().clone().with_data_type(dictionary.clone());
            (field, cast(&column, &dictionary).unwrap())
        } else {
            (field.as_ref().clone(), column)
        }
    });
    let (fields, columns): (Vec<_>, Vec<_>) = pairs.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Rows of `series`: id, name, value of label `job`, first seen, last seen.
pub(crate) fn series_rows(rows: &[(i64, &str, &str, i64, i64)]) -> RecordBatch {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (_, _, job, _, _) in rows {
        labels.keys().append_value("job");
        labels.values().append_value(job);
        labels.append(true).unwrap();
    }
    let time = |of: fn(&(i64, &str, &str, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let ids = |of: fn(&(i64, &str, &str, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<Int64Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        ids(|row| row.0),
        ids(|row| row.0 * 10),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
        Arc::new(labels.finish()),
        time(|row| row.3),
        time(|row| row.4),
    ];
    RecordBatch::try_new(metrics::series_schema(), columns).unwrap()
}

/// Rows of `samples`: series id, time, value.
pub(crate) fn sample_rows(rows: &[(i64, i64, f64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.0 * 10)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<arrow::array::PrimitiveArray<Float64Type>>()),
    ];
    RecordBatch::try_new(metrics::samples_schema(), columns).unwrap()
}

/// The answer to `text` as a table, or its error.
pub(crate) async fn table(engine: &QueryEngine, text: &str) -> Result<String, QueryError> {
    table_of(engine, &Principal::default(), text).await
}

pub(crate) async fn table_of(engine: &QueryEngine, principal: &Principal, text: &str) -> Result<String, QueryError> {
    let answer = engine.sql(principal, text).await?;
    let schema = answer.schema.clone();
    let batches = answer.collect().await?;
    assert!(batches.iter().all(|batch| batch.schema() == schema), "batches have the schema of the answer");
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// The rows of the answer, cells joined by blanks.
pub(crate) async fn rows(engine: &QueryEngine, text: &str) -> Vec<String> {
    cells(&table(engine, text).await.unwrap_or_else(|error| panic!("{}", error.render(text))))
}

/// The rows of a pretty table, cells joined by blanks.
pub(crate) fn cells(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    lines
        .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Six events of two processes, in `events`.
pub(crate) fn sample_events() -> Vec<Event> {
    let event = |ts, evt_type, pid, comm| Event { ts: DAY + ts, evt_type, pid, comm, ..Event::default() };
    vec![
        Event { user: Some("root"), ..event(1, "execve", 10, "bash") },
        Event { path: Some("/etc/passwd"), ..event(2, "openat", 10, "bash") },
        Event { path: Some("/tmp/a"), path2: Some("/tmp/b"), ..event(3, "renameat2", 10, "bash") },
        Event { user: Some("www"), ..event(4, "execve", 11, "nginx") },
        Event { remote_port: Some(443), ..event(5, "connect", 11, "nginx") },
        event(6, "procexit", 11, "nginx"),
    ]
}

/// A catalog with [`sample_events`] in the tail.
pub(crate) async fn with_events() -> Arc<Memory> {
    let memory = Memory::open().await;
    memory.write(Stream::Events, event_rows(&sample_events()), "default", DAY);
    memory
}
