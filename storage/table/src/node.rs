//! The data folder: whose it is, what wrote it, and that only one process uses it.
//!
//! ```text
//!   <data-dir>/FORMAT   "bodkin 1\n"
//!   <data-dir>/node     the node's id, made at the first start and kept for good
//!   <data-dir>/lock     empty, locked while a server runs
//! ```
//! Anything else in the folder is left alone.

use crate::folder::{Folder, Publish};
use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const FORMAT_NAME: &str = "bodkin";

/// A data folder that is locked by this process, until drop.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    node: String,
    _lock: File,
}

/// What a look at a data folder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The node, where a server ever ran here.
    pub node: Option<String>,
    /// A server runs here now.
    pub is_live: bool,
}

impl DataDir {
    /// Takes the folder `path`; makes it, and the node's id, where they do not exist.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it, [`Error::Newer`] where a newer version wrote it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folder = Folder::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let path = path.canonicalize().map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let lock = lock(&path)?;
        if read_format(&path)?.is_none() {
            write(&folder, &path.join("FORMAT"), &format!("{FORMAT_NAME} {FORMAT}\n"))?;
        }
        let node = match read_node(&path)? {
            Some(node) => node,
            None => {
                let node = uuid::Uuid::new_v4().to_string();
                write(&folder, &path.join("node"), &format!("{node}\n"))?;
                node
            }
        };
        Ok(Self { path, node, _lock: lock })
    }

    /// Looks at the folder `path` and changes nothing.
    ///
    /// # Errors
    /// [`Error::Newer`] where a newer version wrote it.
    pub fn inspect(path: impl AsRef<Path>) -> Result<Inspected> {
        let path = path.as_ref();
        read_format(path)?;
        let node = read_node(path)?;
        let lock = path.join("lock");
        let is_live = match File::open(&lock) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(source) => return Err(Error::Io { path: lock, source }),
        };
        Ok(Inspected { node, is_live })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's id: the application id of its table transactions, part of the names of its files and intents.
    pub fn node(&self) -> &str {
        &self.node
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = path.join("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(|source| Error::Io { path: file.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { path: file, source }),
    }
}

fn read_format(path: &Path) -> Result<Option<u32>> {
    let file = path.join("FORMAT");
    let Some(text) = read(&file)? else { return Ok(None) };
    let format = text.trim().strip_prefix(FORMAT_NAME).and_then(|number| number.trim().parse::<u32>().ok());
    match format {
        Some(format) if format <= FORMAT => Ok(Some(format)),
        Some(format) => {
            Err(Error::Newer { path: file.display().to_string(), found: format.to_string(), known: FORMAT.to_string() })
        }
        None => Err(Error::Corrupt {
            path: file.display().to_string(),
            reason: format!("expected `{FORMAT_NAME} {FORMAT}`; is this another program's folder?"),
        }),
    }
}

fn read_node(path: &Path) -> Result<Option<String>> {
    let file = path.join("node");
    let Some(text) = read(&file)? else { return Ok(None) };
    match uuid::Uuid::parse_str(text.trim()) {
        Ok(node) => Ok(Some(node.to_string())),
        Err(_) => Err(Error::Corrupt { path: file.display().to_string(), reason: "holds no node id".to_owned() }),
    }
}

fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: file.to_owned(), source }),
    }
}

fn write(folder: &Folder, file: &Path, text: &str) -> Result<()> {
    folder
        .write(file, [text.as_bytes()], Publish::Replace)
        .map_err(|source| Error::Io { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_stays_and_foreign_files_too() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/data");
        let first = DataDir::open(&path).unwrap();
        let node = first.node().to_owned();
        std::fs::write(path.join("foreign.txt"), "mine").unwrap();
        assert!(matches!(DataDir::open(&path), Err(Error::Locked { .. })), "two processes in one folder");
        assert_eq!(DataDir::inspect(&path).unwrap(), Inspected { node: Some(node.clone()), is_live: true });
        drop(first);
        assert!(!DataDir::inspect(&path).unwrap().is_live);
        assert_eq!(DataDir::open(&path).unwrap().node(), node);
        assert_eq!(std::fs::read_to_string(path.join("foreign.txt")).unwrap(), "mine");
    }

    #[test]
    fn inspect_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::inspect(root.path()).unwrap(), Inspected { node: None, is_live: false });
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_newer_or_foreign_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("FORMAT"), "bodkin 2\n").unwrap();
        let error = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("has format 2") && error.contains("run the newer version"), "{error}");
        std::fs::write(root.path().join("FORMAT"), "something else").unwrap();
        assert!(matches!(DataDir::open(root.path()), Err(Error::Corrupt { .. })));
    }
}
