//! Rows of a stream as deliveries.

use crate::http;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use bodkin_engine::outbox::{BODY_COLUMN, DELIVER_STREAM, KEY_COLUMN};
use bodkin_engine::{Batch, ChannelError, Operator, Output};
use std::sync::{Arc, LazyLock};
use xxhash_rust::xxh3::xxh3_128;

/// Rows of one delivery.
const ROWS_MAX: usize = 500;
/// Bytes of one delivery, but for a row that is larger: receivers refuse large requests.
const BYTES_MAX: usize = 1 << 20;

/// The columns of deliveries: key and body.
pub static BODY_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![field(KEY_COLUMN), field(BODY_COLUMN)]))
});

/// Deliveries to `channel` as rows that the outbox takes: pairs of key and body.
pub fn deliveries(channel: &str, pairs: &[(String, String)]) -> Batch {
    let column = |pick: fn(&(String, String)) -> &String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(pairs.iter().map(pick)))
    };
    let records = RecordBatch::try_new(BODY_SCHEMA.clone(), vec![column(|pair| &pair.0), column(|pair| &pair.1)]);
    let records = records.expect("invariant: two columns of texts of one length");
    Batch::made(&format!("{DELIVER_STREAM}{channel}"), records)
}

/// Makes a delivery of up to 500 rows and 1 MiB of each batch. Its key is a hash of the rows' place in the log and of the rows, so
/// that it is the same after a replay.
#[derive(Clone, Debug)]
pub struct ForwardOperator {
    name: String,
    channel: String,
    rows_failed: u64,
}

impl ForwardOperator {
    /// The forwarder `name` to `channel`.
    pub fn new(name: &str, channel: &str) -> Self {
        Self { name: name.to_owned(), channel: channel.to_owned(), rows_failed: 0 }
    }

    fn pairs(&self, batch: &Batch) -> Result<Vec<(String, String)>, ChannelError> {
        let mut pairs = Vec::new();
        let rows = batch.records.num_rows();
        for from in (0..rows).step_by(ROWS_MAX) {
            let part = batch.records.slice(from, ROWS_MAX.min(rows - from));
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&part).and_then(|()| writer.finish()).map_err(http::dead)?;
            let lines = String::from_utf8(writer.into_inner()).map_err(http::dead)?;
            let mut at = from;
            for lines in parts(&lines.lines().collect::<Vec<_>>()) {
                pairs.push(self.pair(batch, at, lines));
                at += lines.len();
            }
        }
        Ok(pairs)
    }

    /// The delivery of rows, as JSON, that are at this place of a batch.
    fn pair(&self, batch: &Batch, from: usize, lines: &[&str]) -> (String, String) {
        let body = format!("{{\"rows\":[{}]}}", lines.join(","));
        let place = format!("{}/{}/{from}/", self.name, batch.position.0);
        let hash = xxh3_128([place.as_bytes(), body.as_bytes()].concat().as_slice());
        (format!("{}-{hash:032x}", self.name), body)
    }
}

/// Cuts rows so that each part is as large as one delivery may be.
fn parts<'a>(mut lines: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    let mut parts = Vec::new();
    while !lines.is_empty() {
        let mut bytes = 0;
        let fits = |line: &&&str| {
            bytes += line.len() + 1;
            bytes <= BYTES_MAX
        };
        let (part, rest) = lines.split_at(lines.iter().take_while(fits).count().max(1));
        parts.push(part);
        lines = rest;
    }
    parts
}

impl Operator for ForwardOperator {
    fn name(&self) -> &str {
        "forward"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        if batch.records.num_rows() == 0 {
            return;
        }
        match self.pairs(&batch) {
            Ok(pairs) => {
                let made = deliveries(&self.channel, &pairs);
                let Batch { tenant, ingest_time, position, permit, .. } = batch;
                out.emit(Batch { tenant, ingest_time, position, permit, ..made });
            }
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::error!(forward = self.name, rows_failed = self.rows_failed, %error, "rows cannot be forwarded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use arrow::array::{AsArray, Int64Array};
    use bodkin_engine::run_chain;
    use bodkin_schema::Position;

    #[test]
    fn a_delivery_is_no_larger_than_receivers_take() {
        let (small, large) = ("x".repeat(1000), "x".repeat(BYTES_MAX));
        let lines: Vec<&str> = std::iter::repeat_n(small.as_str(), 3000).chain([large.as_str(), "y"]).collect();
        let parts = parts(&lines);
        let bytes = |part: &&[&str]| part.iter().map(|line| line.len() + 1).sum::<usize>();
        assert!(parts.iter().all(|part| part.len() == 1 || bytes(part) <= BYTES_MAX));
        assert_eq!((parts.len(), parts.concat()), (5, lines.clone()));
    }

    #[test]
    fn rows_become_deliveries_with_the_same_keys_again() {
        let run = |position: u64| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1200));
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1200).map(|n| format!("a\n{n}"))));
            let records = RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap();
            let batch = Batch { position: Position(position), ..Batch::made("events", records) };
            let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(ForwardOperator::new("f", "siem"))];
            let mut pairs = Vec::new();
            run_chain(&mut chain, batch, &mut |batch| {
                assert_eq!(&*batch.stream, "deliver/siem");
                let column =
                    |at: usize| batch.records.column(at).as_string::<i32>().iter().flatten().map(str::to_owned);
                pairs.extend(column(0).zip(column(1)));
            });
            pairs
        };
        let pairs = run(7);
        assert_eq!(pairs.len(), 3);
        assert_eq!(pairs, run(7));
        assert_ne!(pairs[0].0, run(8)[0].0);
        let rows = pairs.iter().flat_map(|(_, body)| Message::parse(body).unwrap().into_rows());
        assert!(rows.enumerate().all(|(at, row)| row["n"] == at && row["text"] == format!("a\n{at}")));
    }
}
