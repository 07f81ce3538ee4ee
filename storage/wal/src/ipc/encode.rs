//! Batches to IPC messages.

use super::{Compression, IpcError, IpcFrame, IpcMessage};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use bytes::Bytes;

/// Encodes batches and keeps the compressor's working memory between them.
#[derive(Debug)]
pub struct Encoder {
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Encoder {
    /// An encoder with that compression of bodies.
    ///
    /// # Errors
    /// [`IpcError::Encode`] if arrow lacks the codec.
    pub fn new(compression: Compression) -> Result<Self, IpcError> {
        let (codec, level) = match compression {
            Compression::None => (None, None),
            Compression::Lz4 => (Some(CompressionType::LZ4_FRAME), None),
            Compression::Zstd => (Some(CompressionType::ZSTD), Some(1)),
        };
        let options = IpcWriteOptions::default()
            .try_with_compression(codec)
            .and_then(|options| options.try_with_compression_level(level))
            .map_err(encode_error)?;
        Ok(Self { options, context: IpcWriteContext::default() })
    }

    /// The schema message, every dictionary and the batch. O(bytes of the batch).
    ///
    /// # Errors
    /// [`IpcError::Encode`] for a type that IPC has no form for.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<IpcFrame, IpcError> {
        let generator = IpcDataGenerator {};
        // A fresh tracker for each batch: a frame carries all of its dictionaries.
        let mut tracker = DictionaryTracker::new(false);
        let schema = generator.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut tracker, &self.options);
        let (dictionaries, batch) =
            generator.encode(batch, &mut tracker, &self.options, &mut self.context).map_err(encode_error)?;
        Ok(IpcFrame {
            schema: message(schema),
            dictionaries: dictionaries.into_iter().map(message).collect(),
            batch: message(batch),
        })
    }
}

/// Encodes one batch; see [`Encoder::encode`].
///
/// # Errors
/// [`IpcError::Encode`] for a type that IPC has no form for.
pub fn encode(batch: &RecordBatch, compression: Compression) -> Result<IpcFrame, IpcError> {
    Encoder::new(compression)?.encode(batch)
}

/// The schema message alone, equal to the one that [`encode`] makes for a batch of that schema.
pub fn encode_schema(schema: &Schema) -> IpcMessage {
    let mut tracker = DictionaryTracker::new(false);
    message(IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &IpcWriteOptions::default(),
    ))
}

fn message(encoded: EncodedData) -> IpcMessage {
    IpcMessage { header: Bytes::from(encoded.ipc_message), body: Bytes::from(encoded.arrow_data) }
}

fn encode_error(error: arrow::error::ArrowError) -> IpcError {
    IpcError::Encode(error.to_string())
}
