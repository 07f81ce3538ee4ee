use super::*;
use crate::process::users::Users;
use crate::process::{Limits, ProcFs, Process};
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::util::display::array_value_to_string;
use bodkin_ebpf::event::{Components, Descriptor, ExeFile, Exec, Fork, Identity, Name, Open, Paths, Socket};
use bodkin_ebpf::layout::{Capabilities, Ids, layer};
use bodkin_schema::check_compatible;

const HEAD: Head = Head {
    boot_ns: 5_000_000_999,
    seq: 7,
    tid: 43,
    tgid: 42,
    cgroup_id: 9,
    ret: 3,
    kind: 0,
    len: 64,
    cpu: 1,
    flags: 0,
    nargs: 0,
    uid: 1000,
    pad: 0,
    gid: 4,
    ppid: 1,
};

fn builder() -> EventsBuilder {
    let incarnation = Incarnation(77);
    EventsBuilder::new(Origin { host: "h".into(), host_id: "id".into(), incarnation })
}

/// A table in which init (1) is the parent of bash (42), and two users and groups.
fn table(root: &std::path::Path) -> ProcessTable {
    std::fs::write(root.join("passwd"), "root:x:0:0::/root:/bin/sh\nal:x:1000:4::/home/al:/bin/bash\n").unwrap();
    std::fs::write(root.join("group"), "adm:x:4:\n").unwrap();
    let mut table = ProcessTable::new(Limits::default(), ProcFs::at(root), Users::open(root.join("passwd")));
    let process = |pid: u32, ppid, comm: &str| {
        let mut process = Process::unknown(pid);
        (process.ppid, process.comm, process.arg0) = (ppid, Some(comm.into()), Some(format!("-{comm}").into()));
        process.set_argv(format!("-{comm}\0-c\0x").as_bytes());
        process.ids = Ids { pgid: pid, sid: 1, vpid: pid, vpgid: pid };
        (process.uid, process.gid, process.loginuid, process.start_ns) = (Some(1000), Some(4), Some(0), 1_000);
        process
    };
    table.put(process(1, None, "init"));
    table.put(process(42, Some(1), "bash"));
    table
}

/// The rows of events as one batch.
fn rows(events: &[Event<'_>]) -> RecordBatch {
    let root = tempfile::tempdir().unwrap();
    let (mut table, mut sockets, mut builder) = (table(root.path()), SocketTable::default(), builder());
    for event in events {
        table.apply(event);
        builder.append(event, &mut table, &mut sockets, 1_000).unwrap();
    }
    assert_eq!(builder.rows(), events.len());
    let batch = builder.finish(&|_| None).unwrap();
    assert_eq!(check_compatible(&Stream::Events.schema(), &batch.schema()), Ok(()));
    assert_eq!((builder.rows(), builder.text_bytes()), (0, 0));
    batch
}

fn event(name: &'static str, body: Body<'static>) -> Event<'static> {
    Event { head: HEAD, name, body }
}

fn name(raw: &'static [u8], base: Option<&'static [u8]>) -> Name<'static> {
    Name { raw, base: base.map(|bytes| Components { bytes, truncated: false }) }
}

fn walk(bytes: &'static [u8]) -> Components<'static> {
    Components { bytes, truncated: false }
}

fn paths(call: &'static str, raw: &'static [u8], raw2: Option<&'static [u8]>, args: [u64; 6]) -> Event<'static> {
    let name2 = raw2.map(|raw| name(raw, Some(b"tmp\0")));
    event(call, Body::Paths(Paths { name: name(raw, Some(b"tmp\0")), name2, args }))
}

fn descriptor(call: &'static str, mode: u16, path: &'static [u8], args: [u64; 6]) -> Event<'static> {
    let truncated = mode == 0;
    let socket = Socket { fd: 5, family: 2, remote_port: 53, ino: 8, state: 7, protocol: 17, ..Socket::default() };
    let path = Components { bytes: path, truncated };
    event(
        call,
        Body::Descriptor(Descriptor { inode_mode: mode, path, args, ino: 8, dev: 1, text: b"x", socket, layer: 0 }),
    )
}

fn socket(name: &'static str, family: u16, unix_path: &'static [u8]) -> Event<'static> {
    let local = [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let body = Socket {
        fd: 4,
        family,
        protocol: 6,
        local,
        local_port: 5432,
        ino: 7,
        state: 1,
        unix_path,
        ..Socket::default()
    };
    event(name, Body::Socket(body))
}

/// The cells of `column`, nulls as `-`.
fn cells(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = batch.column_by_name(column).unwrap();
    let array = match array.data_type() {
        DataType::List(item) if item.data_type() != &DataType::Int32 => {
            let plain = DataType::List(Arc::new(Field::new("item", DataType::Utf8, false)));
            cast(array, &plain).unwrap()
        }
        _ => array.clone(),
    };
    let cell = |row| if array.is_null(row) { "-".into() } else { array_value_to_string(&array, row).unwrap() };
    (0..array.len()).map(cell).collect()
}

#[test]
fn every_kind_of_event_makes_one_row() {
    let exec = Exec {
        ppid: 1,
        comm: b"bash",
        parent_comm: b"init",
        exe: walk(b"bash\0"),
        argv: b"bash\0",
        env: b"A=1\0B=2\0",
        loginuid: u32::MAX,
        ..Exec::default()
    };
    let fork = Fork { child_tgid: 3, comm: b"bash", clone_flags: 0x4100, ..Fork::default() };
    let open = |name, flags, inode_mode| Open { name, flags, mode: 0o644, inode_mode, ino: 8, dev: 1, layer: 1 };
    let batch = rows(&[
        event("execve", Body::Exec(exec)),
        event("clone", Body::Fork(fork)),
        event("procexit", Body::Exit(Exit::default())),
        event("openat", Body::Open(open(name(b"../x", Some(b"b\0a\0")), 0o2_000_101, 0o100_644))),
        event("openat", Body::Open(open(name(b"/", None), 0o200_000, 0o040_755))),
        paths("renameat2", b"a", Some(b"/tmp/b"), [0, 0, 0, 0, 1, 0]),
        socket("accept4", 2, b""),
        socket("connect", 1, b"\0abstract"),
    ]);
    let expected = [
        ("ts_ns", "5000001999 5000001999 5000001999 5000001999 5000001999 5000001999 5000001999 5000001999"),
        ("evt_type", "execve clone procexit openat openat renameat2 accept4 connect"),
        ("path", "- - - /a/x / /tmp/a - @abstract"),
        ("path2", "- - - - - /tmp/b - -"),
        ("path_raw", "- - - ../x / a - -"),
        ("path2_raw", "- - - - - /tmp/b - -"),
        ("fd", "- - - 3 3 - 4 4"),
        ("fd_type", "- - - file directory - ipv4 unix"),
        ("fd_ino", "- - - 8 8 - 7 7"),
        ("fd_dev", "- - - 1 1 - - -"),
        ("fd_is_upper_layer", "- - - true true - - -"),
        ("fd_is_server", "- - - - - - true -"),
        ("mode", "- - - 420 - - - -"),
        ("proto", "- - - - - - tcp unix"),
        ("local_addr", "- - - - - - 127.0.0.1 -"),
        ("local_port", "- - - - - - 5432 -"),
        ("remote_addr", "- - - - - - - -"),
        ("comm", "bash bash bash bash bash bash bash bash"),
        ("container_id", "host host host host host host host host"),
        ("result", "3 3 3 3 3 3 3 3"),
        ("host", "h h h h h h h h"),
        ("incarnation", "77 77 77 77 77 77 77 77"),
        ("truncated", "false false false false false false false false"),
    ];
    for (column, values) in expected {
        assert_eq!(cells(&batch, column).join(" "), values, "{column}");
    }
    assert_eq!(cells(&batch, "env")[..2], ["A=1 B=2", "-"]);
    let flags = "-,CLONE_VM|CLONE_VFORK,-,O_CREAT|O_WRONLY|O_CLOEXEC,O_DIRECTORY|O_RDONLY,RENAME_NOREPLACE,-,-";
    assert_eq!(cells(&batch, "flags").join(","), flags);
    let ts = batch.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(ts.value(0), 5_000_001);
}

#[test]
fn calls_have_their_paths_modes_and_arguments() {
    let batch = rows(&[
        paths("symlink", b"/tmp/link", Some(b"../etc"), [0; 6]),
        paths("mount", b"/mnt", Some(b"proc"), [0, 0, 0, 0x1000, 0, 0]),
        paths("fchmodat", b"x", None, [0, 0, 0o4755, 0, 0, 0]),
        paths("chdir", b"x", None, [0; 6]),
        event("ptrace", Body::Plain([16, 99, 0, 0, 0, 0])),
        event("setuid", Body::Identity(Identity { args: [0; 6], comm: b"bash", ..Identity::default() })),
        descriptor("socket", 0o140_777, b"", [17, 3, 768, 0, 0, 0]),
        descriptor("bpf", 0, b"bpf-prog\0", [5, 0, 0, 0, 0, 0]),
        descriptor("fchmod", 0o100_644, b"f\0tmp\0", [5, 0o644, 0, 0, 0, 0]),
        descriptor("write", 0o010_600, b"", [5, 0, 1, 0, 0, 0]),
    ]);
    let expected = [
        ("path", "/etc /mnt /tmp/x /tmp/x - - - - /tmp/f -"),
        ("path2", "/tmp/link - - - - - - - - -"),
        ("path_raw", "../etc /mnt x x - - - - - -"),
        ("path2_raw", "/tmp/link proc - - - - - - - -"),
        ("mode", "- - 2541 - - - - - 420 -"),
        ("flags", "- BIND - - - - - - - -"),
        ("fd", "- - - - - - 5 5 5 5"),
        ("fd_type", "- - - - - - ipv4 bpf file pipe"),
        ("remote_port", "- - - - - - 53 - - -"),
        ("fd_name_changed", "- - - - - - true - - -"),
    ];
    for (column, values) in expected {
        assert_eq!(cells(&batch, column).join(" "), values, "{column}");
    }
    let arguments = [
        "{target: ../etc}",
        "{dev: proc}",
        "-",
        "-",
        "{request: PTRACE_ATTACH, pid: 99}",
        "{uid: root}",
        "{domain: AF_PACKET, type: 3, proto: 768}",
        "{cmd: BPF_PROG_LOAD}",
        "-",
        "{size: 1}",
    ];
    assert_eq!(cells(&batch, "evt_args"), arguments);
    assert_eq!(cells(&batch, "buffer").last().map(String::as_str), Some("78"));
}

#[test]
fn a_row_says_who_its_process_is() {
    let file = ExeFile {
        ino: 9,
        ctime_ns: 1,
        mtime_ns: 2,
        mode: 0o755,
        uid: 1000,
        layer: layer::UPPER | layer::MEMFD,
        ..ExeFile::default()
    };
    let exec = Exec {
        ppid: 1,
        comm: b"ls",
        parent_comm: b"init",
        argv: b"ls\0",
        ids: Ids { pgid: 42, sid: 1, vpid: 2, vpgid: 2 },
        caps: Capabilities { permitted: 3, effective: 2, inheritable: 0 },
        start_ns: 5,
        file,
        ..Exec::default()
    };
    let mut start = event("execve", Body::Exec(exec));
    start.head.tid = 42;
    let batch = rows(&[start, event("getppid", Body::Plain([0; 6]))]);
    let expected = [
        ("ppid", "1 1"),
        ("pname", "init init"),
        ("user", "al al"),
        ("user_home", "/home/al /home/al"),
        ("user_shell", "/bin/bash /bin/bash"),
        ("gid", "4 4"),
        ("group", "adm adm"),
        ("login_user", "root root"),
        ("ancestor_pids", "[1] [1]"),
        ("ancestor_names", "[init] [init]"),
        ("ancestor_exes", "[-init] [-init]"),
        ("vpid", "2 2"),
        ("vtid", "2 -"),
        ("pvpid", "1 1"),
        ("pgid_name", "ls ls"),
        ("sid", "1 1"),
        ("sid_name", "init init"),
        ("sid_exe", "-init -init"),
        ("cap_effective", "CAP_DAC_OVERRIDE CAP_DAC_OVERRIDE"),
        ("cap_inheritable", " "),
        ("exe_ino", "9 9"),
        ("exe_is_writable", "true true"),
        ("exe_is_upper_layer", "true true"),
        ("exe_is_lower_layer", "false false"),
        ("exe_is_memfd", "true true"),
        ("proc_start_ns", "1005 1005"),
        ("parent_start_ns", "2000 2000"),
        ("pidns_start_ns", "- -"),
        ("login_shell_pid", "- -"),
    ];
    for (column, values) in expected {
        assert_eq!(cells(&batch, column).join(" "), values, "{column}");
    }
    assert_eq!(cells(&batch, "ancestor_cmdlines"), ["[init -c x]", "[init -c x]"]);
    assert_eq!(cells(&batch, "flags")[0], "EXE_WRITABLE|EXE_UPPER_LAYER|EXE_FROM_MEMFD");
}

#[test]
fn a_process_is_told_again_in_the_next_batch_and_after_a_change() {
    let root = tempfile::tempdir().unwrap();
    let (mut table, mut sockets, mut builder) = (table(root.path()), SocketTable::default(), builder());
    let plain = event("getppid", Body::Plain([0; 6]));
    let renamed = Identity { comm: b"other", ..Identity::default() };
    let mut rename = event("prctl", Body::Identity(renamed));
    rename.head.tid = 42;
    for event in [&plain, &plain, &rename, &plain] {
        table.apply(event);
        builder.append(event, &mut table, &mut sockets, 0).unwrap();
    }
    let first = builder.finish(&|_| None).unwrap();
    assert_eq!(cells(&first, "comm"), ["bash", "bash", "other", "other"]);
    assert_eq!(first.column_by_name("comm").unwrap().as_any_dictionary().values().len(), 2);
    builder.append(&plain, &mut table, &mut sockets, 0).unwrap();
    assert_eq!(cells(&builder.finish(&|_| None).unwrap(), "cmdline"), ["-bash -c x"]);
    assert_eq!(builder.finish(&|_| None).unwrap().num_rows(), 0);
}

#[test]
fn a_failed_open_has_a_path_and_no_descriptor() {
    let open = Open { name: name(b"/no\xff", None), ..Open::default() };
    let mut failed = event("open", Body::Open(open));
    failed.head.ret = -2;
    failed.head.flags = flag::TRUNCATED;
    let batch = rows(&[failed]);
    assert_eq!((cells(&batch, "fd"), cells(&batch, "fd_type")), (vec!["-".to_owned()], vec!["-".to_owned()]));
    assert_eq!(cells(&batch, "path"), ["/no\u{fffd}"]);
    assert_eq!((cells(&batch, "result"), cells(&batch, "truncated")), (vec!["-2".to_owned()], vec!["true".to_owned()]));
}

#[test]
fn an_address_that_is_known_by_a_name_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (mut table, mut sockets, mut builder) = (table(root.path()), SocketTable::default(), builder());
    let mut names = crate::host_names::NamesByAddress::default();
    names.insert([127, 0, 0, 1].into(), "localhost".into());
    sockets.set_names(Arc::new(names));
    let connect = socket("connect", 2, b"");
    table.apply(&connect);
    builder.append(&connect, &mut table, &mut sockets, 0).unwrap();
    let batch = builder.finish(&|_| None).unwrap();
    assert_eq!(
        (cells(&batch, "local_name"), cells(&batch, "remote_name")),
        (vec!["localhost".into()], vec!["-".into()])
    );
}

#[test]
fn a_row_says_what_is_known_of_its_container() {
    let root = tempfile::tempdir().unwrap();
    let (mut table, mut sockets, mut builder) = (table(root.path()), SocketTable::default(), builder());
    let digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let cgroup = format!("{digits}\0docker\0");
    let moved = Event {
        head: HEAD,
        name: "cgroup_move",
        body: Body::Move(Components { bytes: cgroup.as_bytes(), truncated: false }),
    };
    let plain = event("getppid", Body::Plain([0; 6]));
    for event in [&plain, &moved, &plain] {
        table.apply(event);
        builder.append(event, &mut table, &mut sockets, 0).unwrap();
    }
    let labels = std::collections::BTreeMap::from([("io.kubernetes.pod.name".to_owned(), "p".to_owned())]);
    let info = crate::containers::ContainerInfo {
        name: Some("web".into()),
        image_repository: Some("nginx".into()),
        is_privileged: Some(true),
        labels,
        ..Default::default()
    };
    let info = Arc::new(info);
    let batch = builder.finish(&|id| (id == &digits[..12]).then(|| info.clone())).unwrap();
    assert_eq!(check_compatible(&Stream::Events.schema(), &batch.schema()), Ok(()));
    assert_eq!(cells(&batch, "container_id"), ["host", &digits[..12], &digits[..12]]);
    assert_eq!(cells(&batch, "container_full_id"), ["-", digits, digits]);
    assert_eq!(cells(&batch, "container_image_repository"), ["-", "nginx", "nginx"]);
    assert_eq!(cells(&batch, "container_privileged"), ["-", "true", "true"]);
    assert_eq!(cells(&batch, "k8s_pod"), ["-", "p", "p"]);
    assert_eq!(cells(&batch, "container_labels")[2], "{io.kubernetes.pod.name: p}");
    assert_eq!(cells(&batch, "container_image_tag"), ["-", "-", "-"]);
}
