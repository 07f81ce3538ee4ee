//! How deliveries ended: rows of table `deliveries`, through the log.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use bodkin_engine::{EndLog, Ended, SinkError};
use bodkin_ingest::LocalProducer;
use bodkin_schema::{Stream, Tenant};
use std::sync::Arc;

/// Writes them.
pub(crate) struct DeliveryEnds {
    pub(crate) producer: LocalProducer,
}

#[async_trait]
impl EndLog for DeliveryEnds {
    async fn ended(&self, ended: &[Ended]) -> Result<(), SinkError> {
        let rows = rows(ended, self.producer.now().micros())?;
        for ticket in self.producer.put(&Tenant::default(), vec![(Stream::Deliveries, rows)]).await? {
            ticket.await?;
        }
        Ok(())
    }
}

fn rows(ended: &[Ended], now: i64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text =
        |pick: fn(&Ended) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(ended.iter().map(pick))) };
    let columns = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![now; ended.len()]).with_timezone("UTC")) as ArrayRef,
        text(|one| &one.channel),
        text(|one| &one.key),
        text(|one| if one.dead.is_some() { "dead" } else { "sent" }),
        Arc::new(Int64Array::from_iter_values(ended.iter().map(|one| i64::from(one.attempts)))),
        Arc::new(ended.iter().map(|one| one.dead.as_deref()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Stream::Deliveries.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_how_it_ended() {
        let ended = |dead: Option<&str>| Ended {
            channel: "c".into(),
            key: "k".into(),
            attempts: 2,
            dead: dead.map(str::to_owned),
        };
        let rows = rows(&[ended(None), ended(Some("gone"))], 7).unwrap();
        assert_eq!((rows.num_rows(), rows.column(5).null_count()), (2, 1));
    }
}
