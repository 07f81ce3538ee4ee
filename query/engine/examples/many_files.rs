//! What a table of very many small files costs: `many_files [FILES]` prints a JSON line with the milliseconds that
//! loading the log and planning a query take. The files are named in the log and exist nowhere: nothing reads them.
#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use async_trait::async_trait;
use bodkin_engine::Sink;
use bodkin_query::{Catalog, CatalogError, QueryEngine, QueryOptions};
use bodkin_schema::{Clock, Epoch, Principal, Stream, SystemClock};
use bodkin_table::{PreparedFile, Snapshot, TableSnapshot, Tables};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

const FILES_PER_COMMIT: u64 = 500;

#[derive(Debug)]
struct Fixed(Tables);

#[async_trait]
impl Catalog for Fixed {
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

/// A file of one container and one minute.
fn file(number: u64) -> PreparedFile {
    let (container, minute) = (number % 400, number / 400);
    let time =
        |minute: u64| format!("2026-11-{:02}T{:02}:{:02}:00.000Z", 1 + minute / 1440, minute / 60 % 24, minute % 60);
    let bounds =
        |minute| serde_json::json!({"container_id": format!("{container:012x}"), "ts": time(minute), "pid": number});
    let nulls = serde_json::json!({"container_id": 0, "ts": 0, "pid": 0, "path": 7});
    let stats = serde_json::json!({
        "numRecords": 1000, "minValues": bounds(minute), "maxValues": bounds(minute + 1), "nullCount": nulls,
    });
    PreparedFile {
        path: format!("tenant=default/date=2026-11-01/node-{number:020}-0.parquet"),
        size: 50_000,
        rows: 1000,
        tenant: "default".into(),
        date: "2026-11-01".into(),
        modified_ms: 1_795_000_000_000 + number as i64,
        stats: stats.to_string(),
        suffixed: Vec::new(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let files: u64 = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let clock = Arc::new(SystemClock::default());
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let open = || Tables::open(store.clone(), "memory:///".parse().expect("a constant URL"), "node", clock.clone());
    let tables = open().await?;
    for epoch in 0..files.div_ceil(FILES_PER_COMMIT) {
        let first = epoch * FILES_PER_COMMIT;
        let adds: Vec<_> = (first..files.min(first + FILES_PER_COMMIT)).map(file).collect();
        let prepared = serde_json::to_value(BTreeMap::from([("events", adds)]))?;
        tables.commit(Epoch(epoch + 1), &prepared).await?;
    }
    let elapsed_ms = |since: std::time::Duration| (clock.monotonic() - since).as_secs_f64() * 1e3;
    let since = clock.monotonic();
    let tables = open().await?;
    let load_ms = elapsed_ms(since);
    assert_eq!(tables.snapshot().table(Stream::Events).files.len() as u64, files);
    let engine = QueryEngine::new(Arc::new(Fixed(tables)), QueryOptions::default())?;
    let mut planning = BTreeMap::new();
    for (name, text) in [
        (
            "needle",
            "SELECT pid FROM events WHERE container_id = '000000000007' AND ts >= '2026-11-01T01:00:00Z' AND ts < '2026-11-01T02:00:00Z'",
        ),
        ("recent", "SELECT count(*), max(pid) FROM events WHERE ts >= '2026-11-01T04:00:00Z'"),
        ("all", "SELECT comm, count(*) FROM events GROUP BY comm"),
    ] {
        // The first query of a process also sets up what all of them share.
        for _ in 0..3 {
            let since = clock.monotonic();
            let text = format!("EXPLAIN {text}");
            engine.sql(&Principal::default(), &text).await?.collect().await?;
            planning.insert(name, (elapsed_ms(since) * 10.0).round() / 10.0);
        }
    }
    println!("{}", serde_json::json!({"files": files, "load_ms": load_ms.round(), "planning_ms": planning}));
    Ok(())
}
