//! Schema messages: flatbuffer to a schema that the verifier can walk.

use super::fence::fenced;
use super::{IpcError, Limits};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{Endianness, Message, root_as_message_with_opts};
use flatbuffers::VerifierOptions;
use std::collections::HashMap;

/// A foreign schema of supported types, and the value type of each of its dictionaries.
#[derive(Debug)]
pub(super) struct ForeignSchema {
    pub(super) schema: Schema,
    pub(super) dictionaries: HashMap<i64, DataType>,
}

/// The flatbuffer `Message` in `header`. Tables that are shared count each time they are reached, so that a small
/// header cannot expand into a large tree.
pub(super) fn root<'a>(header: &'a [u8], limits: &Limits) -> Result<Message<'a>, IpcError> {
    IpcError::capped("IPC header bytes", header.len(), limits.header_bytes_max)?;
    let options = VerifierOptions {
        max_depth: 4 * limits.depth_max + 16,
        max_tables: 8 * limits.fields_max,
        max_apparent_size: 4 * limits.header_bytes_max,
        ..VerifierOptions::default()
    };
    root_as_message_with_opts(&options, header).map_err(|error| {
        // Its text continues with a trace of tables over many lines; the first says what is wrong.
        let text = error.to_string();
        IpcError::invalid("IPC header", text.lines().next().unwrap_or("no flatbuffer").trim_end_matches('.'))
    })
}

pub(super) fn decode(header: &[u8], limits: &Limits) -> Result<ForeignSchema, IpcError> {
    let message = root(header, limits)?;
    let found = message.header_as_schema().ok_or_else(|| IpcError::invalid("IPC message", "not a schema"))?;
    if found.endianness() != Endianness::Little {
        return Err(IpcError::unsupported("schema", "big-endian data"));
    }
    let fields = found.fields().ok_or_else(|| IpcError::invalid("schema", "no fields"))?;
    IpcError::capped("columns", fields.len(), limits.fields_max)?;
    let schema = fenced(|| fb_to_schema(found)).map_err(|panic| IpcError::invalid("schema", panic))?;
    let mut survey = Survey { limits, fields: 0, dictionaries: HashMap::new() };
    for field in schema.fields() {
        survey.field(field, 1)?;
    }
    let dictionaries = survey.dictionaries;
    Ok(ForeignSchema { schema, dictionaries })
}

struct Survey<'a> {
    limits: &'a Limits,
    fields: usize,
    dictionaries: HashMap<i64, DataType>,
}

impl Survey<'_> {
    fn field(&mut self, field: &Field, depth: usize) -> Result<(), IpcError> {
        self.fields += 1;
        IpcError::capped("fields of the schema", self.fields, self.limits.fields_max)?;
        IpcError::capped("depth of nested types", depth, self.limits.depth_max)?;
        match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) => self.field(item, depth + 1),
            DataType::FixedSizeList(item, size) if *size >= 0 => self.field(item, depth + 1),
            DataType::Map(entries, _) => {
                match entries.data_type() {
                    DataType::Struct(pair) if pair.len() == 2 => {}
                    _ => return Err(IpcError::invalid(column(field), "map entries are not a pair")),
                }
                self.field(entries, depth + 1)
            }
            DataType::Struct(children) => children.iter().try_for_each(|child| self.field(child, depth + 1)),
            DataType::Dictionary(key, value) => self.dictionary(field, key, value),
            DataType::Null => Ok(()),
            flat if is_flat(flat) => Ok(()),
            other => Err(IpcError::unsupported(column(field), format!("type {other}"))),
        }
    }

    fn dictionary(&mut self, field: &Field, key: &DataType, value: &DataType) -> Result<(), IpcError> {
        if !key.is_dictionary_key_type() || !is_flat(value) {
            return Err(IpcError::unsupported(column(field), format!("dictionary of {value} by {key}")));
        }
        #[allow(deprecated)] // arrow keeps the id in the field until it hands it out otherwise
        let id = field.dict_id().ok_or_else(|| IpcError::invalid(column(field), "dictionary without id"))?;
        match self.dictionaries.insert(id, value.clone()) {
            Some(other) if other != *value => {
                Err(IpcError::invalid(column(field), format!("dictionary {id} holds both {other} and {value}")))
            }
            _ => Ok(()),
        }
    }
}

/// Types of one node whose values lie in at most three buffers.
fn is_flat(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => true,
        DataType::FixedSizeBinary(size) => *size >= 0,
        other => other.primitive_width().is_some(),
    }
}

/// How an error names a column; foreign names are quoted and cut.
pub(super) fn column(field: &Field) -> String {
    format!("column {:?}", field.name().chars().take(64).collect::<String>())
}
