//! R5: a full disk is told, loses nothing that was acked, and doubles nothing when it is over.

use crate::harness::{Server, messages, samples};
use bodkin_wal::Compression;
use std::path::Path;
use std::process::Command;
use tonic::Code;

/// A file system of 1 MiB that is unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(dir.path()).status().unwrap();
        assert!(mounted.success(), "this test mounts a tmpfs: it needs root");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_the_lane_goes_on_where_it_stopped() {
    let disk = SmallDisk::mount();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 400 << 10]).unwrap();
    let server = Server::start(&disk.path().join("wal")).await;
    let put = |seqs: std::ops::RangeInclusive<u64>| {
        let batches: Vec<_> = seqs.map(|seq| (seq, samples(1000, seq as i64))).collect();
        messages("samples", &batches, Compression::None)
    };
    let answers = server.put(put(1..=40)).await;
    let (code, message) = answers.refusal();
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    assert!(message.contains("no space left on the disk"), "{message}");
    let acked = answers.acked().last().copied().unwrap_or(0);
    assert!(acked < 40);
    // Nothing after the batch that failed was stored.
    let stored = server.collected.seqs();
    assert!(stored.len() as u64 >= acked && stored.iter().copied().eq(1..=stored.len() as u64), "{stored:?}");

    std::fs::remove_file(&ballast).unwrap();
    let answers = server.put(put(acked + 1..=22)).await;
    assert!(answers.error.is_none(), "{answers:?}");
    assert_eq!(answers.acked().last(), Some(&22));
    assert_eq!(server.collected.seqs(), (1..=22).collect::<Vec<_>>());
    server.stop().await;

    let server = Server::start(&disk.path().join("wal")).await;
    assert_eq!(server.collected.seqs(), (1..=22).collect::<Vec<_>>());
    server.stop().await;
}
