use super::*;
use bodkin_ebpf::layout::Capabilities;
use proptest::prelude::*;

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
        gid: 0,
        ppid: 10,
    }
}

fn fork(pid: u32, child_tgid: u32, boot_ns: u64) -> Event<'static> {
    let body = Body::Fork(Fork { child_tgid, comm: b"sh", ..Fork::default() });
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
        ..Exec::default()
    });
    Event { head: head(pid, 1), name: "execve", body }
}

fn exit(pid: u32, boot_ns: u64) -> Event<'static> {
    Event { head: head(pid, boot_ns), name: "procexit", body: Body::Exit(Exit { reaper: 1, keeps_children: false }) }
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
    table.apply(&fork(20, 21, 2));
    assert_eq!(table.lineage(20).unwrap().users.name(0).map(|name| &**name), Some("root"));
    let child = table.get_mut(21).unwrap();
    assert_eq!((child.ppid, child.pname.as_deref(), child.comm.as_deref()), (Some(20), Some("ls"), Some("sh")));
    assert_eq!((child.cmdline.as_deref(), child.args.as_deref()), (Some("/bin/ls -l"), Some("-l")));
    assert_eq!(&*child.container_id, "host", "the child's own cgroup counts");
    table.apply(&exec(21, b"ls\0", id));
    let child = table.get_mut(21).unwrap();
    assert_eq!((child.exe.as_deref(), child.cwd.as_deref()), (Some("/bin/ls"), Some("/tmp")));
    assert_eq!((child.args.as_deref(), &*child.container_id), (Some(""), "0123456789ab"));
    assert_eq!(table.stats().reads, 0, "an exec needs no look at /proc");
}

#[test]
fn an_exec_without_arguments_has_empty_texts() {
    let (mut table, _root) = table(Limits::default());
    table.apply(&exec(20, b"\0", b""));
    let process = table.get_mut(20).unwrap();
    let texts = [&process.arg0, &process.args, &process.cmdline].map(|text| text.as_deref());
    assert_eq!(texts, [Some(""); 3], "the kernel makes one empty argument of none");
}

#[test]
fn a_new_user_namespace_adds_no_capabilities_before_an_exec() {
    let (mut table, _root) = table(Limits::default());
    table.apply(&exec(20, b"ls\0", b""));
    let caps = Capabilities { permitted: 1 << 21, effective: 1 << 21, inheritable: 0 };
    let identity =
        |name| Event { head: head(20, 2), name, body: Body::Identity(Identity { caps, ..Identity::default() }) };
    table.apply(&identity("unshare"));
    assert_eq!(table.get_mut(20).unwrap().caps, Some(Capabilities::default()));
    table.apply(&identity("capset"));
    assert_eq!(table.get_mut(20).unwrap().caps, Some(caps));
}

#[test]
fn an_exited_process_stays_for_the_grace_and_no_longer() {
    let (mut table, _root) = table(Limits { grace_ns: 100, ..Limits::default() });
    table.apply(&exec(20, b"ls\0", b""));
    table.apply(&exit(20, 1_000));
    assert_eq!(table.get_mut(20).unwrap().comm.as_deref(), Some("ls"));
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
    table.apply(&exit(42, 1));
    table.apply(&exit(43, 1));
    assert_eq!(table.get_mut(42).unwrap().comm.as_deref(), Some("late"));
    assert_eq!(table.get_mut(43).unwrap().comm, None);
    table.apply(&exit(43, 2));
    assert_eq!((table.stats().reads, table.stats().unknown), (2, 1));
    // 42 has a folder, 43 has not: its exit event may have been lost.
    table.apply(&exec(44, b"ls\0", b""));
    table.sweep(5);
    table.expire(u64::MAX - 1);
    assert!(table.get_mut(44).is_none());
}

/// Pids of the ancestors, as rows tell them.
fn ancestors(table: &ProcessTable, pid: u32) -> Vec<u32> {
    table.lineage(pid).unwrap().ancestors.iter().map(|ancestor| ancestor.pid).collect()
}

#[test]
fn children_of_a_process_that_ends_are_taken_over() {
    let (mut table, _root) = table(Limits::default());
    for (grandparent, parent, child) in [(0, 1, 10), (1, 10, 20), (10, 20, 30), (20, 30, 40)] {
        let mut event = fork(parent, child, u64::from(child));
        event.head.ppid = grandparent;
        table.apply(&event);
    }
    assert_eq!(ancestors(&table, 40), [30, 20, 10, 1]);
    let mut end = exit(20, 100);
    end.head.ppid = 10;
    table.apply(&end);
    assert_eq!(ancestors(&table, 40), [30, 1], "the first process took 30 over");
    let mut late = exec(30, b"ls\0", b"");
    late.head.ppid = 20;
    if let Body::Exec(exec) = &mut late.body {
        exec.ppid = 20;
    }
    table.apply(&late);
    assert_eq!(ancestors(&table, 40), [30, 1], "the kernel had not given it away yet");
    let mut event = exec(30, b"ls\0", b"");
    event.head.ppid = 1;
    if let Body::Exec(exec) = &mut event.body {
        exec.ppid = 1;
    }
    table.apply(&event);
    assert_eq!(ancestors(&table, 40), [30, 1]);
}

#[test]
fn a_move_of_the_working_directory_and_of_the_cgroup_is_followed() {
    let (mut table, _root) = table(Limits::default());
    table.apply(&exec(20, b"ls\0", b""));
    let folder = Components { bytes: b"log\0var\0", truncated: false };
    let name = bodkin_ebpf::event::Name { raw: b"/var/log", base: Some(folder) };
    let paths = bodkin_ebpf::event::Paths { name, ..Default::default() };
    table.apply(&Event { head: head(20, 2), name: "chdir", body: Body::Paths(paths) });
    assert_eq!(table.get_mut(20).unwrap().cwd.as_deref(), Some("/var/log"));
    let id = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\0docker\0";
    let cgroup = Components { bytes: id, truncated: false };
    table.apply(&Event { head: head(20, 3), name: "cgroup_move", body: Body::Move(cgroup) });
    assert_eq!(&*table.get_mut(20).unwrap().container_id, "0123456789ab");
    assert_eq!(table.text_bytes, table.entries.values().map(|entry| entry.charged).sum::<usize>());
}

#[test]
fn a_row_is_made_again_when_an_ancestor_changed() {
    let (mut table, _root) = table(Limits::default());
    let mut columns = ProcessColumns::default();
    table.apply(&exec(20, b"ls\0", b""));
    table.apply(&fork(20, 21, 2));
    let first = table.row(21, &mut columns);
    assert_eq!(table.row(21, &mut columns), first);
    table.apply(&exec(20, b"cat\0", b""));
    assert_ne!(table.row(21, &mut columns), first, "its parent is another program now");
    assert_eq!(table.row(20, &mut ProcessColumns::default()), 0, "another batch has nothing yet");
}

/// That the children of a process became those of another was lost: they do not stay with one that is gone.
#[test]
fn children_of_one_that_is_gone_become_those_of_its_heir() {
    let (mut table, _root) = table(Limits::default());
    for (parent, child) in [(1, 20), (20, 21), (21, 22)] {
        table.apply(&fork(parent, child, 1));
    }
    let end = Body::Exit(Exit { reaper: 20, keeps_children: true });
    table.apply(&Event { head: head(21, 5), name: "procexit", body: end });
    let parent_of = |table: &ProcessTable| table.lineage(22).unwrap().ancestors.first().map(|parent| parent.pid);
    assert_eq!(parent_of(&table), Some(21));
    table.expire(5 + Limits::default().grace_ns);
    assert_eq!((parent_of(&table), table.get(21).is_none(), table.keepers), (Some(20), true, 0));
}

/// What may happen to a tree of processes: each step is drawn for the process at that index.
#[derive(Clone, Debug)]
enum Step {
    Fork,
    Exec,
    Exit,
    /// It ends, and the kernel gives its children away with its next step.
    Leave,
    Setsid,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let (fork, exec, setsid) = (Just(Step::Fork), Just(Step::Exec), Just(Step::Setsid));
    let step = prop_oneof![4 => fork, 2 => exec, 2 => Just(Step::Exit), 2 => Just(Step::Leave), 1 => setsid];
    proptest::collection::vec((step, any::<usize>()), 1..400)
}

/// The truth that a table is compared with: parent and session of each living process.
#[derive(Default)]
struct Truth {
    alive: Vec<(u32, u32, u32)>,
    /// Those that have ended and are the parents of their children for another while.
    leaving: Vec<u32>,
    next: u32,
}

impl Truth {
    fn ancestors(&self, pid: u32) -> Vec<u32> {
        let parent = |pid: u32| self.alive.iter().find(|(own, ..)| *own == pid).map(|(_, parent, _)| *parent);
        std::iter::successors(parent(pid), |pid| parent(*pid)).filter(|pid| *pid > 0).take(16).collect()
    }

    /// A process is gone, and its children are those of `reaper`.
    fn remove(&mut self, pid: u32, reaper: u32) {
        self.alive.retain(|(own, ..)| *own != pid);
        self.leaving.retain(|own| *own != pid);
        self.alive.iter_mut().filter(|(_, of, _)| *of == pid).for_each(|(_, of, _)| *of = reaper);
    }

    /// Does the step to the process at `index` and tells the table what the kernel would.
    fn apply(&mut self, step: &Step, index: usize, table: &mut ProcessTable, boot_ns: u64) {
        let at = index % self.alive.len();
        let (pid, parent, session) = self.alive[at];
        let head = Head { ppid: parent, boot_ns, ..head(pid, boot_ns) };
        let ids = Ids { sid: session, ..Ids::default() };
        let (name, body) = match step {
            _ if self.leaving.contains(&pid) => {
                // Whoever lives and does not descend from it.
                let is_free =
                    |of: &u32| *of != pid && !self.ancestors(*of).contains(&pid) && !self.leaving.contains(of);
                let reaper = self.alive.iter().map(|(own, ..)| *own).rfind(is_free).unwrap_or(1);
                self.remove(pid, reaper);
                ("reparent", Body::Reparent(reaper))
            }
            Step::Fork => {
                self.next += 1;
                self.alive.push((self.next, pid, session));
                ("clone", Body::Fork(Fork { child_tgid: self.next, comm: b"x", ids, ..Fork::default() }))
            }
            Step::Exec => ("execve", Body::Exec(Exec { ppid: parent, comm: b"y", ids, ..Exec::default() })),
            Step::Exit | Step::Leave if at == 0 => return, // the first process stays
            Step::Exit => {
                self.remove(pid, 1);
                ("procexit", Body::Exit(Exit { reaper: 1, keeps_children: false }))
            }
            Step::Leave => {
                self.leaving.push(pid);
                ("procexit", Body::Exit(Exit { reaper: 1, keeps_children: true }))
            }
            Step::Setsid => {
                self.alive[at].2 = pid;
                let ids = Ids { sid: pid, ..Ids::default() };
                ("setsid", Body::Identity(Identity { ids, comm: b"x", ..Identity::default() }))
            }
        };
        table.apply(&Event { head, name, body });
    }
}

use bodkin_ebpf::layout::Ids;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // Whatever forks, starts programs, ends and begins sessions: ancestors and sessions are those of the kernel.
    #[test]
    fn the_tree_is_the_kernels(steps in steps()) {
        let (mut table, _root) = table(Limits::default());
        let mut truth = Truth { alive: vec![(1, 0, 1)], leaving: Vec::new(), next: 1 };
        for (number, (step, index)) in steps.iter().enumerate() {
            truth.apply(step, *index, &mut table, number as u64 + 1);
            for (pid, _, session) in &truth.alive {
                let Some(lineage) = table.lineage(*pid) else { continue };
                let found: Vec<u32> = lineage.ancestors.iter().map(|ancestor| ancestor.pid).collect();
                prop_assert_eq!(&found, &truth.ancestors(*pid), "of {} after step {}", pid, number);
                prop_assert!(lineage.process.ids.sid == *session || *pid == 1);
            }
        }
        prop_assert_eq!(table.keepers, truth.leaving.len());
        for process in table.entries.values() {
            let living = |child: &&Process| child.ppid == Some(process.pid) && !child.is_exited;
            prop_assert_eq!(process.children as usize, table.entries.values().filter(living).count());
        }
    }
}
