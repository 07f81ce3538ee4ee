//! CSV and Parquet as columns of text.

use crate::config::EnrichError;
use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file; all of it is held.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Reads a file; a cell that is empty is null.
pub(crate) fn read(path: &Path) -> Result<RecordBatch, EnrichError> {
    let wrong = |reason: &dyn std::fmt::Display| EnrichError::new(path.display().to_string(), reason);
    let mut file = File::open(path).map_err(|error| wrong(&error))?;
    let bytes = file.metadata().map_err(|error| wrong(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(&format!("has {bytes} bytes; at most {FILE_BYTES_MAX} are held")));
    }
    let mut magic = [0; 4];
    let is_parquet = file.read_exact(&mut magic).is_ok() && &magic == b"PAR1";
    file.rewind().map_err(|error| wrong(&error))?;
    let records = if is_parquet { parquet(file) } else { csv(file) };
    let records = records.map_err(|error| wrong(&error))?;
    let texts = records.columns().iter().map(|column| cast(column, &DataType::Utf8)).collect::<Result<Vec<_>, _>>();
    let fields: Vec<Field> =
        records.schema().fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true)).collect();
    let texts = texts.map_err(|error| wrong(&error))?;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), texts).map_err(|error| wrong(&error))
}

type Failure = Box<dyn std::error::Error>;

fn parquet(file: File) -> Result<RecordBatch, Failure> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let schema = reader.schema().clone();
    let batches = reader.build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

fn csv(mut file: File) -> Result<RecordBatch, Failure> {
    let format = Format::default().with_header(true);
    let (inferred, _) = format.infer_schema(BufReader::new(&file), Some(1))?;
    file.rewind()?;
    // Numbers stay as they are written.
    let fields = inferred.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(schema.clone()).with_format(format).build(file)?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}
