//! Values of processes repeated over the rows of events, each of which names the row of its process.

use super::process_columns::Named;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, DictionaryArray, ListArray, PrimitiveArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Repeats a column. What no process has, or all have, is filled in at once.
pub(super) fn repeat((name, column): Named, rows: &UInt32Array) -> Result<Named, ArrowError> {
    if column.null_count() == column.len() && !rows.is_empty() {
        return Ok((name, new_null_array(column.data_type(), rows.len())));
    }
    let filled = match column.data_type() {
        DataType::Int32 => the_same::<Int32Type>(&column, rows.len()).map(|all| Arc::new(all) as ArrayRef),
        DataType::Int64 => the_same::<Int64Type>(&column, rows.len()).map(|all| Arc::new(all) as ArrayRef),
        DataType::Dictionary(..) => match column.as_dictionary_opt::<Int32Type>() {
            Some(texts) => match the_same::<Int32Type>(texts.keys(), rows.len()) {
                Some(keys) => Some(Arc::new(DictionaryArray::try_new(keys, texts.values().clone())?) as ArrayRef),
                None => None,
            },
            None => None,
        },
        _ => None,
    };
    Ok((name, filled.map_or_else(|| take(&column, rows, None), Ok)?))
}

/// `rows` times the value that all processes have; None where they have not.
fn the_same<T: ArrowPrimitiveType>(column: &dyn Array, rows: usize) -> Option<PrimitiveArray<T>> {
    let values = column.as_primitive_opt::<T>().filter(|values| values.null_count() == 0)?.values();
    let (first, rest) = values.split_first()?;
    rest.iter().all(|value| value == first).then(|| PrimitiveArray::from_value(*first, rows))
}

/// Repeats lists of which all have the same lengths, without nulls: where their items go is found once for all.
pub(super) fn repeat_lists(lists: Vec<Named>, rows: &UInt32Array) -> Result<Vec<Named>, ArrowError> {
    let Some((_, first)) = lists.first() else { return Ok(Vec::new()) };
    let (offsets, items) = spread(first.as_list::<i32>().value_offsets(), rows);
    let repeated = lists.into_iter().map(|(name, list)| {
        let values = take(list.as_list::<i32>().values(), &items, None)?;
        let item = match list.data_type() {
            DataType::List(item) => item.clone(),
            other => Arc::new(Field::new("item", other.clone(), false)),
        };
        Ok((name, Arc::new(ListArray::try_new(item, offsets.clone(), values, None)?) as ArrayRef))
    });
    repeated.collect()
}

/// Offsets of the repeated lists, and which item each of their items is.
fn spread(offsets: &[i32], rows: &UInt32Array) -> (OffsetBuffer<i32>, UInt32Array) {
    let bounds = |row: u32| match offsets.get(row as usize..row as usize + 2) {
        Some([start, end]) => *start as u32..*end as u32,
        _ => 0..0,
    };
    let total: usize = rows.values().iter().map(|row| bounds(*row).len()).sum();
    let mut items = Vec::with_capacity(total);
    let mut ends = Vec::with_capacity(rows.len() + 1);
    ends.push(0);
    for row in rows.values() {
        items.extend(bounds(*row));
        ends.push(items.len() as i32);
    }
    (OffsetBuffer::new(ends.into()), items.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray};
    use arrow::util::display::array_value_to_string;

    fn cells(column: &dyn Array) -> Vec<String> {
        (0..column.len()).map(|row| array_value_to_string(column, row).unwrap()).collect()
    }

    #[test]
    fn values_and_lists_stand_where_their_process_does() {
        let rows = UInt32Array::from(vec![2, 0, 2, 1]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        assert_eq!(cells(&repeat(("t", texts), &rows).unwrap().1), ["c", "a", "c", ""]);
        let nothing: ArrayRef = Arc::new(Int32Array::from(vec![None; 3]));
        assert_eq!(repeat(("n", nothing), &rows).unwrap().1.null_count(), 4);
        let same: ArrayRef = Arc::new(Int32Array::from(vec![5; 3]));
        assert_eq!(cells(&repeat(("s", same), &rows).unwrap().1), ["5", "5", "5", "5"]);
        let some: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), None, Some(5)]));
        assert_eq!(cells(&repeat(("s", some), &rows).unwrap().1), ["5", "5", "5", ""]);
        let user: DictionaryArray<Int32Type> = ["root", "root", "root"].into_iter().collect();
        let texts = repeat(("u", Arc::new(user)), &rows).unwrap().1;
        assert_eq!((cells(&texts), texts.as_any_dictionary().values().len()), (vec!["root".to_owned(); 4], 1));
        let item = Arc::new(Field::new("item", DataType::Int32, false));
        let list = |values: Vec<i32>| -> ArrayRef {
            let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
            Arc::new(ListArray::new(item.clone(), offsets, Arc::new(Int32Array::from(values)), None))
        };
        let lists = repeat_lists(vec![("x", list(vec![1, 2, 3])), ("y", list(vec![4, 5, 6]))], &rows).unwrap();
        assert_eq!(cells(&lists[0].1), ["[3]", "[1, 2]", "[3]", "[]"]);
        assert_eq!(cells(&lists[1].1), ["[6]", "[4, 5]", "[6]", "[]"]);
        assert_eq!(lists[0].1.data_type(), &DataType::List(item.clone()));
        let none = repeat_lists(vec![("x", list(vec![1, 2, 3]))], &UInt32Array::from(Vec::<u32>::new())).unwrap();
        assert_eq!(none[0].1.len(), 0);
    }
}
