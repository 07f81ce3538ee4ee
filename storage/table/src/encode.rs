//! Sorted rows to Parquet: a pure function from tail parts to the bytes of files (ORDER-1).

use crate::file_writer::{ColumnRows, Effort, Encoded, FileWriter, ROWS_PER_GROUP};
use crate::sort::{Key, sorted_order};
use crate::suffixed::Suffixed;
use crate::tail::TailPart;
use crate::text_ids::TextIds;
use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_engine::absent_column;
use bodkin_schema::Stream;
use parquet::errors::ParquetError;
use std::ops::Range;
use std::sync::Arc;

/// Rows that readers and writers pass on at a time.
pub(crate) const ROWS_PER_CHUNK: usize = 8192;
/// Bytes of the rows of a row group, at most, about.
const GROUP_BYTES: usize = 96 << 20;

/// Row groups that are made at a time, a column of all of them after the other.
const GROUPS_AT_ONCE: usize = 4;

/// Where files end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Bytes of a file, about.
    pub(crate) file_bytes_target: usize,
    /// Files, at most.
    pub(crate) files_max: usize,
    /// Rows of a row group, at most.
    pub(crate) group_rows_max: usize,
    /// Row groups that are made at a time; a file may end behind them.
    pub(crate) groups_at_once: usize,
}

impl Cut {
    /// Files of row groups that are as large as they can be.
    pub(crate) fn new(file_bytes_target: usize, files_max: usize) -> Self {
        Self { file_bytes_target, files_max, group_rows_max: ROWS_PER_GROUP, groups_at_once: GROUPS_AT_ONCE }
    }
}

/// Sorts the rows of all parts together and writes them to files as `cut` says; `emit` takes each and says whether to go
/// on. Holds one file, one column of all rows, the numbers of texts, and a copy of what is neither number nor text.
pub(crate) fn encode(
    stream: Stream,
    parts: &[Arc<TailPart>],
    cut: Cut,
    mut emit: impl FnMut(Encoded) -> bool,
) -> Result<(), ParquetError> {
    let rows = SortedRows::new(stream, parts)?;
    let bytes: usize = parts.iter().map(|part| part.bytes).sum();
    let groups = bytes.div_ceil(GROUP_BYTES).max(rows.len().div_ceil(cut.group_rows_max)).max(1);
    let group_rows = rows.len().div_ceil(groups);
    let mut files = 0;
    let mut start = 0;
    while start < rows.len() {
        files += 1;
        let mut file = FileWriter::new(stream, rows.schema.clone(), Effort::Flush)?;
        loop {
            let end = rows.len().min(start + group_rows * cut.groups_at_once);
            rows.write(start..end, group_rows, &mut file)?;
            start = end;
            let is_full = file.bytes() >= cut.file_bytes_target && files < cut.files_max;
            if is_full || start == rows.len() {
                break;
            }
        }
        if !emit(file.finish()?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Rows of many parts as one, and the order in which they are sorted.
struct SortedRows {
    /// The stream's columns; a text may be a dictionary.
    schema: SchemaRef,
    columns: Vec<Column>,
    order: UInt32Array,
}

/// One column of all parts.
enum Column {
    /// Nothing but nulls.
    Null(DataType),
    /// As the parts have it: numbers are not copied before they are in order.
    Parts(Vec<ArrayRef>),
    /// Texts by number.
    Texts(TextIds),
    /// In one piece: what is made of others.
    Joined(ArrayRef),
}

impl SortedRows {
    fn new(stream: Stream, parts: &[Arc<TailPart>]) -> Result<Self, ArrowError> {
        let schema = parts
            .iter()
            .map(|part| Suffixed::of_schema(stream, part.records.schema_ref()))
            .fold(Suffixed::default(), |all, suffixed| all.with(&suffixed))
            .row_schema(stream);
        let columns: Vec<Column> =
            schema.fields().iter().map(|field| Column::new(parts, field)).collect::<Result<_, _>>()?;
        let keys: Vec<Key<'_>> = stream
            .sort_columns()
            .iter()
            .map(|name| schema.index_of(name).map(|index| columns[index].key()))
            .collect::<Result<_, _>>()?;
        let rows = parts.iter().map(|part| part.records.num_rows()).sum();
        let order = sorted_order(rows, &keys)?;
        let found = schema.fields().iter().zip(&columns);
        let fields =
            found.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { order, schema, columns })
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// Writes rows of the sorted order as row groups. A column after the other, each in full and first as it came: what
    /// is met in order is fetched ahead, and stays in the caches while rows jump.
    fn write(&self, rows: Range<usize>, group_rows: usize, file: &mut FileWriter) -> Result<(), ParquetError> {
        let starts = rows.clone().step_by(group_rows);
        let groups: Vec<UInt32Array> =
            starts.map(|start| self.order.slice(start, group_rows.min(rows.end - start))).collect();
        let sizes: Vec<usize> = groups.iter().map(Array::len).collect();
        let mut ids_of_all = Vec::new();
        let mut joined: Option<ArrayRef> = None;
        file.write_groups(&sizes, |index, group| {
            let order = &groups[group];
            if group == 0 {
                joined = None;
            }
            Ok(match &self.columns[index] {
                Column::Null(data_type) => ColumnRows::Values(absent_column(data_type, order.len())),
                Column::Parts(pieces) => {
                    let whole = match joined.take() {
                        Some(whole) => whole,
                        None => concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
                    };
                    ColumnRows::Values(take(joined.insert(whole), order, None)?)
                }
                Column::Texts(ids) => {
                    if group == 0 {
                        ids.rows(&mut ids_of_all);
                    }
                    ColumnRows::Ids(ids, order.values().iter().map(|row| ids_of_all[*row as usize]).collect())
                }
                Column::Joined(column) => ColumnRows::Values(take(column, order, None)?),
            })
        })
    }
}

impl Column {
    /// The column of all parts; null in those that do not have it.
    fn new(parts: &[Arc<TailPart>], field: &Field) -> Result<Self, ArrowError> {
        let plain = field.data_type();
        let found = |part: &Arc<TailPart>| part.records.column_by_name(field.name()).cloned();
        if field.is_nullable() && parts.iter().filter_map(found).all(|piece| piece.null_count() == piece.len()) {
            return Ok(Self::Null(plain.clone()));
        }
        let piece = |part| found(part).unwrap_or_else(|| absent_column(plain, part.records.num_rows()));
        let pieces: Vec<ArrayRef> = parts.iter().map(piece).collect();
        match plain {
            DataType::Utf8 => TextIds::new(pieces).map(Self::Texts),
            DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => join(&pieces, plain).map(Self::Joined),
            _ => Ok(Self::Parts(pieces)),
        }
    }

    /// What rows are sorted by.
    fn key(&self) -> Key<'_> {
        match self {
            Self::Null(_) => Key::Numbers(&[]),
            Self::Texts(ids) => Key::Texts(ids),
            Self::Parts(pieces) => Key::Numbers(pieces),
            Self::Joined(column) => Key::Numbers(std::slice::from_ref(column)),
        }
    }

    fn data_type(&self) -> &DataType {
        match self {
            Self::Null(data_type) => data_type,
            Self::Texts(_) => &DataType::Utf8,
            Self::Parts(pieces) => pieces.first().map_or(&DataType::Null, |piece| piece.data_type()),
            Self::Joined(column) => column.data_type(),
        }
    }
}

/// One column of all parts. Texts in it stay dictionaries where every part has them.
fn join(columns: &[ArrayRef], plain: &DataType) -> Result<ArrayRef, ArrowError> {
    let is_joined = |column: &ArrayRef| column.data_type() == plain || matches!(column.data_type(), DataType::List(_));
    if columns.iter().all(is_joined) && columns.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type()) {
        let columns: Vec<_> = columns.iter().map(|column| column.as_ref()).collect();
        return concat(&columns);
    }
    let columns = columns.iter().map(|column| cast(column, plain)).collect::<Result<Vec<_>, _>>()?;
    concat(&columns.iter().map(|column| column.as_ref()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{FileStats, StatValue};
    use arrow::array::{AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Int32Type, Int64Type, Schema};
    use bodkin_schema::{Tenant, drops};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    /// Losses of `producers`, numbered from `first`; the text is a dictionary or plain, and a slice of a longer batch.
    fn part(first: i64, producers: &[String], is_dictionary: bool) -> Arc<TailPart> {
        let padded = || std::iter::once("~").chain(producers.iter().map(String::as_str));
        let text: ArrayRef = match is_dictionary {
            true => Arc::new(padded().collect::<DictionaryArray<Int32Type>>()),
            false => Arc::new(padded().map(Some).collect::<StringArray>()),
        };
        let numbers: Vec<i64> = (first - 1..first + producers.len() as i64).collect();
        let times = TimestampMicrosecondArray::from_iter_values(numbers.iter().map(|n| -n)).with_timezone("UTC");
        let registered = Stream::Drops.schema();
        let fields = registered.fields().iter().map(|field| match field.data_type() {
            DataType::Utf8 => Field::new(field.name(), text.data_type().clone(), false),
            _ => field.as_ref().clone(),
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let counts = Arc::new(Int64Array::from(numbers));
        let columns = vec![Arc::new(times) as _, text.clone(), text.clone(), text, counts];
        let records = RecordBatch::try_new(schema, columns).unwrap().slice(1, producers.len());
        Arc::new(TailPart { records, tenant: Tenant::default(), date: 0, event_time: None, bytes: 1 })
    }

    fn files(parts: &[Arc<TailPart>], target: usize, files_max: usize) -> Vec<Encoded> {
        let mut files = Vec::new();
        let cut = Cut { group_rows_max: 4_000, groups_at_once: 2, ..Cut::new(target, files_max) };
        encode(Stream::Drops, parts, cut, |file| {
            files.push(file);
            true
        })
        .unwrap();
        files
    }

    fn rows(file: &Encoded) -> Vec<(String, i64, i64)> {
        let bytes = bytes::Bytes::from(file.bytes.clone());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let mut rows = Vec::new();
        for batch in reader.map(Result::unwrap) {
            let text = batch.column_by_name(drops::PRODUCER).unwrap().as_string::<i32>().clone();
            let times = cast(batch.column_by_name(drops::TS).unwrap(), &DataType::Int64).unwrap();
            let counts = batch.column_by_name(drops::COUNT).unwrap().as_primitive::<Int64Type>().clone();
            let times = times.as_primitive::<Int64Type>();
            rows.extend((0..batch.num_rows()).map(|i| (text.value(i).to_owned(), times.value(i), counts.value(i))));
        }
        rows
    }

    #[test]
    fn order_1_holds_across_the_files_of_a_commit() {
        let producers: Vec<String> = (0..30_000).map(|n| format!("p{}", n * 7919 % 30_000)).collect();
        let parts = [part(0, &producers[..9_000], true), part(9_000, &producers[9_000..], true)];
        let files = files(&parts, 1, 3);
        assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [7_500, 7_500, 15_000]);
        let all: Vec<_> = files.iter().flat_map(rows).collect();
        assert!(all.is_sorted_by_key(|(producer, time, _)| (producer.clone(), *time)));
        let mut numbers: Vec<i64> = all.into_iter().map(|(_, _, number)| number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30_000).collect::<Vec<_>>());
    }

    #[test]
    fn who_wants_no_more_files_gets_none() {
        let producers = vec!["p".to_owned(); 20_000];
        let mut count = 0;
        let cut = Cut { group_rows_max: ROWS_PER_CHUNK, groups_at_once: 1, ..Cut::new(1, 16) };
        encode(Stream::Drops, &[part(0, &producers, true)], cut, |_| {
            count += 1;
            false
        })
        .unwrap();
        assert_eq!(count, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn sorted_and_within_its_statistics(
            groups in prop::collection::vec((prop::collection::vec("\\PC{0,40}", 1..20), any::<bool>()), 1..5),
        ) {
            let mut first = 0;
            let mut parts = Vec::new();
            for (producers, is_dictionary) in &groups {
                parts.push(part(first, producers, *is_dictionary));
                first += producers.len() as i64;
            }
            let files = files(&parts, usize::MAX, 16);
            prop_assert_eq!(files.len(), 1);
            let rows = rows(&files[0]);
            let mut expected: Vec<_> = groups.iter().flat_map(|(producers, _)| producers.clone()).zip(0..)
                .map(|(producer, number)| (producer, -number, number)).collect();
            expected.sort();
            prop_assert_eq!(&rows, &expected);
            let (count, stats) = FileStats::parse(Stream::Drops, "f", &files[0].stats).unwrap();
            prop_assert_eq!((count, stats.column(1).null_count), (rows.len() as u64, Some(0)));
            let Some(StatValue::Text(min)) = stats.column(1).min else { panic!("no minimum") };
            prop_assert!(rows.iter().all(|(producer, ..)| min.as_ref() <= producer.as_str()));
            if let Some(StatValue::Text(max)) = stats.column(1).max {
                prop_assert!(rows.iter().all(|(producer, ..)| max.as_ref() >= producer.as_str()));
            }
        }
    }
}
