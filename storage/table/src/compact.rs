//! A compaction job, done: runs read, merged, written as one run, and swapped in the log in one commit.

use crate::align::{is_kept, text_dictionary};
use crate::file::table_path;
use crate::file_reader::FileReader;
use crate::file_writer::{Effort, Encoded, FileWriter};
use crate::merge::{PickedStream, RunStream, SortedMerge};
use crate::plan::Job;
use crate::run::{Level, Run, compacted_file};
use crate::suffixed::Suffixed;
use crate::writer::{FILE_BYTES_TARGET, TableWriter};
use crate::{Error, PreparedFile, Result, TableFile};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_schema::{Stream, Tenant};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, RowFilter};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc::{self, Permit};

/// Writes the files that replace those of `job`. Nothing refers to them yet; where it fails, or the future is
/// dropped, they are orphans. Memory: one row group per run, two files.
pub(crate) async fn rewrite(writer: &TableWriter, suffixed: &Suffixed, job: &Job) -> Result<Vec<PreparedFile>> {
    let rows = merged(writer, suffixed, &job.runs, Rows::All)?;
    write_run(writer, (&job.tenant, job.date), (job.level, job.window_ms), rows).await
}

/// Which rows of a run are wanted, by their event time in microseconds.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// Every one.
    All,
    /// Those within.
    Within(Range<i64>),
    /// The others.
    Without(Range<i64>),
}

/// Rows of `runs`, the oldest first, in the table's order; of equal samples the first. They have the stream's columns and
/// those of `suffixed`.
pub(crate) fn merged(writer: &TableWriter, suffixed: &Suffixed, runs: &[Run], rows: Rows) -> Result<PickedStream> {
    let stream = writer.stream;
    let schema = suffixed.row_schema(stream);
    let read = || (rows.clone(), Texts::AsStored);
    let source = |run: &Run| read_run(writer.store.clone(), (stream, schema.clone()), run.files.clone(), read());
    let merge = SortedMerge::new(stream, runs.iter().map(source).collect())?;
    let next = |mut merge: SortedMerge| async move { Ok(merge.next().await?.map(|batch| (batch, merge))) };
    Ok(futures::stream::try_unfold(merge, next).boxed())
}

/// Writes rows that are in the table's order as one run of a partition. Nothing refers to its files yet.
pub(crate) async fn write_run(
    writer: &TableWriter,
    (tenant, date): (&Tenant, i32),
    (level, window_ms): (Level, i64),
    rows: PickedStream,
) -> Result<Vec<PreparedFile>> {
    let stream = writer.stream;
    let (sender, mut receiver) = mpsc::channel(1);
    let runtime = tokio::runtime::Handle::current();
    // Merging and encoding are long stretches of work: a thread of their own keeps them off the requests' threads.
    let effort = if level == Level::Day { Effort::Keep } else { Effort::Merge };
    let encoder = tokio::task::spawn_blocking(move || runtime.block_on(encode_rows(stream, effort, rows, sender)));
    let id = uuid::Uuid::new_v4();
    let mut files = Vec::new();
    while let Some(encoded) = receiver.recv().await {
        let name = compacted_file(&writer.prefix, level, window_ms, id, files.len());
        files.push(writer.upload(tenant, date, &name, encoded).await?);
    }
    match encoder.await {
        Ok(result) => result.map(|()| files),
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(_) => Err(Error::Stopped { table: stream }),
    }
}

async fn encode_rows(
    stream: Stream,
    effort: Effort,
    mut rows: PickedStream,
    files: mpsc::Sender<Encoded>,
) -> Result<()> {
    let failed = |source: ParquetError| Error::Parquet { path: table_path(stream).to_string(), source };
    // Who holds a place may make a file: there is one while another is uploaded, and no third.
    let mut open: Option<(FileWriter, Permit<'_, Encoded>)> = None;
    while let Some(picked) = rows.try_next().await? {
        // A process that stops must not wait for the rest of a large file.
        if files.is_closed() {
            return Ok(());
        }
        let (mut file, place) = match open.take() {
            Some(open) => open,
            None => {
                let Ok(place) = files.reserve().await else { return Ok(()) };
                let suffixed = picked.pieces.first().map(|piece| Suffixed::of_schema(stream, piece.schema_ref()));
                let schema = suffixed.unwrap_or_default().row_schema(stream);
                (FileWriter::new(stream, schema, effort).map_err(failed)?, place)
            }
        };
        file.write(&picked).map_err(failed)?;
        if file.bytes() < FILE_BYTES_TARGET {
            open = Some((file, place));
        } else {
            place.send(file.finish().map_err(failed)?);
        }
    }
    if let Some((file, place)) = open {
        place.send(file.finish().map_err(failed)?);
    }
    Ok(())
}

/// What a column of texts is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// A text for each row.
    Plain,
    /// A dictionary where the file has one: its texts are copied once.
    AsStored,
}

/// The rows of files that follow each other, in the columns of `schema`.
pub(crate) fn read_run(
    store: Arc<dyn ObjectStore>,
    (stream, schema): (Stream, SchemaRef),
    files: Vec<Arc<TableFile>>,
    (rows, texts): (Rows, Texts),
) -> RunStream {
    let files = VecDeque::from(files);
    let opened = futures::stream::try_unfold(files, move |mut files| {
        let (store, schema, rows) = (store.clone(), schema.clone(), rows.clone());
        async move {
            let Some(file) = files.pop_front() else { return Ok(None) };
            Ok::<_, Error>(Some((read_file(store, (stream, schema), file, (rows, texts)).await?, files)))
        }
    });
    opened.try_flatten().boxed()
}

async fn read_file(
    store: Arc<dyn ObjectStore>,
    (stream, schema): (Stream, SchemaRef),
    file: Arc<TableFile>,
    (wanted, texts): (Rows, Texts),
) -> Result<RunStream> {
    let path = file.location.to_string();
    let failed = move |source: ParquetError| Error::Parquet { path: path.clone(), source };
    let mut reader = FileReader::new(store, &file);
    let options = ArrowReaderOptions::new();
    let mut metadata = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await.map_err(&failed)?;
    if texts == Texts::AsStored {
        let options = options.with_schema(with_dictionaries(&metadata));
        metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(&failed)?;
    }
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let unknown = builder.schema().fields().iter().find(|field| schema.field_with_name(field.name()).is_err());
    if let Some(field) = unknown {
        // Rewriting it would lose the column.
        return Err(Error::Newer {
            path: file.location.to_string(),
            found: format!("column {}", field.name()),
            known: "the columns of this version".to_owned(),
        });
    }
    let present = ProjectionMask::leaves(builder.parquet_schema(), present(builder.metadata()));
    let builder = builder.with_projection(present).with_batch_size(crate::encode::ROWS_PER_CHUNK);
    let builder = match time_filter(stream, builder.parquet_schema(), wanted) {
        Some(filter) => builder.with_row_filter(filter),
        None => builder,
    };
    let batches = builder.build().map_err(&failed)?;
    let rows = batches.map(move |batch| {
        plain(&schema, &batch.map_err(&failed)?).map_err(|source| Error::Rows { table: stream, source })
    });
    Ok(rows.boxed())
}

/// The leaves of a file that are not null in all rows: the others are known without reading them.
fn present(file: &ParquetMetaData) -> Vec<usize> {
    let columns = file.file_metadata().schema_descr();
    let is_null = |group: &RowGroupMetaData, leaf: usize| {
        let nulls = group.column(leaf).statistics().and_then(Statistics::null_count_opt);
        columns.column(leaf).path().parts().len() == 1 && nulls == Some(group.num_rows().unsigned_abs())
    };
    let is_present = |leaf: &usize| !file.row_groups().iter().all(|group| is_null(group, *leaf));
    (0..columns.num_columns()).filter(is_present).collect()
}

/// The columns of a file, those texts as dictionaries that are one in all of its row groups.
fn with_dictionaries(metadata: &ArrowReaderMetadata) -> SchemaRef {
    let (file, columns) = (metadata.metadata(), metadata.parquet_schema());
    let has_dictionary =
        |leaf: usize| file.row_groups().iter().all(|group| group.column(leaf).dictionary_page_offset().is_some());
    let field = |field: &FieldRef| {
        let leaf = columns.columns().iter().position(|column| column.path().parts() == [field.name().as_str()]);
        match field.data_type() == &DataType::Utf8 && leaf.is_some_and(has_dictionary) {
            true => Arc::new(field.as_ref().clone().with_data_type(text_dictionary())),
            false => field.clone(),
        }
    };
    Arc::new(Schema::new(metadata.schema().fields().iter().map(field).collect::<Vec<_>>()))
}

/// The rows of `records` whose event time lies in `stretch`, in the columns of `schema`.
pub(crate) fn rows_within(
    stream: Stream,
    schema: &SchemaRef,
    records: &RecordBatch,
    stretch: &Range<i64>,
) -> std::result::Result<RecordBatch, ArrowError> {
    let times = stream.time_column().and_then(|name| records.column_by_name(name));
    let Some(times) = times else { return plain(schema, records) };
    let times = cast(times, &DataType::Int64)?;
    let is_wanted = BooleanArray::from_unary(times.as_primitive::<Int64Type>(), |ts| stretch.contains(&ts));
    plain(schema, &filter_record_batch(records, &is_wanted)?)
}

/// Calls `each` with the event time of every row of a file.
pub(crate) async fn read_times(
    store: Arc<dyn ObjectStore>,
    stream: Stream,
    file: Arc<TableFile>,
    mut each: impl FnMut(i64),
) -> Result<()> {
    let path = file.location.to_string();
    let failed = move |source: ParquetError| Error::Parquet { path: path.clone(), source };
    let builder = ParquetRecordBatchStreamBuilder::new(FileReader::new(store, &file)).await.map_err(&failed)?;
    let Some(leaf) = time_leaf(stream, builder.parquet_schema()) else { return Ok(()) };
    let only = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
    let mut batches = builder.with_projection(only).build().map_err(&failed)?;
    while let Some(batch) = batches.try_next().await.map_err(&failed)? {
        let times = cast(batch.column(0), &DataType::Int64).map_err(|source| Error::Rows { table: stream, source })?;
        times.as_primitive::<Int64Type>().values().iter().copied().for_each(&mut each);
    }
    Ok(())
}

/// Place of the column of event time in a file.
fn time_leaf(stream: Stream, columns: &SchemaDescriptor) -> Option<usize> {
    let name = stream.time_column()?;
    (0..columns.num_columns()).find(|leaf| columns.column(*leaf).path().parts()[0] == name)
}

/// What leaves out the rows that are not wanted before their other columns are decoded; none where all are.
fn time_filter(stream: Stream, columns: &SchemaDescriptor, wanted: Rows) -> Option<RowFilter> {
    let (range, is_within) = match wanted {
        Rows::All => return None,
        Rows::Within(range) => (range, true),
        Rows::Without(range) => (range, false),
    };
    let leaf = time_leaf(stream, columns)?;
    let is_wanted = ArrowPredicateFn::new(ProjectionMask::leaves(columns, [leaf]), move |batch| {
        let times = cast(batch.column(0), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        Ok(BooleanArray::from_unary(times, |ts| range.contains(&ts) == is_within))
    });
    Some(RowFilter::new(vec![Box::new(is_wanted)]))
}

/// Exactly the columns of `schema`, of which a text may be a dictionary: readers name the items of lists and the entries of maps as they like, and an older
/// file lacks columns, which are null in it.
fn plain(schema: &SchemaRef, batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if is_kept(field.data_type(), column.data_type()) => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns: Vec<ArrayRef> = columns.collect::<std::result::Result<_, ArrowError>>()?;
    let found = schema.fields().iter().zip(&columns);
    let fields = found.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}
