//! Columns that come with another type than the registered one: where their values are kept.
//!
//! Nobody is refused for a type. What the registered type holds without loss becomes that type; any other value goes to a
//! column of its own, named after the registered one and the kind of the value: `pid_text`. There is one such column
//! for each column and kind, so that a table has a bounded number of them, whatever is sent.

use crate::Stream;
use crate::compat::same_type;
use crate::field::{optional, timestamp};
use arrow_schema::{DataType, Field};

/// What the values of a column are, when they are not what was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Whole numbers that 64 signed bits hold.
    Int,
    /// Floats.
    Float,
    /// Truth values.
    Bool,
    /// Texts; also what has no kind of its own: larger numbers, decimals and durations as text, lists, structures and
    /// maps as JSON.
    Text,
    /// Bytes.
    Binary,
    /// Points in time, in microseconds.
    Time,
    /// Days.
    Date,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [Self::Int, Self::Float, Self::Bool, Self::Text, Self::Binary, Self::Time, Self::Date];

    /// The kind of values of `found`.
    pub fn of(found: &DataType) -> Self {
        match found {
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Int,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Self::Int,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Boolean => Self::Bool,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Binary
            }
            DataType::Timestamp(..) => Self::Time,
            DataType::Date32 | DataType::Date64 => Self::Date,
            _ => Self::Text,
        }
    }

    /// What is appended to the column's name, after an underscore.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Time => "time",
            Self::Date => "date",
        }
    }

    /// The type that its values are kept in.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Time => timestamp(),
            Self::Date => DataType::Date32,
        }
    }

    /// The column for values of this kind that were sent as `registered`.
    pub fn column(self, registered: &Field) -> Field {
        let comment = format!("{} where it was sent as {}", registered.name(), self.suffix());
        optional(&format!("{}_{}", registered.name(), self.suffix()), self.data_type(), &comment)
    }
}

/// How values of a foreign type become values of a registered column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They are of that type; a text may be a dictionary with Int32 keys.
    Same,
    /// The registered type holds each of them: a shorter integer, another layout of texts, another unit of time.
    Widened,
    /// It does not: they are kept in a column of this kind.
    Suffixed(Kind),
}

/// How values of `found` become values of `registered`.
pub fn fit(registered: &DataType, found: &DataType) -> Fit {
    match () {
        () if same_type(registered, found) => Fit::Same,
        () if is_held(registered, found) => Fit::Widened,
        () => Fit::Suffixed(Kind::of(found)),
    }
}

fn is_held(registered: &DataType, found: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, FixedSizeBinary, Float16, Float32, Float64, Int8, Int16, Int32, Int64,
        LargeBinary, LargeUtf8, Null, Timestamp, UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    match (registered, found) {
        (_, Null) => true,
        (_, Dictionary(_, value)) => registered == value.as_ref() || is_held(registered, value),
        (Utf8, LargeUtf8 | Utf8View) => true,
        (Binary, LargeBinary | BinaryView | FixedSizeBinary(_)) => true,
        (Int32 | Int64, Int8 | Int16 | UInt8 | UInt16) => true,
        (Int64, Int32 | UInt32) => true,
        (Float64, Float16 | Float32 | Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32) => true,
        (Timestamp(..), Timestamp(..)) => true,
        _ => false,
    }
}

/// The column of `stream`'s table that is called `name`, if that is a registered column's name with the suffix of a
/// kind.
pub fn suffixed_column(stream: Stream, name: &str) -> Option<Field> {
    let (base, suffix) = name.rsplit_once('_')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    let schema = stream.schema();
    let registered = schema.field_with_name(base).ok()?;
    Some(kind.column(registered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::TimeUnit;

    #[test]
    fn what_loses_nothing_stays_in_its_column() {
        let text = |key| DataType::Dictionary(Box::new(key), Box::new(DataType::Utf8));
        for (registered, found, expected) in [
            (DataType::Int64, DataType::Int64, Fit::Same),
            (DataType::Utf8, text(DataType::Int32), Fit::Same),
            (DataType::Utf8, text(DataType::UInt8), Fit::Widened),
            (DataType::Utf8, DataType::LargeUtf8, Fit::Widened),
            (DataType::Int64, DataType::UInt32, Fit::Widened),
            (DataType::Int32, DataType::Null, Fit::Widened),
            (timestamp(), DataType::Timestamp(TimeUnit::Millisecond, None), Fit::Widened),
            (DataType::Int32, DataType::Int64, Fit::Suffixed(Kind::Int)),
            (DataType::Int64, DataType::UInt64, Fit::Suffixed(Kind::Text)),
            (DataType::Int64, text(DataType::Int32), Fit::Suffixed(Kind::Text)),
            (DataType::Float64, DataType::Int64, Fit::Suffixed(Kind::Int)),
            (timestamp(), DataType::Int64, Fit::Suffixed(Kind::Int)),
            (DataType::Utf8, DataType::new_list(DataType::Utf8, true), Fit::Suffixed(Kind::Text)),
        ] {
            assert_eq!(fit(&registered, &found), expected, "{found} as {registered}");
        }
    }

    #[test]
    fn a_name_leads_back_to_its_column() {
        for stream in Stream::ALL {
            let schema = stream.schema();
            for field in schema.fields() {
                for kind in Kind::ALL {
                    let column = kind.column(field);
                    assert!(schema.field_with_name(column.name()).is_err(), "{stream} has a column {}", column.name());
                    assert!(column.is_nullable());
                    assert_eq!(suffixed_column(stream, column.name()).as_ref(), Some(&column));
                }
                assert_eq!(suffixed_column(stream, field.name()), None);
            }
        }
        assert_eq!(suffixed_column(Stream::Events, "nothing_text"), None);
        assert_eq!(suffixed_column(Stream::Events, "pid_"), None);
    }
}
