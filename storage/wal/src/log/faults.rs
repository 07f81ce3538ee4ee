//! R4: every single disk operation of a scenario fails once, and no acknowledgement turns out false (ACK-1).

use super::{Replay, Wal, WalOptions};
use crate::frame::{Frame, NoteFrame};
use crate::segment::{Entry, FaultyDisk};
use crate::{Error, Result};
use bodkin_schema::{EventTime, Position, SystemClock};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const OPTIONS: WalOptions =
    WalOptions { segment_bytes: 700, group_bytes: 4096, queue_bytes: 1 << 20, floor: Position(0) };

fn note(number: u64) -> NoteFrame {
    NoteFrame { ingest_time: EventTime(0), topic: "number".into(), note: number.into() }
}

fn stored(dir: &Path) -> Vec<u64> {
    let numbers = Replay::open(dir, Position(0)).unwrap().map(|entry| match entry.unwrap() {
        Entry::Frame(logged) => match logged.frame {
            Frame::Note(note) => note.note.as_u64().unwrap(),
            Frame::Batch(_) => panic!("no batch was written"),
        },
        Entry::Gap(gap) => panic!("{gap:?}"),
    });
    numbers.collect()
}

/// Appends 1..=12 on a disk that fails; the numbers that were acknowledged, and the last error.
async fn scenario(disk: FaultyDisk, dir: &Path) -> (Vec<u64>, Option<Error>) {
    let clock = Arc::new(SystemClock::default());
    let wal = match Wal::open_on(Arc::new(disk), dir, OPTIONS, clock) {
        Ok(wal) => wal,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let (mut acked, mut last) = (Vec::new(), None);
    for number in 1..=12 {
        match wal.append(note(number).encode().unwrap()).await {
            Ok(_) => acked.push(number),
            Err(error) => last = Some(error),
        }
    }
    (acked, last)
}

async fn fail_every_call(kind: ErrorKind, mut check: impl FnMut(u64, &[u64], &Option<Error>)) {
    for fail_at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(fail_at, kind);
        let (acked, error) = scenario(disk.clone(), dir.path()).await;
        check(fail_at, &acked, &error);

        // A restart on a sound disk reads every acknowledged frame once, and goes on.
        let wal = Wal::open(dir.path(), OPTIONS, Arc::new(SystemClock::default())).unwrap();
        wal.append(note(99).encode().unwrap()).await.unwrap();
        drop(wal);
        let stored = stored(dir.path());
        let promised: Vec<u64> = stored.iter().copied().filter(|number| acked.contains(number)).collect();
        assert_eq!(promised, acked, "{kind:?} at call {fail_at}: {stored:?}");
        assert_eq!(stored.last(), Some(&99));
        assert!(stored.is_sorted_by(|a, b| a < b), "{kind:?} at call {fail_at}: {stored:?}");

        if disk.calls.load(Ordering::SeqCst) < fail_at {
            assert!(fail_at > 30, "the scenario is too small");
            return;
        }
    }
}

#[tokio::test]
async fn any_failed_operation_keeps_the_promises() {
    fail_every_call(ErrorKind::Other, |fail_at, acked, error| {
        // After a failure nothing is acknowledged any more, except where only giving back reserved space failed.
        if let Some(error) = error {
            let is_prefix = acked.iter().copied().eq(1..=acked.len() as u64);
            assert!(is_prefix, "call {fail_at}: {acked:?} after {error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_was_full_once_goes_on() {
    fail_every_call(ErrorKind::StorageFull, |fail_at, acked, error| {
        let recovers = !matches!(error, Some(Error::Poisoned { .. }));
        assert!(!recovers || acked.is_empty() || acked.len() >= 11, "call {fail_at}: {acked:?}");
    })
    .await;
}

/// A recovery that dies at any of its steps is repeated by the next one; what was torn is not taken for what was lost.
#[tokio::test]
async fn a_recovery_that_fails_at_any_step_can_be_repeated() {
    for fail_at in 1..20 {
        let dir = tempfile::tempdir().unwrap();
        let wal = Wal::open(dir.path(), OPTIONS, Arc::new(SystemClock::default())).unwrap();
        for number in 1..=3 {
            wal.append(note(number).encode().unwrap()).await.unwrap();
        }
        drop(wal);
        let segment = crate::segment::segments(dir.path()).unwrap().pop().unwrap().path;
        let mut torn = std::fs::read(&segment).unwrap();
        torn.extend_from_slice(b"BKWF and no more");
        std::fs::write(&segment, torn).unwrap();
        let disk = FaultyDisk::new(fail_at, ErrorKind::Other);
        // It may get through: later failures are not of the recovery.
        drop(Wal::open_on(Arc::new(disk), dir.path(), OPTIONS, Arc::new(SystemClock::default())));
        let wal = Wal::open(dir.path(), OPTIONS, Arc::new(SystemClock::default())).unwrap();
        wal.append(note(4).encode().unwrap()).await.unwrap();
        drop(wal);
        assert_eq!(stored(dir.path()), [1, 2, 3, 4], "at call {fail_at}");
    }
}

#[tokio::test]
async fn the_reason_of_a_stopped_log_names_file_and_cause() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    // Creating takes four calls; the append then reserves, writes and syncs.
    let disk = FaultyDisk::new(7, ErrorKind::PermissionDenied);
    let wal = Wal::open_on(Arc::new(disk), dir.path(), OPTIONS, Arc::new(SystemClock::default()))?;
    for _ in 0..2 {
        let error = wal.append(note(1).encode()?).await.unwrap_err().to_string();
        assert!(error.starts_with("the log takes no more frames since "), "{error}");
        assert!(error.contains("00000000000000000000.wal: fdatasync: permission denied"), "{error}");
    }
    assert_eq!(wal.stats().failed, 1, "the second was refused before it was queued");
    Ok(())
}
