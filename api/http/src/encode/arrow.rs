//! The Arrow IPC stream, uncompressed: every reader takes it, and loopback does not gain from compression.

use super::{Encoder, plain_batch, plain_schema};
use crate::engine::SqlStats;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

/// Writes an Arrow IPC stream.
pub(super) struct ArrowEncoder {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl ArrowEncoder {
    pub(super) fn try_new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        let schema = plain_schema(schema);
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), &schema)?, schema })
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
}

impl Encoder for ArrowEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.drain(out);
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.write(&plain_batch(batch, &self.schema)?)?;
        self.drain(out);
        Ok(())
    }

    fn finish(&mut self, _stats: &SqlStats, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.writer.finish()?;
        self.drain(out);
        Ok(())
    }
}
