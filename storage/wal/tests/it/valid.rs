//! What a batch that came out of mutated bytes has to be.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bodkin_wal::Limits;

pub(crate) fn limits() -> Limits {
    Limits { rows_max: 10_000, decoded_bytes_max: 8 << 20, ..Limits::default() }
}

/// Within the limits, and every value can be read.
pub(crate) fn assert_valid(rows: &RecordBatch) {
    assert!(rows.num_rows() <= limits().rows_max);
    for column in rows.columns() {
        assert_eq!(column.len(), rows.num_rows());
        column.to_data().validate_full().unwrap();
    }
    // Reading every value must not panic either. Time zones by name need a feature that nobody else here needs.
    let options = FormatOptions::default();
    for column in rows.columns() {
        let Ok(formatter) = ArrayFormatter::try_new(column.as_ref(), &options) else { continue };
        (0..column.len()).for_each(|row| drop(formatter.value(row).try_to_string()));
    }
}
