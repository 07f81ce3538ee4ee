//! Parquet and Arrow files.

use super::{Chunk, Each};
use anyhow::{Context, anyhow, bail};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::LineDelimitedWriter;
use bodkin_rules::{Documents, Source};
use bodkin_schema::audit;
use bodkin_wal::ipc::MessageKind;
use bodkin_wal::{Decoder, IpcMessage, Limits};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Rows that are run at once.
const CHUNK_ROWS: usize = 65_536;

/// What one message of an Arrow file may ask for: a file that somebody names is larger than what is sent.
const IPC_LIMITS: Limits = Limits {
    header_bytes_max: 16 << 20,
    body_bytes_max: 1 << 30,
    rows_max: 64 << 20,
    decoded_bytes_max: 4 << 30,
    ratio_max: 1000,
    fields_max: 4096,
    depth_max: 16,
};

/// Reads a Parquet file; of rows of `events` only `columns`.
pub(super) fn parquet(file: File, source: Source, columns: &[&'static str], each: Each<'_>) -> anyhow::Result<()> {
    // The reader of a damaged file may panic; that is then a file that cannot be read.
    let fenced = |error: Box<dyn std::any::Any + Send>| {
        let text = error.downcast_ref::<String>().map(String::as_str).or(error.downcast_ref::<&str>().copied());
        anyhow!("the file is damaged: {}", text.unwrap_or("its reader gave up"))
    };
    let mut reader = catch_unwind(AssertUnwindSafe(|| open(file, source, columns))).map_err(fenced)??;
    loop {
        match catch_unwind(AssertUnwindSafe(|| reader.next())).map_err(fenced)? {
            Some(rows) => hand_over(rows?, source, each)?,
            None => return Ok(()),
        }
    }
}

fn open(
    file: File,
    source: Source,
    columns: &[&'static str],
) -> anyhow::Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>> + use<>> {
    let plain = ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?).context("it is no Parquet file")?;
    let is_needed = |name: &str| source != Source::Syscall || columns.contains(&name);
    let fields = plain.schema().fields().iter().filter(|field| is_needed(field.name()));
    let roots: Vec<usize> = fields.filter_map(|field| plain.schema().index_of(field.name()).ok()).collect();
    // Texts stay dictionaries: a rule then looks at each distinct one once.
    let coded = plain.schema().fields().iter().map(|field| coded(field)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(coded));
    let builder = if source == Source::Syscall {
        let options = ArrowReaderOptions::new().with_schema(schema);
        ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap_or(plain)
    } else {
        plain
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    Ok(builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build()?)
}

fn coded(field: &Field) -> Field {
    let dictionary = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    match field.data_type() {
        DataType::Utf8 => field.clone().with_data_type(dictionary()),
        _ => field.clone(),
    }
}

/// Reads an Arrow IPC file or stream. A file is a stream between its mark and its footer.
pub(super) fn arrow(file: File, source: Source, each: Each<'_>) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut decoder: Option<Decoder> = None;
    let mut word = [0; 4];
    input.read_exact(&mut word)?;
    if word == *b"ARRO" {
        let mut rest = [0; 4];
        input.read_exact(&mut rest)?;
        input.read_exact(&mut word)?;
        // Writers fill up the mark to 8 bytes, or to 64.
        for _ in 0..14 {
            if word != [0; 4] {
                break;
            }
            input.read_exact(&mut word)?;
        }
    }
    loop {
        // Files of old writers have no continuation mark.
        if word == [0xff; 4] {
            input.read_exact(&mut word).context("the file is cut")?;
        }
        let length = u32::from_le_bytes(word) as usize;
        if length == 0 {
            break;
        }
        let message = message(&mut input, length)?;
        match bodkin_wal::ipc::message_kind(&message.header, &IPC_LIMITS)? {
            MessageKind::Schema => decoder = Some(Decoder::new(&message.header, IPC_LIMITS)?),
            MessageKind::Dictionary(_) => {
                decoder.as_mut().context("a dictionary before the schema")?.set_dictionary(&message)?
            }
            MessageKind::Batch => {
                let rows = decoder.as_ref().context("a batch before the schema")?.decode(&message)?;
                for first in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
                    let count = CHUNK_ROWS.min(rows.num_rows() - first);
                    hand_over(rows.slice(first, count), source, each)?;
                }
            }
        }
        // A stream may end without its mark.
        match input.read_exact(&mut word) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    decoder.map(drop).context("it holds no schema")
}

fn message(input: &mut impl Read, length: usize) -> anyhow::Result<IpcMessage> {
    if length > IPC_LIMITS.header_bytes_max {
        bail!("a header of {length} bytes, at most {} are read", IPC_LIMITS.header_bytes_max);
    }
    let header = exactly(input, length)?;
    let body_length = bodkin_wal::ipc::body_length(&header, &IPC_LIMITS)?;
    if body_length > IPC_LIMITS.body_bytes_max {
        bail!("a batch of {body_length} bytes, at most {} are read: write smaller batches", IPC_LIMITS.body_bytes_max);
    }
    Ok(IpcMessage { header, body: exactly(input, body_length)? })
}

/// Reads so many bytes; memory grows with what is really there.
fn exactly(input: &mut impl Read, length: usize) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    input.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        bail!("the file is cut");
    }
    Ok(bytes.into())
}

/// Rows of events as they are; of other sources the documents that they hold or are.
fn hand_over(rows: RecordBatch, source: Source, each: Each<'_>) -> anyhow::Result<()> {
    if source == Source::Syscall {
        if rows.column_by_name(bodkin_schema::events::EVT_TYPE).is_none() {
            bail!("it has no column {}: it holds no events of source syscall", bodkin_schema::events::EVT_TYPE);
        }
        return each(Chunk::Rows(rows));
    }
    let mut documents = Documents::default();
    match rows.column_by_name(audit::RAW) {
        Some(raw) => {
            let is_source = of_source(&rows, source);
            let raw = arrow::compute::cast(raw, &DataType::Utf8).context("column raw is no text")?;
            let texts = raw.as_string::<i32>();
            for (row, text) in texts.iter().enumerate().filter(|(row, _)| is_source.value(*row)) {
                match serde_json::from_str(text.unwrap_or_default()) {
                    Ok(value) => documents.push(source, value),
                    Err(error) => documents.reject(&format!("column raw of row {} is not JSON: {error}", row + 1)),
                }
            }
        }
        None => {
            let mut writer = LineDelimitedWriter::new(Vec::new());
            writer.write(&rows)?;
            writer.finish()?;
            for value in serde_json::Deserializer::from_slice(&writer.into_inner()).into_iter() {
                documents.push(source, value?);
            }
        }
    }
    let read = documents.take();
    if !read.rejected.is_empty() {
        each(Chunk::Rejected(read.rejected))?;
    }
    each(Chunk::Documents(read.documents))
}

/// The rows of the source, where rows of `audit` say what they are; all rows of others.
fn of_source(rows: &RecordBatch, source: Source) -> BooleanArray {
    let named =
        rows.column_by_name(audit::SOURCE).and_then(|column| arrow::compute::cast(column, &DataType::Utf8).ok());
    let all = || BooleanArray::from(vec![true; rows.num_rows()]);
    named.map_or_else(all, |named: ArrayRef| {
        named.as_string::<i32>().iter().map(|name| Some(name == Some(source.name()))).collect()
    })
}
