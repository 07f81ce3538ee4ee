//! What `/proc/PID` tells about a process that was there before the agent, or whose start was missed.

use super::Process;
use super::container;
use bodkin_ebpf::event::ExeFile;
use bodkin_ebpf::layout::{Capabilities, Ids, layer};
use rustix::param::clock_ticks_per_second;
use std::fs;
use std::os::unix::fs::MetadataExt;
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

    /// What is told about `pid`; None if there is no such process. Costs about eight small files.
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
        if let Some(status) = lossy(&dir.join("status")) {
            Status { text: &status }.fill(&mut process);
        }
        (process.ids.pgid, process.ids.sid) = (stat.pgid, stat.sid);
        if let Some(file) = exe_file(&dir.join("exe"), process.exe.as_deref()) {
            process.set_file(file);
        }
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
    pgid: u32,
    sid: u32,
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
            pgid: fields.get(2)?.parse().ok()?,
            sid: fields.get(3)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            start_ns: start_ticks.saturating_mul(1_000_000_000 / clock_ticks_per_second().max(1)),
        })
    }
}

/// The text of `/proc/PID/status`.
struct Status<'a> {
    text: &'a str,
}

impl Status<'_> {
    fn fill(&self, process: &mut Process) {
        process.uid = self.first("Uid:");
        process.gid = self.first("Gid:");
        let last = |key: &str| self.values(key)?.split_ascii_whitespace().last()?.parse().ok();
        process.ids = Ids { vpid: last("NStgid:").unwrap_or(0), vpgid: last("NSpgid:").unwrap_or(0), ..process.ids };
        let bits = |key: &str| u64::from_str_radix(self.values(key)?.trim(), 16).ok();
        if let (Some(permitted), Some(effective), Some(inheritable)) =
            (bits("CapPrm:"), bits("CapEff:"), bits("CapInh:"))
        {
            process.caps = Some(Capabilities { permitted, effective, inheritable });
        }
    }

    fn values(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key))
    }

    fn first(&self, key: &str) -> Option<u32> {
        self.values(key)?.split_ascii_whitespace().next()?.parse().ok()
    }
}

/// The inode of an executable. Whether it lies in the upper layer of an overlay cannot be seen from here.
fn exe_file(link: &Path, target: Option<&str>) -> Option<ExeFile> {
    let meta = fs::metadata(link).ok()?;
    let nanos = |seconds: i64, nanos: i64| (seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).max(0) as u64;
    let is_memfd = target.is_some_and(|target| target.starts_with("/memfd:"));
    Some(ExeFile {
        ino: meta.ino(),
        ctime_ns: nanos(meta.ctime(), meta.ctime_nsec()),
        mtime_ns: nanos(meta.mtime(), meta.mtime_nsec()),
        dev: rustix::fs::major(meta.dev()) << 20 | rustix::fs::minor(meta.dev()),
        uid: meta.uid(),
        gid: meta.gid(),
        mode: meta.mode() as u16,
        layer: if is_memfd { layer::MEMFD } else { 0 },
    })
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
        assert_eq!((stat.pgid, stat.sid), (4711, 4711));
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
        write("status", b"Name:\tsh\nUid:\t1000\t0\t0\t0\nGid:\t7\t0\nNStgid:\t42\t3\nNSpgid:\t42\t1\nCapInh:\t00\nCapPrm:\t1ff\nCapEff:\t3\n");
        write("loginuid", b"4294967295");
        write("cgroup", b"0::/\n");
        std::os::unix::fs::symlink("/usr/bin/dash (deleted)", dir.join("exe")).unwrap();
        let process = ProcFs::at(root.path()).read(42).unwrap();
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/dash"));
        assert_eq!(process.cmdline.as_deref(), Some("/bin/sh -c echo \u{fffd}"));
        assert_eq!(process.args.as_deref(), Some("-c echo \u{fffd}"));
        assert_eq!(process.arg0.as_deref(), Some("/bin/sh"));
        assert_eq!((process.ppid, process.uid, process.loginuid), (None, Some(1000), None));
        assert_eq!((process.gid, process.ids), (Some(7), Ids { pgid: 42, sid: 42, vpid: 3, vpgid: 1 }));
        assert_eq!(process.caps, Some(Capabilities { permitted: 0x1ff, effective: 3, inheritable: 0 }));
        assert_eq!(&*process.container_id, container::HOST);
        assert_eq!(process.cwd, None);
        assert_eq!(ProcFs::at(root.path()).pids(), [42]);
        assert!(ProcFs::at(root.path()).read(43).is_none());
    }
}
