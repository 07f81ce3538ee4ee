//! A share of the rows.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bodkin_engine::{Batch, Operator, Output};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Keeps a share of rows, chosen by a hash and not by chance: a replay keeps the same ones (DET-1). With key columns all
/// rows of a key stay or go together; without, each row is on its own.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Rows with a hash below stay.
    below: u64,
    key: Vec<String>,
}

/// What is wrong with a share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no share: a number from 0 to 1 says how much of the rows is kept")]
pub struct NoShare(f64);

impl Sample {
    /// Keeps `share` of the rows, by the columns `key`.
    ///
    /// # Errors
    /// Where `share` is not between 0 and 1.
    pub fn new(share: f64, key: &[&str]) -> Result<Self, NoShare> {
        if !(0.0..=1.0).contains(&share) {
            return Err(NoShare(share));
        }
        let below = (share * u64::MAX as f64) as u64;
        Ok(Self { below, key: key.iter().map(|name| (*name).to_owned()).collect() })
    }

    fn hashes(&self, batch: &Batch) -> Result<Vec<u64>, ArrowError> {
        if !self.key.is_empty() {
            return by_key(&batch.records, &self.key);
        }
        let lane = batch.origin.as_ref().map(|origin| xxh3_64(origin.lane.to_string().as_bytes()) ^ origin.seq.0);
        let seed = lane.unwrap_or(batch.position.0);
        Ok((0..batch.records.num_rows() as u64).map(|row| xxh3_64_with_seed(&row.to_le_bytes(), seed)).collect())
    }

    fn sample(&self, batch: &Batch) -> Result<RecordBatch, ArrowError> {
        let stays = |hash: u64| hash < self.below || self.below == u64::MAX;
        let stays: BooleanArray = self.hashes(batch)?.into_iter().map(|hash| Some(stays(hash))).collect();
        filter_record_batch(&batch.records, &stays)
    }
}

fn by_key(records: &RecordBatch, key: &[String]) -> Result<Vec<u64>, ArrowError> {
    let column = |name: &String| {
        let missing = || ArrowError::SchemaError(format!("there is no column {name:?} to be a key"));
        records.column_by_name(name).cloned().ok_or_else(missing)
    };
    let columns = key.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    Ok(rows.iter().map(|row| xxh3_64(row.as_ref())).collect())
}

impl Operator for Sample {
    fn name(&self) -> &str {
        "sample"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.sample(&batch) {
            Ok(records) if records.num_rows() == 0 => {}
            Ok(records) => {
                let stream = batch.stream.clone();
                out.emit(batch.derived(&stream, records));
            }
            Err(error) => tracing::warn!(stream = %batch.stream, %error, "rows cannot be sampled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use bodkin_engine::run_chain;
    use std::sync::Arc;

    fn run(share: f64, key: &[&str]) -> Vec<i64> {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(Sample::new(share, key).unwrap())];
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..10_000).map(|row| row / 10)));
        let records = RecordBatch::try_from_iter([("pid", values)]).unwrap();
        let mut seen = Vec::new();
        run_chain(&mut chain, Batch::made("events", records), &mut |batch| {
            seen.extend(batch.records.column(0).as_primitive::<Int64Type>().values());
        });
        seen
    }

    #[test]
    fn det_1_a_share_stays_and_always_the_same() {
        let tenth = run(0.1, &[]);
        assert!((900..1100).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(tenth, run(0.1, &[]));
        assert_eq!((run(0.0, &[]).len(), run(1.0, &[]).len()), (0, 10_000));
    }

    #[test]
    fn rows_of_a_key_stay_together() {
        let by_pid = run(0.5, &["pid"]);
        assert!((4000..6000).contains(&by_pid.len()));
        assert!(by_pid.chunk_by(|a, b| a == b).all(|run| run.len() == 10));
    }

    #[test]
    fn a_share_is_a_share() {
        assert_eq!(
            Sample::new(1.5, &[]).unwrap_err().to_string(),
            "1.5 is no share: a number from 0 to 1 says how much of the rows is kept"
        );
        assert!(Sample::new(f64::NAN, &[]).is_err());
    }
}
