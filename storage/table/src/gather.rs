//! Rows of many batches in a new order, put together one column at a time: its values stay in the caches while rows jump
//! between the batches, and columns that have nothing cost nothing.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) piece: u32,
    pub(crate) row: u32,
}

/// Rows of several batches, which lie where they were read. A column of texts may be a dictionary in one of them and plain
/// in the next; all else has the types of the table.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) pieces: Vec<RecordBatch>,
    pub(crate) places: Vec<Place>,
}

impl Picked {
    /// The rows as a batch of `schema`.
    pub(crate) fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let plain = |piece: &RecordBatch| match piece.column(index) {
                column if column.data_type() == field.data_type() => Ok(column.clone()),
                column => cast(column, field.data_type()),
            };
            let pieces = self.pieces.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
            gather(&pieces, &self.places)
        });
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
    }
}

impl From<RecordBatch> for Picked {
    fn from(rows: RecordBatch) -> Self {
        Self { places: (0..rows.num_rows() as u32).map(|row| Place { piece: 0, row }).collect(), pieces: vec![rows] }
    }
}

/// The rows at `places` of `pieces`, which have one type.
///
/// # Errors
/// Where the pieces differ in type, or are too large for one array.
pub(crate) fn gather(pieces: &[ArrayRef], places: &[Place]) -> Result<ArrayRef, ArrowError> {
    let Some(data_type) = pieces.first().map(|piece| piece.data_type().clone()) else {
        return Err(ArrowError::InvalidArgumentError("no pieces".to_owned()));
    };
    if pieces.iter().any(|piece| *piece.data_type() != data_type) {
        return Err(ArrowError::InvalidArgumentError(format!("pieces of {data_type} and of another type")));
    }
    if pieces.iter().all(|piece| piece.null_count() == piece.len()) {
        return Ok(new_null_array(&data_type, places.len()));
    }
    Ok(match &data_type {
        DataType::Int32 => primitives::<Int32Type>(pieces, places, &data_type),
        DataType::Int64 => primitives::<Int64Type>(pieces, places, &data_type),
        DataType::Float64 => primitives::<Float64Type>(pieces, places, &data_type),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitives::<TimestampMicrosecondType>(pieces, places, &data_type)
        }
        DataType::Boolean => booleans(pieces, places),
        _ => {
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            let places: Vec<_> = places.iter().map(|place| (place.piece as usize, place.row as usize)).collect();
            interleave(&pieces, &places)?
        }
    })
}

fn primitives<T: ArrowPrimitiveType>(pieces: &[ArrayRef], places: &[Place], data_type: &DataType) -> ArrayRef {
    let values: Vec<&[T::Native]> = pieces.iter().map(|piece| piece.as_primitive::<T>().values().as_ref()).collect();
    let mut ordered: Vec<T::Native> = Vec::with_capacity(places.len());
    // Rows that follow each other often lie together.
    for run in places.chunk_by(|one, next| one.piece == next.piece) {
        let values = values[run[0].piece as usize];
        ordered.extend(run.iter().map(|place| values[place.row as usize]));
    }
    Arc::new(PrimitiveArray::<T>::new(ordered.into(), nulls(pieces, places)).with_data_type(data_type.clone()))
}

fn booleans(pieces: &[ArrayRef], places: &[Place]) -> ArrayRef {
    let values: Vec<&BooleanBuffer> = pieces.iter().map(|piece| piece.as_boolean().values()).collect();
    let values = BooleanBuffer::collect_bool(places.len(), |at| {
        let place = places[at];
        values[place.piece as usize].value(place.row as usize)
    });
    Arc::new(BooleanArray::new(values, nulls(pieces, places)))
}

fn nulls(pieces: &[ArrayRef], places: &[Place]) -> Option<NullBuffer> {
    let nulls: Vec<Option<&NullBuffer>> =
        pieces.iter().map(|piece| piece.nulls().filter(|nulls| nulls.null_count() > 0)).collect();
    if nulls.iter().all(Option::is_none) {
        return None;
    }
    let is_valid = |place: Place| nulls[place.piece as usize].is_none_or(|nulls| nulls.is_valid(place.row as usize));
    Some(NullBuffer::new(BooleanBuffer::collect_bool(places.len(), |at| is_valid(places[at]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::compute::cast;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_arrow_interleaves(
            rows in prop::collection::vec(prop::option::of(-3i64..3), 1..60),
            skipped in 0usize..5,
            picks in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..80),
        ) {
            let column = Int64Array::from(rows);
            for data_type in [
                DataType::Int64, DataType::Int32, DataType::Float64, DataType::Boolean, DataType::Utf8,
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ] {
                let column = cast(&column, &data_type).unwrap();
                let skipped = skipped.min(column.len() - 1);
                let rest = column.slice(skipped, column.len() - skipped);
                let pieces = [rest, column];
                let picks: Vec<(usize, usize)> = picks.iter().map(|(is_second, index)| {
                    let piece = usize::from(*is_second);
                    (piece, index.index(pieces[piece].len()))
                }).collect();
                let places: Vec<Place> =
                    picks.iter().map(|(piece, row)| Place { piece: *piece as u32, row: *row as u32 }).collect();
                let expected = interleave(&[&pieces[0], &pieces[1]], &picks).unwrap();
                prop_assert_eq!(&gather(&pieces, &places).unwrap(), &expected);
            }
        }
    }

    #[test]
    fn pieces_have_one_type() {
        let pieces: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["1"]))];
        assert!(gather(&pieces, &[Place { piece: 1, row: 0 }]).is_err());
        assert!(gather(&[], &[]).is_err());
    }
}
