//! Rows per CPU-second of a window over an Arrow stream in a file, on one thread; what `benches/run windows` measures.
//!
//! `bench-windows FILE tumble|hop`: prints JSON with rows, seconds, and a checksum of the merged answer.
#![allow(clippy::print_stdout, reason = "its answer")]

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use bodkin_engine::{Batch, Operator, Output};
use bodkin_schema::{Epoch, EventTime};
use bodkin_window::{WindowMerge, WindowPartial, WindowPlan, merged};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Event time between two watermarks, and between two barriers.
const WATERMARK_US: i64 = 1_000_000;
const BARRIER_US: i64 = 10_000_000;
/// Rows later than this come after their window.
const LATENESS_US: i64 = 10_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (file, kind) = (args.next().ok_or("FILE is missing")?, args.next().ok_or("tumble or hop is missing")?);
    let window = if kind == "hop" { "hop(ts, '1m', '10s')" } else { "tumble(ts, '10s')" };
    let text = format!("SELECT key, count(*) AS n, sum(value) AS total FROM input GROUP BY key, {window}");
    let batches = StreamReader::try_new(BufReader::new(File::open(file)?), None)?;
    let plan = Arc::new(WindowPlan::new(&text, &[], &batches.schema())?);
    let (mut partial, mut merge) = (WindowPartial::new("w", plan.clone()), WindowMerge::new("w", plan.clone(), false));
    let (mut table, mut live) = (Vec::new(), 0_u64);
    let (mut rows, mut newest, mut told, mut ended) = (0, i64::MIN, i64::MIN, i64::MIN);
    let mut state_bytes = 0;
    let start = Instant::now();
    {
        let mut end = |batch: Batch| match &*batch.stream {
            "windows" => table.push(batch.records),
            _ => live += batch.records.num_rows() as u64,
        };
        for batch in batches {
            let batch = batch?;
            rows += batch.num_rows();
            let times = batch.column_by_name("ts").ok_or("no ts")?.as_primitive::<TimestampMicrosecondType>();
            newest = newest.max(arrow::compute::max(times).unwrap_or(newest));
            let mut partials = Vec::new();
            partial.on_batch(Batch::made("rows", batch), &mut Output::new(&mut |made| partials.push(made)));
            partials.into_iter().for_each(|made| merge.on_batch(made, &mut Output::new(&mut end)));
            if newest - told >= WATERMARK_US || told == i64::MIN {
                told = newest;
                merge.on_watermark(EventTime(newest - LATENESS_US), &mut Output::new(&mut end));
            }
            if ended == i64::MIN || newest - ended >= BARRIER_US {
                ended = newest;
                state_bytes = state_bytes.max(merge.on_barrier(Epoch(1)).iter().map(|(_, state)| state.len()).sum());
            }
        }
        merge.on_watermark(EventTime(i64::MAX / 2), &mut Output::new(&mut end));
    }
    let seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let (mut groups, mut count, mut total) = (0, 0, 0);
    for window in merged(plan, &table)? {
        let window = window?;
        let sum = |column: usize| arrow::compute::sum(window.column(column).as_primitive::<Int64Type>()).unwrap_or(0);
        groups += window.num_rows();
        count += sum(1);
        total += sum(2);
    }
    let merge_seconds = start.elapsed().as_secs_f64();
    let partials: usize = table.iter().map(RecordBatch::num_rows).sum();
    println!(
        "{{\"rows\": {rows}, \"seconds\": {seconds:.3}, \"read_seconds\": {merge_seconds:.3}, \"groups\": {groups}, \
         \"count\": {count}, \"total\": {total}, \"live\": {live}, \"partials\": {partials}, \"state_bytes\": {state_bytes}}}"
    );
    Ok(())
}
