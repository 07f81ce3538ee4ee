//! Rows per second of one core through filter, projection and lookup; what `benches/run operators` measures.
//!
//! `operators ROWS LOOKUP ROUNDS`: reads an Arrow stream of rows and a CSV of containers, keeps failed calls, picks eight
//! columns and looks the container up. Prints JSON with the rounds' best and a checksum of the rows that are left.
#![allow(clippy::print_stdout, reason = "its answer")]

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::ipc::reader::StreamReader;
use bodkin_engine::{Batch, Operator, Output};
use bodkin_enrich::{Enrich, EnrichConfig};
use bodkin_expr::{Filter, Sql};
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

const PROJECTION: &str = "SELECT ts, evt_type, result, pid, comm, exe, container_id, upper(comm) AS title FROM input";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (rows, lookup) = (args.next().ok_or("ROWS is missing")?, args.next().ok_or("LOOKUP is missing")?);
    let rounds: usize = args.next().ok_or("ROUNDS is missing")?.parse()?;
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(BufReader::new(File::open(rows)?), None)?.collect::<Result<_, _>>()?;
    let schema = batches.first().ok_or("there are no rows")?.schema();
    let config: EnrichConfig = serde_json::from_value(serde_json::json!({
        "lookups": [{"file": lookup, "key": "container_id", "file_key": "id"}],
    }))?;
    let mut filter = Filter::new("result < 0", &schema)?;
    let mut project = Sql::new(PROJECTION, "made", &schema)?;
    let mut enrich = Enrich::new(&config, &Sql::output(PROJECTION, &schema)?)?;
    let (mut best, mut left, mut sums) = (f64::INFINITY, 0, (0, 0));
    for _ in 0..rounds {
        let mut out = Vec::new();
        let start = Instant::now();
        for batch in &batches {
            let mut kept = Vec::new();
            filter.on_batch(Batch::made("events", batch.clone()), &mut Output::new(&mut |batch| kept.push(batch)));
            let mut picked = Vec::new();
            kept.into_iter().for_each(|batch| project.on_batch(batch, &mut Output::new(&mut |made| picked.push(made))));
            picked.into_iter().for_each(|batch| {
                enrich.on_batch(batch, &mut Output::new(&mut |made: Batch| out.push(made.records)));
            });
        }
        best = best.min(start.elapsed().as_secs_f64());
        left = out.iter().map(RecordBatch::num_rows).sum();
        sums = checksum(&out)?;
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    println!(
        "{{\"rows\": {rows}, \"seconds\": {best}, \"left\": {left}, \"pids\": {}, \"owned\": {}}}",
        sums.0, sums.1
    );
    Ok(())
}

/// The sum of `pid`, and how many rows have an owner.
fn checksum(out: &[RecordBatch]) -> Result<(i64, usize), Box<dyn std::error::Error>> {
    let (mut pids, mut owned) = (0, 0);
    for batch in out {
        let column = |name: &str| batch.column_by_name(name).ok_or(format!("no column {name}"));
        let pid = cast(column("pid")?, &DataType::Int64)?;
        pids += arrow::compute::sum(pid.as_primitive::<Int64Type>()).unwrap_or(0);
        let owner = cast(column("owner")?, &DataType::Utf8)?;
        owned += owner.len() - owner.null_count();
    }
    Ok((pids, owned))
}
