//! Calls with names of files.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, Mode, OFlags};

use bodkin_ebpf::layout::flag;

use super::*;

#[test]
fn files_are_named_from_where_they_were_named() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    std::fs::create_dir(&folder).unwrap_or_default();
    let marker = marker("files");
    let at = |name: &str| folder.join(format!("{marker}{name}"));
    let dir = File::open(&folder).unwrap();
    let name = |name: &str| format!("{marker}{name}");

    drop(File::create(at("-a")).unwrap());
    std::fs::set_permissions(at("-a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(rustix::fs::openat(&dir, name("-a"), OFlags::RDONLY, Mode::empty()).unwrap());
    let resolve = rustix::fs::ResolveFlags::empty();
    drop(rustix::fs::openat2(&dir, name("-a"), OFlags::RDWR, Mode::empty(), resolve).unwrap());
    rustix::fs::openat(CWD, name("-none"), OFlags::RDONLY, Mode::empty()).unwrap_err();
    std::fs::rename(at("-a"), at("-b")).unwrap();
    rustix::fs::renameat(&dir, name("-b"), &dir, name("-c")).unwrap();
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(&dir, name("-c"), CWD, at("-d"), flags).unwrap();
    std::fs::remove_file(at("-d")).unwrap();
    rustix::fs::unlinkat(&dir, name("-d"), rustix::fs::AtFlags::empty()).unwrap_err();

    let base = folder.to_str().unwrap();
    let cwd = std::env::current_dir().unwrap();
    let cwd = cwd.to_str().unwrap();
    let found = lines(&mut probe, &marker, 10);
    assert_eq!(
        found,
        [
            format!("openat ok {base}/{marker}-a"),
            format!("chmod ok {base}/{marker}-a"),
            format!("openat ok {base}|{marker}-a"),
            format!("openat2 ok {base}|{marker}-a"),
            format!("openat {ENOENT} {cwd}|{marker}-none"),
            format!("rename ok {base}/{marker}-a -> {base}/{marker}-b 0"),
            format!("renameat ok {base}|{marker}-b -> {base}|{marker}-c 0"),
            format!("renameat2 ok {base}|{marker}-c -> {base}/{marker}-d 1"),
            format!("unlink ok {base}/{marker}-d"),
            format!("unlinkat {ENOENT} {base}|{marker}-d"),
        ]
    );
}

#[test]
fn an_open_has_flags_and_the_mode_of_what_it_opened() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let marker = marker("mode");
    let path = folder.path().join(&marker);
    std::fs::create_dir(&path).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).unwrap();
    rustix::fs::open(path.join("x"), OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o4711)).unwrap();
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Open { path, .. } if path.contains(&marker));
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 2);
    let modes: Vec<(u64, u32)> = seen
        .iter()
        .map(|seen| {
            let Detail::Open { flags, inode_mode, .. } = seen.detail else { panic!("{seen:?}") };
            (flags, inode_mode & 0o174_000)
        })
        .collect();
    let made = u64::from((OFlags::CREATE | OFlags::WRONLY).bits());
    let asked = u64::from(flags.bits());
    assert_eq!((modes[0].0 & asked, modes[0].1), (asked, 0o040_000), "a folder");
    assert_eq!((modes[1].0 & made, modes[1].1), (made, 0o104_000), "a set-user-id file");
}

#[test]
fn a_deep_folder_is_given_whole_and_a_deeper_one_cut() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = std::fs::canonicalize(folder.path()).unwrap();
    let marker = marker("deep");
    for depth in [20, 60] {
        let deep = (0..depth).fold(folder.clone(), |path, level| path.join(format!("level-{level}")));
        std::fs::create_dir_all(&deep).unwrap();
        let deep = File::open(&deep).unwrap();
        rustix::fs::openat(&deep, marker.as_str(), OFlags::RDONLY, Mode::empty()).unwrap_err();
    }
    let found = lines(&mut probe, &marker, 2);
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with(&format!("openat {ENOENT} {}/level-0/", folder.display())), "{}", found[0]);
    assert!(found[1].starts_with(&format!("openat {ENOENT} .../level-")), "{}", found[1]);
    assert!(found[1].ends_with(&format!("/level-59|{marker}")), "{}", found[1]);
}

#[test]
fn long_names_are_whole_and_too_long_ones_cut() {
    let Some(mut probe) = watch_all() else { return };
    let marker = marker("long");
    let name = |parts: usize| format!("/nowhere/{marker}{}", format!("/{}", "x".repeat(99)).repeat(parts));
    let (longest, too_long) = (name(40), name(45));
    assert!(longest.len() < 4096 && too_long.len() > 4096);
    for name in [&longest, &too_long] {
        rustix::fs::open(name.as_str(), OFlags::RDONLY, Mode::empty()).unwrap_err();
    }
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Open { path, .. } if path.contains(&marker));
    let seen = collect(&mut probe, &keep, &|seen| seen.len() >= 2);
    let found: Vec<(String, i64, bool)> = seen
        .iter()
        .map(|seen| match &seen.detail {
            Detail::Open { path, .. } => (path.clone(), seen.ret, seen.flags & flag::TRUNCATED != 0),
            _ => panic!("{seen:?}"),
        })
        .collect();
    const ENAMETOOLONG: i64 = -36;
    assert_eq!(found, [(longest, ENOENT, false), (too_long[..4095].to_owned(), ENAMETOOLONG, true)]);
}

#[test]
fn a_name_has_the_bytes_that_the_call_had() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let Some(mut probe) = watch_all() else { return };
    let raw = [format!("/nowhere/{}", marker("bytes")).as_bytes(), b"-\xff\xfe\n\x80"].concat();
    std::fs::read(OsString::from_vec(raw.clone())).unwrap_err();
    let mut found = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !found && Instant::now() < deadline {
        probe.drain(&mut |event| found |= matches!(&event.body, Body::Open(open) if open.name.raw == raw));
        probe.wait(Duration::from_millis(2)).unwrap();
    }
    assert!(found, "byte by byte");
}

#[test]
fn a_call_of_a_thread_has_its_number_and_that_of_its_process() {
    let Some(mut probe) = watch_all() else { return };
    let name = format!("/nowhere/{}", marker("thread"));
    let path = name.clone();
    let call = move || {
        std::fs::read(path).unwrap_err();
        rustix::thread::gettid().as_raw_nonzero().get() as u32
    };
    let tid = std::thread::spawn(call).join().unwrap();
    let keep = |seen: &Seen| matches!(&seen.detail, Detail::Open { path, .. } if *path == name);
    let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
    assert_eq!((seen.len(), seen[0].tgid, seen[0].tid), (1, std::process::id(), tid));
    assert_ne!(tid, std::process::id());
}
