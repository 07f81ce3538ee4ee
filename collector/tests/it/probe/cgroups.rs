//! A process that is moved to another cgroup without starting a program.

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
    let cgroup = Cgroup(root.join(&name));
    if let Err(error) = std::fs::create_dir(&cgroup.0) {
        eprintln!("not tested here: cgroups cannot be made: {error}");
        return;
    }
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
