//! Sorted rows to the bytes of one Parquet file (ORDER-1): texts, integers and times by our own encoders, everything else
//! by the writer of the `parquet` crate.

use crate::align::is_text_dictionary;
use crate::blocks::Blocks;
use crate::gather::{Picked, Place, gather};
use crate::int_chunk::IntChunk;
use crate::number_chunk::{NumberChunk, Packing};
use crate::other_chunk::OtherChunk;
use crate::page_sink::EncodedChunk;
use crate::pages::{Chunk, ChunkEncoder, ChunkOptions};
use crate::stats::StatsBuilder;
use crate::suffixed::Suffixed;
use crate::text_chunk::TextChunk;
use crate::text_ids::TextIds;
use crate::value_chunk::ValueEncoder;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_schema::{Stream, events, metrics};
use object_store::PutPayload;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use std::sync::Arc;

/// Rows of a row group.
pub(crate) const ROWS_PER_GROUP: usize = 256 << 10;
/// Rows from which on a row group of samples ends with its metric: values of one metric are alike.
const ROWS_OF_METRIC_MIN: usize = 32 << 10;
/// Bytes of texts that a row group holds in memory, about; it ends early where they are more.
const TEXT_BYTES_PER_GROUP: usize = 64 << 20;

/// How long a file will be there, which says how much work it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Rows of an epoch: they are written again soon.
    Flush,
    /// Rows of a window that a larger one will take in.
    Merge,
    /// Rows of a day: they stay as they are until they are deleted.
    Keep,
}

impl Effort {
    /// Level of zstd.
    fn zstd_level(self, stream: Stream) -> i32 {
        match self {
            // Labels come once and are small beside their samples.
            _ if stream == Stream::Series => 9,
            Self::Flush | Self::Merge => 1,
            Self::Keep => 3,
        }
    }
}

/// The bytes of a file, and what is in it.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: PutPayload,
    pub(crate) rows: u64,
    pub(crate) stats: String,
    /// Columns beyond those of the stream.
    pub(crate) suffixed: Vec<String>,
}

/// Rows of one column.
pub(crate) enum ColumnRows<'a> {
    /// Their values.
    Values(ArrayRef),
    /// Texts, by their numbers.
    Ids(&'a TextIds, Vec<u32>),
    /// Where they are.
    Picked(Vec<ArrayRef>, &'a [Place]),
}

/// Writes a file. Holds the file so far, the numbers of one row group, and encoded pages of those that are made at a time.
pub(crate) struct FileWriter {
    stream: Stream,
    /// The columns, plain.
    schema: SchemaRef,
    /// As rows come: a text may be a dictionary.
    incoming: SchemaRef,
    writer: SerializedFileWriter<Blocks>,
    encoder: ChunkEncoder,
    columns: Vec<Column>,
    /// The first leaf of each column.
    leaves: Vec<usize>,
    /// Rows of the open row group.
    open_rows: usize,
    stats: StatsBuilder,
    /// Where the metric of each row is, if row groups end with metrics.
    metric: Option<usize>,
    /// The metric of the last row.
    last_metric: Option<i64>,
}

/// A column of a row group that has ended.
enum EncodedColumn {
    Ours(Box<EncodedChunk>),
    /// Its leaves.
    Theirs(Vec<ArrowColumnChunk>),
}

enum Column {
    Text(TextChunk, ChunkOptions),
    Int(IntChunk),
    Number(NumberChunk),
    /// Values whose encoding is chosen for each row group.
    Values(ValueEncoder),
    Other(OtherChunk),
}

impl FileWriter {
    /// A writer of rows of `schema`: the stream's columns and any for values of another type; a text may be a dictionary.
    pub(crate) fn new(stream: Stream, schema: SchemaRef, effort: Effort) -> Result<Self, ParquetError> {
        let zstd_level = effort.zstd_level(stream);
        let plain = Suffixed::of_schema(stream, &schema).row_schema(stream);
        let properties = Arc::new(properties(stream, &plain, zstd_level)?);
        // Readers go by the table's schema; an Arrow schema in the footer would make them rebuild dictionaries.
        let parquet = ArrowSchemaConverter::new().with_coerce_types(properties.coerce_types()).convert(&schema)?;
        let writer = SerializedFileWriter::new(Blocks::default(), parquet.root_schema_ptr(), properties.clone())?;
        let is_tried = |field: &Field| {
            effort > Effort::Flush && stream == Stream::Samples && field.data_type() == &DataType::Float64
        };
        let columns = schema.fields().iter().map(|field| {
            Ok(match is_text(field) {
                true => Column::Text(TextChunk::default(), text_options(stream, field)),
                false if is_tried(field) => Column::Values(ValueEncoder::new(field.name(), effort == Effort::Keep)?),
                false => match Column::of_numbers(stream, field) {
                    Some(numbers) => numbers,
                    None => Column::Other(OtherChunk::new(field, properties.clone())?),
                },
            })
        });
        let columns = columns.collect::<Result<_, ParquetError>>()?;
        Ok(Self {
            stream,
            schema: plain,
            stats: StatsBuilder::new(schema.fields().len()),
            metric: (effort > Effort::Flush && stream == Stream::Samples)
                .then(|| schema.index_of(metrics::METRIC_ID).ok())
                .flatten(),
            last_metric: None,
            leaves: first_leaves(&schema),
            incoming: schema,
            writer,
            encoder: ChunkEncoder::new(zstd_level)?,
            columns,
            open_rows: 0,
        })
    }

    /// Bytes so far, about.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.columns.iter().map(Column::encoded_bytes).sum::<usize>()
    }

    /// Takes the next rows, in order.
    pub(crate) fn write(&mut self, rows: &Picked) -> Result<(), ParquetError> {
        let column = |index: usize| rows.pieces.iter().map(|piece| piece.column(index).clone()).collect::<Vec<_>>();
        let mut places = rows.places.as_slice();
        while !places.is_empty() {
            let room = places.len().min(self.room());
            let end = match self.metric {
                Some(metric) => self.rows_of_metric(&gather(&column(metric), &places[..room])?),
                None => None,
            };
            let (next, rest) = places.split_at(end.unwrap_or(room));
            self.write_places(next, column)?;
            if end.is_some() {
                self.end_group()?;
            }
            places = rest;
        }
        Ok(())
    }

    /// Rows that the open row group has room for.
    fn room(&self) -> usize {
        ROWS_PER_GROUP - self.open_rows
    }

    /// Takes the next `rows`, at most as many as there is room for.
    fn write_places(&mut self, places: &[Place], column: impl Fn(usize) -> Vec<ArrayRef>) -> Result<(), ParquetError> {
        for index in 0..self.columns.len() {
            self.push(index, ColumnRows::Picked(column(index), places))?;
        }
        self.stats.count(places.len());
        self.open_rows += places.len();
        let texts: usize = self.columns.iter().map(Column::text_bytes).sum();
        if self.open_rows >= ROWS_PER_GROUP || texts > TEXT_BYTES_PER_GROUP {
            self.end_group()?;
        }
        Ok(())
    }

    /// Takes whole row groups of `sizes` rows: `column` is called for each column in turn, and in it for each of the
    /// groups, so that what it needs of a column is made once.
    pub(crate) fn write_groups<'a>(
        &mut self,
        sizes: &[usize],
        mut column: impl FnMut(usize, usize) -> Result<ColumnRows<'a>, ArrowError>,
    ) -> Result<(), ParquetError> {
        self.end_group()?;
        let mut groups: Vec<Vec<EncodedColumn>> = sizes.iter().map(|_| Vec::new()).collect();
        for index in 0..self.columns.len() {
            for (number, group) in groups.iter_mut().enumerate() {
                self.push(index, column(index, number)?)?;
                group.push(self.encode(index)?);
            }
        }
        for (columns, rows) in groups.into_iter().zip(sizes) {
            self.stats.count(*rows);
            self.append_group(columns)?;
        }
        Ok(())
    }

    /// Takes rows of one column.
    fn push(&mut self, index: usize, rows: ColumnRows<'_>) -> Result<(), ParquetError> {
        let Self { columns, stats, incoming, .. } = self;
        let field = incoming.field(index);
        match (&mut columns[index], rows) {
            (Column::Text(chunk, _), ColumnRows::Ids(ids, rows)) => {
                stats.count_nulls(index, chunk.push_ids(ids, &rows));
            }
            (Column::Text(chunk, _), ColumnRows::Picked(pieces, places)) => {
                stats.count_nulls(index, chunk.push_places(&pieces, places)?);
            }
            (column, ColumnRows::Picked(pieces, places)) => {
                let values = gather(&pieces, places)?;
                stats.update_column(index, &values);
                column.push(&values)?;
            }
            (column, ColumnRows::Values(values)) => {
                stats.update_column(index, &values);
                column.push(&values)?;
            }
            _ => return Err(ParquetError::General(format!("texts in column {}", field.name()))),
        }
        Ok(())
    }

    /// How many of the next rows belong into the open row group, where it is to end with their metric.
    fn rows_of_metric(&mut self, metrics: &ArrayRef) -> Option<usize> {
        let metrics = metrics.as_primitive_opt::<Int64Type>()?.values();
        let before = std::mem::replace(&mut self.last_metric, metrics.last().copied());
        let is_end = |row: &usize| match row.checked_sub(1) {
            Some(before) => metrics[*row] != metrics[before],
            None => before != Some(metrics[0]),
        };
        let end = (ROWS_OF_METRIC_MIN.saturating_sub(self.open_rows)..metrics.len()).find(is_end)?;
        // The rest comes again, behind the end of the row group.
        self.last_metric = end.checked_sub(1).map(|row| metrics[row]).or(before);
        Some(end)
    }

    /// Ends the open row group, if it has rows.
    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.open_rows == 0 {
            return Ok(());
        }
        let columns = (0..self.columns.len()).map(|index| self.encode(index)).collect::<Result<_, _>>()?;
        self.open_rows = 0;
        self.append_group(columns)
    }

    /// Ends a column of the open row group.
    fn encode(&mut self, index: usize) -> Result<EncodedColumn, ParquetError> {
        let Self { columns, stats, writer, encoder, leaves, .. } = self;
        let leaf = writer.schema_descr().column(leaves[index]);
        Ok(match &mut columns[index] {
            Column::Text(chunk, options) => {
                let encoded = encoder.encode(chunk, &leaf, *options)?;
                if let Some((min, max)) = chunk.bounds() {
                    stats.widen_text(index, min, max);
                }
                chunk.clear();
                EncodedColumn::Ours(encoded.into())
            }
            Column::Int(chunk) => {
                let options = ChunkOptions { has_bounds: true, has_bloom_filter: false };
                let encoded = encoder.encode(chunk, &leaf, options)?;
                chunk.clear();
                EncodedColumn::Ours(encoded.into())
            }
            Column::Number(chunk) => {
                let encoded = encoder.encode_numbers(chunk, &leaf)?;
                chunk.clear();
                EncodedColumn::Ours(encoded.into())
            }
            Column::Values(encoder) => EncodedColumn::Theirs(vec![encoder.finish()?]),
            Column::Other(chunk) => EncodedColumn::Theirs(chunk.finish()?),
        })
    }

    fn append_group(&mut self, columns: Vec<EncodedColumn>) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in columns {
            match column {
                EncodedColumn::Ours(chunk) => group.append_column(&chunk.bytes, chunk.close)?,
                EncodedColumn::Theirs(leaves) => {
                    leaves.into_iter().try_for_each(|leaf| leaf.append_to_row_group(&mut group))?;
                }
            }
        }
        group.close().map(drop)
    }

    pub(crate) fn finish(mut self) -> Result<Encoded, ParquetError> {
        self.end_group()?;
        let stats = self.stats.finish(&self.schema);
        let suffixed = Suffixed::of_schema(self.stream, &self.schema).names();
        Ok(Encoded { rows: self.stats.rows(), bytes: self.writer.into_inner()?.into(), stats, suffixed })
    }
}

impl Column {
    /// For a field of integers or times; none where it is something else, or may be a dictionary or deltas.
    fn of_numbers(stream: Stream, field: &Field) -> Option<Self> {
        let (data_type, name) = (field.data_type(), field.name());
        match is_delta_packed(data_type, name) {
            true if is_repeated(stream, name) => None,
            true => NumberChunk::new(data_type, Packing::Delta).map(Self::Number),
            false if is_process(name) => NumberChunk::new(data_type, Packing::Plain).map(Self::Number),
            false => IntChunk::new(data_type).map(Self::Int),
        }
    }

    fn push(&mut self, array: &ArrayRef) -> Result<(), ParquetError> {
        match self {
            Self::Text(chunk, _) => chunk.push(array)?,
            Self::Int(chunk) => chunk.push(array)?,
            Self::Number(chunk) => chunk.push(array)?,
            Self::Values(encoder) => encoder.push(array),
            Self::Other(chunk) => chunk.push(array)?,
        }
        Ok(())
    }

    /// Bytes that it will take in the file, about.
    fn encoded_bytes(&self) -> usize {
        match self {
            // Numbers take a byte or two, and texts compress to a third.
            Self::Text(chunk, _) => chunk.page().len() / 3 + chunk.codes().map_or(0, <[u32]>::len),
            Self::Int(chunk) => chunk.encoded_bytes(),
            Self::Number(chunk) => chunk.encoded_bytes(),
            Self::Values(encoder) => encoder.bytes(),
            Self::Other(chunk) => chunk.encoded_bytes(),
        }
    }

    /// Bytes of texts that it holds.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Text(chunk, _) => chunk.page().len(),
            Self::Int(_) | Self::Number(_) | Self::Values(_) | Self::Other(_) => 0,
        }
    }
}

fn is_text(field: &Field) -> bool {
    field.data_type() == &DataType::Utf8 || is_text_dictionary(field.data_type())
}

/// Where the leaves of each column begin.
fn first_leaves(schema: &Schema) -> Vec<usize> {
    let next = |leaf: &mut usize, field: &Arc<Field>| {
        let first = *leaf;
        *leaf += leaves_of(field.data_type());
        Some(first)
    };
    schema.fields().iter().scan(0, next).collect()
}

/// Parquet numbers leaves; a map has two.
fn leaves_of(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaves_of(field.data_type())).sum(),
        DataType::List(item) | DataType::Map(item, _) => leaves_of(item.data_type()),
        _ => 1,
    }
}

fn text_options(stream: Stream, field: &Field) -> ChunkOptions {
    let has_bloom_filter = bloom_columns(stream).contains(&field.name().as_str());
    ChunkOptions { has_bounds: !has_no_bounds(field.name()), has_bloom_filter }
}

fn properties(stream: Stream, schema: &Schema, zstd_level: i32) -> Result<WriterProperties, ParquetError> {
    let level = ZstdLevel::try_new(zstd_level)?;
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("bodkin ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting_columns(stream)))
        .set_coerce_types(true);
    for field in schema.fields() {
        let column = || ColumnPath::from(field.name().as_str());
        if field.data_type() == &DataType::Float64 {
            builder = builder.set_column_statistics_enabled(column(), EnabledStatistics::None);
        }
        if is_repeated(stream, field.name()) {
            builder = builder.set_column_encoding(column(), Encoding::DELTA_BINARY_PACKED);
        }
        if stream == Stream::Samples && field.name() == metrics::VALUE {
            // Values of a series share their upper bytes: planes of bytes compress where whole numbers do not.
            builder = builder
                .set_column_dictionary_enabled(column(), false)
                .set_column_encoding(column(), Encoding::BYTE_STREAM_SPLIT);
        }
    }
    Ok(builder.build())
}

/// Times, and integers that count or are sorted by.
fn is_delta_packed(data_type: &DataType, name: &str) -> bool {
    matches!(data_type, DataType::Timestamp(..))
        || [events::TS_NS, events::SEQ, events::CGROUP_ID, metrics::METRIC_ID, metrics::SERIES_ID].contains(&name)
}

/// Numbers of processes: too many for places in a dictionary to be short, and what repeats among rows in order is found
/// in whole numbers rather than in bits of places.
fn is_process(name: &str) -> bool {
    [events::PID, events::TID, events::PPID].contains(&name)
}

/// Numbers that come many times over: a series among its samples, the time of a request among its series. Where they are too
/// many for a dictionary, deltas follow.
fn is_repeated(stream: Stream, name: &str) -> bool {
    match stream {
        Stream::Series => [metrics::METRIC_ID, metrics::FIRST_SEEN, metrics::LAST_SEEN].contains(&name),
        _ => [metrics::METRIC_ID, metrics::SERIES_ID].contains(&name),
    }
}

/// Texts that nobody asks for by a range or a whole value.
fn has_no_bounds(name: &str) -> bool {
    [events::ARGS, events::EXE_ARG0, events::FLAGS, events::FD_TYPE, events::PROTO].contains(&name)
}

/// Columns that are asked for one value of many.
fn bloom_columns(stream: Stream) -> &'static [&'static str] {
    match stream {
        Stream::Events => &[events::CONTAINER_ID, events::PATH, events::EXE, events::REMOTE_ADDR],
        _ => &[],
    }
}

fn sorting_columns(stream: Stream) -> Vec<SortingColumn> {
    let schema = stream.schema();
    let leaves = first_leaves(&schema);
    let column_idx = |name: &&str| schema.index_of(name).ok().and_then(|index| leaves.get(index).copied());
    let ascending = |leaf: usize| SortingColumn { column_idx: leaf as i32, descending: false, nulls_first: false };
    stream.sort_columns().iter().filter_map(column_idx).map(ascending).collect()
}
