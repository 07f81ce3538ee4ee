//! What flows are kept apart by, as bytes.

use crate::base::Given;
use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use bodkin_schema::{flow_rollup, flows};

/// Columns of keys to bytes and back.
#[derive(Debug)]
pub(crate) struct Keys(RowConverter);

impl Keys {
    pub(crate) fn new() -> Result<Self, ArrowError> {
        let schema = flow_rollup::schema();
        let fields = flow_rollup::KEYS.map(|name| type_of(&schema, name).map(SortField::new));
        RowConverter::new(fields.into_iter().collect::<Result<_, _>>()?).map(Self)
    }

    /// The key of each row.
    pub(crate) fn rows(&self, given: Given, records: &RecordBatch) -> Result<Rows, ArrowError> {
        let schema = flow_rollup::schema();
        let column = |name: &&str| match (given, *name) {
            (Given::Base, flow_rollup::PORT) => port(records),
            (_, name) => cast(found(records, name)?, &type_of(&schema, name)?),
        };
        self.0.convert_columns(&flow_rollup::KEYS.iter().map(column).collect::<Result<Vec<_>, _>>()?)
    }

    /// The columns of keys that it has made, in the order of [`flow_rollup::KEYS`].
    pub(crate) fn columns<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>, ArrowError> {
        let parser = self.0.parser();
        self.0.convert_rows(keys.map(|key| parser.parse(key)))
    }
}

fn type_of(schema: &SchemaRef, name: &str) -> Result<DataType, ArrowError> {
    schema.field_with_name(name).map(|field| field.data_type().clone())
}

pub(crate) fn found<'a>(records: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    records.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

/// The service's port of rows of `flows`.
fn port(records: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let direction = cast(found(records, flows::DIRECTION)?, &DataType::Utf8)?;
    let int = |name| cast(found(records, name)?, &DataType::Int32);
    let (local, remote) = (int(flows::LOCAL_PORT)?, int(flows::REMOTE_PORT)?);
    let (local, remote) = (local.as_primitive::<Int32Type>(), remote.as_primitive::<Int32Type>());
    let ports = direction.as_string::<i32>().iter().zip(local.iter().zip(remote));
    let of_service = ports.map(|(direction, (local, remote))| match direction {
        Some("out") => remote,
        Some("in") => local,
        _ => local.into_iter().chain(remote).min(),
    });
    Ok(std::sync::Arc::new(of_service.collect::<Int32Array>()))
}
