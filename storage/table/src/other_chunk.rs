//! What is neither text nor number: a column of one row group through the writer of the `parquet` crate.

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::Result;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedFileWriter;
use std::sync::Arc;

/// A column with the writers of its leaves. They are made with the first rows of a row group, as each has a compressor of
/// its own: those of all columns would take longer than the rows of an epoch.
pub(crate) struct OtherChunk {
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    writers: Vec<ArrowColumnWriter>,
}

impl OtherChunk {
    pub(crate) fn new(field: &Field, properties: WriterPropertiesPtr) -> Result<Self> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![field.clone()]));
        let parquet = ArrowSchemaConverter::new().with_coerce_types(properties.coerce_types()).convert(&schema)?;
        let file = SerializedFileWriter::new(Vec::new(), parquet.root_schema_ptr(), properties)?;
        Ok(Self { factory: ArrowRowGroupWriterFactory::new(&file, schema.clone()), schema, writers: Vec::new() })
    }

    /// Takes the next rows.
    pub(crate) fn push(&mut self, column: &ArrayRef) -> Result<()> {
        if self.writers.is_empty() {
            self.writers = self.factory.create_column_writers(0)?;
        }
        let leaves = compute_leaves(self.schema.field(0), column)?;
        self.writers.iter_mut().zip(leaves).try_for_each(|(writer, leaf)| writer.write(&leaf))
    }

    /// Bytes that it will take in the file, about.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }

    /// Its leaves, encoded; goes on with an empty row group.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrowColumnChunk>> {
        self.writers.drain(..).map(ArrowColumnWriter::close).collect()
    }
}
