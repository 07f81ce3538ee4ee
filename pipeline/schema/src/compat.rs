//! Comparison of a schema from outside with a registered one: by structure, never by trust.

use arrow_schema::{DataType, Field, Schema};
use std::fmt;
use xxhash_rust::xxh3::Xxh3;

/// Why a foreign schema is not one of the stream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A column that the registered schema does not have.
    UnknownColumn(String),
    /// A column that occurs twice.
    DuplicateColumn(String),
    /// A column of another type.
    WrongType {
        /// The column.
        column: String,
        /// The registered type.
        expected: DataType,
        /// The type that came.
        found: DataType,
    },
    /// A column that may not be null is missing.
    MissingColumn(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownColumn(column) => write!(f, "unknown column {column:?}"),
            Self::DuplicateColumn(column) => write!(f, "column {column:?} occurs twice"),
            Self::WrongType { column, expected, found } => {
                write!(f, "column {column:?} has type {found}, expected {expected}")
            }
            Self::MissingColumn(column) => write!(f, "required column {column:?} is missing"),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Checks that rows of `foreign` are rows of `registered` as they are: as [`check_columns`], and every column has the
/// registered type, or a dictionary of Utf8 with Int32 keys where that is Utf8 (in lists, too).
///
/// # Errors
/// The first [`Mismatch`], of types last.
pub fn check_compatible(registered: &Schema, foreign: &Schema) -> Result<(), Mismatch> {
    check_columns(registered, foreign)?;
    for field in foreign.fields() {
        let expected = registered.field_with_name(field.name()).map(Field::data_type);
        match expected {
            Ok(expected) if !same_type(expected, field.data_type()) => {
                return Err(Mismatch::WrongType {
                    column: field.name().clone(),
                    expected: expected.clone(),
                    found: field.data_type().clone(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that rows of `foreign` can be stored as rows of `registered`, whatever their types (see
/// [`fit`](crate::fit)): every column is known; every column that may not be null is there. Nullable columns may be
/// missing (an older version of the stream) and read as null.
///
/// # Errors
/// The first [`Mismatch`] in column order.
pub fn check_columns(registered: &Schema, foreign: &Schema) -> Result<(), Mismatch> {
    let mut seen = vec![false; registered.fields().len()];
    for field in foreign.fields() {
        let Ok(index) = registered.index_of(field.name()) else {
            return Err(Mismatch::UnknownColumn(field.name().clone()));
        };
        if std::mem::replace(&mut seen[index], true) {
            return Err(Mismatch::DuplicateColumn(field.name().clone()));
        }
    }
    match registered.fields().iter().zip(seen).find(|(field, seen)| !seen && !field.is_nullable()) {
        Some((field, _)) => Err(Mismatch::MissingColumn(field.name().clone())),
        None => Ok(()),
    }
}

pub(crate) fn same_type(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::Utf8, DataType::Dictionary(key, value)) => **key == DataType::Int32 && **value == DataType::Utf8,
        (DataType::Map(expected, _), DataType::Map(found, _)) => same_entries(expected.data_type(), found.data_type()),
        (DataType::List(expected), DataType::List(found)) => same_type(expected.data_type(), found.data_type()),
        _ => expected == found,
    }
}

/// Map entries compare by the types of key and value: implementations name the fields differently.
fn same_entries(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::Struct(expected), DataType::Struct(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(e, f)| e.data_type() == f.data_type())
        }
        _ => false,
    }
}

/// A number that is equal for schemas with the same columns, types and nullability in the same order, whatever their
/// metadata. Stable between releases: it stands in log frames.
pub fn fingerprint(schema: &Schema) -> u64 {
    let mut hash = Xxh3::new();
    for field in schema.fields() {
        hash.update(field.name().as_bytes());
        hash.update(&[0xff, u8::from(field.is_nullable())]);
        hash.update(field.data_type().to_string().as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;

    fn with(change: impl FnOnce(&mut Vec<Field>)) -> Schema {
        let mut fields: Vec<Field> = Stream::Drops.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        change(&mut fields);
        Schema::new(fields)
    }

    #[test]
    fn accepts_itself_any_order_and_dictionaries() {
        let registered = Stream::Drops.schema();
        assert_eq!(check_compatible(&registered, &registered), Ok(()));
        assert_eq!(check_compatible(&registered, &with(|f| f.reverse())), Ok(()));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(check_compatible(&registered, &with(|f| f[1] = Field::new("producer", dictionary, false))), Ok(()));
    }

    #[test]
    fn refuses_with_the_name_of_the_column() {
        let registered = Stream::Drops.schema();
        let refusal =
            |change: fn(&mut Vec<Field>)| check_compatible(&registered, &with(change)).unwrap_err().to_string();
        assert_eq!(refusal(|f| f.push(Field::new("x", DataType::Int64, true))), "unknown column \"x\"");
        assert_eq!(refusal(|f| f.push(f[0].clone())), "column \"ts\" occurs twice");
        assert_eq!(refusal(|f| drop(f.pop())), "required column \"count\" is missing");
        assert_eq!(
            refusal(|f| f[4] = Field::new("count", DataType::Int32, false)),
            "column \"count\" has type Int32, expected Int64"
        );
    }

    #[test]
    fn events_may_lack_nullable_columns() {
        let registered = Stream::Events.schema();
        let older: Vec<_> = registered.fields().iter().filter(|f| !f.is_nullable()).cloned().collect();
        assert_eq!(check_compatible(&registered, &Schema::new(older)), Ok(()));
    }
}
