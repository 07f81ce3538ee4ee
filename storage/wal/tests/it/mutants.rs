//! SAFE-1: whatever is done to a valid message, the decoder refuses it or returns valid rows within its limits.

use crate::rows::rows;
use crate::valid::{assert_valid, limits};
use arrow::array::{Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bodkin_fuzz::Random;
use bodkin_schema::Stream;
use bodkin_wal::ipc::{MessageKind, decode, encode, encode_schema, message_kind};
use bodkin_wal::{Compression, Decoder, IpcError, IpcFrame, IpcMessage, Limits};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const MUTANTS: usize = 20_000;

/// Real frames: every stream, every compression, with and without dictionaries.
fn seeds() -> Vec<IpcFrame> {
    let mut seeds = Vec::new();
    for stream in Stream::ALL {
        for by_dictionary in [false, true] {
            for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
                seeds.push(encode(&rows(stream, 9, by_dictionary), compression).unwrap());
            }
        }
    }
    seeds
}

fn mutate(bytes: &Bytes, random: &mut Random) -> Bytes {
    let mut bytes = bytes.to_vec();
    if bytes.is_empty() {
        return Bytes::new();
    }
    match random.below(12) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            // A whole little-endian number: lengths and offsets that a single byte rarely hits.
            let at = random.below(bytes.len()) & !7;
            let number = [i64::MAX, i64::MIN, -1, 0, 1 << 32, 1 << 20, 255][random.below(7)];
            bytes.iter_mut().skip(at).zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes.into()
}

/// A seed with its decoder, so that a mutant of the batch alone does not decode the schema again.
struct Seed {
    frame: IpcFrame,
    decoder: Decoder,
}

impl Seed {
    fn new(frame: IpcFrame) -> Self {
        let mut decoder = Decoder::new(&frame.schema.header, limits()).unwrap();
        frame.dictionaries.iter().for_each(|dictionary| decoder.set_dictionary(dictionary).unwrap());
        Self { frame, decoder }
    }

    fn decode_mutant(&self, random: &mut Random) -> Result<RecordBatch, IpcError> {
        let mut frame = self.frame.clone();
        let count = frame.dictionaries.len();
        let (message, is_batch) = match random.below(16) {
            0 => (&mut frame.schema, false),
            1 | 2 if count > 0 => (&mut frame.dictionaries[random.below(count)], false),
            _ => (&mut frame.batch, true),
        };
        let part = if random.below(3) == 0 { &mut message.body } else { &mut message.header };
        *part = mutate(part, random);
        if is_batch { self.decoder.decode(&frame.batch) } else { decode(&frame, &limits()) }
    }
}

#[test]
fn mutants_are_refused_or_valid() {
    let seeds: Vec<Seed> = seeds().into_iter().map(Seed::new).collect();
    for seed in &seeds {
        assert_valid(&decode(&seed.frame, &limits()).unwrap());
    }
    let mut random = Random::new(59);
    let (mut valid, mut refused) = (0, 0);
    for index in 0..MUTANTS {
        let seed = &seeds[index % seeds.len()];
        let outcome = catch_unwind(AssertUnwindSafe(|| seed.decode_mutant(&mut random)))
            .unwrap_or_else(|_| panic!("mutant {index} panics"));
        match outcome {
            Ok(rows) => {
                assert_valid(&rows);
                valid += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    // Both must happen, or the test tests nothing.
    assert!(valid > MUTANTS / 100 && refused > MUTANTS / 4, "{valid} valid, {refused} refused");
}

#[test]
fn schema_mutants_are_refused_or_schemas() {
    let seeds: Vec<Bytes> = Stream::ALL.iter().map(|stream| encode_schema(&stream.schema()).header).collect();
    let mut random = Random::new(60);
    for index in 0..MUTANTS / 4 {
        let header = mutate(&seeds[index % seeds.len()], &mut random);
        let outcome = catch_unwind(|| (Decoder::new(&header, limits()).is_ok(), message_kind(&header, &limits())));
        let (is_schema, kind) = outcome.unwrap_or_else(|_| panic!("mutant {index} panics"));
        assert!(!is_schema || kind == Ok(MessageKind::Schema));
    }
}

#[test]
fn round_trips_with_every_compression() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        for by_dictionary in [false, true] {
            for count in [0, 1, 1000] {
                let rows = rows(Stream::Events, count, by_dictionary);
                let back = decode(&encode(&rows, compression).unwrap(), &Limits::default()).unwrap();
                assert_eq!(back.columns(), rows.columns(), "{compression:?} {by_dictionary} {count}");
            }
        }
    }
    let sliced = rows(Stream::Series, 100, true).slice(13, 50);
    assert_eq!(decode(&encode(&sliced, Compression::Zstd).unwrap(), &Limits::default()).unwrap(), sliced);
}

#[test]
fn misaligned_bodies_decode() {
    let frame = encode(&rows(Stream::Samples, 100, false), Compression::None).unwrap();
    let mut shifted = vec![0];
    shifted.extend_from_slice(&frame.batch.body);
    let body = Bytes::from(shifted).slice(1..);
    let moved = IpcFrame { batch: IpcMessage { header: frame.batch.header.clone(), body }, ..frame.clone() };
    assert_eq!(decode(&moved, &limits()).unwrap(), decode(&frame, &limits()).unwrap());
}

#[test]
fn refusals_name_the_column() {
    let frame = encode(&rows(Stream::Drops, 10, false), Compression::None).unwrap();
    let short = IpcMessage { header: frame.batch.header.clone(), body: frame.batch.body.slice(..64) };
    let error = decode(&IpcFrame { batch: short, ..frame }, &limits()).unwrap_err().to_string();
    assert!(error.starts_with("column \"ts\", buffer 1: ") || error.starts_with("column \"producer\""), "{error}");

    let view = Schema::new(vec![Field::new("v", DataType::Utf8View, true)]);
    let error = Decoder::new(&encode_schema(&view).header, limits()).unwrap_err().to_string();
    assert_eq!(error, "column \"v\": type Utf8View is not supported");
}

#[test]
fn too_many_rows_and_too_large_bodies_are_refused() {
    let rows = rows(Stream::Samples, 1000, false);
    let frame = encode(&rows, Compression::None).unwrap();
    let few = Limits { rows_max: 999, ..Limits::default() };
    assert_eq!(decode(&frame, &few).unwrap_err().to_string(), "rows: 1000 exceeds the limit of 999");
    let small = Limits { body_bytes_max: 100, ..Limits::default() };
    assert!(decode(&frame, &small).unwrap_err().to_string().starts_with("body bytes: "));
}

/// A bomb: zeros shrink ten-thousandfold.
#[test]
fn compression_bombs_are_refused_before_they_are_allocated() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
    let zeros = RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(vec![0; 1 << 20]))]).unwrap();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let frame = encode(&zeros, compression).unwrap();
        // Constant columns are normal: 4 MiB is below the size from which the ratio counts.
        assert_eq!(decode(&frame, &Limits::default()).unwrap(), zeros);
        let tight = Limits { decoded_bytes_max: 1 << 20, ..Limits::default() };
        let error = decode(&frame, &tight).unwrap_err().to_string();
        assert!(error.contains("decoded bytes"), "{error}");
    }
}
