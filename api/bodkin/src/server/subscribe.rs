//! DoExchange: live rows of a stream, from now on.
//!
//! The first message of the client says which, as the path of its descriptor: `findings`, `events`, `audit`, ... Rows come
//! with the registered columns in plain types. A client that reads too slowly misses rows, and each message from then on
//! says how many in all: its metadata is `{"rows_missed": N}`. What it missed is in the table.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use bodkin_engine::{Batch, Engine, Tap};
use bodkin_schema::{Stream, Tenant};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use tonic::{Status, Streaming};

/// The operator that emits a stream which nobody sends.
const FINDINGS_NODE: &str = "rules";

/// Answers one DoExchange of a tenant.
pub(super) async fn subscribe(
    engine: &Engine,
    tenant: Tenant,
    mut messages: Streaming<FlightData>,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let first = messages.message().await?;
    let descriptor = first.and_then(|message| message.flight_descriptor);
    let stream = stream_of(descriptor.as_ref())?;
    let node = if stream == Stream::Findings { FINDINGS_NODE } else { stream.name() };
    let tap = Arc::new(engine.tap(node).map_err(|error| Status::unavailable(error.to_string()))?);
    let schema = plain(&stream.schema());
    let rows = rows(tap.clone(), stream, tenant, schema.clone());
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    let told = encoder.map_err(Status::from).map_ok(move |message| match tap.rows_missed() {
        0 => message,
        missed => message.with_app_metadata(format!("{{\"rows_missed\":{missed}}}")),
    });
    // The answer ends when the client hangs up; what else it says is read and let be.
    let silence = messages.filter_map(|_| std::future::ready(None::<Result<FlightData, Status>>));
    Ok(futures::stream::select(told, silence).boxed())
}

fn stream_of(descriptor: Option<&FlightDescriptor>) -> Result<Stream, Status> {
    let names = || Stream::ALL.map(|stream| stream.name()).join(", ");
    let Some(name) = descriptor.and_then(|descriptor| descriptor.path.first()) else {
        return Err(Status::invalid_argument(format!("say in the descriptor's path which stream: {}", names())));
    };
    Stream::from_name(name)
        .ok_or_else(|| Status::not_found(format!("there is no stream {name:?}; there are {}", names())))
}

fn rows(
    tap: Arc<Tap>,
    stream: Stream,
    tenant: Tenant,
    schema: SchemaRef,
) -> impl futures::Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static {
    let batches = futures::stream::unfold(tap, |tap| async move { Some((tap.next().await?, tap)) });
    let own = move |batch: &Batch| std::future::ready(batch.tenant == tenant && *batch.stream == *stream.name());
    batches.filter(own).map(move |batch| conformed(&batch.records, &schema).map_err(FlightError::from))
}

/// The schema with plain texts, where every column may be null.
fn plain(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows with the columns of `schema`; one that did not come is null.
fn conformed(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef, ArrowError> {
        match rows.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => cast(column, field.data_type()),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, DictionaryArray, StringArray};
    use arrow::datatypes::{DataType, Int32Type};

    #[test]
    fn rows_get_the_registered_columns() {
        let host: DictionaryArray<Int32Type> = [Some("h")].into_iter().collect();
        let rows = RecordBatch::try_from_iter([
            ("host", Arc::new(host) as ArrayRef),
            ("other", Arc::new(StringArray::from(vec!["x"])) as ArrayRef),
        ]);
        let schema = plain(&Stream::Events.schema());
        let found = conformed(&rows.unwrap(), &schema).unwrap();
        assert_eq!(found.schema(), schema);
        assert_eq!(found.column_by_name("host").unwrap().data_type(), &DataType::Utf8);
        assert_eq!(found.column_by_name("pid").unwrap().null_count(), 1);
    }

    #[test]
    fn streams_by_path() {
        let path = |name: &str| FlightDescriptor::new_path(vec![name.to_owned()]);
        assert_eq!(stream_of(Some(&path("findings"))).unwrap(), Stream::Findings);
        assert_eq!(stream_of(Some(&path("nothing"))).unwrap_err().code(), tonic::Code::NotFound);
        assert_eq!(stream_of(None).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
