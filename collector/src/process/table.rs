//! All processes by id: filled from `/proc`, kept up to date by events.
//!
//! Each entry knows its parent and how many living children it has; a change of a process with children makes what was
//! said of its descendants stale, which `epoch` counts.

use super::users::Users;
use super::{Lineage, ProcFs, Process, Stamp, container, set_text};
use crate::events::ProcessColumns;
use crate::lossy::lossy;
use crate::path;
use bodkin_ebpf::event::{Body, Components, Event, Exec, Exit, Fork, Head, Identity};
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

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

/// How many processes that end at the same time hand children on to each other.
const GENERATIONS_MAX: usize = 64;

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
    entries: FxHashMap<u32, Process>,
    /// (end of grace in boot nanoseconds, pid, start) in order.
    exited: VecDeque<(u64, u32, u64)>,
    text_bytes: usize,
    lookups: u64,
    epoch: u64,
    /// Entries that have ended and keep their children.
    keepers: usize,
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
            entries: FxHashMap::default(),
            exited: VecDeque::new(),
            text_bytes: 0,
            lookups: 0,
            epoch: 0,
            keepers: 0,
            limits,
            proc_fs,
            users,
            stats: TableStats::default(),
            scratch: String::new(),
        }
    }

    /// Takes over a process as the kernel lists it; [`scan`](Self::scan) follows the last one.
    pub fn adopt(&mut self, event: &Event<'_>) {
        if let Body::Exec(exec) = &event.body {
            self.exec(&event.head, exec);
        }
    }

    /// Reads the processes of `/proc` that are not known yet: all, or those that a kernel leaves out of its list. Costs about
    /// 50 us each.
    pub fn scan(&mut self) {
        for pid in self.proc_fs.pids() {
            if !self.entries.contains_key(&pid)
                && let Some(process) = self.proc_fs.read(pid)
            {
                self.insert(process);
            }
        }
        self.recount();
    }

    /// Counts children anew: while the table was filled, a child may have come before its parent.
    fn recount(&mut self) {
        let mut counts: FxHashMap<u32, u32> = FxHashMap::default();
        for ppid in self.entries.values().filter(|process| !process.is_exited).filter_map(|process| process.ppid) {
            *counts.entry(ppid).or_default() += 1;
        }
        for process in self.entries.values_mut() {
            process.children = counts.get(&process.pid).copied().unwrap_or(0);
        }
    }

    /// Brings the table up to date with `event`, whose process has an entry afterwards.
    pub fn apply(&mut self, event: &Event<'_>) {
        let (head, pid) = (&event.head, event.head.tgid);
        match &event.body {
            Body::Exec(exec) => self.exec(head, exec),
            Body::Fork(fork) => self.fork(head, fork),
            // It may come from an interrupt: its head says nothing of its process.
            Body::Flow(_) => return,
            Body::Exit(exit) => {
                self.ensure(pid);
                self.observe(head);
                self.exit(pid, head.boot_ns, *exit);
                return;
            }
            Body::Reparent(reaper) => {
                // Its end was lost if the process is still thought to live.
                self.exit(pid, head.boot_ns, Exit { reaper: *reaper, keeps_children: true });
                return self.give_children(pid, *reaper);
            }
            Body::Identity(identity) => {
                self.ensure(pid);
                self.identity(head, identity, event.name);
            }
            Body::Move(cgroup) => {
                self.ensure(pid);
                self.change(pid, |process, scratch| set_cgroup(process, cgroup, head.cgroup_id, scratch));
            }
            Body::Paths(paths) if event.name == "chdir" && head.ret == 0 => {
                self.ensure(pid);
                if let Some(folder) = &paths.name.base {
                    self.change(pid, |process, scratch| set_components(&mut process.cwd, folder, scratch));
                }
            }
            Body::Descriptor(descriptor) if event.name == "fchdir" && head.ret == 0 => {
                self.ensure(pid);
                self.change(pid, |process, scratch| set_components(&mut process.cwd, &descriptor.path, scratch));
            }
            Body::Open(_) | Body::Paths(_) | Body::Socket(_) | Body::Descriptor(_) | Body::Plain(_) => {
                // Nearly every event: one look says that nothing has changed.
                if self.entries.get(&pid).is_some_and(|process| process.is_as_in(head)) {
                    return;
                }
                self.ensure(pid);
            }
        }
        self.observe(head);
    }

    /// The row of `columns` that tells `pid` as it is now; it is appended where the batch does not have it yet.
    pub fn row(&mut self, pid: u32, columns: &mut ProcessColumns) -> u32 {
        let mut stamp = Stamp { batch: columns.batch(), epoch: self.epoch, row: 0 };
        self.lookups += 1;
        let Some(process) = self.entries.get_mut(&pid) else {
            return columns.append(&Lineage::of(&Process::unknown(pid), &self.entries, &self.users));
        };
        process.used = self.lookups;
        if process.stamp.batch == stamp.batch && process.stamp.epoch == stamp.epoch {
            return process.stamp.row;
        }
        if let Some(process) = self.entries.get(&pid) {
            stamp.row = columns.append(&Lineage::of(process, &self.entries, &self.users));
        }
        if let Some(process) = self.entries.get_mut(&pid) {
            process.stamp = stamp;
        }
        stamp.row
    }

    /// The process with its ancestors; None if it is not known.
    pub fn lineage(&self, pid: u32) -> Option<Lineage<'_>> {
        self.entries.get(&pid).map(|process| Lineage::of(process, &self.entries, &self.users))
    }

    /// Container and cgroup of a process that has an entry.
    pub fn container(&self, pid: u32) -> Option<(&Arc<str>, &Arc<str>)> {
        self.entries.get(&pid).map(|process| (&process.container_id, &process.cgroup))
    }

    /// Names of ids.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Adds or replaces an entry as read elsewhere, and gives it.
    pub fn put(&mut self, process: Process) -> &mut Process {
        let pid = process.pid;
        self.insert(process);
        self.entries.entry(pid).or_insert_with(|| Process::unknown(pid))
    }

    /// The entry of `pid`, if it is known.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.entries.get(&pid)
    }

    /// The same, to be changed.
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
                // It was to say whose its children became, and that was lost.
                let keeper = self.entries.get(&pid).filter(|process| process.keeps_children && process.heir > 0);
                if let Some(heir) = keeper.map(|process| process.heir) {
                    self.give_children(pid, self.living_heir(heir));
                }
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
            // Who took over its children is known when they do something.
            self.exit(pid, boot_ns, Exit::default());
        }
        if self.users.refresh() {
            self.epoch += 1;
        }
    }

    /// The counters.
    pub fn stats(&self) -> TableStats {
        TableStats { entries: self.entries.len(), ..self.stats }
    }

    fn exec(&mut self, head: &Head, exec: &Exec<'_>) {
        // Nearly all fields are the event's: what the entry said before does not matter, so nothing is read.
        let mut process = self.take(head.tgid).unwrap_or_else(|| Process::unknown(head.tgid));
        process.start_ns = if exec.start_ns > 0 { exec.start_ns } else { head.boot_ns };
        process.is_exited = false;
        process.keeps_children = false;
        if !self.is_leaving(exec.ppid) {
            process.ppid = (exec.ppid > 0).then_some(exec.ppid);
        }
        process.loginuid = (exec.loginuid != u32::MAX).then_some(exec.loginuid);
        process.tty = i32::try_from(exec.tty).ok();
        (process.uid, process.gid) = (Some(head.uid), Some(head.gid));
        (process.ids, process.caps) = (exec.ids, Some(exec.caps));
        process.pidns_start_ns = exec.pidns_start_ns;
        process.set_file(exec.file);
        match exec.ppid {
            0 => process.pname = None,
            _ => set_text(&mut process.pname, &lossy(exec.parent_comm)),
        }
        set_text(&mut process.comm, &lossy(exec.comm));
        process.set_argv(exec.argv);
        // A thread of the kernel has no program.
        match exec.exe.bytes.is_empty() && exec.argv.is_empty() {
            true => process.exe = None,
            false => set_components(&mut process.exe, &exec.exe, &mut self.scratch),
        }
        set_components(&mut process.cwd, &exec.cwd, &mut self.scratch);
        set_cgroup(&mut process, &exec.cgroup, head.cgroup_id, &mut self.scratch);
        process.stamp = Stamp::default();
        self.epoch += u64::from(process.children > 0);
        self.insert(process);
    }

    fn fork(&mut self, head: &Head, fork: &Fork<'_>) {
        self.ensure(head.tgid);
        let parent = self.entries.get(&head.tgid).cloned();
        let mut child = parent.unwrap_or_else(|| Process::unknown(head.tgid));
        child.pname = child.comm.take();
        child.pid = fork.child_tgid;
        // CLONE_PARENT makes a sibling.
        const CLONE_PARENT: u64 = 0x8000;
        let parent = if fork.clone_flags & CLONE_PARENT != 0 { head.ppid } else { head.tgid };
        child.ppid = (parent > 0).then_some(parent);
        child.start_ns = if fork.start_ns > 0 { fork.start_ns } else { head.boot_ns };
        child.pidns_start_ns = fork.pidns_start_ns;
        child.ids = fork.ids;
        child.is_exited = false;
        child.children = 0;
        child.heir = 0;
        child.keeps_children = false;
        child.stamp = Stamp::default();
        set_text(&mut child.comm, &lossy(fork.comm));
        set_cgroup(&mut child, &fork.cgroup, 0, &mut self.scratch);
        self.take(child.pid);
        self.insert(child);
    }

    fn identity(&mut self, head: &Head, identity: &Identity<'_>, name: &str) {
        if head.ret < 0 {
            return;
        }
        // setpgid may be about another process.
        let target = match u32::try_from(identity.args[0]) {
            Ok(pid) if name == "setpgid" && pid != 0 && pid != identity.ids.vpid => Some(pid),
            _ => None,
        };
        if let Some(vpid) = target {
            let group = match identity.args[1] as u32 {
                0 => vpid,
                group => group,
            };
            let is_it = |process: &&Process| process.ppid == Some(head.tgid) && process.ids.vpid == vpid;
            let Some(pid) = self.entries.values().find(is_it).map(|process| process.pid) else { return };
            // The numbers of the caller's namespace: its own is the initial one, or the group is that of a sibling.
            let is_leader = |process: &&Process| process.ids.vpid == group && process.ids.sid == identity.ids.sid;
            let leader = self.entries.values().find(is_leader).map_or(group, |process| process.pid);
            return self.change(pid, |process, _| (process.ids.vpgid, process.ids.pgid) = (group, leader));
        }
        let is_leader_thread = head.tid == head.tgid;
        self.change(head.tgid, |process, _| {
            process.ids = identity.ids;
            // Those that a new user namespace gives count there alone, until the next exec.
            if name != "unshare" {
                process.caps = Some(identity.caps);
            }
            if is_leader_thread {
                set_text(&mut process.comm, &lossy(identity.comm));
            }
        });
    }

    /// Changes an entry: what has been said of it, and of its descendants, is stale.
    fn change(&mut self, pid: u32, change: impl FnOnce(&mut Process, &mut String)) {
        let Some(process) = self.entries.get_mut(&pid) else { return };
        change(process, &mut self.scratch);
        process.stamp = Stamp::default();
        self.epoch += u64::from(process.children > 0);
        let bytes = process.text_bytes();
        self.text_bytes = self.text_bytes + bytes - std::mem::replace(&mut process.charged, bytes);
    }

    fn exit(&mut self, pid: u32, boot_ns: u64, exit: Exit) {
        let Some(process) = self.entries.get_mut(&pid).filter(|process| !process.is_exited) else { return };
        process.is_exited = true;
        process.heir = exit.reaper;
        process.keeps_children = exit.keeps_children;
        self.keepers += usize::from(exit.keeps_children);
        let (ppid, start_ns) = (process.ppid, process.start_ns);
        self.exited.push_back((boot_ns.saturating_add(self.limits.grace_ns), pid, start_ns));
        self.count_child(ppid, -1);
        if !exit.keeps_children && exit.reaper > 0 {
            self.give_children(pid, self.living_heir(exit.reaper));
        }
    }

    /// Gives the children of `pid`, which has ended, to `reaper`; they may be ending as well and have children left.
    /// O(entries): only for processes that leave children behind.
    fn give_children(&mut self, pid: u32, reaper: u32) {
        let Some(process) = self.entries.get_mut(&pid) else { return };
        process.heir = reaper;
        let kept = std::mem::replace(&mut process.keeps_children, false);
        self.keepers -= usize::from(kept);
        if process.children == 0 && self.keepers == 0 {
            return;
        }
        let mut moved = 0;
        for child in self.entries.values_mut().filter(|child| child.ppid == Some(pid)) {
            child.ppid = Some(reaper);
            moved += u32::from(!child.is_exited);
        }
        if let Some(process) = self.entries.get_mut(&pid) {
            process.children = process.children.saturating_sub(moved);
        }
        self.count_child(Some(reaper), i64::from(moved));
        self.epoch += 1;
    }

    /// A process that ends says so some microseconds before the kernel gives its children away: until then they still name
    /// it as their parent. It is none any more where the table has given them away already.
    fn is_leaving(&self, pid: u32) -> bool {
        self.entries.get(&pid).is_some_and(|process| process.is_exited && !process.keeps_children)
    }

    /// Who takes children over where the one that was to do so ends at the same time.
    fn living_heir(&self, reaper: u32) -> u32 {
        let next = |pid: &u32| self.entries.get(pid).filter(|process| process.is_exited).map(|process| process.heir);
        std::iter::successors(Some(reaper), next).take(GENERATIONS_MAX).filter(|pid| *pid > 0).last().unwrap_or(reaper)
    }

    fn count_child(&mut self, ppid: Option<u32>, change: i64) {
        if let Some(parent) = ppid.and_then(|ppid| self.entries.get_mut(&ppid)) {
            parent.children = (i64::from(parent.children) + change).max(0) as u32;
        }
    }

    /// Makes sure that `pid` has an entry, by `/proc` if need be.
    fn ensure(&mut self, pid: u32) {
        if self.entries.contains_key(&pid) {
            return;
        }
        self.stats.reads += 1;
        let mut process = self.proc_fs.read(pid).unwrap_or_else(|| {
            self.stats.unknown += 1;
            Process::unknown(pid)
        });
        let is_child = |child: &&Process| child.ppid == Some(pid) && !child.is_exited;
        process.children = self.entries.values().filter(is_child).count() as u32;
        self.insert(process);
    }

    /// Takes over what the head says of its process: user, group, parent and cgroup may change at any time.
    fn observe(&mut self, head: &Head) {
        let is_leaving = self.is_leaving(head.ppid);
        let Some(process) = self.entries.get_mut(&head.tgid) else { return };
        let ppid = if is_leaving { process.ppid } else { (head.ppid > 0).then_some(head.ppid) };
        let is_same = process.uid == Some(head.uid) && process.gid == Some(head.gid) && process.ppid == ppid;
        // Threads of one process may be in different (threaded) cgroups: its first one speaks for it.
        let is_moved = process.cgroup_id != head.cgroup_id && head.tid == head.tgid;
        if is_same && !is_moved {
            return;
        }
        if !is_same {
            (process.uid, process.gid) = (Some(head.uid), Some(head.gid));
            process.stamp = Stamp::default();
            if process.ppid != ppid && !process.is_exited {
                let old = std::mem::replace(&mut process.ppid, ppid);
                self.epoch += u64::from(process.children > 0);
                self.count_child(old, -1);
                self.count_child(ppid, 1);
            }
        }
        if is_moved {
            self.moved(head);
        }
    }

    /// The v2 cgroup is another than before: a move on kernels that do not tell moves, or the first event.
    fn moved(&mut self, head: &Head) {
        let Some(process) = self.entries.get_mut(&head.tgid) else { return };
        let was_known = std::mem::replace(&mut process.cgroup_id, head.cgroup_id) != 0;
        if was_known && let Some(cgroup) = self.proc_fs.cgroup(head.tgid) {
            self.change(head.tgid, |process, _| {
                let id = container::from_proc_cgroup(&cgroup);
                process.set_container(id, container::main_path(&cgroup).unwrap_or_default());
            });
        }
    }

    /// Adds an entry and counts it as a child of its parent.
    fn insert(&mut self, mut process: Process) {
        self.lookups += 1;
        process.used = self.lookups;
        process.charged = process.text_bytes();
        self.text_bytes += process.charged;
        let (ppid, is_exited) = (process.ppid, process.is_exited);
        if let Some(old) = self.entries.insert(process.pid, process) {
            self.text_bytes -= old.charged;
            self.keepers -= usize::from(old.keeps_children);
            if !old.is_exited {
                self.count_child(old.ppid, -1);
            }
        }
        if !is_exited {
            self.count_child(ppid, 1);
        }
        if self.entries.len() > self.limits.entries_max || self.text_bytes > self.limits.text_bytes_max {
            self.evict();
        }
    }

    fn take(&mut self, pid: u32) -> Option<Process> {
        let process = self.entries.remove(&pid)?;
        self.text_bytes -= process.charged;
        self.keepers -= usize::from(process.keeps_children);
        if !process.is_exited {
            self.count_child(process.ppid, -1);
        }
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
}

fn set_components(text: &mut Option<Arc<str>>, components: &Components<'_>, scratch: &mut String) {
    path::write_components(components, scratch);
    set_text(text, scratch);
}

fn set_cgroup(process: &mut Process, cgroup: &Components<'_>, cgroup_id: u64, scratch: &mut String) {
    path::write_components(cgroup, scratch);
    process.cgroup_id = cgroup_id;
    // A child is where its parent is.
    if *process.cgroup != **scratch {
        process.set_container(container::from_cgroup_path(scratch), scratch);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
