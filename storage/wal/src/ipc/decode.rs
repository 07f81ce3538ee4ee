//! Verified IPC messages to batches.

use super::fence::fenced;
use super::schema::{self, ForeignSchema};
use super::verify::{Extent, verify};
use super::{IpcError, IpcFrame, IpcMessage, Limits};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{DictionaryBatch, Message, MessageHeader};
use std::collections::HashMap;
use std::sync::Arc;

/// What an IPC header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A schema.
    Schema,
    /// The values of the dictionary with that id.
    Dictionary(i64),
    /// A record batch.
    Batch,
}

/// The kind of the message in `header`.
///
/// # Errors
/// [`IpcError::Invalid`] if it is no message, [`IpcError::Unsupported`] for tensors.
pub fn message_kind(header: &[u8], limits: &Limits) -> Result<MessageKind, IpcError> {
    let message = schema::root(header, limits)?;
    match message.header_type() {
        MessageHeader::Schema => Ok(MessageKind::Schema),
        MessageHeader::RecordBatch => Ok(MessageKind::Batch),
        MessageHeader::DictionaryBatch => Ok(MessageKind::Dictionary(dictionary_of(&message)?.id())),
        other => Err(IpcError::unsupported("IPC message", format!("kind {}", other.0))),
    }
}

/// How many bytes of body follow the message in `header`, as it says.
///
/// # Errors
/// [`IpcError::Invalid`] if it is no message.
pub fn body_length(header: &[u8], limits: &Limits) -> Result<usize, IpcError> {
    let length = schema::root(header, limits)?.bodyLength();
    usize::try_from(length).map_err(|_| IpcError::invalid("IPC message", "negative body length"))
}

/// Decodes a whole frame.
///
/// # Errors
/// The first fault that is found, with its column and buffer.
pub fn decode(frame: &IpcFrame, limits: &Limits) -> Result<RecordBatch, IpcError> {
    let mut decoder = Decoder::new(&frame.schema.header, *limits)?;
    for dictionary in &frame.dictionaries {
        decoder.set_dictionary(dictionary)?;
    }
    decoder.decode(&frame.batch)
}

/// Decodes the messages that follow one schema message. Holds the dictionaries that were set: at most one for each
/// dictionary of the schema, each within [`Limits`].
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    dictionary_types: HashMap<i64, DataType>,
    dictionaries: HashMap<i64, ArrayRef>,
    limits: Limits,
}

impl Decoder {
    /// A decoder for the schema in `header`.
    ///
    /// # Errors
    /// [`IpcError`] if it is no schema, or has a type that is not supported.
    pub fn new(header: &[u8], limits: Limits) -> Result<Self, IpcError> {
        let ForeignSchema { schema, dictionaries } = schema::decode(header, &limits)?;
        Ok(Self { schema: Arc::new(schema), dictionary_types: dictionaries, dictionaries: HashMap::new(), limits })
    }

    /// The schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What decoding `message`, a batch or a dictionary, will take. Allocates nothing of that size.
    ///
    /// # Errors
    /// What makes it unsafe or impossible to decode.
    pub fn verify(&self, message: &IpcMessage) -> Result<Extent, IpcError> {
        let root = schema::root(&message.header, &self.limits)?;
        match root.header_type() {
            MessageHeader::DictionaryBatch => self.verify_dictionary(&dictionary_of(&root)?, message),
            _ => verify(&batch_of(&root)?, self.schema.fields(), &message.body, &self.limits),
        }
    }

    /// Sets or replaces one dictionary.
    ///
    /// # Errors
    /// What is wrong with it; the decoder then keeps the one that it had.
    pub fn set_dictionary(&mut self, message: &IpcMessage) -> Result<(), IpcError> {
        let root = schema::root(&message.header, &self.limits)?;
        let dictionary = dictionary_of(&root)?;
        self.verify_dictionary(&dictionary, message)?;
        let what = || format!("dictionary {}", dictionary.id());
        let body = Buffer::from(message.body.clone());
        let mut decoded = HashMap::new();
        fenced(|| read_dictionary(&body, dictionary, &self.schema, &mut decoded, &root.version()))
            .map_err(|panic| IpcError::invalid(what(), panic))?
            .map_err(|error| IpcError::invalid(what(), error.to_string()))?;
        self.dictionaries.extend(decoded);
        Ok(())
    }

    /// Verifies and decodes one batch. Every value of the result is valid by arrow's own full validation, which its
    /// decoder does array by array: offsets ascend and lie in range, texts are UTF-8, keys lie in their dictionary.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(&self, message: &IpcMessage) -> Result<RecordBatch, IpcError> {
        let root = schema::root(&message.header, &self.limits)?;
        let batch = batch_of(&root)?;
        verify(&batch, self.schema.fields(), &message.body, &self.limits)?;
        let body = Buffer::from(message.body.clone());
        fenced(|| read_record_batch(&body, batch, self.schema.clone(), &self.dictionaries, None, &root.version()))
            .map_err(|panic| IpcError::invalid("batch", panic))?
            .map_err(|error| IpcError::invalid("batch", error.to_string()))
    }

    fn verify_dictionary(&self, dictionary: &DictionaryBatch<'_>, message: &IpcMessage) -> Result<Extent, IpcError> {
        let id = dictionary.id();
        let what = || format!("dictionary {id}");
        let values = self.dictionary_types.get(&id).ok_or_else(|| IpcError::invalid(what(), "not in the schema"))?;
        if dictionary.isDelta() {
            return Err(IpcError::unsupported(what(), "a delta"));
        }
        let data = dictionary.data().ok_or_else(|| IpcError::invalid(what(), "no values"))?;
        let fields = Fields::from(vec![Field::new(what(), values.clone(), true)]);
        verify(&data, &fields, &message.body, &self.limits)
    }
}

fn dictionary_of<'a>(message: &Message<'a>) -> Result<DictionaryBatch<'a>, IpcError> {
    message.header_as_dictionary_batch().ok_or_else(|| IpcError::invalid("IPC message", "not a dictionary"))
}

fn batch_of<'a>(message: &Message<'a>) -> Result<arrow_ipc::RecordBatch<'a>, IpcError> {
    message.header_as_record_batch().ok_or_else(|| IpcError::invalid("IPC message", "not a record batch"))
}
