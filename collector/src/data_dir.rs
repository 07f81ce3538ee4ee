//! The agent's folder: who it is, which life this is, and that no other agent uses it.
//!
//! ```text
//! <data-dir>/FORMAT        version of what lies here
//!            LOCK          held as long as the agent runs
//!            incarnation   of the last life
//!            host_id       only where the host has no machine-id
//!            spool/        batches that no server has yet
//! ```

use crate::{Error, Result};
use bodkin_schema::{Clock, Incarnation};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: u32 = 1;

/// The folder, locked.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, which need not exist and may hold foreign files.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Newer`], [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path, "create folder"))?;
        let lock_file = path.join("LOCK");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_file);
        let lock = lock.map_err(Error::io(&lock_file, "open"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Locked { path: path.to_owned() })?;
        let format = path.join("FORMAT");
        match fs::read_to_string(&format) {
            Ok(found) if found.trim().parse() != Ok(FORMAT) => {
                let found = found.trim().to_owned();
                return Err(Error::Newer { path: format, found, supported: FORMAT });
            }
            Ok(_) => {}
            Err(_) => write(&format, &format!("{FORMAT}\n"))?,
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a life: later than every earlier one, even if the clock went back.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&self, clock: &dyn Clock) -> Result<Incarnation> {
        let file = self.path.join("incarnation");
        let last: u64 = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let incarnation = u64::try_from(clock.now().micros()).unwrap_or(0).max(last + 1);
        write(&file, &format!("{incarnation}\n"))?;
        Ok(Incarnation(incarnation))
    }

    /// The stable identity of the host: its machine-id, or a number made once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn host_id(&self) -> Result<Arc<str>> {
        let own = self.path.join("host_id");
        for file in [Path::new("/etc/machine-id"), Path::new("/var/lib/dbus/machine-id"), &own] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let id = text.trim();
            if id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(id.into());
            }
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        write(&own, &format!("{id}\n"))?;
        Ok(id.into())
    }
}

/// Replaces a file as a whole.
fn write(file: &Path, text: &str) -> Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, file)).map_err(Error::io(file, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    #[test]
    fn a_later_life_has_a_larger_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder");
        let data = DataDir::open(&path).unwrap();
        let clock = ManualClock::default();
        let first = data.begin(&clock).unwrap();
        assert_eq!(first.0 as i64, clock.now().micros());
        assert_eq!(data.begin(&clock).unwrap().0, first.0 + 1, "in the same microsecond");
        assert_eq!(data.host_id().unwrap(), data.host_id().unwrap());
    }

    #[test]
    fn one_agent_per_folder_and_no_older_release() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(Error::Locked { .. })));
        drop(data);
        fs::write(dir.path().join("FORMAT"), "2\n").unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("FORMAT: format 2 is newer than 1, the newest that this release reads"), "{error}");
    }
}
