//! Processes in cgroups: those that are moved without starting a program, and those that nobody wants to hear of.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A mounted hierarchy that names the cgroup of a process: the v1 one with the pids controller, else the v2 one.
fn hierarchy() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let is_pids =
        |line: &Vec<&str>| line.get(2) == Some(&"cgroup") && line[3].split(',').any(|option| option == "pids");
    let found = fields().find(is_pids).or_else(|| fields().find(|line| line.get(2) == Some(&"cgroup2")))?;
    found.get(1).map(PathBuf::from)
}

/// A cgroup of its own, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    /// None where there can be none.
    fn new(path: PathBuf) -> Option<Self> {
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("not tested here: cgroups cannot be made: {error}");
                None
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process that was in it may still be on its way out.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_process_that_is_moved_is_told_with_its_new_cgroup() {
    let Some(mut probe) = watch_all() else { return };
    let Some(root) = hierarchy() else {
        eprintln!("not tested here: no cgroup hierarchy is mounted");
        return;
    };
    let name = marker("moved");
    let Some(cgroup) = Cgroup::new(root.join(&name)) else { return };
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    std::fs::write(cgroup.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    let own = child.id();
    let keep = |seen: &Seen| seen.tgid == own && matches!(seen.detail, Detail::Move(_));
    let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(Detail::Move(path)) = seen.first().map(|seen| &seen.detail) else { panic!("{seen:?}") };
    assert!(path.ends_with(&format!("/{name}")), "{path}");
}

#[test]
fn processes_in_excluded_cgroups_and_below_are_silent() {
    let Some(mut probe) = watch_all() else { return };
    let Some(root) = hierarchy() else {
        eprintln!("not tested here: no cgroup hierarchy is mounted");
        return;
    };
    let marker = marker("quiet");
    let Some(outer) = Cgroup::new(root.join(&marker)) else { return };
    let step = |cgroup: &Cgroup, name: &str| {
        let script = format!("echo $$ > {}/cgroup.procs; cat /nowhere/{marker}-{name}", cgroup.0.display());
        let status = Command::new("sh").args(["-c", &script]).stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "there is nothing to read");
    };
    step(&outer, "before");
    let path = format!("/{marker}");
    let absent = format!("/{marker}-absent");
    assert_eq!(probe.exclude_cgroups(&[path.clone(), absent]).unwrap(), [path]);
    step(&outer, "excluded");
    // Made after the programs were told.
    let inner = Cgroup::new(outer.0.join("inner")).unwrap();
    step(&inner, "inner");
    drop(std::fs::read(format!("/nowhere/{marker}-elsewhere")));
    assert!(probe.exclude_cgroups(&[]).unwrap().is_empty());
    step(&inner, "after");
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Open { path, .. } if path.contains(&marker));
    let seen = collect(&mut probe, &keep, &|seen| seen.iter().any(|seen| seen.line().contains("-after")));
    let found: Vec<String> = seen.iter().map(Seen::line).filter(|line| line.contains("/nowhere/")).collect();
    let expected = ["before", "elsewhere", "after"].map(|name| format!("openat {ENOENT} /nowhere/{marker}-{name}"));
    assert_eq!(found, expected);
    drop(inner);
    assert_no_loss(&mut probe);
}
