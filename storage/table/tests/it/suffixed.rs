//! Columns for values of another type: in the log, in every file, after a restart.

use crate::flow::{end, open};
use crate::rows::{drops, numbers, read};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use bodkin_engine::{Batch, Sink};
use bodkin_schema::{Epoch, Kind, Stream};
use bodkin_table::{TableSnapshot, Tables};
use object_store::memory::InMemory;
use std::sync::Arc;

/// Losses with the texts that their numbers were sent as.
fn as_text(first: i64, rows: i64) -> Batch {
    let batch = drops(first..first + rows, "p");
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((first..first + rows).map(|n| format!("about {n}"))));
    let column = Kind::Text.column(Stream::Drops.schema().field_with_name("count").unwrap());
    let mut fields = batch.records.schema().fields().to_vec();
    fields.push(Arc::new(column));
    let columns = batch.records.columns().iter().cloned().chain([texts]).collect();
    Batch { records: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap(), ..batch }
}

fn names(table: &TableSnapshot) -> Vec<String> {
    table.schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// How many rows of files have a text.
async fn texts(tables: &Tables, table: &TableSnapshot) -> usize {
    let mut count = 0;
    for file in table.files.iter() {
        let found = read(tables, file).await;
        let found = found.iter().filter_map(|batch| batch.column_by_name("count_text"));
        count += found.map(|texts| texts.as_string::<i32>().iter().flatten().count()).sum::<usize>();
    }
    count
}

#[tokio::test]
async fn a_column_enters_the_table_with_its_first_rows() {
    let store = Arc::new(InMemory::new());
    let tables = open(store.clone()).await;
    tables.write(drops(0..3, "p"));
    end(&tables, 1).await;
    let table = || tables.snapshot().table(Stream::Drops).clone();
    assert_eq!(names(&table()), ["ts", "producer", "class", "reason", "count", "tenant", "date"]);
    tables.write(as_text(3, 2));
    tables.write(drops(5..6, "p"));
    let with_text = ["ts", "producer", "class", "reason", "count", "count_text", "tenant", "date"];
    assert_eq!(names(&table()), with_text, "acknowledged is visible");
    assert_eq!(tables.stats().rows_suffixed.load(std::sync::atomic::Ordering::Relaxed), 2);

    // What an epoch has decided is seen by a reader of the folder before it is in the log.
    tables.seal(Epoch(2));
    let prepared = tables.prepare(Epoch(2)).await.unwrap();
    let reader = open(store.clone()).await;
    reader.overlay(Epoch(2), &prepared).unwrap();
    let seen = reader.snapshot().table(Stream::Drops).clone();
    assert_eq!((names(&seen), texts(&reader, &seen).await), (with_text.map(str::to_owned).to_vec(), 2));
    tables.commit(Epoch(2), &prepared).await.unwrap();

    tables.write(drops(6..8, "p"));
    end(&tables, 3).await;
    let report = tables.compact(true).await.unwrap();
    assert!(report.jobs > 0, "{report:?}");
    let again = open(store.clone()).await;
    let seen = again.snapshot().table(Stream::Drops).clone();
    assert_eq!(names(&seen), with_text);
    assert_eq!((seen.files.len(), texts(&again, &seen).await), (1, 2));
    assert_eq!(numbers(&again, &seen, "count").await, (0..8).collect::<Vec<_>>());
    // A tier is made of all rows, whatever else they have.
    let stretch = again.read_stretch(&seen, &Default::default(), i64::MIN..i64::MAX).unwrap();
    let rows: Vec<RecordBatch> = futures::TryStreamExt::try_collect(stretch).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 8);
}
