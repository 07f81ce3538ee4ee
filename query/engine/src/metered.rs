//! Reading files under a bound: bytes are counted as they are asked for, and a query that asks for too many ends.
//! Footers are marked with what is a dictionary in their file.

use crate::answer::ScanCounters;
use crate::dictionary::{for_few_rows, with_dictionaries};
use crate::error::{ErrorKind, QueryError};
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
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::ops::Range;
use std::sync::Arc;

/// Behind the name of a file: its footer for who reads few rows. No file has such a name.
const FEW_ROWS: &str = "#few-rows";

/// Makes readers that count.
#[derive(Debug)]
pub(crate) struct MeteredReaders {
    pub(crate) inner: Arc<dyn ParquetFileReaderFactory>,
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
        let (footers, counters) = (self.footers.clone(), self.counters.clone());
        Ok(Box::new(Metered { inner, object, footers, counters, are_rows_few: self.are_rows_few }))
    }
}

struct Metered {
    inner: Box<dyn AsyncFileReader + Send>,
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
        let beside = Path::from(format!("{}{FEW_ROWS}", self.object.location));
        let kept = self.footers.get(&beside).filter(|kept| kept.is_valid_for(&self.object));
        let kept = kept.and_then(|kept| {
            kept.file_metadata
                .as_any()
                .downcast_ref::<CachedParquetMetaData>()
                .map(|kept| kept.parquet_metadata().clone())
        });
        if let Some(kept) = kept {
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
        match self.admit(range.end.saturating_sub(range.start)) {
            Ok(()) => self.inner.get_bytes(range),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, std::result::Result<Vec<Bytes>, ParquetError>> {
        match self.admit(ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum()) {
            Ok(()) => self.inner.get_byte_ranges(ranges),
            Err(error) => futures::future::ready(Err(error)).boxed(),
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
            let readers = MeteredReaders { inner, footers, counters, are_rows_few };
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
}
