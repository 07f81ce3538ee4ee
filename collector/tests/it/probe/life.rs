//! exec, fork, exit.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;

use bodkin_ebpf::layout::flag;

use super::*;

/// The path of this process's cgroup as the programs choose it.
fn own_cgroup() -> String {
    let all = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let path_of = |wanted: &str| {
        all.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            controllers.split(',').any(|name| name == wanted).then(|| parts.next()).flatten()
        })
    };
    path_of("pids").or_else(|| path_of("")).unwrap().to_string()
}

#[test]
fn two_hundred_programs_start_and_end_in_order() {
    // Nothing but the life of processes: what the rest of the host opens meanwhile fills no ring.
    let Some(mut probe) = watch(BTreeSet::new()) else { return };
    let marker = marker("exec");
    let children: Vec<u32> = (0..200)
        .map(|number| {
            let mut child = Command::new("/bin/true").arg(format!("{marker}-{number}")).spawn().unwrap();
            child.wait().unwrap();
            child.id()
        })
        .collect();
    let wanted: HashSet<u32> = children.iter().copied().collect();
    let keep = |seen: &Seen| match &seen.detail {
        Detail::Fork { child, .. } => wanted.contains(child),
        Detail::Exec { .. } | Detail::Exit => wanted.contains(&seen.tgid),
        _ => false,
    };
    let seen = collect(&mut probe, &keep, &|seen| seen.iter().filter(|seen| seen.name == "procexit").count() >= 200);
    assert_eq!(seen.len(), 600, "each fork, exec and exit once");
    assert!(seen.windows(2).all(|pair| pair[0].boot_ns <= pair[1].boot_ns), "in the order of time");

    let cwd = std::env::current_dir().unwrap();
    let loginuid = std::fs::read_to_string("/proc/self/loginuid").map_or(u32::MAX, |uid| uid.trim().parse().unwrap());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let tty: u32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(4).unwrap().parse().unwrap();
    for (number, (child, events)) in children.iter().zip(seen.chunks(3)).enumerate() {
        let [fork, exec, exit] = events else { panic!("three events of {child}: {events:?}") };
        let Detail::Fork { child: made, flags, cgroup } = &fork.detail else { panic!("{fork:?}") };
        assert_eq!((made, fork.tgid, fork.ret), (child, std::process::id(), i64::from(*child)));
        assert_eq!(cgroup, &own_cgroup());
        assert!(fork.name == "fork" || *flags != 0 || fork.name == "vfork", "{fork:?}");
        let Detail::Exec { ppid, comm, parent_comm, exe, argv, cwd: at, cgroup, ids } = &exec.detail else {
            panic!("{exec:?}")
        };
        assert_eq!((exec.name, exec.tgid, exec.ret, *ppid), ("execve", *child, 0, std::process::id()));
        assert_eq!(
            (comm.as_str(), exe.as_str()),
            ("true", std::fs::canonicalize("/bin/true").unwrap().to_str().unwrap())
        );
        assert_eq!(argv, &["/bin/true".to_string(), format!("{marker}-{number}")]);
        assert_eq!((Path::new(at), cgroup), (cwd.as_path(), &own_cgroup()));
        assert_eq!(*ids, (loginuid, tty));
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(parent_comm, own.trim_end());
        assert_eq!((exit.name, exit.tgid, exit.ret), ("procexit", *child, 0));
    }
    assert_no_loss(&mut probe);
}

#[test]
fn the_end_of_a_program_has_its_wait_status() {
    let Some(mut probe) = watch_all() else { return };
    let mut ended = BTreeMap::new();
    for (script, status) in [("exit 3", 3 << 8), ("kill -9 $$", 9), ("exec sleep 0", 0)] {
        let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        child.wait().unwrap();
        ended.insert(child.id(), status);
    }
    let keep = |seen: &Seen| seen.name == "procexit" && ended.contains_key(&seen.tgid);
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 3);
    let found: BTreeMap<u32, i64> = seen.iter().map(|seen| (seen.tgid, seen.ret & 0xff7f)).collect();
    assert_eq!(found, ended);
}

#[test]
fn children_that_are_left_behind_are_told_with_who_takes_them_over() {
    let Some(mut probe) = watch_all() else { return };
    let script = "sleep 2 >/dev/null 2>&1 & echo $$ $!";
    let said = Command::new("/bin/sh").args(["-c", script]).output().unwrap();
    let pids: Vec<u32> = text(&said.stdout).split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[1])).unwrap();
    let parent: u32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let keep = |seen: &Seen| seen.tgid == pids[0] && ["procexit", "reparent"].contains(&seen.name);
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 2);
    assert!(matches!(seen[0].detail, Detail::Exit), "{seen:?}");
    assert!(matches!(seen[1].detail, Detail::Reparent(reaper) if reaper == parent), "{seen:?}, not to {parent}");
}

#[test]
fn a_long_argv_is_cut_and_says_so() {
    let Some(mut probe) = watch_all() else { return };
    let marker = marker("argv");
    let long = "x".repeat(9000);
    Command::new("/bin/true").args([marker.as_str(), &long]).status().unwrap();
    Command::new("/bin/true").args([marker.as_str(), &long[..7000]]).status().unwrap();
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Exec { argv, .. } if argv.contains(&marker));
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 2);
    let sizes: Vec<(usize, bool)> = seen
        .iter()
        .map(|seen| {
            let Detail::Exec { argv, .. } = &seen.detail else { panic!("{seen:?}") };
            (argv.iter().map(|argument| argument.len() + 1).sum(), seen.flags & flag::TRUNCATED != 0)
        })
        .collect();
    let front = "/bin/true".len() + marker.len() + 2;
    assert_eq!(sizes, [(8193, true), (front + 7001, false)], "the end of a cut argv has no NUL");
}

#[test]
fn five_hundred_and_twelve_arguments_are_told_or_cut() {
    let Some(mut probe) = watch_all() else { return };
    let marker = marker("many");
    let short: Vec<String> =
        (0..512).map(|number| format!("{marker}-{number}")).map(|arg| arg[..8].to_owned()).collect();
    let numbered: Vec<String> = short.iter().enumerate().map(|(number, arg)| format!("{arg}{number}")).collect();
    let long: Vec<String> = (0..512).map(|number| format!("{number}-{}", "x".repeat(60))).collect();
    for arguments in [&numbered, &long] {
        Command::new("/bin/true").arg(&marker).args(arguments).status().unwrap();
    }
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Exec { argv, .. } if argv.contains(&marker));
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 2);
    let argv = |seen: &Seen| match &seen.detail {
        Detail::Exec { argv, .. } => (argv.clone(), seen.flags & flag::TRUNCATED != 0),
        _ => panic!("{seen:?}"),
    };
    let [whole, cut] = &seen[..] else { panic!("{seen:?}") };
    let expected: Vec<String> = ["/bin/true", &marker].map(str::to_owned).into_iter().chain(numbered).collect();
    assert_eq!(argv(whole), (expected, false));
    let (found, is_cut) = argv(cut);
    assert!(is_cut && found.len() > 100 && found[2..found.len() - 1] == long[..found.len() - 3], "{found:?}");
}

/// Each way to fork, by the bare calls, and a status for each child to end with.
#[cfg(target_arch = "x86_64")]
const FORKS: &str = r#"
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .flags = CLONE_PTRACE };
	int status, wrong = 0;
	if (!syscall(SYS_fork))
		syscall(SYS_exit_group, 11);
	wrong += wait(&status) < 0 || WEXITSTATUS(status) != 11;
	if (!vfork())
		_exit(12);
	wrong += wait(&status) < 0 || WEXITSTATUS(status) != 12;
	if (!syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0))
		syscall(SYS_exit_group, 13);
	wrong += wait(&status) < 0 || WEXITSTATUS(status) != 13;
	if (!syscall(SYS_clone3, &args, sizeof(args)))
		syscall(SYS_exit_group, 14);
	wrong += wait(&status) < 0 || WEXITSTATUS(status) != 14;
	return wrong;
}
"#;

#[cfg(target_arch = "x86_64")]
#[test]
fn each_way_to_fork_has_its_name_and_flags() {
    let Some(mut probe) = watch(BTreeSet::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("forks.c"), folder.path().join("forks"));
    std::fs::write(&source, FORKS).unwrap();
    assert!(Command::new("cc").args(["-O1", "-w", "-o"]).args([&program, &source]).status().unwrap().success());
    let mut first = Command::new(&program).spawn().unwrap();
    let own = first.id();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let life = |seen: &Seen| matches!(seen.detail, Detail::Fork { .. } | Detail::Exit);
    let seen = collect(&mut probe, &life, &|seen| seen.iter().any(|seen| seen.tgid == own && seen.name == "procexit"));
    const CLONE_FS: u64 = 0x200;
    const CLONE_PTRACE: u64 = 0x2000;
    const SIGCHLD: u64 = 17;
    let expected = [("fork", 0, 11), ("vfork", 0, 12), ("clone", CLONE_FS | SIGCHLD, 13), ("clone3", CLONE_PTRACE, 14)];
    let forks: Vec<&Seen> = seen.iter().filter(|seen| seen.tgid == own && seen.name != "procexit").collect();
    assert_eq!(forks.len(), expected.len(), "{forks:?}");
    for (fork, (name, flags, status)) in forks.into_iter().zip(expected) {
        let Detail::Fork { child, flags: found, .. } = fork.detail else { panic!("{fork:?}") };
        assert_eq!((fork.name, found, fork.ret), (name, flags, i64::from(child)));
        let ends: Vec<i64> =
            seen.iter().filter(|seen| seen.tgid == child && seen.name == "procexit").map(|seen| seen.ret).collect();
        assert_eq!(ends, [status << 8], "{name}");
    }
}

#[test]
fn a_program_that_cannot_be_started_is_told_once() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let marker = marker("noexec");
    let path = folder.path().join(&marker);
    std::fs::write(&path, "no program").unwrap();
    Command::new(&path).status().unwrap_err();
    let keep = |seen: &Seen| seen.line().contains(&marker) && seen.name.starts_with("exec");
    let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
    let lines: Vec<String> = seen.iter().map(Seen::line).collect();
    assert_eq!(lines, [format!("execve {EACCES} {}", path.display())]);
}

/// In the child of the next test: threads that all live when the process ends.
const THREADS: &str = "BODKIN_TEST_THREADS";

#[test]
fn a_process_of_many_threads_ends_once() {
    if std::env::var_os(THREADS).is_some() {
        for _ in 0..32 {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
        }
        std::process::exit(5);
    }
    let Some(mut probe) = watch_all() else { return };
    let mut ended = BTreeMap::new();
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "probe::life::a_process_of_many_threads_ends_once"])
            .env(THREADS, "1")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
        ended.insert(child.id(), 5_i64 << 8);
    }
    let last = Command::new("/bin/true").spawn().unwrap();
    let last_id = last.id();
    last.wait_with_output().unwrap();
    let keep = |seen: &Seen| seen.name == "procexit" && (ended.contains_key(&seen.tgid) || seen.tgid == last_id);
    let seen = collect(&mut probe, &keep, &|seen| seen.iter().any(|seen| seen.tgid == last_id));
    assert_eq!(seen.len(), 21, "one end for each process, not one for each thread");
    assert!(seen.iter().all(|seen| seen.tgid == last_id || seen.ret == 5 << 8), "{seen:?}");
}
