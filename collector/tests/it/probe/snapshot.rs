//! Processes that were there before the programs.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use bodkin_collector::process::users::Users;
use bodkin_collector::process::{Limits, ProcFs, Process, ProcessTable};

use super::*;

/// What both sources say, in the same form.
fn facts(process: &Process) -> Vec<String> {
    // What stat says of device and inode is the file system's choice.
    let file = process.file.map(|file| (file.mode, file.uid, file.gid, file.ctime_ns, file.mtime_ns));
    vec![
        format!("{:?} {:?} {:?}", process.ppid, process.comm, process.pname),
        format!("{:?} {:?}", process.exe, process.cwd),
        format!("{:?} {:?}", process.arg0, process.cmdline),
        format!("{:?} {:?} {:?} {:?}", process.uid, process.gid, process.loginuid, process.tty),
        format!("{:?} {:?} {file:?}", process.ids, process.caps),
        format!("{} {}", process.container_id, process.cgroup),
        // The kernel's clock is finer than that of /proc.
        format!("{}", process.start_ns / 10_000_000),
    ]
}

#[test]
fn the_kernel_lists_what_proc_lists() {
    let Some(mut probe) = watch(BTreeSet::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let many: Vec<String> = (0..300).map(|number| format!("argument-{number}")).collect();
    let scripts: [(&str, &[String]); 3] =
        [("sleep 100 & wait", &many), ("kill -STOP $$", &many[..1]), ("echo \u{fc}; sleep 100; true", &[])];
    let mut children: Vec<Child> = scripts
        .iter()
        .map(|(script, arguments)| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).args(*arguments).current_dir(&folder).stdout(Stdio::null());
            command.process_group(0).spawn().unwrap()
        })
        .collect();
    // A spawn returns in the middle of the exec.
    crate::wait_for("the scripts", || {
        let is_there =
            |child: &Child| ProcFs::default().read(child.id()).is_some_and(|p| p.arg0.as_deref() == Some("sh"));
        children.iter().all(is_there)
    });
    let ids: Vec<u32> = children.iter().map(Child::id).chain([std::process::id()]).collect();
    let mut table = ProcessTable::new(Limits::default(), ProcFs::default(), Users::open("/etc/passwd"));
    let before: BTreeSet<u32> = ProcFs::default().pids().into_iter().collect();
    let count = probe.processes(&mut |event| table.adopt(event));
    let after: BTreeSet<u32> = ProcFs::default().pids().into_iter().collect();
    let said: Vec<Option<Process>> = ids.iter().map(|pid| ProcFs::default().read(*pid)).collect();
    for child in &mut children {
        // What a script has started ends with it.
        let group = rustix::process::Pid::from_child(child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
    }
    let count = match count {
        Ok(count) => count,
        Err(error) => {
            eprintln!("not tested here: {error}");
            return;
        }
    };
    for (pid, said) in ids.into_iter().zip(said) {
        assert_eq!(facts(table.get(pid).unwrap()), facts(&said.unwrap()), "{pid}");
    }
    let steady: Vec<u32> = before.intersection(&after).copied().collect();
    // The first process of a virtual machine may be its host's.
    let missing: Vec<&u32> = steady.iter().filter(|pid| **pid != 1 && table.get(**pid).is_none()).collect();
    assert!(missing.is_empty() && count + 1 >= steady.len() as u64, "{missing:?} of {count}");
    let kernel_thread = table.get(2).map(|process| (process.comm.as_deref(), process.exe.as_deref()));
    assert!(matches!(kernel_thread, None | Some((Some("kthreadd"), None))), "{kernel_thread:?}");
}
