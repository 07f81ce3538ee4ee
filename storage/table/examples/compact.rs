//! What compaction costs: `compact FILE.arrows EPOCHS FOLDER` commits the rows of a file in as many epochs, merges them to
//! one run, and prints a JSON line with rows, CPU seconds, wall seconds, bytes and the most memory that it took.
#![allow(clippy::print_stdout, reason = "what it measured is its output")]

mod measure;

use arrow::ipc::reader::StreamReader;
use bodkin_engine::{Batch, Sink};
use bodkin_schema::{Clock, Epoch, SystemClock};
use bodkin_table::{DurableLocal, Tables};
use measure::cpu_seconds;
use std::error::Error;
use std::fs::{self, File};
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(epochs), Some(folder)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: compact FILE.arrows EPOCHS FOLDER".into());
    };
    let epochs: usize = epochs.parse()?;
    // The file is of our own making: nothing from outside goes through this reader.
    let batches = StreamReader::try_new(BufReader::new(File::open(file)?), None)?.collect::<Result<Vec<_>, _>>()?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let clock = Arc::new(SystemClock::default());
    let store = Arc::new(DurableLocal::open(&folder)?);
    let tables = Tables::open(store, "file:///bench/".parse()?, "bench", clock.clone()).await?;
    for (number, batches) in (1..).zip(batches.chunks(batches.len().div_ceil(epochs))) {
        for records in batches {
            tables.write(Batch { ingest_time: clock.now(), ..Batch::made("events", records.clone()) });
        }
        tables.seal(Epoch(number));
        let prepared = tables.prepare(Epoch(number)).await?;
        tables.commit(Epoch(number), &prepared).await?;
    }
    drop(batches);
    let before = status_mib("VmRSS")?;
    fs::write("/proc/self/clear_refs", "5")?;
    let (cpu, wall) = (cpu_seconds()?, clock.monotonic());
    let report = tables.compact(true).await?;
    let (cpu, wall) = (cpu_seconds()? - cpu, (clock.monotonic() - wall).as_secs_f64());
    let bytes = tables.stats().compacted_bytes_written.load(Ordering::Relaxed);
    let (files, memory_mib) = (report.files_merged, status_mib("VmHWM")?.saturating_sub(before));
    println!(
        "{}",
        serde_json::json!({"rows": rows, "files": files, "cpu": cpu, "wall": wall, "bytes": bytes, "memory_mib": memory_mib})
    );
    Ok(())
}

fn status_mib(name: &str) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no such line in /proc/self/status")?.parse()?;
    Ok(kib / 1024)
}
