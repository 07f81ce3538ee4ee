//! What is measured of flows: sums and extremes, the same in whatever order they are put together.

use crate::base::Given;
use crate::flows::key::found;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use bodkin_schema::{flow_rollup, flows};
use std::sync::Arc;

const ADDED: usize = flow_rollup::ADDED.len();
const EXTREMES: usize = flow_rollup::EXTREMES.len();

/// Sums, and the smallest and largest value where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measures {
    added: [i64; ADDED],
    extremes: [Option<(i64, i64)>; EXTREMES],
}

impl Measures {
    /// Puts both together. Sums wrap, as those of SQL do.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.added.iter_mut().zip(other.added) {
            *sum = sum.wrapping_add(more);
        }
        for (known, other) in self.extremes.iter_mut().zip(other.extremes) {
            *known = match (*known, other) {
                (Some((least, most)), Some((less, more))) => Some((least.min(less), most.max(more))),
                (one, other) => one.or(other),
            };
        }
    }

    /// Columns in the order of [`flow_rollup::ADDED`], then smallest and largest of each of [`flow_rollup::EXTREMES`].
    pub(crate) fn columns(all: &[Self]) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(ADDED + 2 * EXTREMES);
        for at in 0..ADDED {
            columns.push(Arc::new(Int64Array::from_iter_values(all.iter().map(|measures| measures.added[at]))));
        }
        for at in 0..EXTREMES {
            let extremes = || all.iter().map(move |measures| measures.extremes[at]);
            columns.push(Arc::new(extremes().map(|found| Some(found?.0)).collect::<Int64Array>()));
            columns.push(Arc::new(extremes().map(|found| Some(found?.1)).collect::<Int64Array>()));
        }
        columns
    }

    /// Names of those columns.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let extremes = flow_rollup::EXTREMES.into_iter().flat_map(|(least, most, _)| [least, most]);
        flow_rollup::ADDED.into_iter().chain(extremes)
    }
}

/// The measures of a batch.
pub(crate) struct MeasureColumns {
    added: [Added; ADDED],
    extremes: [(Int64Array, Int64Array); EXTREMES],
}

/// What a row adds to a sum.
enum Added {
    One,
    /// One where the value is there.
    There(Int64Array),
    Value(Int64Array),
}

impl MeasureColumns {
    pub(crate) fn new(given: Given, records: &RecordBatch) -> Result<Self, ArrowError> {
        let int = |name: &str| -> Result<Int64Array, ArrowError> {
            Ok(cast(found(records, name)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        let added = |name: &'static str| match (given, name) {
            (Given::Tier, name) => int(name).map(Added::Value),
            (Given::Base, flow_rollup::COUNT) => Ok(Added::One),
            (Given::Base, flow_rollup::CONNECT_COUNT) => int(flows::CONNECT_US).map(Added::There),
            (Given::Base, flow_rollup::CONNECT_US_SUM) => int(flows::CONNECT_US).map(Added::Value),
            (Given::Base, flow_rollup::RTT_COUNT) => int(flows::RTT_US).map(Added::There),
            (Given::Base, flow_rollup::RTT_US_SUM) => int(flows::RTT_US).map(Added::Value),
            // Those that are called as in `flows`.
            (Given::Base, name) => int(name).map(Added::Value),
        };
        let extremes = |(least, most, of): (&str, &str, &str)| match given {
            Given::Base => int(of).map(|values| (values.clone(), values)),
            Given::Tier => Ok((int(least)?, int(most)?)),
        };
        Ok(Self { added: every(flow_rollup::ADDED, added)?, extremes: every(flow_rollup::EXTREMES, extremes)? })
    }

    /// Those of a row.
    pub(crate) fn row(&self, row: usize) -> Measures {
        let value = |values: &Int64Array| values.is_valid(row).then(|| values.value(row));
        let added = self.added.each_ref().map(|added| match added {
            Added::One => 1,
            Added::There(values) => i64::from(values.is_valid(row)),
            Added::Value(values) => value(values).unwrap_or_default(),
        });
        let extremes = self.extremes.each_ref().map(|(least, most)| Some((value(least)?, value(most)?)));
        Measures { added, extremes }
    }
}

/// `make` of each, or the first error.
fn every<A, B, const N: usize>(all: [A; N], make: impl Fn(A) -> Result<B, ArrowError>) -> Result<[B; N], ArrowError> {
    let made = all.into_iter().map(make).collect::<Result<Vec<B>, ArrowError>>()?;
    made.try_into().map_err(|_| ArrowError::ComputeError("as many were made as were given".to_owned()))
}
