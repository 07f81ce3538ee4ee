//! All processes by id: filled from `/proc`, kept up to date by exec, fork and exit events.

use super::users::Users;
use super::{ProcFs, Process, container, set_text};
use crate::path;
use bodkin_ebpf::event::{Body, Components, Event, Exec, Fork, Head};
use serde::Serialize;
use std::collections::{HashMap, HashSet, VecDeque};

/// Bounds of a [`ProcessTable`]: about 24 MiB of entries and 16 MiB of texts at worst.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entries; beyond, those unused longest go.
    pub entries_max: usize,
    /// Most bytes of texts, shared ones counted for each process.
    pub text_bytes_max: usize,
    /// How long an entry outlives its process: events of other processors may come later.
    pub grace_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_max: 64 * 1024, text_bytes_max: 16 << 20, grace_ns: 5_000_000_000 }
    }
}

/// Counters of a [`ProcessTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableStats {
    /// Entries now.
    pub entries: usize,
    /// Processes read from `/proc` because no event had announced them.
    pub reads: u64,
    /// Of these, those that were gone already: their rows lack names.
    pub unknown: u64,
    /// Entries removed because of the bounds.
    pub evicted: u64,
}

/// The process table.
#[derive(Debug)]
pub struct ProcessTable {
    entries: HashMap<u32, Process>,
    /// (end of grace in boot nanoseconds, pid, start) in order.
    exited: VecDeque<(u64, u32, u64)>,
    text_bytes: usize,
    lookups: u64,
    limits: Limits,
    proc_fs: ProcFs,
    users: Users,
    stats: TableStats,
    scratch: String,
}

impl ProcessTable {
    /// An empty table; [`scan`](Self::scan) fills it.
    pub fn new(limits: Limits, proc_fs: ProcFs, users: Users) -> Self {
        Self {
            entries: HashMap::new(),
            exited: VecDeque::new(),
            text_bytes: 0,
            lookups: 0,
            limits,
            proc_fs,
            users,
            stats: TableStats::default(),
            scratch: String::new(),
        }
    }

    /// Reads every process of `/proc`. Costs about 50 us each.
    pub fn scan(&mut self) {
        for pid in self.proc_fs.pids() {
            if let Some(process) = self.proc_fs.read(pid) {
                self.insert(process);
            }
        }
    }

    /// Brings the table up to date with `event` and gives the process that its row is about.
    pub fn apply(&mut self, event: &Event<'_>) -> &mut Process {
        let pid = event.head.tgid;
        match &event.body {
            Body::Exec(exec) => self.exec(&event.head, exec),
            Body::Fork(fork) => self.fork(&event.head, fork),
            Body::Exit => {
                self.ensure(pid);
                self.exit(pid, event.head.boot_ns);
            }
            Body::Open(_) | Body::Paths(_) | Body::Socket(_) => self.ensure(pid),
        }
        self.observe(&event.head);
        self.entry(pid)
    }

    /// Adds or replaces an entry as read elsewhere, and gives it.
    pub fn put(&mut self, process: Process) -> &mut Process {
        let pid = process.pid;
        self.insert(process);
        self.entry(pid)
    }

    /// The entry of `pid`, if it is known.
    pub fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.entries.get_mut(&pid)
    }

    /// Removes the entry of `pid` at once.
    pub fn forget(&mut self, pid: u32) {
        self.take(pid);
    }

    /// Removes entries whose grace is over at `boot_ns`.
    pub fn expire(&mut self, boot_ns: u64) {
        while let Some((until, pid, start_ns)) = self.exited.front().copied() {
            if until > boot_ns {
                break;
            }
            self.exited.pop_front();
            let is_same = self.entries.get(&pid).is_some_and(|entry| entry.is_exited && entry.start_ns == start_ns);
            if is_same {
                self.take(pid);
            }
        }
    }

    /// Marks entries whose process is gone without an exit event (the event was lost) as exited at `boot_ns`, and
    /// rereads user names if they changed. Costs one listing of `/proc`: meant for every half minute.
    pub fn sweep(&mut self, boot_ns: u64) {
        let alive: HashSet<u32> = self.proc_fs.pids().into_iter().collect();
        let is_lost = |process: &&Process| !process.is_exited && !alive.contains(&process.pid);
        let lost: Vec<u32> = self.entries.values().filter(is_lost).map(|process| process.pid).collect();
        for pid in lost {
            self.exit(pid, boot_ns);
        }
        if self.users.refresh() {
            for process in self.entries.values_mut() {
                process.user = process.uid.and_then(|uid| self.users.name(uid).cloned());
                process.keys.forget();
            }
        }
    }

    /// The counters.
    pub fn stats(&self) -> TableStats {
        TableStats { entries: self.entries.len(), ..self.stats }
    }

    fn exec(&mut self, head: &Head, exec: &Exec<'_>) {
        // The other fields are the event's: what the entry said before does not matter, so nothing is read.
        let mut process = self.take(head.tgid).unwrap_or_else(|| Process::unknown(head.tgid));
        if process.start_ns == 0 || process.is_exited {
            process.start_ns = head.boot_ns;
        }
        process.is_exited = false;
        process.ppid = (exec.ppid > 0).then_some(exec.ppid);
        process.loginuid = (exec.loginuid != u32::MAX).then_some(exec.loginuid);
        process.tty = i32::try_from(exec.tty).ok();
        set_text(&mut process.pname, &String::from_utf8_lossy(exec.parent_comm));
        set_text(&mut process.comm, &String::from_utf8_lossy(exec.comm));
        process.set_argv(exec.argv);
        path::write_components(&exec.exe, &mut self.scratch);
        set_text(&mut process.exe, &self.scratch);
        path::write_components(&exec.cwd, &mut self.scratch);
        set_text(&mut process.cwd, &self.scratch);
        self.set_cgroup(&mut process, &exec.cgroup, head.cgroup_id);
        process.keys.forget();
        self.insert(process);
    }

    fn fork(&mut self, head: &Head, fork: &Fork<'_>) {
        self.ensure(head.tgid);
        let mut child = self.entry(head.tgid).clone();
        child.pname = child.comm.clone();
        child.pid = fork.child_tgid;
        child.ppid = Some(head.tgid);
        child.start_ns = head.boot_ns;
        child.is_exited = false;
        child.keys.forget();
        set_text(&mut child.comm, &String::from_utf8_lossy(fork.comm));
        self.set_cgroup(&mut child, &fork.cgroup, 0);
        self.insert(child);
    }

    fn set_cgroup(&mut self, process: &mut Process, cgroup: &Components<'_>, cgroup_id: u64) {
        path::write_components(cgroup, &mut self.scratch);
        process.set_container(container::from_cgroup_path(&self.scratch), &self.scratch);
        process.cgroup_id = cgroup_id;
    }

    fn exit(&mut self, pid: u32, boot_ns: u64) {
        if let Some(process) = self.entries.get_mut(&pid) {
            process.is_exited = true;
            self.exited.push_back((boot_ns.saturating_add(self.limits.grace_ns), pid, process.start_ns));
        }
    }

    /// Makes sure that `pid` has an entry, by `/proc` if need be.
    fn ensure(&mut self, pid: u32) {
        if self.entries.contains_key(&pid) {
            return;
        }
        self.stats.reads += 1;
        let process = self.proc_fs.read(pid).unwrap_or_else(|| {
            self.stats.unknown += 1;
            Process::unknown(pid)
        });
        self.insert(process);
    }

    /// Takes over what the head says of its process: user and cgroup may change at any time.
    fn observe(&mut self, head: &Head) {
        let Some(process) = self.entries.get_mut(&head.tgid) else { return };
        if process.uid != Some(head.uid) || process.user.is_none() {
            let user = self.users.name(head.uid).cloned();
            if process.uid != Some(head.uid) || process.user != user {
                process.uid = Some(head.uid);
                process.user = user;
                process.keys.forget();
            }
        }
        // Threads of one process may be in different (threaded) cgroups: its first one speaks for it.
        if process.cgroup_id != head.cgroup_id && head.tid == head.tgid {
            let was_known = process.cgroup_id != 0;
            process.cgroup_id = head.cgroup_id;
            if was_known && let Some(cgroup) = self.proc_fs.cgroup(head.tgid) {
                let id = container::from_proc_cgroup(&cgroup);
                process.set_container(id, container::main_path(&cgroup).unwrap_or_default());
                process.keys.forget();
            }
        }
    }

    fn insert(&mut self, mut process: Process) {
        self.lookups += 1;
        process.used = self.lookups;
        process.charged = process.text_bytes();
        self.text_bytes += process.charged;
        if let Some(old) = self.entries.insert(process.pid, process) {
            self.text_bytes -= old.charged;
        }
        if self.entries.len() > self.limits.entries_max || self.text_bytes > self.limits.text_bytes_max {
            self.evict();
        }
    }

    fn take(&mut self, pid: u32) -> Option<Process> {
        let process = self.entries.remove(&pid)?;
        self.text_bytes -= process.charged;
        Some(process)
    }

    /// Removes the sixteenth of the entries that were unused longest, until the bounds hold. An entry that is needed
    /// again is read from `/proc`.
    fn evict(&mut self) {
        while self.entries.len() > self.limits.entries_max || self.text_bytes > self.limits.text_bytes_max {
            let mut ages: Vec<(u64, u32)> = self.entries.values().map(|entry| (entry.used, entry.pid)).collect();
            // The newest entry is the one that the caller is inserting.
            let newest = self.lookups;
            ages.retain(|(used, _)| *used != newest);
            let share = (ages.len() / 16).max(1);
            if ages.is_empty() {
                return;
            }
            ages.sort_unstable();
            for (_, pid) in ages.into_iter().take(share) {
                self.take(pid);
                self.stats.evicted += 1;
            }
        }
    }

    fn entry(&mut self, pid: u32) -> &mut Process {
        self.lookups += 1;
        let used = self.lookups;
        let process = self.entries.entry(pid).or_insert_with(|| Process::unknown(pid));
        process.used = used;
        process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pid: u32, boot_ns: u64) -> Head {
        Head {
            boot_ns,
            seq: 1,
            tid: pid,
            tgid: pid,
            cgroup_id: 1,
            ret: 0,
            kind: 0,
            len: 64,
            cpu: 0,
            flags: 0,
            nargs: 0,
            uid: 0,
            pad: 0,
            spare: 0,
        }
    }

    fn fork(pid: u32, child_tgid: u32, boot_ns: u64) -> Event<'static> {
        let cgroup = Components { bytes: b"", truncated: false };
        let body = Body::Fork(Fork { child_tgid, comm: b"sh", clone_flags: 0, cgroup });
        Event { head: head(pid, boot_ns), name: "clone", body }
    }

    fn exec(pid: u32, argv: &'static [u8], cgroup: &'static [u8]) -> Event<'static> {
        let walk = |bytes| Components { bytes, truncated: false };
        let body = Body::Exec(Exec {
            ppid: 10,
            comm: b"ls",
            parent_comm: b"sh",
            exe: walk(b"ls\0bin\0"),
            argv,
            cwd: walk(b"tmp\0"),
            cgroup: walk(cgroup),
            loginuid: u32::MAX,
            tty: 0,
        });
        Event { head: head(pid, 1), name: "execve", body }
    }

    fn exit(pid: u32, boot_ns: u64) -> Event<'static> {
        Event { head: head(pid, boot_ns), name: "procexit", body: Body::Exit }
    }

    /// A table over an empty `/proc`.
    fn table(limits: Limits) -> (ProcessTable, tempfile::TempDir) {
        let root = tempfile::tempdir().unwrap();
        let passwd = root.path().join("passwd");
        std::fs::write(&passwd, "root:x:0:0::/:\n").unwrap();
        (ProcessTable::new(limits, ProcFs::at(root.path()), Users::open(passwd)), root)
    }

    #[test]
    fn a_child_has_what_its_parent_had_until_it_execs() {
        let (mut table, _root) = table(Limits::default());
        let id = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\0docker\0";
        table.apply(&exec(20, b"/bin/ls\0-l\0", id));
        let parent = table.apply(&fork(20, 21, 2));
        assert_eq!((parent.pid, parent.user.as_deref()), (20, Some("root")));
        let child = table.get_mut(21).unwrap();
        assert_eq!((child.ppid, child.pname.as_deref(), child.comm.as_deref()), (Some(20), Some("ls"), Some("sh")));
        assert_eq!((child.cmdline.as_deref(), child.args.as_deref()), (Some("/bin/ls -l"), Some("-l")));
        assert_eq!(&*child.container_id, "host", "the child's own cgroup counts");
        let child = table.apply(&exec(21, b"ls\0", id));
        assert_eq!((child.exe.as_deref(), child.cwd.as_deref()), (Some("/bin/ls"), Some("/tmp")));
        assert_eq!((child.args.as_deref(), &*child.container_id), (Some(""), "0123456789ab"));
        assert_eq!(table.stats().reads, 0, "an exec needs no look at /proc");
    }

    #[test]
    fn an_exited_process_stays_for_the_grace_and_no_longer() {
        let (mut table, _root) = table(Limits { grace_ns: 100, ..Limits::default() });
        table.apply(&exec(20, b"ls\0", b""));
        assert_eq!(table.apply(&exit(20, 1_000)).comm.as_deref(), Some("ls"));
        table.expire(1_099);
        assert!(table.get_mut(20).is_some());
        table.expire(1_100);
        assert!(table.get_mut(20).is_none());
        // A process that took the number over meanwhile stays.
        table.apply(&exec(20, b"ls\0", b""));
        table.apply(&exit(20, 2_000));
        table.apply(&fork(10, 20, 2_001));
        table.expire(9_000);
        assert!(table.get_mut(20).is_some());
        assert_eq!(table.text_bytes, table.entries.values().map(|entry| entry.charged).sum::<usize>());
    }

    #[test]
    fn bounds_hold_and_the_longest_unused_go() {
        let (mut table, _root) = table(Limits { entries_max: 100, ..Limits::default() });
        for pid in 1..=1_000 {
            table.apply(&exec(pid, b"ls\0", b""));
            assert!(table.entries.len() <= 100);
        }
        assert!(table.get_mut(1_000).is_some() && table.get_mut(1).is_none());
        assert_eq!(table.stats().evicted as usize + table.entries.len(), 1_000);
        table.limits.text_bytes_max = 200;
        table.apply(&exec(2_000, b"ls\0", b""));
        assert!(table.text_bytes <= 200 && table.get_mut(2_000).is_some());
    }

    #[test]
    fn unknown_processes_are_read_once() {
        let (mut table, root) = table(Limits::default());
        let dir = root.path().join("42");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("stat"), "42 (late) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0").unwrap();
        assert_eq!(table.apply(&exit(42, 1)).comm.as_deref(), Some("late"));
        assert_eq!(table.apply(&exit(43, 1)).comm, None);
        table.apply(&exit(43, 2));
        assert_eq!((table.stats().reads, table.stats().unknown), (2, 1));
        // 42 has a folder, 43 has not: its exit event may have been lost.
        table.apply(&exec(44, b"ls\0", b""));
        table.sweep(5);
        table.expire(u64::MAX - 1);
        assert!(table.get_mut(44).is_none());
    }
}
