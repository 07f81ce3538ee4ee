//! Reading files under a bound: bytes are counted as they are asked for, and a query that asks for too many ends.

use crate::answer::ScanCounters;
use crate::error::{ErrorKind, QueryError};
use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;

/// Makes readers that count.
#[derive(Debug)]
pub(crate) struct MeteredReaders {
    pub(crate) inner: Arc<dyn ParquetFileReaderFactory>,
    pub(crate) counters: Arc<ScanCounters>,
}

impl ParquetFileReaderFactory for MeteredReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let inner = self.inner.create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(Metered { inner, counters: self.counters.clone() }))
    }
}

struct Metered {
    inner: Box<dyn AsyncFileReader + Send>,
    counters: Arc<ScanCounters>,
}

impl Metered {
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
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, std::result::Result<Arc<ParquetMetaData>, ParquetError>> {
        self.inner.get_metadata(options)
    }
}
