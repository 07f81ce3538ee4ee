//! Columns in which most rows say nothing: a row without a value costs nothing until the column is finished.

use arrow::array::{
    ArrayBuilder, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder,
};

/// A builder that appends nulls faster than one by one.
pub(crate) trait Nulls: ArrayBuilder {
    /// Appends `count` nulls.
    fn append_nulls(&mut self, count: usize);
}

impl<T: ArrowPrimitiveType> Nulls for PrimitiveBuilder<T> {
    fn append_nulls(&mut self, count: usize) {
        PrimitiveBuilder::append_nulls(self, count);
    }
}

impl Nulls for BooleanBuilder {
    fn append_nulls(&mut self, count: usize) {
        BooleanBuilder::append_nulls(self, count);
    }
}

impl Nulls for StringBuilder {
    fn append_nulls(&mut self, count: usize) {
        StringBuilder::append_nulls(self, count);
    }
}

impl Nulls for BinaryBuilder {
    fn append_nulls(&mut self, count: usize) {
        BinaryBuilder::append_nulls(self, count);
    }
}

/// A column whose rows are named by number, in order; those left out are null.
#[derive(Debug, Default)]
pub(crate) struct Sparse<B> {
    builder: B,
}

impl<B: Nulls> Sparse<B> {
    /// The builder with `row` as its next row.
    pub(crate) fn at(&mut self, row: usize) -> &mut B {
        let missing = row.saturating_sub(self.builder.len());
        if missing > 0 {
            self.builder.append_nulls(missing);
        }
        &mut self.builder
    }

    /// The column of `rows` rows; empty afterwards.
    pub(crate) fn finish(&mut self, rows: usize) -> ArrayRef {
        ArrayBuilder::finish(self.at(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int32Builder};
    use arrow::datatypes::Int32Type;

    #[test]
    fn rows_that_are_left_out_are_null() {
        let mut numbers = Sparse::<Int32Builder>::default();
        numbers.at(1).append_value(7);
        numbers.at(2).append_value(8);
        numbers.at(5).append_value(9);
        let column = numbers.finish(7);
        let found: Vec<Option<i32>> = column.as_primitive::<Int32Type>().iter().collect();
        assert_eq!(found, [None, Some(7), Some(8), None, None, Some(9), None]);
        let mut texts = Sparse::<StringBuilder>::default();
        assert_eq!(texts.finish(3).null_count(), 3);
        texts.at(0).append_value("first");
        assert_eq!(texts.finish(2).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("first"), None]);
        assert_eq!(Sparse::<BooleanBuilder>::default().finish(0).len(), 0);
    }
}
