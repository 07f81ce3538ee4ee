//! Every kind of call once, by a program with known arguments.

use std::process::{Command, Stdio};

use super::*;

/// Compiles the program with the C compiler that a build needs anyway.
fn build(folder: &std::path::Path) -> std::path::PathBuf {
    let (source, program) = (folder.join("calls.c"), folder.join("calls"));
    std::fs::write(&source, include_str!("calls.c")).unwrap();
    let built = Command::new("cc").args(["-O1", "-w", "-o"]).args([&program, &source]).status().unwrap();
    assert!(built.success());
    program
}

/// `name result detail`, without what differs from run to run and from kernel to kernel.
fn line(seen: &Seen, folder: &str) -> String {
    let result = if seen.ret < 0 { "failed" } else { "ok" };
    let detail = match &seen.detail {
        Detail::Descriptor { path, text, args, mode, .. } => {
            let count = match seen.name {
                "socket" => 3,
                "dup3" | "setns" | "fchmod" | "listen" | "dup2" | "fcntl" => 2,
                _ => 0,
            };
            let args: Vec<i32> = args.iter().take(count).skip(1).map(|arg| *arg as i32).collect();
            let path = if path.contains("userfaultfd") { "userfaultfd" } else { path };
            format!("{path} {text:?} {args:?} {:o}", mode & 0o170_000)
        }
        Detail::Identity { comm, .. } if matches!(seen.name, "setsid") => format!("ID {comm}"),
        Detail::Identity { args, comm, .. } => format!("{} {comm}", args[0] as i32),
        Detail::Plain(args) if seen.name == "ptrace" => format!("{} {}", args[0], args[1]),
        Detail::Plain(_) => String::new(),
        Detail::Socket { unix, .. } if !unix.is_empty() => text(unix).trim_end_matches('\0').to_owned(),
        Detail::Socket { local, remote, data, .. } => format!("{local} -> {remote} {:?}", text(data)),
        Detail::Open { path, flags, .. } => format!("{path} {flags:o}"),
        Detail::Paths { path, path2, .. } => format!("{path} {}", path2.as_deref().unwrap_or("-")),
        Detail::Exec { comm, exe, argv, .. } => format!("{comm} {exe} {argv:?}"),
        other => format!("{other:?}"),
    };
    format!("{} {result} {detail}", seen.name).replace(folder, "DIR")
}

/// Ports that the kernel chose differ from run to run.
fn without_ports(line: &str) -> String {
    let mut parts = line.split(':');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        out.push(':');
        out.push_str(if digits >= 4 { "PORT" } else { &part[..digits] });
        out.push_str(&part[digits..]);
    }
    out
}

#[test]
fn every_call_is_told_once_with_its_arguments() {
    let mut events = ProbeConfig::default().events;
    let more =
        ["chown", "fcntl", "pwrite64", "process_vm_writev", "kill", "getppid", "prctl", "setsid", "chdir", "fchdir"];
    events.extend(more.map(str::to_string));
    let Some(mut probe) = watch(events) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let program = build(&folder);
    let child = Command::new(program).current_dir(&folder).stdout(Stdio::piped()).spawn().unwrap();
    let own = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "the program ran to its end");
    let output = String::from_utf8(output.stdout).unwrap();
    let (server, client) = output.trim().split_once(' ').unwrap();

    let keep = |seen: &Seen| seen.tgid == own;
    let seen = collect(&mut probe, &keep, &|seen| seen.iter().any(|seen| seen.name == "procexit"));
    let is_told = |seen: &&Seen| {
        let is_mine =
            !matches!(seen.name, "openat" | "procexit" | "prctl") || matches!(seen.detail, Detail::Identity { .. });
        is_mine && !matches!(&seen.detail, Detail::Descriptor { path, .. } if path.contains("/lib"))
    };
    let folder = folder.display().to_string();
    let mine = seen.iter().skip_while(|seen| seen.name != "symlink").filter(is_told);
    let found: Vec<String> = mine
        .map(|seen| without_ports(&line(seen, &folder).replace(server, "SERVER").replace(client, "CLIENT")))
        .collect();
    let expected = include_str!("calls.txt");
    assert_eq!(found.join("\n"), expected.trim_end(), "calls.txt");

    let session = seen.iter().find(|seen| seen.name == "setsid").unwrap();
    assert!(
        matches!(session.detail, Detail::Identity { sid, pgid, effective, .. } if sid == own && pgid == own && effective != 0)
    );
    let sent = seen.iter().find(|seen| seen.name == "pwrite64").unwrap();
    assert!(matches!(&sent.detail, Detail::Descriptor { fd, remote, .. } if *fd > 2 && remote.is_empty()));
    assert_no_loss(&mut probe);
}
