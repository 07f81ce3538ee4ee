//! Writes a checkpoint of a Delta log in bounded memory. What the one before says and the entries since then pass through
//! batch by batch: `delta_kernel` tells which actions stay, and they go into small compressed row groups, so that whoever
//! reads or writes one holds some MiB of it and not what is said of all files of a table.

use crate::{Error, Result};
use bodkin_schema::Stream;
use delta_kernel::checkpoint::LastCheckpointHintStats;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::{ActionReconciliationIterator, Engine, Snapshot};
use deltalake_core::DeltaTableError;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::sync::Arc;
use tokio::runtime::Handle;
use url::Url;

/// Actions of a row group: 5 to 20 MiB of statistics as text.
const ROWS_PER_GROUP: usize = 4096;

/// A checkpoint to be written.
pub(crate) struct CheckpointWriter {
    pub(crate) stream: Stream,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) engine: Arc<dyn Engine>,
    /// The table, as the engine names it.
    pub(crate) root: Url,
    pub(crate) version: u64,
}

impl CheckpointWriter {
    /// Writes it, unless it is there. Blocks: wants a thread of its own, of a runtime that `handle` is of.
    pub(crate) fn write(self, handle: &Handle) -> Result<()> {
        let engine = self.engine.as_ref();
        let failed = |error: delta_kernel::Error| self.failed(error);
        let snapshot = Snapshot::builder_for(self.root.clone()).at_version(self.version).build(engine);
        let writer = snapshot.map_err(failed)?.create_checkpoint_writer(engine).map_err(failed)?;
        let url = writer.checkpoint_path().map_err(failed)?;
        let path = Path::from_url_path(url.path())
            .map_err(|source| Error::Store { path: url.path().to_owned(), source: source.into() })?;
        match handle.block_on(self.store.head(&path)) {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(Error::Store { path: path.to_string(), source }),
        }
        let actions = writer.checkpoint_data(engine).map_err(failed)?;
        let state = actions.state();
        let bytes = self.write_file(&path, actions, handle)?;
        let counted = Arc::into_inner(state)
            .ok_or_else(|| delta_kernel::Error::generic("the actions of a checkpoint are still being read"))
            .and_then(|state| LastCheckpointHintStats::from_reconciliation_state(state, bytes, 0));
        writer.finalize(engine, &counted.map_err(failed)?).map_err(failed)
    }

    /// Writes the actions that stay; returns the bytes of the file.
    fn write_file(&self, path: &Path, actions: ActionReconciliationIterator, handle: &Handle) -> Result<u64> {
        let parquet = |source: ParquetError| Error::Parquet { path: path.to_string(), source };
        let mut writer = None;
        for batch in actions {
            let batch = batch.and_then(|batch| batch.apply_selection_vector()?.try_into_record_batch());
            let batch = batch.map_err(|error| self.failed(error))?;
            let open = match &mut writer {
                Some(open) => open,
                None => {
                    let object = BufWriter::new(self.store.clone(), path.clone());
                    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
                    let options = options.with_properties(properties().map_err(parquet)?);
                    let new = AsyncArrowWriter::try_new_with_options(object, batch.schema(), options);
                    writer.insert(new.map_err(parquet)?)
                }
            };
            handle.block_on(open.write(&batch)).map_err(parquet)?;
        }
        let Some(mut writer) = writer else {
            return Err(Error::Corrupt { path: path.to_string(), reason: "a log without actions".to_owned() });
        };
        handle.block_on(writer.finish()).map_err(parquet)?;
        Ok(writer.bytes_written() as u64)
    }

    fn failed(&self, error: delta_kernel::Error) -> Error {
        Error::Log { table: self.stream, source: Box::new(DeltaTableError::from(error)) }
    }
}

fn properties() -> std::result::Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Every file has its own.
    for column in [["add", "path"], ["add", "stats"], ["remove", "path"]] {
        let column = ColumnPath::new(column.map(str::to_owned).to_vec());
        builder = builder.set_column_dictionary_enabled(column, false);
    }
    Ok(builder.build())
}
