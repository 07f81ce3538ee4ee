//! ACK-1 and ONCE-1 over a restart.

use crate::harness::{Server, drops, messages, samples_put};
use bodkin_wal::Compression;
use bodkin_wal::segment::segments;
use std::fs;

#[tokio::test]
async fn a_restart_hands_over_the_same_rows_and_knows_the_lanes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.put(samples_put(1..=5)).await;
    server.put(messages("drops", &[(1, drops(50, "x")), (2, drops(9, "y"))], Compression::Zstd)).await;
    let before = server.collected.batches();
    let marks = server.service.lanes().marks();
    server.stop().await;

    let server = Server::start(dir.path()).await;
    assert_eq!((server.report.batches, server.report.rows, server.report.quarantined_count), (7, 109, 0));
    let after = server.collected.batches();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.position, before.seq, before.ingest_time), (after.position, after.seq, after.ingest_time));
        assert_eq!((&before.lane, &before.tenant), (&after.lane, &after.tenant));
        assert_eq!(before.records, after.records);
    }
    assert_eq!(server.service.lanes().marks(), marks);
    server.put(samples_put(4..=6)).await.assert_acked(&[4, 5, 6]);
    assert_eq!(server.service.stats().duplicates, 2, "what was acked is known");
    assert_eq!(server.collected.seqs()[7..], [6]);
}

#[tokio::test]
async fn a_mark_covers_what_an_epoch_has() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.put(samples_put(1..=5)).await;
    let (position, marks) = (server.collected.batches()[2].position, server.service.lanes().marks());
    let again = server.service.replay(position, marks).unwrap();
    assert_eq!((again.batches, again.duplicates), (0, 2), "5 is the mark");
}

#[tokio::test]
async fn damaged_frames_are_quarantined_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.put(samples_put(1..=5)).await;
    let position = server.collected.batches()[2].position;
    server.stop().await;
    let path = segments(dir.path()).unwrap()[0].path.clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[position.0 as usize - 3] ^= 4;
    fs::write(&path, bytes).unwrap();

    let server = Server::start(dir.path()).await;
    assert_eq!(server.collected.seqs(), [1, 2, 4, 5]);
    assert_eq!(server.report.quarantined_count, 1);
    let quarantined = &server.report.quarantined[0];
    assert_eq!((quarantined.position, quarantined.reason.as_str()), (position, "checksum differs"));
    assert_eq!(server.put(samples_put([6])).await.acked(), [6]);
}
