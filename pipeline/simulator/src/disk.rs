//! A disk that remembers what was synced, and loses the rest when the power goes.

use crate::executor::{Sim, lock};
use crate::mutation::Mutation;
use crate::scenario::{Failure, Scenario};
use bodkin_wal::{Disk, DiskFile, DiskRead};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// One file.
#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    /// What the last sync made durable.
    durable: Vec<u8>,
    /// The folder was synced since the file got its name.
    has_durable_name: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    /// Removed since the folder was synced: the power loss may bring them back.
    removed: BTreeMap<PathBuf, File>,
    locked: BTreeSet<PathBuf>,
    operations: u64,
}

/// The disk of a node, over all lives of its process.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

/// How a process dies at its disk.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Nothing that the process asks for happens any more.
    pub(crate) is_dead: AtomicBool,
    /// Operations until it dies in the middle of one; never where negative.
    pub(crate) operations_left: AtomicI64,
    /// Chance of a failed operation in 100,000.
    pub(crate) failures: AtomicU64,
}

impl SimDisk {
    /// The power goes: what was not synced is there in part or not at all.
    pub(crate) fn lose_power(&self, sim: &Sim) {
        let mut state = lock(&self.0);
        let state = &mut *state;
        for (path, file) in std::mem::take(&mut state.removed) {
            if sim.chance(500) {
                state.files.entry(path).or_insert(file);
            }
        }
        state.files.retain(|_, file| file.has_durable_name || sim.chance(500));
        for file in state.files.values_mut() {
            file.now = after_power_loss(file, sim);
            file.durable = file.now.clone();
            file.has_durable_name = true;
        }
        state.locked.clear();
    }

    /// The process is gone, its locks with it; what it wrote is still with the operating system.
    pub(crate) fn lose_process(&self) {
        lock(&self.0).locked.clear();
    }

    /// The disk as a process sees it.
    pub(crate) fn handle(&self, sim: &Sim, fate: &Arc<Fate>, scenario: &Scenario) -> Arc<dyn Disk> {
        let Scenario { mutation, failure, .. } = *scenario;
        Arc::new(Handle { disk: self.clone(), sim: sim.clone(), fate: fate.clone(), mutation, failure })
    }

    /// Operations so far, over all lives.
    pub(crate) fn operations(&self) -> u64 {
        lock(&self.0).operations
    }
}

fn after_power_loss(file: &File, sim: &Sim) -> Vec<u8> {
    let File { now, durable, .. } = file;
    if !now.starts_with(durable) {
        // It was cut, or written over: either may have reached the disk.
        return if sim.chance(500) { now.clone() } else { durable.clone() };
    }
    let kept = durable.len() as u64 + sim.below((now.len() - durable.len()) as u64 + 1);
    let mut left = now[..kept as usize].to_vec();
    if left.len() > durable.len() && sim.chance(300) {
        // The length of the last page arrived, its bytes did not.
        let torn = sim.below((left.len() - durable.len()) as u64) as usize;
        let from = left.len() - torn;
        left[from..].fill(0);
    }
    left
}

#[derive(Clone, Debug)]
struct Handle {
    disk: SimDisk,
    sim: Sim,
    fate: Arc<Fate>,
    mutation: Option<Mutation>,
    failure: Option<Failure>,
}

/// How an operation goes.
enum Way {
    Through,
    /// The process dies when half of it is done.
    Halfway,
}

impl Handle {
    fn operation(&self) -> io::Result<Way> {
        if self.fate.is_dead.load(Ordering::Relaxed) {
            return Err(io::Error::other("the process is dead"));
        }
        let number = {
            let mut state = lock(&self.disk.0);
            state.operations += 1;
            state.operations
        };
        match self.failure {
            Some(Failure::Disk(at)) if at == number => return Err(ErrorKind::Other.into()),
            Some(Failure::DiskFull(at)) if at == number => return Err(ErrorKind::StorageFull.into()),
            _ => {}
        }
        if self.fate.operations_left.load(Ordering::Relaxed) > 0
            && self.fate.operations_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.fate.is_dead.store(true, Ordering::Relaxed);
            return Ok(Way::Halfway);
        }
        if self.sim.below(100_000) < self.fate.failures.load(Ordering::Relaxed) {
            let kind = if self.sim.chance(500) { ErrorKind::StorageFull } else { ErrorKind::Other };
            return Err(io::Error::from(kind));
        }
        Ok(Way::Through)
    }

    /// For operations that have no half.
    fn whole(&self) -> io::Result<()> {
        match self.operation()? {
            Way::Through => Ok(()),
            Way::Halfway if self.sim.chance(500) => Ok(()),
            Way::Halfway => Err(io::Error::other("the process is dead")),
        }
    }
}

impl Disk for Handle {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        match lock(&self.disk.0).locked.insert(path.to_owned()) {
            true => Ok(Box::new(())),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.whole()?;
        Ok(lock(&self.disk.0).files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn DiskRead>> {
        let state = lock(&self.disk.0);
        let file = state.files.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Contents(file.now.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.whole()?;
        let mut state = lock(&self.disk.0);
        let file = state.files.entry(path.to_owned()).or_default();
        file.now.clear();
        Ok(Box::new(Open { handle: self.clone(), path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if !lock(&self.disk.0).files.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Box::new(Open { handle: self.clone(), path: path.to_owned() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.whole()?;
        let mut state = lock(&self.disk.0);
        let file = state.files.remove(path).ok_or(ErrorKind::NotFound)?;
        if file.has_durable_name {
            state.removed.insert(path.to_owned(), file);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole()?;
        if self.mutation == Some(Mutation::FolderIsNotSynced) {
            return Ok(());
        }
        let mut state = lock(&self.disk.0);
        state.removed.retain(|path, _| path.parent() != Some(dir));
        let of_dir = state.files.iter_mut().filter(|(path, _)| path.parent() == Some(dir));
        of_dir.for_each(|(_, file)| file.has_durable_name = true);
        Ok(())
    }

    fn salt(&self) -> u32 {
        self.sim.below(1 << 32) as u32
    }
}

#[derive(Debug)]
struct Contents(Vec<u8>);

impl DiskRead for Contents {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let found = self.0.get(start..start + into.len()).ok_or(ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    handle: Handle,
    path: PathBuf,
}

impl Open {
    fn change(&self, change: impl FnOnce(&mut File)) -> io::Result<()> {
        let mut state = lock(&self.handle.disk.0);
        state.files.get_mut(&self.path).map(change).ok_or(ErrorKind::NotFound.into())
    }
}

impl DiskFile for Open {
    fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let way = self.handle.operation();
        let arrive = match way {
            Ok(Way::Through) => bytes.len(),
            // A failed write, like one that a kill interrupts, leaves any part of its bytes.
            _ => self.handle.sim.below(bytes.len() as u64 + 1) as usize,
        };
        if !matches!(&way, Err(error) if error.to_string().contains("dead")) {
            self.change(|file| file.now.extend_from_slice(&bytes[..arrive]))?;
        }
        match way? {
            Way::Through => Ok(()),
            Way::Halfway => Err(io::Error::other("the process is dead")),
        }
    }

    fn reserve(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.handle.whole()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.handle.whole()?;
        if self.handle.mutation == Some(Mutation::SyncLies) {
            return Ok(());
        }
        self.change(|file| file.durable = file.now.clone())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.handle.whole()?;
        self.change(|file| file.now.truncate(len as usize))
    }
}
