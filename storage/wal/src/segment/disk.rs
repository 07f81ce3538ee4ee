//! The few operations that the log needs of a file system, so that a test can fail each of them in turn and a simulator
//! can lose what was not synced.

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Makes a folder and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file `path` for as long as the answer lives.
    ///
    /// # Errors
    /// `WouldBlock` where another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// The files of a folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Opens a file to be read.
    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskRead>>;

    /// Creates or empties a file.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to write on at its end.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A number that no sender can know.
    fn salt(&self) -> u32;
}

/// A file that is written.
pub trait DiskFile: Send + Debug {
    /// Writes all of `parts` at the end.
    fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Reserves room beyond the end; where the file system cannot, writes find out.
    fn reserve(&mut self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file, gives back what was reserved beyond, and goes on there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A file that is read.
pub trait DiskRead: Send + Debug {
    /// Its bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `into` with what stands at `offset`.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = File::create(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create(true).truncate(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn salt(&self) -> u32 {
        RandomState::new().hash_one(0) as u32
    }
}

impl DiskRead for File {
    fn bytes(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }
}

impl DiskFile for File {
    fn write(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !parts.is_empty() {
            match self.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reserve(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
        match fallocate(&*self, FallocateFlags::KEEP_SIZE, offset, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)?;
        self.seek(SeekFrom::Start(len)).map(drop)
    }
}

#[cfg(test)]
pub(crate) mod faulty {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Fails the `fail_at`-th operation, counted from 1, with `kind`.
    #[derive(Clone, Debug)]
    pub(crate) struct FaultyDisk {
        pub(crate) calls: Arc<AtomicU64>,
        pub(crate) fail_at: u64,
        pub(crate) kind: io::ErrorKind,
    }

    impl FaultyDisk {
        pub(crate) fn new(fail_at: u64, kind: io::ErrorKind) -> Self {
            Self { calls: Arc::default(), fail_at, kind }
        }

        fn call(&self) -> io::Result<()> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            if call == self.fail_at { Err(self.kind.into()) } else { Ok(()) }
        }
    }

    #[derive(Debug)]
    struct FaultyFile(FaultyDisk, Box<dyn DiskFile>);

    impl Disk for FaultyDisk {
        fn create_dir(&self, dir: &Path) -> io::Result<()> {
            RealDisk.create_dir(dir)
        }

        fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
            RealDisk.lock(path)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
            RealDisk.list(dir)
        }

        fn read(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
            RealDisk.read(path)
        }

        fn salt(&self) -> u32 {
            RealDisk.salt()
        }

        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.call()?;
            Ok(Box::new(FaultyFile(self.clone(), RealDisk.create(path)?)))
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.call()?;
            Ok(Box::new(FaultyFile(self.clone(), RealDisk.open(path)?)))
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.call()?;
            RealDisk.remove(path)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.call()?;
            RealDisk.sync_dir(dir)
        }
    }

    impl DiskFile for FaultyFile {
        fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
            if let Err(error) = self.0.call() {
                // As a real disk does it: half of it arrives.
                let half = parts.len() / 2;
                self.1.write(&mut parts[..half])?;
                return Err(error);
            }
            self.1.write(parts)
        }

        fn reserve(&mut self, offset: u64, bytes: u64) -> io::Result<()> {
            self.0.call()?;
            self.1.reserve(offset, bytes)
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.call()?;
            self.1.sync()
        }

        fn truncate(&mut self, len: u64) -> io::Result<()> {
            self.0.call()?;
            self.1.truncate(len)
        }
    }
}
