//! What an epoch costs from rows in memory to the commit: `commit FILE.arrows ROWS FOLDER` prints a JSON line with
//! rows, CPU seconds, wall seconds and bytes. `benches/run data-plane commit` compares it with others.
#![allow(clippy::print_stdout, reason = "what it measured is its output")]

mod measure;

use arrow::ipc::reader::StreamReader;
use bodkin_engine::{Batch, Sink};
use bodkin_schema::{Clock, Epoch, SystemClock};
use bodkin_table::{DurableLocal, Tables};
use measure::cpu_seconds;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(rows), Some(folder)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: commit FILE.arrows ROWS FOLDER".into());
    };
    let rows_max: usize = rows.parse()?;
    let mut batches = Vec::new();
    let mut rows = 0;
    // The file is of our own making: nothing from outside goes through this reader.
    for batch in StreamReader::try_new(BufReader::new(File::open(file)?), None)? {
        let batch = batch?;
        rows += batch.num_rows();
        batches.push(batch);
        if rows >= rows_max {
            break;
        }
    }
    let clock = Arc::new(SystemClock::default());
    let store = Arc::new(DurableLocal::open(&folder)?);
    let tables = Tables::open(store, "file:///bench/".parse()?, "bench", clock.clone()).await?;
    for records in batches {
        tables.write(Batch { ingest_time: clock.now(), ..Batch::made("events", records) });
    }
    let (cpu, wall) = (cpu_seconds()?, clock.monotonic());
    tables.seal(Epoch(1));
    let prepared = tables.prepare(Epoch(1)).await?;
    tables.commit(Epoch(1), &prepared).await?;
    let (cpu, wall) = (cpu_seconds()? - cpu, (clock.monotonic() - wall).as_secs_f64());
    let bytes = tables.stats().file_bytes_written.load(Ordering::Relaxed);
    println!("{}", serde_json::json!({"rows": rows, "cpu": cpu, "wall": wall, "bytes": bytes}));
    Ok(())
}
