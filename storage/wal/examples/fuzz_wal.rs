//! Throws bytes at what reads messages of senders and segments of the log: `fuzz_wal TARGET|all [SECONDS] [SEED]`.
//!
//! Targets: `message` (a batch of a known schema, as in the body of a put: number of the schema, length of the header, header,
//! body), `schema` (the header of a schema), `segment` (a file of the log, with its batches decoded).

#[path = "../tests/it/rows.rs"]
#[allow(clippy::unwrap_used, reason = "a helper of tests")]
mod rows;
#[path = "../tests/it/valid.rs"]
#[allow(clippy::unwrap_used, reason = "a helper of tests")]
mod valid;

use bodkin_fuzz::{Arguments, Take, Target, run};
use bodkin_schema::{Position, Stream};
use bodkin_wal::ipc::{encode, encode_schema};
use bodkin_wal::segment::segments;
use bodkin_wal::{Compression, Decoder, Entry, Frame, IpcMessage, SegmentReader, SegmentWriter};
use bytes::Bytes;
use rows::{frame, rows};
use std::error::Error;
use valid::{assert_valid, limits};

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn target(name: &'static str, seeds: Vec<Vec<u8>>, take: Take) -> Target {
    Target { name, seeds, take, pieces: &[], bytes_max: 64 << 10, memory_mib_max: 512 }
}

fn message() -> Result<Target, Box<dyn Error>> {
    let (mut seeds, mut decoders) = (Vec::new(), Vec::new());
    for stream in Stream::ALL {
        for by_dictionary in [false, true] {
            let made = rows(stream, 9, by_dictionary);
            let frames = COMPRESSIONS.map(|compression| encode(&made, compression));
            for frame in frames {
                let frame = frame?;
                let mut decoder = Decoder::new(&frame.schema.header, limits())?;
                frame.dictionaries.iter().try_for_each(|dictionary| decoder.set_dictionary(dictionary))?;
                let header = frame.batch.header;
                let lead = [(decoders.len() as u16).to_le_bytes(), (header.len() as u16).to_le_bytes()].concat();
                seeds.push([&lead[..], &header, &frame.batch.body].concat());
                decoders.push(decoder);
            }
        }
    }
    let take = move |input: &[u8]| {
        let Some(([a, b, c, d], rest)) = input.split_first_chunk() else { return false };
        let Some(decoder) = decoders.get(usize::from(u16::from_le_bytes([*a, *b]))) else { return false };
        let Some((header, body)) = rest.split_at_checked(u16::from_le_bytes([*c, *d]).into()) else { return false };
        let message = IpcMessage { header: Bytes::copy_from_slice(header), body: Bytes::copy_from_slice(body) };
        decoder.decode(&message).map(|rows| assert_valid(&rows)).is_ok()
    };
    Ok(target("message", seeds, Box::new(take)))
}

fn schema() -> Target {
    let seeds = Stream::ALL.iter().map(|stream| encode_schema(&stream.schema()).header.to_vec()).collect();
    let take = |input: &[u8]| Decoder::new(&Bytes::copy_from_slice(input), limits()).is_ok();
    target("schema", seeds, Box::new(take))
}

/// A checksum guards each frame: few mutants come further than that.
fn segment() -> Result<Target, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut writer = SegmentWriter::create(folder.path(), Position(0))?;
    for seq in 1..=3 {
        writer.append(&frame(seq, 2).encode()?)?;
    }
    writer.close()?;
    let path = segments(folder.path())?.pop().ok_or("no segment")?.path;
    let seed = std::fs::read(&path)?;
    let take = move |input: &[u8]| {
        let _ = folder.path();
        std::fs::write(&path, input).expect("a temporary folder can be written");
        let Ok(mut reader) = SegmentReader::open(&path) else { return false };
        let mut is_good = false;
        while let Ok(Some(entry)) = reader.next_entry() {
            let Entry::Frame(logged) = entry else { continue };
            if let Frame::Batch(batch) = &logged.frame {
                is_good |= batch.decode(&limits()).map(|rows| assert_valid(&rows)).is_ok();
            }
        }
        is_good
    };
    Ok(target("segment", vec![seed], Box::new(take)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_process();
    for target in [message()?, schema(), segment()?] {
        if arguments.wants(target.name) {
            run(target, &arguments)?;
        }
    }
    Ok(())
}
