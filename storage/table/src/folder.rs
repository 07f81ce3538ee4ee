//! Files and folders that survive a power loss: written aside, synced, moved into place, the folder synced.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How a file gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publish {
    /// An existing file is replaced.
    Replace,
    /// An existing file stays, and the error is `AlreadyExists`.
    Create,
}

/// A folder whose changes are on disk when the call that makes them returns.
///
/// Unfinished files are called `<name>#<digits>`: object_store's local listing leaves such names out, and refuses
/// them as objects.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders that are known to be on disk. Grows by one entry per folder written to: tables times days.
    durable: Mutex<HashSet<PathBuf>>,
    next_temporary: AtomicU64,
    syncs: AtomicU64,
}

impl Folder {
    /// The folder `root`, which is made where it does not exist.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        make_durably(root)?;
        Ok(Self::existing(root.canonicalize()?))
    }

    /// The folder `root` as it is.
    pub(crate) fn existing(root: PathBuf) -> Self {
        Self { root, durable: Mutex::default(), next_temporary: AtomicU64::new(0), syncs: AtomicU64::new(0) }
    }

    /// Calls of fsync so far.
    #[cfg(test)]
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Writes a whole file. A crash leaves the old contents or the new ones.
    pub(crate) fn write<'a>(
        &self,
        path: &Path,
        chunks: impl IntoIterator<Item = &'a [u8]>,
        publish: Publish,
    ) -> io::Result<()> {
        let (mut file, temporary) = self.temporary(path)?;
        let written = chunks.into_iter().try_for_each(|chunk| file.write_all(chunk));
        self.finish(written.map(|()| &file), &temporary, path, publish)
    }

    /// An empty file beside `path`, to be given to [`Self::finish`].
    pub(crate) fn temporary(&self, path: &Path) -> io::Result<(File, PathBuf)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "names no file"));
        };
        self.make(parent)?;
        loop {
            let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
            let mut temporary = name.to_owned();
            temporary.push(format!("#{}{number:06}", std::process::id()));
            let temporary = parent.join(temporary);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => return Ok((file, temporary)),
                // A process with our number crashed here, or someone removed the folder.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !parent.exists() => {
                    self.durable_folders().clear();
                    self.make(parent)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Syncs a temporary file and gives it its name; where anything fails, nothing stays.
    pub(crate) fn finish(
        &self,
        written: io::Result<&File>,
        temporary: &Path,
        path: &Path,
        publish: Publish,
    ) -> io::Result<()> {
        let published = written.and_then(|file| self.sync(file)).and_then(|()| match publish {
            Publish::Replace => fs::rename(temporary, path),
            Publish::Create => fs::hard_link(temporary, path),
        });
        if publish == Publish::Create || published.is_err() {
            // A left-over takes space and nothing else.
            let _ = fs::remove_file(temporary);
        }
        published.and_then(|()| self.sync_parent(path))
    }

    /// Makes the entries of the folder that holds `path` durable.
    pub(crate) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) => self.sync(&File::open(parent)?),
            None => Ok(()),
        }
    }

    /// Makes a folder and those above it, up to the root. A folder that exists may have been made by a thread that
    /// has not synced it yet, or by a process that crashed before it could: it counts once this process has synced it.
    pub(crate) fn make(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || self.durable_folders().contains(folder) {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make(parent)?;
        }
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => return Err(error),
            _ => self.sync_parent(folder)?,
        }
        self.durable_folders().insert(folder.to_owned());
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_all()
    }

    fn durable_folders(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the root itself, and syncs each folder that a new one stands in.
fn make_durably(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durably(parent)?;
    match fs::create_dir(root) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !root.is_dir() => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_folder_are_synced() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let path = folder.root.join("a/b/file");
        folder.write(&path, [&b"one"[..], b"two"], Publish::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"onetwo");
        assert_eq!(folder.syncs(), 4, "root and a for the new folders, the file, b for its name");
        folder.write(&path, [&b"three"[..]], Publish::Replace).unwrap();
        assert_eq!(folder.syncs(), 6, "the file and b");
    }

    #[test]
    fn a_removed_folder_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let path = folder.root.join("a/file");
        folder.write(&path, [&b"one"[..]], Publish::Replace).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        folder.write(&path, [&b"two"[..]], Publish::Create).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let path = folder.root.join("file");
        folder.write(&path, [&b"one"[..]], Publish::Create).unwrap();
        let error = folder.write(&path, [&b"two"[..]], Publish::Create).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
