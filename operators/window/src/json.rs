//! Flat JSON objects of whole numbers and texts, written and read without a parser of everything: what most groups and
//! states are. Anything else is for arrow's own.
//!
//! Written is what arrow writes: columns in order, nulls left out. Read is that and nothing more lenient.

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder, Int64Builder, StringArray, StringBuilder, UInt64Builder};
use arrow::array::{Int32Array, Int64Array, UInt64Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// About what a value takes.
const VALUE_BYTES: usize = 8;

/// A column whose values can be written.
enum Column<'a> {
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt64(&'a UInt64Array),
    Text(&'a StringArray),
}

/// The rows of `columns` as objects with the names of `schema`; none where a type or a text is not plain.
pub(crate) fn written(columns: &[ArrayRef], schema: &SchemaRef, rows: usize) -> Option<StringArray> {
    let names = schema.fields().iter().map(|field| is_plain(field.name()).then(|| format!("\"{}\":", field.name())));
    let columns: Vec<(String, Column<'_>)> =
        names.zip(columns).map(|(name, values)| Some((name?, Column::of(values)?))).collect::<Option<_>>()?;
    let width: usize = columns.iter().map(|(name, _)| name.len() + VALUE_BYTES).sum();
    let mut text = Vec::with_capacity(rows * (width + 2));
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0_i32);
    let mut digits = itoa::Buffer::new();
    for row in 0..rows {
        text.push(b'{');
        let first = text.len();
        for (name, column) in &columns {
            if column.is_null(row) {
                continue;
            }
            if text.len() > first {
                text.push(b',');
            }
            text.extend_from_slice(name.as_bytes());
            column.write(row, &mut digits, &mut text)?;
        }
        text.push(b'}');
        ends.push(i32::try_from(text.len()).ok()?);
    }
    StringArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(text), None).ok()
}

impl<'a> Column<'a> {
    fn of(column: &'a ArrayRef) -> Option<Self> {
        match column.data_type() {
            DataType::Int32 => Some(Self::Int32(column.as_primitive())),
            DataType::Int64 => Some(Self::Int64(column.as_primitive())),
            DataType::UInt64 => Some(Self::UInt64(column.as_primitive())),
            DataType::Utf8 => Some(Self::Text(column.as_string())),
            _ => None,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Int32(values) => values.is_null(row),
            Self::Int64(values) => values.is_null(row),
            Self::UInt64(values) => values.is_null(row),
            Self::Text(values) => values.is_null(row),
        }
    }

    /// None where a text has to be escaped.
    fn write(&self, row: usize, digits: &mut itoa::Buffer, text: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Int32(values) => text.extend_from_slice(digits.format(values.value(row)).as_bytes()),
            Self::Int64(values) => text.extend_from_slice(digits.format(values.value(row)).as_bytes()),
            Self::UInt64(values) => text.extend_from_slice(digits.format(values.value(row)).as_bytes()),
            Self::Text(values) => {
                let value = Some(values.value(row)).filter(|value| is_plain(value))?;
                text.push(b'"');
                text.extend_from_slice(value.as_bytes());
                text.push(b'"');
            }
        }
        Some(())
    }
}

/// Whether a text is written as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

/// A column that is read.
enum Builder {
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Text(StringBuilder),
}

/// The columns of objects that [`written`] wrote; none where one of them is anything else.
pub(crate) fn read(texts: &StringArray, schema: &SchemaRef) -> Option<Vec<ArrayRef>> {
    let rows = texts.len();
    let builder = |data_type: &DataType| match data_type {
        DataType::Int32 => Some(Builder::Int32(Int32Builder::with_capacity(rows))),
        DataType::Int64 => Some(Builder::Int64(Int64Builder::with_capacity(rows))),
        DataType::UInt64 => Some(Builder::UInt64(UInt64Builder::with_capacity(rows))),
        DataType::Utf8 => Some(Builder::Text(StringBuilder::with_capacity(rows, texts.value_data().len()))),
        _ => None,
    };
    let fields = schema.fields().iter();
    let mut builders: Vec<(String, Builder)> = fields
        .map(|field| Some((format!("\"{}\":", field.name()), builder(field.data_type())?)))
        .collect::<Option<_>>()?;
    for text in texts {
        let mut rest = text?.as_bytes().strip_prefix(b"{")?;
        let mut is_first = true;
        for (name, builder) in &mut builders {
            let before = if is_first { Some(rest) } else { rest.strip_prefix(b",") };
            match before.and_then(|rest| rest.strip_prefix(name.as_bytes())) {
                Some(value) => {
                    rest = builder.read(value)?;
                    is_first = false;
                }
                None => builder.null(),
            }
        }
        if rest != b"}" {
            return None;
        }
    }
    Some(builders.into_iter().map(|(_, builder)| builder.finish()).collect())
}

impl Builder {
    /// Reads a value. Returns what is behind it.
    fn read<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        if let Self::Text(texts) = self {
            let text = text.strip_prefix(b"\"")?;
            let end = text.iter().position(|byte| *byte == b'"' || *byte == b'\\')?;
            let (value, rest) = text.split_at_checked(end)?;
            texts.append_value(std::str::from_utf8(value).ok()?);
            return rest.strip_prefix(b"\"");
        }
        let (is_negative, size, rest) = read_number(text)?;
        let signed = || if is_negative { 0_i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
        match self {
            Self::Int32(values) => values.append_value(signed()?.try_into().ok()?),
            Self::Int64(values) => values.append_value(signed()?),
            Self::UInt64(values) if !is_negative || size == 0 => values.append_value(size),
            Self::UInt64(_) | Self::Text(_) => return None,
        }
        Some(rest)
    }

    fn null(&mut self) {
        match self {
            Self::Int32(values) => values.append_null(),
            Self::Int64(values) => values.append_null(),
            Self::UInt64(values) => values.append_null(),
            Self::Text(values) => values.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Int32(mut values) => Arc::new(values.finish()),
            Self::Int64(mut values) => Arc::new(values.finish()),
            Self::UInt64(mut values) => Arc::new(values.finish()),
            Self::Text(mut values) => Arc::new(values.finish()),
        }
    }
}

/// Digits of which every number is a `u64`.
const DIGITS_SURE: usize = 19;

/// The whole number that a text begins with: whether it is negative, its size; and what is behind it.
fn read_number(text: &[u8]) -> Option<(bool, u64, &[u8])> {
    let (is_negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let mut size: u64 = 0;
    let mut count = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        size = match count < DIGITS_SURE {
            true => size * 10 + u64::from(digit),
            false => size.checked_mul(10)?.checked_add(u64::from(digit))?,
        };
        count += 1;
    }
    let rest = digits.get(count..).filter(|_| count > 0)?;
    Some((is_negative, size, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::RecordBatch;
    use arrow::datatypes::{Field, Schema};
    use arrow::json::WriterBuilder;
    use arrow::json::writer::LineDelimited;
    use proptest::prelude::*;

    fn by_arrow(records: &RecordBatch) -> Vec<String> {
        let mut bytes = Vec::new();
        let mut writer = WriterBuilder::new().build::<_, LineDelimited>(&mut bytes);
        writer.write(records).unwrap();
        writer.finish().unwrap();
        drop(writer);
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    fn schema() -> SchemaRef {
        let types = [DataType::Int32, DataType::Int64, DataType::UInt64, DataType::Utf8];
        let fields =
            types.into_iter().enumerate().map(|(at, data_type)| Field::new(format!("c {at}"), data_type, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    proptest! {
        #[test]
        fn what_is_written_is_arrows_and_comes_back(
            rows in prop::collection::vec(
                (any::<Option<i32>>(), any::<Option<i64>>(), any::<Option<u64>>(), prop::option::of("[ -~\u{e9}\n]{0,6}")), 1..20)
        ) {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<UInt64Array>()),
                Arc::new(rows.iter().map(|row| row.3.as_deref()).collect::<StringArray>()),
            ];
            let records = RecordBatch::try_new(schema(), columns.clone()).unwrap();
            let made = written(&columns, &schema(), rows.len());
            let is_plain = rows.iter().all(|row| row.3.as_deref().is_none_or(is_plain));
            prop_assert_eq!(made.is_some(), is_plain);
            if let Some(made) = made {
                prop_assert_eq!(made.iter().flatten().collect::<Vec<_>>(), by_arrow(&records));
                prop_assert_eq!(read(&made, &schema()).unwrap(), columns);
            }
        }
    }

    #[test]
    fn anything_else_is_not_read() {
        let read = |text: &str| read(&StringArray::from(vec![text]), &schema());
        assert!(read("{}").is_some() && read("{\"c 1\":-7}").is_some());
        for other in [
            "",
            "{",
            "[]",
            "{\"c 1\":7",
            "{\"c 1\":7,}",
            "{\"c 1\":7.5}",
            "{\"c 1\":--7}",
            "{\"c 1\": 7}",
            "{\"c 1\":null}",
            "{\"c 3\":\"a\\n\"}",
            "{\"c 3\":\"a}",
            "{\"c 3\":7}",
            "{\"c 2\":-1}",
            "{\"c 0\":3000000000}",
            "{\"c 1\":7,\"c 0\":7}",
            "{\"other\":7}",
            "{\"c 1\":7} ",
            "{,\"c 1\":7}",
        ] {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
