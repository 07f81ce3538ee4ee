//! A Parquet file in the store, as its reader wants it: ranges of bytes, and the footer with its page index.

use bodkin_table::TableFile;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use std::ops::Range;
use std::sync::Arc;

/// Bytes at the end that are read at once: the footer of most files.
const FOOTER_BYTES: usize = 64 << 10;

/// One file.
pub(crate) struct StoreFile {
    store: Arc<dyn ObjectStore>,
    location: Path,
    bytes: u64,
}

impl StoreFile {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, file: &TableFile) -> Self {
        Self { store: store.clone(), location: file.location.clone(), bytes: file.size }
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoreFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.store.get_range(&self.location, range).map_err(external).await }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.location, &ranges).map_err(external).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let reader = ParquetMetaDataReader::new()
                .with_metadata_options(options.map(|options| options.metadata_options().clone()))
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER_BYTES));
            let bytes = self.bytes;
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        }
        .boxed()
    }
}
