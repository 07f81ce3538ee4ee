//! Group commit: one order for the file, the hand-over and the acknowledgements.

use crate::kill::{open, open_with, seqs};
use crate::rows::frame;
use bodkin_schema::Position;
use bodkin_wal::{Error, WalOptions};
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_over_is_in_log_order_and_before_the_ack() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Arc::new(open(dir.path()));
    let handed: Arc<Mutex<Vec<(Position, u64)>>> = Arc::default();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (wal, handed) = (wal.clone(), handed.clone());
            tokio::spawn(async move {
                for index in 0..50 {
                    let seq = sender * 1000 + index;
                    let (handed_too, frame) = (handed.clone(), frame(seq, 5).encode().unwrap());
                    let on_end = Box::new(move |end: Result<Position, Error>| {
                        handed_too.lock().unwrap().push((end.unwrap(), seq));
                    });
                    let end = wal.slot(frame).await.unwrap().send(Some(on_end)).await.unwrap();
                    assert!(handed.lock().unwrap().contains(&(end, seq)), "handed over before the ack");
                    assert!(end <= wal.durable());
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let handed = handed.lock().unwrap().clone();
    assert_eq!(handed.len(), 200);
    assert!(handed.is_sorted_by(|a, b| a.0 < b.0));
    let order: Vec<u64> = handed.iter().map(|(_, seq)| *seq).collect();
    assert_eq!(seqs(wal.replay(Position(0)).unwrap()), (order, 0));
    let stats = wal.stats();
    assert_eq!(stats.frames, 200);
    assert!(stats.syncs <= 200 && stats.bytes > 0);
}

#[tokio::test]
async fn a_full_queue_holds_back_and_close_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let frame = |seq| frame(seq, 1000).encode().unwrap();
    let bytes = frame(1).len();
    let wal = open_with(dir.path(), WalOptions { queue_bytes: 2 * bytes + 2048, ..WalOptions::default() });
    let (first, second) = (wal.slot(frame(1)).await.unwrap(), wal.slot(frame(2)).await.unwrap());
    let third = wal.slot(frame(3));
    tokio::pin!(third);
    assert!(futures_pending(third.as_mut()), "MEM-1: the queue is bounded in bytes");
    first.send(None).await.unwrap();
    third.await.unwrap().send(None).await.unwrap();

    wal.close();
    assert!(matches!(wal.append(frame(4)).await, Err(Error::Closed)));
    assert!(matches!(second.send(None).await, Err(Error::Closed)));
    assert_eq!(seqs(wal.replay(Position(0)).unwrap()).0, [1, 3]);
}

/// Whether one poll leaves the future pending.
fn futures_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}
