//! Columns that did not come.

use arrow::array::{Array, ArrayData, ArrayRef, make_array, new_empty_array, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Rows of the largest batches that are common; more are made anew.
const ROWS_MAX: usize = 256 << 10;

/// What all such columns are made of: offsets, or values of up to eight bytes. Nobody writes to it.
static ZEROS: LazyLock<Buffer> = LazyLock::new(|| vec![0_u8; ROWS_MAX * 8 + 8].into());

/// The longest column of each type: there are as many as streams have types. None where it cannot be made of zeros.
static LONGEST: LazyLock<Mutex<HashMap<DataType, Option<ArrayRef>>>> = LazyLock::new(Mutex::default);

/// A column of nulls. Neither allocates nor looks at anything that grows with `rows`, as long as they are not too many
/// for the memory that all such columns share.
pub fn absent_column(data_type: &DataType, rows: usize) -> ArrayRef {
    let longest = || {
        let mut longest = LONGEST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = longest.get(data_type) {
            return known.clone();
        }
        longest.entry(data_type.clone()).or_insert_with(|| made_of_zeros(data_type).map(make_array)).clone()
    };
    match (rows <= ROWS_MAX).then(longest).flatten() {
        Some(longest) => longest.slice(0, rows),
        None => new_null_array(data_type, rows),
    }
}

fn made_of_zeros(data_type: &DataType) -> Option<ArrayData> {
    let zeros = |bytes: usize| ZEROS.slice_with_length(0, bytes);
    let data = ArrayData::builder(data_type.clone()).len(ROWS_MAX).null_bit_buffer(Some(zeros(ROWS_MAX / 8)));
    let data = match data_type {
        DataType::Boolean => data.add_buffer(zeros(ROWS_MAX / 8)),
        DataType::Utf8 | DataType::Binary => data.add_buffer(zeros((ROWS_MAX + 1) * 4)).add_buffer(zeros(0)),
        DataType::List(item) | DataType::Map(item, _) => {
            data.add_buffer(zeros((ROWS_MAX + 1) * 4)).add_child_data(new_empty_array(item.data_type()).to_data())
        }
        other => data.add_buffer(zeros(ROWS_MAX * other.primitive_width().filter(|width| *width <= 8)?)),
    };
    data.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::Stream;

    #[test]
    fn every_column_of_every_stream_can_be_absent() {
        for stream in Stream::ALL {
            for field in stream.schema().fields() {
                for rows in [0, 1, 9, 1000] {
                    let column = absent_column(field.data_type(), rows);
                    assert_eq!((column.len(), column.null_count()), (rows, rows), "{stream} {}", field.name());
                    assert_eq!(&column, &new_null_array(field.data_type(), rows), "{stream} {}", field.name());
                }
            }
        }
    }

    #[test]
    fn rows_of_a_batch_are_not_allocated() {
        for data_type in [DataType::Int64, DataType::Utf8, DataType::Boolean] {
            let data = absent_column(&data_type, 65_536).to_data();
            assert_eq!(data.buffers()[0].as_ptr(), ZEROS.as_ptr(), "{data_type}");
            assert_eq!(absent_column(&data_type, ROWS_MAX + 1).null_count(), ROWS_MAX + 1, "{data_type}");
        }
    }
}
