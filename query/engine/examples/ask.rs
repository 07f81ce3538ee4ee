//! What queries cost in this process, without a server around them: `ask DATA-DIR ROUNDS [explain] < QUERIES` reads
//! lines `NAME<tab>SQL`, runs each over the tables of a folder that no server holds, and prints the fastest and the
//! median of the rounds in milliseconds, CPU milliseconds of a round, and rows; with `explain` the plan and where its
//! time went.
#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use arrow::array::AsArray;
use async_trait::async_trait;
use bodkin_query::{Catalog, CatalogError, QueryEngine, QueryOptions};
use bodkin_schema::{Clock, Principal, Stream, SystemClock};
use bodkin_table::{DurableLocal, Snapshot, TableSnapshot, Tables};
use object_store::ObjectStore;
use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;

#[derive(Debug)]
struct Files(Tables);

#[async_trait]
impl Catalog for Files {
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(rounds)) = (args.next(), args.next()) else {
        return Err("usage: ask DATA-DIR ROUNDS [explain] < QUERIES".into());
    };
    let (rounds, is_explained) = (rounds.parse::<usize>()?.max(1), args.next().is_some());
    let clock = Arc::new(SystemClock::default());
    let store = Arc::new(DurableLocal::read_only(&folder)?);
    let tables = Tables::open(store, "file:///ask/".parse()?, "ask", clock.clone()).await?;
    let engine = QueryEngine::new(Arc::new(Files(tables)), QueryOptions::default())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((name, text)) = line.split_once('\t') else { continue };
        let (mut walls, mut rows, cpu) = (Vec::new(), 0, cpu_seconds()?);
        for _ in 0..rounds {
            let since = clock.monotonic();
            let batches = engine.sql(&Principal::default(), text).await?.collect().await?;
            walls.push((clock.monotonic() - since).as_secs_f64() * 1e3);
            rows = batches.iter().map(|batch| batch.num_rows()).sum();
        }
        let cpu = (cpu_seconds()? - cpu) * 1e3 / rounds as f64;
        walls.sort_unstable_by(f64::total_cmp);
        println!("{name:<18} {:8.1} {:8.1} ms {cpu:8.1} cpu ms {rows:6} rows", walls[0], walls[rounds / 2]);
        if is_explained {
            let text = format!("EXPLAIN ANALYZE {text}");
            for batch in engine.sql(&Principal::default(), &text).await?.collect().await? {
                for plan in batch.column(1).as_string::<i32>().iter().flatten() {
                    println!("{plan}");
                }
            }
        }
    }
    Ok(())
}

/// CPU time of this process so far; the kernel counts in hundredths of a second.
fn cpu_seconds() -> Result<f64, Box<dyn Error + Send + Sync>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> f64 { fields.get(index).and_then(|field| field.parse().ok()).unwrap_or_default() };
    Ok((ticks(11) + ticks(12)) / 100.0)
}
