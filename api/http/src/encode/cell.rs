//! Values of a column as text: the column is downcast once, then its values are written one by one into a buffer.

use super::json::{write_string, write_value};
use super::time::{write_date, write_timestamp};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::array::{BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray};
use arrow::array::{Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array};
use arrow::array::{Float16Array, LargeStringArray, StringArray, StringViewArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::io::Write;
use std::ops::Range;

/// A column whose values can be written. Nulls of dictionary values count as nulls of the column.
pub struct Column<'a> {
    nulls: Option<NullBuffer>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float16(&'a Float16Array),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedSizeBinary(&'a FixedSizeBinaryArray),
    Date32(&'a [i32]),
    Date64(&'a [i64]),
    Timestamp(&'a [i64], TimeUnit),
    Decimal32(&'a Decimal32Array),
    Decimal64(&'a Decimal64Array),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    Dictionary {
        keys: Vec<usize>,
        values: Box<Column<'a>>,
    },
    List(&'a OffsetBuffer<i32>, Box<Column<'a>>),
    LargeList(&'a OffsetBuffer<i64>, Box<Column<'a>>),
    FixedSizeList(usize, Box<Column<'a>>),
    Map {
        offsets: &'a OffsetBuffer<i32>,
        keys: Box<Column<'a>>,
        values: Box<Column<'a>>,
    },
    Struct(Vec<(&'a str, Column<'a>)>),
    /// Types that are rare in answers, as Arrow displays them.
    Displayed(ArrayFormatter<'a>),
}

impl<'a> Column<'a> {
    /// Downcasts all columns of a batch.
    ///
    /// # Errors
    /// A column has a type that Arrow cannot display.
    pub fn all(batch: &'a RecordBatch) -> Result<Vec<Self>, ArrowError> {
        batch.columns().iter().map(Self::try_new).collect()
    }

    /// Downcasts one column.
    ///
    /// # Errors
    /// The column has a type that Arrow cannot display.
    pub fn try_new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean()),
            DataType::Int8 => Kind::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Kind::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Kind::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Kind::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Kind::UInt8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Kind::UInt16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Kind::UInt32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Kind::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float16 => Kind::Float16(array.as_primitive::<Float16Type>()),
            DataType::Float32 => Kind::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Kind::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Utf8 => Kind::Utf8(array.as_string()),
            DataType::LargeUtf8 => Kind::LargeUtf8(array.as_string()),
            DataType::Utf8View => Kind::Utf8View(array.as_string_view()),
            DataType::Binary => Kind::Binary(array.as_binary()),
            DataType::LargeBinary => Kind::LargeBinary(array.as_binary()),
            DataType::BinaryView => Kind::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Kind::FixedSizeBinary(array.as_fixed_size_binary()),
            DataType::Date32 => Kind::Date32(array.as_primitive::<Date32Type>().values()),
            DataType::Date64 => Kind::Date64(array.as_primitive::<Date64Type>().values()),
            DataType::Timestamp(unit, _) => Kind::Timestamp(timestamps(array, *unit), *unit),
            DataType::Decimal32(..) => Kind::Decimal32(array.as_primitive()),
            DataType::Decimal64(..) => Kind::Decimal64(array.as_primitive()),
            DataType::Decimal128(..) => Kind::Decimal128(array.as_primitive()),
            DataType::Decimal256(..) => Kind::Decimal256(array.as_primitive()),
            _ => Self::nested(array)?,
        };
        Ok(Self { nulls: array.logical_nulls(), kind })
    }

    fn nested(array: &'a ArrayRef) -> Result<Kind<'a>, ArrowError> {
        let child = |array: &'a ArrayRef| Self::try_new(array).map(Box::new);
        Ok(match array.data_type() {
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                match dictionary.values().is_empty() {
                    true => Kind::Null,
                    false => {
                        Kind::Dictionary { keys: dictionary.normalized_keys(), values: child(dictionary.values())? }
                    }
                }
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list.offsets(), child(list.values())?)
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Kind::LargeList(list.offsets(), child(list.values())?)
            }
            DataType::FixedSizeList(_, size) => {
                let size =
                    usize::try_from(*size).map_err(|_| ArrowError::InvalidArgumentError("negative size".into()))?;
                Kind::FixedSizeList(size, child(array.as_fixed_size_list().values())?)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map { offsets: map.offsets(), keys: child(map.keys())?, values: child(map.values())? }
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let column = |(field, array): (&'a FieldRef, &'a ArrayRef)| {
                    Self::try_new(array).map(|column| (field.name().as_str(), column))
                };
                Kind::Struct(columns.map(column).collect::<Result<_, _>>()?)
            }
            _ => Kind::Displayed(ArrayFormatter::try_new(array.as_ref(), &FormatOptions::new())?),
        })
    }

    /// Whether the value is null.
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value as JSON; null is `null`.
    pub fn write_json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.kind {
            Kind::Utf8(array) => write_string(array.value(row), out),
            Kind::LargeUtf8(array) => write_string(array.value(row), out),
            Kind::Utf8View(array) => write_string(array.value(row), out),
            Kind::Displayed(formatter) => write_string(&formatter.value(row).to_string(), out),
            Kind::Dictionary { keys, values } => values.write_json(keys[row], out),
            kind if kind.is_bare(row) => self.write_text(row, out),
            _ => {
                out.push(b'"');
                self.write_text(row, out);
                out.push(b'"');
            }
        }
    }

    /// Appends the value as plain text; null is nothing. What is nested is JSON.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return;
        }
        match &self.kind {
            Kind::Null => {}
            Kind::Boolean(array) => write_value(&array.value(row), out),
            Kind::Int8(values) => write_value(&values[row], out),
            Kind::Int16(values) => write_value(&values[row], out),
            Kind::Int32(values) => write_value(&values[row], out),
            Kind::Int64(values) => write_value(&values[row], out),
            Kind::UInt8(values) => write_value(&values[row], out),
            Kind::UInt16(values) => write_value(&values[row], out),
            Kind::UInt32(values) => write_value(&values[row], out),
            Kind::UInt64(values) => write_value(&values[row], out),
            Kind::Float16(array) => write_float(array.value(row).to_f32(), out),
            Kind::Float32(values) => write_float(values[row], out),
            Kind::Float64(values) => write_float(values[row], out),
            Kind::Utf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::LargeUtf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Utf8View(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Binary(array) => write_hex(array.value(row), out),
            Kind::LargeBinary(array) => write_hex(array.value(row), out),
            Kind::BinaryView(array) => write_hex(array.value(row), out),
            Kind::FixedSizeBinary(array) => write_hex(array.value(row), out),
            Kind::Date32(values) => write_date(i64::from(values[row]), out),
            Kind::Date64(values) => write_date(values[row].div_euclid(86_400_000), out),
            Kind::Timestamp(values, unit) => write_timestamp(values[row], *unit, out),
            Kind::Decimal32(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Kind::Decimal64(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Kind::Decimal128(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Kind::Decimal256(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Kind::Dictionary { keys, values } => values.write_text(keys[row], out),
            Kind::List(offsets, values) => write_list(offsets[row] as usize..offsets[row + 1] as usize, values, out),
            Kind::LargeList(offsets, values) => {
                write_list(offsets[row] as usize..offsets[row + 1] as usize, values, out);
            }
            Kind::FixedSizeList(size, values) => write_list(row * size..(row + 1) * size, values, out),
            Kind::Map { offsets, keys, values } => {
                let entries = offsets[row] as usize..offsets[row + 1] as usize;
                write_object(entries.map(|entry| (MapKey::Cell(keys, entry), values.as_ref(), entry)), out);
            }
            Kind::Struct(fields) => {
                write_object(fields.iter().map(|(name, column)| (MapKey::Name(name), column, row)), out);
            }
            Kind::Displayed(formatter) => {
                // Writing into a Vec cannot fail.
                let _ = write!(out, "{}", formatter.value(row));
            }
        }
    }
}

impl Kind<'_> {
    /// The text of the value is valid JSON without quotes around it.
    fn is_bare(&self, row: usize) -> bool {
        match self {
            Self::Float16(array) => array.value(row).is_finite(),
            Self::Float32(values) => values[row].is_finite(),
            Self::Float64(values) => values[row].is_finite(),
            Self::Null | Self::Boolean(_) => true,
            Self::Int8(_) | Self::Int16(_) | Self::Int32(_) | Self::Int64(_) => true,
            Self::UInt8(_) | Self::UInt16(_) | Self::UInt32(_) | Self::UInt64(_) => true,
            Self::List(..) | Self::LargeList(..) | Self::FixedSizeList(..) | Self::Map { .. } | Self::Struct(_) => true,
            _ => false,
        }
    }
}

fn timestamps(array: &ArrayRef, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
    }
}

/// Shortest text that reads back as the same value.
fn write_float<F: Into<f64> + Copy + serde::Serialize>(value: F, out: &mut Vec<u8>) {
    match value.into() {
        wide if wide.is_finite() => write_value(&value, out),
        wide if wide.is_nan() => out.extend_from_slice(b"NaN"),
        wide if wide > 0.0 => out.extend_from_slice(b"Infinity"),
        _ => out.extend_from_slice(b"-Infinity"),
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn write_list(items: Range<usize>, values: &Column<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        values.write_json(item, out);
    }
    out.push(b']');
}

enum MapKey<'k, 'a> {
    Name(&'k str),
    Cell(&'k Column<'a>, usize),
}

fn write_object<'k, 'a: 'k>(entries: impl Iterator<Item = (MapKey<'k, 'a>, &'k Column<'a>, usize)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value, row)) in entries.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match key {
            MapKey::Name(name) => write_string(name, out),
            MapKey::Cell(keys, entry) => keys.write_key(entry, out),
        }
        out.push(b':');
        value.write_json(row, out);
    }
    out.push(b'}');
}

impl Column<'_> {
    /// Appends the value as the key of a JSON object: always a string.
    fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        if matches!(self.kind, Kind::Utf8(_) | Kind::LargeUtf8(_) | Kind::Utf8View(_)) {
            return self.write_json(row, out);
        }
        let mut text = Vec::new();
        self.write_text(row, &mut text);
        write_string(&String::from_utf8_lossy(&text), out);
    }
}
