//! ACK-1: what a kill or a power cut leaves of the last segment reopens to exactly the whole frames.

use crate::rows::frame;
use bodkin_schema::{Position, SystemClock};
use bodkin_wal::segment::segments;
use bodkin_wal::{Entry, Frame, Replay, SegmentReader, SegmentWriter, Wal, WalOptions};
use std::fs;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn open(dir: &Path) -> Wal {
    open_with(dir, WalOptions::default())
}

pub(crate) fn open_with(dir: &Path, options: WalOptions) -> Wal {
    Wal::open(dir, options, Arc::new(SystemClock::default())).unwrap()
}

/// The numbers of the frames in a log, and its damaged places.
pub(crate) fn seqs(replay: Replay) -> (Vec<u64>, usize) {
    let (mut seqs, mut gaps) = (Vec::new(), 0);
    for entry in replay {
        match entry.unwrap() {
            Entry::Frame(logged) => match logged.frame {
                Frame::Batch(batch) => {
                    assert_eq!(batch.decode(&Default::default()).unwrap().num_rows() as u64, batch.rows);
                    seqs.push(batch.seq.0);
                }
                Frame::Note(_) => {}
            },
            Entry::Gap(_) => gaps += 1,
        }
    }
    (seqs, gaps)
}

fn everything(dir: &Path) -> (Vec<u64>, usize) {
    seqs(Replay::open(dir, Position(0)).unwrap())
}

/// A folder with one segment of frames 1..=3, and where each of them ends in it.
fn three_frames(dir: &Path) -> Vec<u64> {
    let mut writer = SegmentWriter::create(dir, Position(0)).unwrap();
    let ends = (1..=3).map(|seq| writer.append(&frame(seq, 2).encode().unwrap()).unwrap().0).collect();
    writer.close().unwrap();
    ends
}

#[tokio::test]
async fn every_truncation_reopens_to_the_whole_frames() {
    let source = tempfile::tempdir().unwrap();
    let ends = three_frames(source.path());
    let whole = fs::read(&segments(source.path()).unwrap()[0].path).unwrap();
    assert_eq!(whole.len() as u64, ends[2]);
    for length in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("00000000000000000000.wal"), &whole[..length]).unwrap();
        let expected: Vec<u64> = (1..=3).filter(|seq| ends[*seq as usize - 1] <= length as u64).collect();
        let (seqs_read, gaps) = everything(dir.path());
        assert_eq!(seqs_read, expected, "length {length}");
        assert!(gaps <= 1);
        // Opening the log syncs a few times: done around every edge and here and there between.
        let is_edge = [0, 32, 64, 96].iter().chain(&ends).any(|edge| edge.abs_diff(length as u64) <= 1);
        if is_edge || length % 97 == 0 {
            reopen_and_append(dir.path(), length, &expected).await;
        }
    }
}

async fn reopen_and_append(dir: &Path, length: usize, expected: &[u64]) {
    let wal = open(dir);
    assert_eq!(seqs(wal.replay(Position(0)).unwrap()), (expected.to_vec(), 0), "length {length}");
    let position = wal.append(frame(9, 1).encode().unwrap()).await.unwrap();
    assert!(position > Position(length as u64), "positions are not given out twice");
    drop(wal);
    assert_eq!(everything(dir), ([expected, &[9]].concat(), 0), "length {length}");
}

/// R10: a flipped bit is never a wrong frame, and costs at most the frames that need what it hit.
#[test]
fn bit_flips_are_detected_and_cost_little() {
    let dir = tempfile::tempdir().unwrap();
    let ends = three_frames(dir.path());
    let path = segments(dir.path()).unwrap()[0].path.clone();
    let whole = fs::read(&path).unwrap();
    let schema_end = ends[0] - frame(1, 2).encode().unwrap().len() as u64;
    for at in (0..whole.len()).step_by(3) {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        fs::write(&path, &bent).unwrap();
        let at = at as u64;
        let lost = (at >= schema_end).then(|| ends.iter().position(|end| at < *end).unwrap() as u64 + 1);
        let (seqs, gaps) = everything(dir.path());
        match lost {
            None if at < 64 => assert_eq!((seqs, gaps), (vec![1, 2, 3], 0), "the header stands twice"),
            None => assert_eq!((seqs, gaps), (vec![], 1), "byte {at} of the schema"),
            Some(lost) => {
                let kept: Vec<u64> = (1..=3).filter(|seq| *seq != lost).collect();
                assert_eq!((seqs, gaps), (kept, 1), "byte {at}");
            }
        }
    }
}

/// A sender may put bytes into its rows that look like a frame; damage must not turn them into one.
#[test]
fn rows_that_look_like_frames_are_not_found_after_damage() {
    let dir = tempfile::tempdir().unwrap();
    three_frames(dir.path());
    let forged = fs::read(&segments(dir.path()).unwrap()[0].path).unwrap();

    let other = tempfile::tempdir().unwrap();
    let mut hostile = frame(4, 2);
    hostile.batch.body = forged.into();
    let mut writer = SegmentWriter::create(other.path(), Position(0)).unwrap();
    let start = writer.append(&frame(1, 2).encode().unwrap()).unwrap();
    writer.append(&hostile.encode().unwrap()).unwrap();
    let path = writer.path().to_owned();
    writer.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[start.0 as usize] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(everything(other.path()), (vec![1], 1));
}

#[test]
fn a_segment_that_was_cut_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let ends = three_frames(dir.path());
    let path = segments(dir.path()).unwrap()[0].path.clone();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(ends[2] - 1).unwrap();
    let mut writer = SegmentWriter::resume(&path).unwrap();
    assert_eq!(writer.position(), Position(ends[1]));
    writer.append(&frame(4, 2).encode().unwrap()).unwrap();
    writer.close().unwrap();
    assert_eq!(everything(dir.path()), (vec![1, 2, 4], 0));
    assert_eq!(SegmentReader::open(&path).unwrap().count(), 3);
}

#[tokio::test]
async fn segments_roll_stand_alone_and_are_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open_with(dir.path(), WalOptions { segment_bytes: 4096, ..WalOptions::default() });
    let mut ends = Vec::new();
    for seq in 1..=20 {
        ends.push(wal.append(frame(seq, 10).encode().unwrap()).await.unwrap());
    }
    let count = segments(dir.path()).unwrap().len();
    assert!(count > 4 && wal.stats().segments + 1 == count as u64, "{count} segments");
    assert_eq!(seqs(wal.replay(ends[14]).unwrap()).0, [16, 17, 18, 19, 20]);

    let deleted = wal.trim(ends[14]).unwrap();
    assert!(deleted > 2 && segments(dir.path()).unwrap().len() == count - deleted);
    assert_eq!(seqs(wal.replay(ends[14]).unwrap()).0, [16, 17, 18, 19, 20], "every segment has its schema");
    assert_eq!(wal.trim(Position(u64::MAX)).unwrap(), count - deleted - 1, "the one that is written stays");
    drop(wal);

    // Everything is trimmed but positions go on.
    let wal = open(dir.path());
    assert!(wal.append(frame(21, 1).encode().unwrap()).await.unwrap() > ends[19]);
}

#[tokio::test]
async fn a_segment_that_is_in_tables_is_not_kept_until_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut seq = 0;
    while wal.stats().bytes < 2 << 20 {
        seq += 1;
        wal.append(frame(seq, 2000).encode().unwrap()).await.unwrap();
    }
    let end = wal.durable();
    assert_eq!(wal.trim(end).unwrap(), 0, "it is being written");
    while segments(dir.path()).unwrap()[0].start != end {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let after = wal.append(frame(seq + 1, 1).encode().unwrap()).await.unwrap();
    assert!(after > end && segments(dir.path()).unwrap().len() == 1);
    assert_eq!(seqs(wal.replay(end).unwrap()), (vec![seq + 1], 0));
    assert_eq!(wal.trim(after).unwrap(), 0, "it is not worth a new one");
    drop(wal);
    assert_eq!(everything(dir.path()), (vec![seq + 1], 0));
}

#[test]
fn the_log_has_one_owner_and_a_floor() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open_with(dir.path(), WalOptions { floor: Position(5000), ..WalOptions::default() });
    assert!(wal.durable() > Position(5000));
    let second = Wal::open(dir.path(), WalOptions::default(), Arc::new(SystemClock::default()));
    assert!(second.unwrap_err().to_string().ends_with("the log is in use by another process"));
    drop(wal);
    open(dir.path());
}
