//! R5: a full disk is refused, harms nothing, and is over when it is over.

use crate::kill::{open, seqs};
use crate::rows::frame;
use bodkin_schema::Position;
use bodkin_wal::Error;
use std::path::Path;
use std::process::Command;

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

#[tokio::test]
async fn a_full_disk_is_refused_and_recovers_by_itself() {
    let disk = SmallDisk::mount();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 500 << 10]).unwrap();
    let dir = disk.path().join("wal");
    let wal = open(&dir);
    let mut acked = Vec::new();
    let error = loop {
        let seq = acked.len() as u64 + 1;
        match wal.append(frame(seq, 1000).encode().unwrap()).await {
            Ok(_) => acked.push(seq),
            Err(error) => break error,
        }
        assert!(acked.len() < 1000, "the disk never fills");
    };
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert!(error.to_string().contains("no space left on the disk"), "{error}");
    assert!(!acked.is_empty());
    for _ in 0..3 {
        assert!(matches!(wal.append(frame(999, 1000).encode().unwrap()).await, Err(Error::Full { .. })));
    }

    std::fs::remove_file(&ballast).unwrap();
    for seq in 2000..2005 {
        wal.append(frame(seq, 1000).encode().unwrap()).await.unwrap();
        acked.push(seq);
    }
    assert_eq!(seqs(wal.replay(Position(0)).unwrap()), (acked.clone(), 0));
    assert_eq!(wal.stats().failed, 4);
    drop(wal);
    assert_eq!(seqs(open(&dir).replay(Position(0)).unwrap()), (acked, 0));
}
