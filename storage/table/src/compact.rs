//! A compaction job, done: runs read, merged, written as one run, and swapped in the log in one commit.

use crate::align::align;
use crate::file::table_path;
use crate::file_reader::FileReader;
use crate::file_writer::{Effort, Encoded, FileWriter};
use crate::merge::{RunStream, SortedMerge};
use crate::plan::Job;
use crate::run::{Level, compacted_file};
use crate::writer::{FILE_BYTES_TARGET, TableWriter};
use crate::{Error, PreparedFile, Result, TableFile};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::error::ArrowError;
use bodkin_schema::Stream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Writes the files that replace those of `job`. Nothing refers to them yet; where it fails, or the future is
/// dropped, they are orphans. Memory: one row group per run, two files.
pub(crate) async fn rewrite(writer: &TableWriter, job: &Job) -> Result<Vec<PreparedFile>> {
    let stream = writer.stream;
    let sources = job.runs.iter().map(|run| read_run(writer.store.clone(), stream, run.files.clone())).collect();
    let merge = SortedMerge::new(stream, sources)?;
    let (sender, mut receiver) = mpsc::channel(1);
    let runtime = tokio::runtime::Handle::current();
    // Merging and encoding are long stretches of work: a thread of their own keeps them off the requests' threads.
    let effort = if job.level == Level::Day { Effort::Keep } else { Effort::Merge };
    let encoder = tokio::task::spawn_blocking(move || runtime.block_on(encode_merged(stream, effort, merge, sender)));
    let id = uuid::Uuid::new_v4();
    let mut files = Vec::new();
    while let Some(encoded) = receiver.recv().await {
        let name = compacted_file(&writer.prefix, job.level, job.window_ms, id, files.len());
        files.push(writer.upload(&job.tenant, job.date, &name, encoded).await?);
    }
    match encoder.await {
        Ok(result) => result.map(|()| files),
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(_) => Err(Error::Stopped { table: stream }),
    }
}

async fn encode_merged(
    stream: Stream,
    effort: Effort,
    mut merge: SortedMerge,
    files: mpsc::Sender<Encoded>,
) -> Result<()> {
    let failed = |source: ParquetError| Error::Parquet { path: table_path(stream).to_string(), source };
    let mut open: Option<FileWriter> = None;
    while let Some(batch) = merge.next().await? {
        // A process that stops must not wait for the rest of a large file.
        if files.is_closed() {
            return Ok(());
        }
        let mut file = match open.take() {
            Some(file) => file,
            None => FileWriter::new(stream, stream.schema(), effort).map_err(failed)?,
        };
        file.write(&batch).map_err(failed)?;
        if file.bytes() < FILE_BYTES_TARGET {
            open = Some(file);
        } else if files.send(file.finish().map_err(failed)?).await.is_err() {
            return Ok(());
        }
    }
    if let Some(file) = open {
        // Where nobody takes it, the job was given up.
        let _ = files.send(file.finish().map_err(failed)?).await;
    }
    Ok(())
}

/// The rows of files that follow each other, in the columns of `stream`.
fn read_run(store: Arc<dyn ObjectStore>, stream: Stream, files: Vec<Arc<TableFile>>) -> RunStream {
    let files = VecDeque::from(files);
    let opened = futures::stream::try_unfold(files, move |mut files| {
        let store = store.clone();
        async move {
            let Some(file) = files.pop_front() else { return Ok(None) };
            Ok::<_, Error>(Some((read_file(store, stream, file).await?, files)))
        }
    });
    opened.try_flatten().boxed()
}

async fn read_file(store: Arc<dyn ObjectStore>, stream: Stream, file: Arc<TableFile>) -> Result<RunStream> {
    let path = file.location.to_string();
    let failed = move |source: ParquetError| Error::Parquet { path: path.clone(), source };
    let reader = FileReader { store, file: file.clone() };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(&failed)?;
    let registered = stream.schema();
    let unknown = builder.schema().fields().iter().find(|field| registered.field_with_name(field.name()).is_err());
    if let Some(field) = unknown {
        // Rewriting it would lose the column.
        return Err(Error::Newer {
            path: file.location.to_string(),
            found: format!("column {}", field.name()),
            known: "the columns of this version".to_owned(),
        });
    }
    let batches = builder.with_batch_size(crate::encode::ROWS_PER_CHUNK).build().map_err(&failed)?;
    let rows = batches.map(move |batch| plain(stream, batch.map_err(&failed)?));
    Ok(rows.boxed())
}

/// Exactly the columns of `stream`: readers name the items of lists and the entries of maps as they like.
fn plain(stream: Stream, batch: RecordBatch) -> Result<RecordBatch> {
    let schema = stream.schema();
    let exact = |batch: RecordBatch| {
        let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() { Ok(column.clone()) } else { cast(column, field.data_type()) }
        });
        RecordBatch::try_new(schema.clone(), columns.collect::<std::result::Result<_, ArrowError>>()?)
    };
    align(stream, &batch).and_then(exact).map_err(|source| Error::Rows { table: stream, source })
}
