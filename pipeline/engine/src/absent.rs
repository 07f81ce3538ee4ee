//! Columns that did not come.

use arrow::array::{ArrayData, ArrayRef, make_array, new_empty_array, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use std::sync::LazyLock;

/// Enough for the values of the largest batches that are common: 256 Ki rows of eight bytes.
const ZERO_BYTES: usize = (2 << 20) + 8;

/// What all such columns are made of. Nobody writes to it, and a page that nobody reads takes no memory.
static ZEROS: LazyLock<Buffer> = LazyLock::new(|| vec![0_u8; ZERO_BYTES].into());

/// A column of nulls. Copies and allocates nothing that grows with `rows`, as long as they are not too many for the
/// memory that all such columns share.
pub fn absent_column(data_type: &DataType, rows: usize) -> ArrayRef {
    shared(data_type, rows).map_or_else(|| new_null_array(data_type, rows), make_array)
}

fn shared(data_type: &DataType, rows: usize) -> Option<ArrayData> {
    let zeros = |bytes: usize| (bytes <= ZERO_BYTES).then(|| ZEROS.slice_with_length(0, bytes));
    let data = ArrayData::builder(data_type.clone()).len(rows).null_bit_buffer(Some(zeros(rows.div_ceil(8))?));
    let data = match data_type {
        DataType::Boolean => data.add_buffer(zeros(rows.div_ceil(8))?),
        DataType::Utf8 | DataType::Binary => data.add_buffer(zeros((rows + 1) * 4)?).add_buffer(zeros(0)?),
        DataType::List(item) | DataType::Map(item, _) => {
            data.add_buffer(zeros((rows + 1) * 4)?).add_child_data(new_empty_array(item.data_type()).to_data())
        }
        other => data.add_buffer(zeros(rows * other.primitive_width()?)?),
    };
    data.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use bodkin_schema::Stream;

    #[test]
    fn every_column_of_every_stream_can_be_absent() {
        for stream in Stream::ALL {
            for field in stream.schema().fields() {
                for rows in [0, 1, 9, 1000, 300_000] {
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
        }
    }
}
