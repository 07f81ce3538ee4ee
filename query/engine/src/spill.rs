//! Files of what queries spill, written to the disk while they are made.
//!
//! What is only in the page cache goes to the disk when much of it has gathered, hundreds of MiB at once, and an fsync of
//! the log that falls into such a burst waits for all of it. So the disk is told of each piece as soon as it is whole,
//! once there is so much that the cache will not hold it anyway: most spilled files are read and removed before that.

use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

/// Bytes of a file that are sent to the disk at once: some milliseconds of a slow one.
const PIECE_BYTES: u64 = 4 << 20;
/// Bytes of all files from which on they are: a system begins by itself at a tenth of its memory.
const CACHED_BYTES: u64 = 512 << 20;

/// Builds what `files` builds, with files that reach the disk early.
///
/// # Errors
/// Where the folder cannot be used.
pub(crate) fn written_early(files: DiskManagerBuilder) -> Result<DiskManagerBuilder> {
    written_beyond(CACHED_BYTES, files)
}

fn written_beyond(cached_bytes: u64, files: DiskManagerBuilder) -> Result<DiskManagerBuilder> {
    let files = Arc::new(files.build()?);
    Ok(DiskManagerBuilder::default().with_temp_file_factory(Arc::new(EarlyFiles { files, cached_bytes })))
}

/// Makes the files. `files` counts their bytes, bounds them, and removes them.
struct EarlyFiles {
    files: Arc<DiskManager>,
    cached_bytes: u64,
}

impl TempFileFactory for EarlyFiles {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        let (files, cached_bytes) = (self.files.clone(), self.cached_bytes);
        Ok(Arc::new(EarlyFile { inner: files.create_tmp_file(description)?, files, cached_bytes }))
    }
}

struct EarlyFile {
    inner: Arc<dyn SpillFile>,
    files: Arc<DiskManager>,
    cached_bytes: u64,
}

impl SpillFile for EarlyFile {
    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }

    fn size(&self) -> Option<u64> {
        self.inner.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<bytes::Bytes>> + Send>>> {
        self.inner.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let file = self.path().map(File::open).transpose()?;
        let (inner, files, cached_bytes) = (self.inner.open_writer()?, self.files.clone(), self.cached_bytes);
        Ok(Box::new(EarlyWriter { inner, file, files, cached_bytes, unwatched: 0, written: 0, sent: 0 }))
    }
}

struct EarlyWriter {
    inner: Box<dyn SpillWriter>,
    file: Option<File>,
    files: Arc<DiskManager>,
    cached_bytes: u64,
    /// Bytes since it was last looked at how much there is.
    unwatched: u64,
    written: u64,
    /// Bytes of `written` that the disk was told of.
    sent: u64,
}

impl EarlyWriter {
    /// Tells the disk of the next piece, and of one more while it lags behind. The system begins to write what it is told
    /// will not be needed; what it has not written yet stays in memory.
    fn send(&mut self) {
        let bytes = (self.written - self.sent).min(2 * PIECE_BYTES);
        if let (Some(file), Some(length)) = (&self.file, NonZeroU64::new(bytes)) {
            if let Err(error) = fadvise(file, self.sent, Some(length), Advice::DontNeed) {
                tracing::debug!(%error, "what is spilled is written when the system likes");
                self.file = None;
            }
            self.sent += bytes;
        }
    }
}

impl Write for EarlyWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        (self.written, self.unwatched) = (self.written + written as u64, self.unwatched + written as u64);
        if self.unwatched >= PIECE_BYTES {
            self.unwatched = 0;
            if self.files.used_disk_space() >= self.cached_bytes {
                self.send();
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl SpillWriter for EarlyWriter {
    fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::disk_manager::DiskManagerMode;
    use futures::TryStreamExt;

    fn files(folder: &Path, bytes_max: u64) -> Arc<DiskManager> {
        let mode = DiskManagerMode::Directories(vec![folder.to_owned()]);
        let files = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(bytes_max);
        Arc::new(written_beyond(PIECE_BYTES, files).unwrap().build().unwrap())
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 1 << 30);
        let file = files.create_tmp_file("a sort").unwrap();
        let path = file.path().unwrap().to_owned();
        let pieces: Vec<Vec<u8>> = (0..5_u8).map(|piece| vec![piece; (PIECE_BYTES / 2) as usize + 7]).collect();
        let mut writer = file.open_writer().unwrap();
        pieces.iter().for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap();
        assert_eq!(file.size(), Some(pieces.concat().len() as u64));
        let read: Vec<bytes::Bytes> = file.read_stream().unwrap().try_collect().await.unwrap();
        assert!(read.concat() == pieces.concat(), "it reads what was written");
        drop((file, writer));
        assert!(!path.exists());
    }

    #[test]
    fn the_bound_is_that_of_the_files_within() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), 1000);
        let (first, second) = (files.create_tmp_file("a sort").unwrap(), files.create_tmp_file("a sort").unwrap());
        first.open_writer().unwrap().write_all(&[0; 700]).unwrap();
        let error = second.open_writer().unwrap().write_all(&[0; 700]).unwrap_err();
        assert!(error.to_string().contains("exceeded the allowable limit"), "{error}");
        drop(first);
        second.open_writer().unwrap().write_all(&[0; 700]).unwrap();
    }
}
