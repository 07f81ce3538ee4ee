//! What `/proc/PID` tells about a process that was there before the agent, or whose start was missed.

use super::Process;
use super::container;
use rustix::param::clock_ticks_per_second;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest argument text that is kept, as the kernel side does.
const ARGV_BYTES_MAX: usize = 32 * 1024;

/// A mounted proc file system.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl ProcFs {
    /// The one mounted at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Every process id there is now, in no order; empty where the folder cannot be read.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// What is told about `pid`; None if there is no such process. Costs about seven small files.
    pub fn read(&self, pid: u32) -> Option<Process> {
        let dir = self.root.join(pid.to_string());
        let stat = Stat::parse(&lossy(&dir.join("stat"))?)?;
        let argv = read_some(&dir.join("cmdline"));
        let cgroup = lossy(&dir.join("cgroup")).unwrap_or_default();
        let mut process = Process::unknown(pid);
        process.start_ns = stat.start_ns;
        process.ppid = (stat.ppid > 0).then_some(stat.ppid);
        process.pname = self.comm(stat.ppid).map(Into::into);
        process.comm = Some(stat.comm.into());
        process.exe = link(&dir.join("exe")).map(Into::into);
        process.cwd = link(&dir.join("cwd")).map(Into::into);
        process.tty = Some(stat.tty);
        process.uid = lossy(&dir.join("status")).and_then(|status| uid(&status));
        process.loginuid = lossy(&dir.join("loginuid")).and_then(|text| text.trim().parse().ok());
        process.loginuid = process.loginuid.filter(|uid| *uid != u32::MAX);
        process.set_argv(&argv);
        process.set_container(container::from_proc_cgroup(&cgroup), container::main_path(&cgroup).unwrap_or_default());
        Some(process)
    }

    /// The text of the process's cgroup file.
    pub fn cgroup(&self, pid: u32) -> Option<String> {
        lossy(&self.root.join(pid.to_string()).join("cgroup"))
    }

    fn comm(&self, pid: u32) -> Option<String> {
        let comm = lossy(&self.root.join(pid.to_string()).join("comm"))?;
        Some(comm.trim_end_matches('\n').to_owned())
    }
}

/// The fields of `/proc/PID/stat` that are used.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    ppid: u32,
    tty: i32,
    /// Start since boot, in nanoseconds (the kernel tells clock ticks).
    start_ns: u64,
}

impl Stat {
    /// `pid (comm) state ppid ... tty ... start`: comm may hold blanks and parentheses, so it ends at the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let comm = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let start_ticks: u64 = fields.get(19)?.parse().ok()?;
        Some(Self {
            comm,
            ppid: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            start_ns: start_ticks.saturating_mul(1_000_000_000 / clock_ticks_per_second().max(1)),
        })
    }
}

/// Real user id by the text of `/proc/PID/status`.
fn uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
}

fn lossy(file: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(file).ok()?).into_owned())
}

fn read_some(file: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(file) {
        // A process that dies meanwhile gives an error after some bytes: what came is kept.
        let _ = file.take(ARGV_BYTES_MAX as u64).read_to_end(&mut bytes);
    }
    bytes
}

fn link(file: &Path) -> Option<String> {
    let target = fs::read_link(file).ok()?;
    let text = target.to_string_lossy();
    Some(text.strip_suffix(" (deleted)").unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_comm() {
        let text = "4711 (a) R 1 (b) S 42 4711 4711 34816 4711 4194304 1 2 3 4 5 6 7 8 20 0 1 0 250 1000 200";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.comm.as_str(), stat.ppid, stat.tty), ("a) R 1 (b", 42, 34816));
        assert_eq!(stat.start_ns, 250 * (1_000_000_000 / clock_ticks_per_second()));
        assert_eq!(Stat::parse("4711 (a) R 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn reads_a_process_folder() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("42");
        fs::create_dir(&dir).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
        write("stat", b"42 (sh) S 0 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0\n");
        write("cmdline", b"/bin/sh\0-c\0echo \xff\0");
        write("status", b"Name:\tsh\nUid:\t1000\t0\t0\t0\n");
        write("loginuid", b"4294967295");
        write("cgroup", b"0::/\n");
        std::os::unix::fs::symlink("/usr/bin/dash (deleted)", dir.join("exe")).unwrap();
        let process = ProcFs::at(root.path()).read(42).unwrap();
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/dash"));
        assert_eq!(process.cmdline.as_deref(), Some("/bin/sh -c echo \u{fffd}"));
        assert_eq!(process.args.as_deref(), Some("-c echo \u{fffd}"));
        assert_eq!(process.arg0.as_deref(), Some("/bin/sh"));
        assert_eq!((process.ppid, process.uid, process.loginuid), (None, Some(1000), None));
        assert_eq!(&*process.container_id, container::HOST);
        assert_eq!(process.cwd, None);
        assert_eq!(ProcFs::at(root.path()).pids(), [42]);
        assert!(ProcFs::at(root.path()).read(43).is_none());
    }
}
