//! Processes without the kernel's events: `/proc` is looked at every second.
//!
//! What starts and ends between two looks is not seen, nor are files, sockets or exit states. Rows say `execve` when a
//! process is seen first, with the time of its start, and `procexit` when it is gone, with result 0.

use crate::process::{ProcFs, Process, ProcessTable};
use bodkin_ebpf::event::Head;
use std::collections::HashSet;
use std::time::Duration;

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What the status says about it.
pub const BLIND_SPOTS: &str =
    "no kernel events: processes come from /proc every second, files, sockets and short-lived processes are not seen";

/// Compares `/proc` with what it was.
#[derive(Debug)]
pub struct ProcPoller {
    proc_fs: ProcFs,
    own_pid: u32,
    known: HashSet<u32>,
    seq: u64,
}

impl ProcPoller {
    /// A poller to which every process that there is now is no news. `own_pid` is left out, as the kernel's side does.
    pub fn new(proc_fs: ProcFs, own_pid: u32) -> Self {
        let known = proc_fs.pids().into_iter().collect();
        Self { proc_fs, own_pid, known, seq: 0 }
    }

    /// Looks at `/proc` once at `boot_ns` and gives each change: head, event name, process.
    pub fn poll(
        &mut self,
        boot_ns: u64,
        table: &mut ProcessTable,
        on_row: &mut dyn FnMut(&Head, &'static str, &mut ProcessTable),
    ) {
        let mut now: Vec<u32> = self.proc_fs.pids();
        now.sort_unstable();
        let mut gone: Vec<u32> = self.known.iter().copied().filter(|pid| now.binary_search(pid).is_err()).collect();
        gone.sort_unstable();
        for pid in gone {
            self.known.remove(&pid);
            if let Some(process) = table.get_mut(pid) {
                let head = self.head(process, boot_ns);
                on_row(&head, "procexit", table);
            }
            table.forget(pid);
        }
        for pid in now {
            if pid == self.own_pid || self.known.contains(&pid) {
                continue;
            }
            // A process that is gone already was too short for us.
            let Some(process) = self.proc_fs.read(pid) else { continue };
            self.known.insert(pid);
            let process = table.put(process);
            let head = self.head(process, if process.start_ns > 0 { process.start_ns } else { boot_ns });
            on_row(&head, "execve", table);
        }
    }

    fn head(&mut self, process: &Process, boot_ns: u64) -> Head {
        self.seq += 1;
        Head {
            boot_ns,
            seq: self.seq,
            tid: process.pid,
            tgid: process.pid,
            cgroup_id: process.cgroup_id,
            ret: 0,
            kind: 0,
            len: 0,
            cpu: 0,
            flags: 0,
            nargs: 0,
            uid: process.uid.unwrap_or_default(),
            pad: 0,
            gid: process.gid.unwrap_or_default(),
            ppid: process.ppid.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Limits;
    use crate::process::users::Users;
    use std::fs;

    #[test]
    fn processes_appear_and_disappear() {
        let root = tempfile::tempdir().unwrap();
        let make = |pid: u32, comm: &str| {
            let dir = root.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            let stat = format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0");
            fs::write(dir.join("stat"), stat).unwrap();
        };
        make(1, "init");
        let proc_fs = ProcFs::at(root.path());
        let mut table = ProcessTable::new(Limits::default(), proc_fs.clone(), Users::open("/nowhere"));
        table.scan();
        let mut poller = ProcPoller::new(proc_fs, 9);
        let mut poll = || {
            let mut rows = Vec::new();
            poller.poll(7_000_000_000, &mut table, &mut |head, name, table| {
                let process = table.lineage(head.tgid).unwrap().process;
                let comm = process.comm.as_deref().unwrap_or_default();
                rows.push(format!("{name} {} {comm} {} {}", head.tgid, head.boot_ns, head.seq));
            });
            rows
        };
        assert!(poll().is_empty(), "what was there before is no news");
        make(5, "sh");
        make(9, "agent");
        assert_eq!(poll(), ["execve 5 sh 1000000000 1"]);
        fs::remove_dir_all(root.path().join("5")).unwrap();
        fs::remove_dir_all(root.path().join("1")).unwrap();
        make(6, "ls");
        assert_eq!(poll(), ["procexit 1 init 7000000000 2", "procexit 5 sh 7000000000 3", "execve 6 ls 1000000000 4"]);
        assert!(poll().is_empty());
    }
}
