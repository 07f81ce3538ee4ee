//! Answers as Flight messages.

use crate::status::status;
use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use bodkin_query::Answer;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Status;

/// Bytes of rows in one message: half of what gRPC clients take by default, so that the rest of the message fits.
const MESSAGE_BYTES_TARGET: usize = 2 << 20;

/// Messages of an answer. Dropping the stream cancels the query.
pub(crate) fn answer_messages(answer: Answer) -> BoxStream<'static, Result<FlightData, Status>> {
    let batches = answer.stream.map_err(|error| FlightError::Tonic(Box::new(status(&error))));
    messages(answer.schema, batches)
}

/// Messages of a batch that is at hand.
pub(crate) fn batch_messages(batch: RecordBatch) -> BoxStream<'static, Result<FlightData, Status>> {
    messages(batch.schema(), futures::stream::iter([Ok(batch)]))
}

fn messages(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let parts = batches.map_ok(|batch| futures::stream::iter(split(batch).map(Ok))).try_flatten();
    // The encoder would cut by the size of whole buffers, which slices share: one row per message in the worst case.
    let encoder =
        FlightDataEncoderBuilder::new().with_schema(schema).with_max_flight_data_size(usize::MAX).build(parts);
    encoder.map_err(Status::from).boxed()
}

/// `batch` in parts of about [`MESSAGE_BYTES_TARGET`] each, at least one row in each. Copies nothing.
fn split(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    let parts = sizes.sum::<usize>().div_ceil(MESSAGE_BYTES_TARGET).max(1);
    let rows = batch.num_rows().div_ceil(parts).max(1);
    (0..batch.num_rows()).step_by(rows).map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    fn batch(rows: usize, text: &str) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    #[test]
    fn large_batches_are_cut_and_slices_are_not() {
        let large = batch(10_000, &"x".repeat(1000));
        let parts: Vec<_> = split(large.clone()).collect();
        assert_eq!(parts.len(), 5);
        assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
        assert_eq!(split(large.slice(500, 100)).count(), 1);
        assert_eq!(split(batch(2, &"x".repeat(3 << 20))).count(), 2);
        assert_eq!(split(batch(0, "")).count(), 0);
    }

    #[tokio::test]
    async fn an_answer_without_rows_still_has_its_schema() {
        let messages: Vec<_> = batch_messages(batch(0, "")).try_collect().await.unwrap();
        assert_eq!(messages.len(), 1);
    }
}
