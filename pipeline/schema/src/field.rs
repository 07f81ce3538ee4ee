//! Short constructors for commented fields.

use arrow_schema::{DataType, Field, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// Metadata key of a field or schema that holds its comment: unit, source, meaning.
pub const COMMENT: &str = "comment";

pub(crate) fn with_comment(field: Field, comment: &str) -> Field {
    field.with_metadata(HashMap::from([(COMMENT.to_owned(), comment.to_owned())]))
}

pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A field that is never null.
pub(crate) fn required(name: &str, data_type: DataType, comment: &str) -> Field {
    with_comment(Field::new(name, data_type, false), comment)
}

/// A field that is null where the value does not exist or is not known.
pub(crate) fn optional(name: &str, data_type: DataType, comment: &str) -> Field {
    with_comment(Field::new(name, data_type, true), comment)
}

/// A list whose items are never null.
pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

/// A map from text to text.
pub(crate) fn text_map() -> DataType {
    let entries = Field::new(
        "key_value",
        DataType::Struct(
            vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into(),
        ),
        false,
    );
    DataType::Map(Arc::new(entries), false)
}

pub(crate) fn string_map(name: &str, comment: &str) -> Field {
    required(name, text_map(), comment)
}
