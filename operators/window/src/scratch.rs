//! Partials that memory has no room for: files of this process, read again when their window ends.
//!
//! ```text
//!  <folder>/<process>-<number>.arrow: Arrow IPC, one batch for each key group
//! ```
//! What is in them is in the table, too. So they are not kept over a restart, and nothing is synced.

use arrow::array::RecordBatch;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use bodkin_engine::KeyGroup;
use datafusion::common::Result;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the partials of a shard may be, and how many.
#[derive(Clone, Debug)]
pub struct Room {
    /// Bytes in memory; beyond, open panes go to the table early, and what comes later adds to them there.
    pub memory_bytes_max: usize,
    /// Folder for what operators behind the window still need of those panes; without one they are not told of its end.
    pub scratch: Option<PathBuf>,
    /// Bytes in that folder.
    pub scratch_bytes_max: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { memory_bytes_max: 256 << 20, scratch: None, scratch_bytes_max: 4 << 30 }
    }
}

/// One file. It is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    path: PathBuf,
    /// Number of the batch of each key group.
    batches: BTreeMap<KeyGroup, usize>,
    pub(crate) bytes: u64,
}

impl ScratchFile {
    /// Writes partials of one pane by key group.
    pub(crate) fn write(folder: &Path, partials: &[(KeyGroup, RecordBatch)]) -> Result<Option<Self>> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let Some((_, first)) = partials.first() else { return Ok(None) };
        fs::create_dir_all(folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{number}.arrow", std::process::id()));
        // Made first, so that a file that cannot be finished goes, too.
        let mut file = Self { path, batches: BTreeMap::new(), bytes: 0 };
        let mut writer = FileWriter::try_new_buffered(File::create(&file.path)?, &first.schema())?;
        for (at, (group, records)) in partials.iter().enumerate() {
            writer.write(records)?;
            file.batches.insert(*group, at);
        }
        writer.finish()?;
        drop(writer);
        file.bytes = fs::metadata(&file.path)?.len();
        Ok(Some(file))
    }

    /// The key groups that it has partials of.
    pub(crate) fn groups(&self) -> impl Iterator<Item = KeyGroup> + '_ {
        self.batches.keys().copied()
    }

    /// Opens it, to be read group by group.
    pub(crate) fn open(&self) -> Result<ScratchReader<'_>> {
        let reader = FileReader::try_new(BufReader::new(File::open(&self.path)?), None)?;
        Ok(ScratchReader { reader, batches: &self.batches })
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a file of a window stays behind");
        }
    }
}

/// An open file.
pub(crate) struct ScratchReader<'a> {
    reader: FileReader<BufReader<File>>,
    batches: &'a BTreeMap<KeyGroup, usize>,
}

impl ScratchReader<'_> {
    /// The partials of a key group.
    pub(crate) fn group(&mut self, group: KeyGroup) -> Result<Option<RecordBatch>> {
        let Some(at) = self.batches.get(&group) else { return Ok(None) };
        self.reader.set_index(*at)?;
        Ok(self.reader.next().transpose()?)
    }
}
