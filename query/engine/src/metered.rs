//! Reading files under a bound: bytes are counted as they are asked for, and a query that asks for too many ends.
//! Footers are marked with what is a dictionary in their file. What is in memory already is not asked of the store.

use crate::answer::ScanCounters;
use crate::at_hand::AtHand;
use crate::dictionary::{for_few_rows, with_dictionaries};
use crate::error::{ErrorKind, QueryError};
use crate::files;
use bodkin_table::TableFile;
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
// The cache looks for this type, and there is another of the same name.
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricCategory, MetricType, RatioMergeStrategy, RatioMetrics,
};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use object_store::ObjectMeta;
use object_store::path::Path;
use std::ops::Range;
use std::sync::Arc;

/// Behind the name of a file: its footer for who reads few rows. No file has such a name.
const FEW_ROWS: &str = "#few-rows";

/// The footer of `file`, if it is in memory: as who reads few rows left it there, or anyone.
pub(crate) fn kept_footer(footers: &FileMetadataCache, file: &TableFile) -> Option<Arc<ParquetMetaData>> {
    let object = files::object(file);
    kept(footers, &for_few(&object.location), &object).or_else(|| kept(footers, &object.location, &object))
}

fn kept(footers: &FileMetadataCache, place: &Path, object: &ObjectMeta) -> Option<Arc<ParquetMetaData>> {
    let kept = footers.get(place).filter(|kept| kept.is_valid_for(object))?;
    let kept = kept.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>()?;
    Some(kept.parquet_metadata().clone())
}

fn for_few(location: &Path) -> Path {
    Path::from(format!("{location}{FEW_ROWS}"))
}

/// Makes readers that count.
#[derive(Debug)]
pub(crate) struct MeteredReaders {
    pub(crate) inner: Arc<dyn ParquetFileReaderFactory>,
    /// Where the files are on this machine.
    pub(crate) folder: Option<Arc<std::path::Path>>,
    /// Where `inner` keeps footers.
    pub(crate) footers: Arc<FileMetadataCache>,
    pub(crate) counters: Arc<ScanCounters>,
    /// A few rows of each row group are read: see [`for_few_rows`].
    pub(crate) are_rows_few: bool,
}

impl ParquetFileReaderFactory for MeteredReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let object = file.object_meta.clone();
        let inner = self.inner.create_reader(partition, file, metadata_size_hint, metrics)?;
        let at_hand = self.folder.as_ref().map(|folder| AtHand::new(folder.join(object.location.as_ref())));
        let scanned = Scanned::new(partition, metrics);
        let (footers, counters) = (self.footers.clone(), self.counters.clone());
        Ok(Box::new(Metered { inner, at_hand, scanned, object, footers, counters, are_rows_few: self.are_rows_few }))
    }
}

/// What EXPLAIN ANALYZE says of bytes, beside what `inner` says of those that it reads.
struct Scanned {
    bytes: Count,
    share: RatioMetrics,
}

impl Scanned {
    fn new(partition: usize, metrics: &ExecutionPlanMetricsSet) -> Self {
        let builder = MetricBuilder::new(metrics).with_type(MetricType::Summary);
        let strategy = RatioMergeStrategy::AddPartSetTotal;
        let share = builder.clone().ratio_metrics_with_strategy("scan_efficiency_ratio", partition, strategy);
        let bytes = builder.with_category(MetricCategory::Bytes).counter("bytes_scanned", partition);
        Self { bytes, share }
    }

    fn add(&self, bytes: usize) {
        self.bytes.add(bytes);
        self.share.add_part(bytes);
    }
}

struct Metered {
    inner: Box<dyn AsyncFileReader + Send>,
    at_hand: Option<AtHand>,
    scanned: Scanned,
    object: ObjectMeta,
    footers: Arc<FileMetadataCache>,
    counters: Arc<ScanCounters>,
    are_rows_few: bool,
}

impl Metered {
    /// The footer with its page index, marked.
    async fn footer(&mut self) -> std::result::Result<Arc<ParquetMetaData>, ParquetError> {
        // With the page index: what is kept without it would be completed again by each query.
        let whole = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = self.inner.get_metadata(Some(&whole)).await?;
        let Some(marked) = with_dictionaries(&footer)? else { return Ok(footer) };
        let marked = Arc::new(marked);
        self.keep(&self.object.location, &marked);
        Ok(marked)
    }

    /// The same for who reads few rows, kept beside it.
    async fn footer_for_few_rows(&mut self) -> std::result::Result<Arc<ParquetMetaData>, ParquetError> {
        let beside = for_few(&self.object.location);
        if let Some(kept) = kept(self.footers.as_ref(), &beside, &self.object) {
            return Ok(kept);
        }
        let marked = Arc::new(for_few_rows(self.footer().await?.as_ref())?);
        self.keep(&beside, &marked);
        Ok(marked)
    }

    fn keep(&self, place: &Path, footer: &Arc<ParquetMetaData>) {
        let kept = Arc::new(CachedParquetMetaData::new(footer.clone()));
        self.footers.put(place, CachedFileMetadataEntry::new(self.object.clone(), kept));
    }

    /// The bytes of `ranges`, if they are in memory.
    fn at_hand(&mut self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let found = self.at_hand.as_mut()?.read(ranges)?;
        self.scanned.add(found.iter().map(Bytes::len).sum());
        Some(found)
    }

    fn admit(&self, bytes: u64) -> std::result::Result<(), ParquetError> {
        let bytes_max = self.counters.bytes_max();
        if self.counters.add_bytes(bytes) <= bytes_max {
            return Ok(());
        }
        let message = format!("the query reads more than {} MiB of files", bytes_max >> 20);
        let error = QueryError::new(ErrorKind::Limit, message)
            .with_hint("narrow the time range, name a container or series, or select fewer columns");
        Err(ParquetError::External(Box::new(error)))
    }
}

impl AsyncFileReader for Metered {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, std::result::Result<Bytes, ParquetError>> {
        if let Err(error) = self.admit(range.end.saturating_sub(range.start)) {
            return ready(Err(error)).boxed();
        }
        match self.at_hand(std::slice::from_ref(&range)).and_then(|mut found| found.pop()) {
            Some(found) => ready(Ok(found)).boxed(),
            None => self.inner.get_bytes(range),
        }
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, std::result::Result<Vec<Bytes>, ParquetError>> {
        if let Err(error) = self.admit(ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum()) {
            return ready(Err(error)).boxed();
        }
        match self.at_hand(&ranges) {
            Some(found) => ready(Ok(found)).boxed(),
            None => self.inner.get_byte_ranges(ranges),
        }
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, std::result::Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            match self.are_rows_few {
                true => self.footer_for_few_rows().await,
                false => self.footer().await,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use arrow::datatypes::DataType;
    use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::parquet::arrow::{ArrowWriter, parquet_to_arrow_schema};
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    #[tokio::test]
    async fn a_footer_is_read_once() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
        let batch = RecordBatch::try_from_iter([("text", texts)]).unwrap();
        // As our own files, it brings no Arrow schema.
        let options =
            datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions::new().with_skip_arrow_metadata(true);
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let store = Arc::new(InMemory::new());
        let path = object_store::path::Path::from("f.parquet");
        store.put(&path, bytes.into()).await.unwrap();
        let file = PartitionedFile::new_from_meta(store.head(&path).await.unwrap());

        let footers = RuntimeEnvBuilder::new().build_arc().unwrap().cache_manager.get_file_metadata_cache();
        let inner = Arc::new(CachedParquetFileReaderFactory::new(store as Arc<dyn ObjectStore>, footers.clone()));
        let metrics = ExecutionPlanMetricsSet::new();
        let mut found = Vec::new();
        for are_rows_few in [false, false, true, true] {
            let (inner, footers) = (inner.clone(), footers.clone());
            let counters = Arc::new(ScanCounters::new(u64::MAX));
            let readers = MeteredReaders { inner, folder: None, footers, counters, are_rows_few };
            let mut reader = readers.create_reader(0, file.clone(), None, &metrics).unwrap();
            found.push(reader.get_metadata(None).await.unwrap());
        }
        assert!(Arc::ptr_eq(&found[0], &found[1]) && Arc::ptr_eq(&found[2], &found[3]));
        let types = [&found[0], &found[2]].map(|footer| {
            let file = footer.file_metadata();
            let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).unwrap();
            schema.field(0).data_type().clone()
        });
        assert!(matches!(types, [DataType::Dictionary(..), DataType::Utf8View]), "{types:?}");
        assert!(with_dictionaries(&found[0]).unwrap().is_none(), "it is marked");
        assert!(found[0].column_index().is_some() && found[0].offset_index().is_some());
    }

    #[tokio::test]
    async fn what_is_in_memory_reads_and_counts_as_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(bodkin_table::DurableLocal::open(folder.path()).unwrap());
        let path = object_store::path::Path::from("date=2026-11-24/a b%.parquet");
        let content: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        store.put(&path, content.clone().into()).await.unwrap();
        let file = PartitionedFile::new_from_meta(store.head(&path).await.unwrap());
        let footers = RuntimeEnvBuilder::new().build_arc().unwrap().cache_manager.get_file_metadata_cache();
        let inner = Arc::new(CachedParquetFileReaderFactory::new(store, footers.clone()));
        for place in [None, Some(folder.path().into())] {
            let (inner, footers) = (inner.clone(), footers.clone());
            let counters = Arc::new(ScanCounters::new(1000));
            let readers = MeteredReaders { inner, folder: place, footers, counters, are_rows_few: false };
            let metrics = ExecutionPlanMetricsSet::new();
            let mut reader = readers.create_reader(0, file.clone(), None, &metrics).unwrap();
            assert_eq!(reader.get_bytes(5..105).await.unwrap(), content[5..105]);
            let found = reader.get_byte_ranges(vec![0..3, 99_000..99_500]).await.unwrap();
            assert_eq!(found.concat(), [&content[0..3], &content[99_000..99_500]].concat());
            assert_eq!(reader.get_bytes(99_999..100_001).await.unwrap(), content[99_999..]);
            assert!(reader.get_bytes(0..900).await.unwrap_err().to_string().contains("the query reads more than"));
            assert_eq!(metrics.clone_inner().sum_by_name("bytes_scanned").unwrap().as_usize(), 605);
        }
    }
}
