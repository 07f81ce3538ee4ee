//! Rows per second of one core through filter, projection and lookup; what `benches/run operators` measures.
//!
//! `bench-operators ROWS LOOKUP ROUNDS`: reads an Arrow stream of rows and a CSV of containers, keeps failed calls, picks eight
//! columns and looks the container up. Prints JSON with the rounds' best and a checksum of the rows that are left, and what
//! 25 further columns cost a row: twelve of a file and 13 tags; twelve of a file and a stream's, valid at the row's time.
#![allow(clippy::print_stdout, reason = "its answer")]

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::ipc::reader::StreamReader;
use bodkin_engine::{Batch, Operator, Output};
use bodkin_enrich::{Dimension, DimensionRows, Enrich, EnrichConfig};
use bodkin_expr::{Filter, Sql};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
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
    let (tags_ns, dimension_ns) = (tags_ns(&batches, &lookup, rounds)?, dimension_ns(&batches, &lookup, rounds)?);
    println!(
        "{{\"rows\": {rows}, \"seconds\": {best}, \"left\": {left}, \"pids\": {}, \"owned\": {}, \
         \"tags_ns\": {tags_ns:.1}, \"dimension_ns\": {dimension_ns:.1}}}",
        sums.0, sums.1
    );
    Ok(())
}

/// Nanoseconds that twelve columns of a file and 13 tags cost a row.
fn tags_ns(batches: &[RecordBatch], lookup: &str, rounds: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let schema = batches.first().ok_or("there are no rows")?.schema();
    let tags: BTreeMap<String, String> = (0..13).map(|n| (format!("label{n}"), format!("value {n}"))).collect();
    let config: EnrichConfig = serde_json::from_value(serde_json::json!({
        "tags": tags, "lookups": [{"file": lookup, "key": "container_id", "file_key": "id"}],
    }))?;
    let mut enrich = Enrich::new(&config, &schema)?;
    best_ns(batches, rounds, &mut enrich, schema.fields().len() + 25)
}

/// The same of 12 columns of a file and 13 of a stream that says what is known of a container from a time on.
fn dimension_ns(batches: &[RecordBatch], lookup: &str, rounds: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let schema = batches.first().ok_or("there are no rows")?.schema();
    let names: Vec<String> = (0..13).map(|n| format!("known{n}")).collect();
    let config: EnrichConfig = serde_json::from_value(serde_json::json!({
        "lookups": [{"file": lookup, "key": "container_id", "file_key": "id"}],
        "dimension": {"from": "known", "key": ["container_id"], "columns": names},
    }))?;
    let mut known: Vec<(&str, ArrayRef)> = Vec::new();
    let containers: StringArray = (0..1000).map(|n| Some(format!("{n:012x}"))).collect();
    let times = TimestampMicrosecondArray::from(vec![0; 1000]).with_timezone("UTC");
    known.push(("container_id", Arc::new(containers)));
    known.push(("ts", Arc::new(times)));
    for name in &names {
        known.push((name, Arc::new((0..1000).map(|n| Some(format!("{name} {}", n % 37))).collect::<StringArray>())));
    }
    let known = RecordBatch::try_from_iter_with_nullable(known.into_iter().map(|(name, column)| (name, column, true)))?;
    let own = config.dimension.as_ref().ok_or("no dimension")?;
    let mut rows = DimensionRows::new("known", own, &known.schema(), &schema)?;
    let mut dimension = Dimension::new("known", &config, &schema)?;
    let mut made = Vec::new();
    rows.on_batch(Batch::made("known", known), &mut Output::new(&mut |batch| made.push(batch)));
    made.into_iter().for_each(|batch| dimension.on_batch(batch, &mut Output::new(&mut |_| {})));
    best_ns(batches, rounds, &mut dimension, schema.fields().len() + 25)
}

fn best_ns(
    batches: &[RecordBatch],
    rounds: usize,
    operator: &mut dyn Operator,
    columns: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let given: Vec<Batch> = batches.iter().map(|records| Batch::made("events", records.clone())).collect();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let mut told = 0;
        let start = Instant::now();
        for batch in &given {
            operator.on_batch(
                batch.clone(),
                &mut Output::new(&mut |made: Batch| {
                    told += if made.records.num_columns() == columns { made.records.num_rows() } else { 0 };
                }),
            );
        }
        best = best.min(start.elapsed().as_secs_f64());
        if told != rows {
            return Err(format!("{told} of {rows} rows have {columns} columns").into());
        }
    }
    Ok(best * 1e9 / rows as f64)
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
