use proptest::prelude::*;

use super::*;
use crate::layout::kind;

/// Bytes of an event, field by field.
struct Record(Vec<u8>);

impl Record {
    fn new(kind: u16, body: usize) -> Self {
        let mut record = Self(vec![0; size_of::<Head>() + body]);
        record.put(offset_of!(Head, kind), &kind.to_ne_bytes());
        record.put(offset_of!(Head, nargs), &[(body / 8) as u8]);
        record
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn field(&mut self, at: usize, bytes: &[u8]) {
        self.put(size_of::<Head>() + at, bytes);
    }

    fn text(&mut self, len_at: usize, text: &[u8]) {
        self.field(len_at, &(text.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(text);
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.0.len() as u16;
        self.put(offset_of!(Head, len), &len.to_ne_bytes());
        self.0
    }
}

fn exec_record() -> Vec<u8> {
    let mut record = Record::new(kind(family::EXEC, 1), size_of::<ExecBody>());
    record.put(offset_of!(Head, boot_ns), &77_u64.to_ne_bytes());
    record.put(offset_of!(Head, tgid), &4242_u32.to_ne_bytes());
    record.field(offset_of!(ExecBody, ppid), &41_u32.to_ne_bytes());
    record.field(offset_of!(ExecBody, loginuid), &u32::MAX.to_ne_bytes());
    record.field(offset_of!(ExecBody, ids) + offset_of!(Ids, vpid), &7_u32.to_ne_bytes());
    record.field(offset_of!(ExecBody, caps) + offset_of!(Capabilities, effective), &(1_u64 << 21).to_ne_bytes());
    record.field(offset_of!(ExecBody, exe_ino), &99_u64.to_ne_bytes());
    record.field(offset_of!(ExecBody, parts), &part::CUT_3.to_ne_bytes());
    record.field(offset_of!(ExecBody, comm), b"ls\0");
    record.field(offset_of!(ExecBody, parent_comm), b"sixteen-bytes-co");
    record.text(offset_of!(ExecBody, exe_len), b"ls\0bin\0usr\0");
    record.text(offset_of!(ExecBody, argv_len), b"ls\0-l\0\0");
    record.text(offset_of!(ExecBody, env_len), b"HOME=/\0");
    record.text(offset_of!(ExecBody, cwd_len), b"");
    record.text(offset_of!(ExecBody, cgroup_len), b"pod\0");
    record.finish()
}

fn rename_record() -> Vec<u8> {
    let mut record = Record::new(kind(family::PATHS, number("renameat2")), size_of::<PathsBody>());
    record.put(offset_of!(Head, ret), &(-2_i64).to_ne_bytes());
    record.field(offset_of!(PathsBody, args) + 32, &1_u64.to_ne_bytes());
    record.field(offset_of!(PathsBody, parts), &(part::HAS_NAME2 | part::HAS_BASE2).to_ne_bytes());
    record.text(offset_of!(PathsBody, name_len), b"/a/b");
    record.text(offset_of!(PathsBody, base_len), b"");
    record.text(offset_of!(PathsBody, name2_len), b"c");
    record.text(offset_of!(PathsBody, base2_len), b"tmp\0");
    record.finish()
}

fn socket_record(path: &[u8]) -> Vec<u8> {
    let mut record = Record::new(kind(family::SOCKET, number("accept4")), size_of::<SocketBody>());
    record.field(offset_of!(SocketBody, fd), &(-1_i32).to_ne_bytes());
    record.field(offset_of!(SocketBody, remote_port), &443_u16.to_ne_bytes());
    record.field(offset_of!(SocketBody, remote), &[127, 0, 0, 1]);
    record.text(offset_of!(SocketBody, path_len), path);
    record.text(offset_of!(SocketBody, data_len), b"GET /");
    record.finish()
}

fn descriptor_record() -> Vec<u8> {
    let mut record = Record::new(kind(family::DESCRIPTOR, number("memfd_create")), size_of::<DescriptorBody>());
    record.field(offset_of!(DescriptorBody, args) + 8, &1_u64.to_ne_bytes());
    record.field(offset_of!(DescriptorBody, parts), &part::CUT_1.to_ne_bytes());
    record.field(offset_of!(DescriptorBody, socket) + offset_of!(SocketBody, fd), &5_i32.to_ne_bytes());
    record.text(offset_of!(DescriptorBody, base_len), b"memfd:x\0");
    record.text(offset_of!(DescriptorBody, text_len), b"x");
    record.finish()
}

fn number(name: &str) -> u16 {
    call::by_name(name).unwrap()
}

fn records() -> Vec<Vec<u8>> {
    let mut open = Record::new(kind(family::OPEN, 9), size_of::<OpenBody>());
    open.field(offset_of!(OpenBody, parts), &part::HAS_BASE.to_ne_bytes());
    open.text(offset_of!(OpenBody, name_len), b"x");
    open.text(offset_of!(OpenBody, base_len), b"etc\0");
    let mut fork = Record::new(kind(family::FORK, 5), size_of::<ForkBody>());
    fork.text(offset_of!(ForkBody, cgroup_len), b"a\0");
    let exit = Record::new(kind(family::EXIT, call::PROCEXIT), size_of::<ExitBody>());
    let identity = Record::new(kind(family::IDENTITY, number("setuid")), size_of::<IdentityBody>());
    let plain = Record::new(kind(family::PLAIN, call::NATIVE_BASE + 1), size_of::<PlainBody>());
    let mut moved = Record::new(kind(family::MOVE, call::CGROUP_MOVE), size_of::<MoveBody>());
    moved.text(offset_of!(MoveBody, cgroup_len), b"a\0");
    let others = [open, fork, exit, identity, plain, moved].map(Record::finish);
    let texts = [exec_record(), rename_record(), socket_record(b"/run/x\0"), descriptor_record()];
    texts.into_iter().chain(others).collect()
}

#[test]
fn an_exec_has_all_its_texts() {
    let bytes = exec_record();
    let event = decode(&bytes).unwrap();
    assert_eq!((event.name, event.head.boot_ns, event.head.tgid), ("execve", 77, 4242));
    assert_eq!(boot_ns(&bytes), Some(77));
    let Body::Exec(exec) = event.body else { panic!("not an exec: {event:?}") };
    assert_eq!(exec.ppid, 41);
    assert_eq!((exec.comm, exec.parent_comm), (&b"ls"[..], &b"sixteen-bytes-co"[..]));
    assert_eq!(exec.exe, Components { bytes: b"ls\0bin\0usr\0", truncated: false });
    assert_eq!((exec.argv, exec.env), (&b"ls\0-l\0\0"[..], &b"HOME=/\0"[..]));
    assert_eq!((exec.ids.vpid, exec.caps.effective, exec.file.ino), (7, 1 << 21, 99));
    assert_eq!(exec.cwd, Components { bytes: b"", truncated: true });
    assert_eq!(exec.cgroup, Components { bytes: b"pod\0", truncated: false });
}

#[test]
fn a_rename_has_two_names() {
    let bytes = rename_record();
    let event = decode(&bytes).unwrap();
    assert_eq!((event.name, event.head.ret), ("renameat2", -2));
    let Body::Paths(paths) = event.body else { panic!("not paths: {event:?}") };
    assert_eq!(paths.name, Name { raw: b"/a/b", base: None });
    let base = Components { bytes: b"tmp\0", truncated: false };
    assert_eq!(paths.name2, Some(Name { raw: b"c", base: Some(base) }));
    assert_eq!(paths.args, [0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_unix_path_ends_at_nul_and_an_abstract_name_does_not() {
    for (given, expected) in [(&b"/run/x\0"[..], &b"/run/x"[..]), (b"\0abs\0x", b"\0abs\0x"), (b"", b"")] {
        let bytes = socket_record(given);
        let Body::Socket(socket) = decode(&bytes).unwrap().body else { panic!("not a socket") };
        assert_eq!((socket.unix_path, socket.data), (expected, &b"GET /"[..]));
        assert_eq!((socket.fd, socket.remote_port, &socket.remote[..4]), (-1, 443, &[127, 0, 0, 1][..]));
    }
}

#[test]
fn a_descriptor_has_its_file_and_the_text_of_the_call() {
    let bytes = descriptor_record();
    let event = decode(&bytes).unwrap();
    let Body::Descriptor(descriptor) = &event.body else { panic!("not a descriptor: {event:?}") };
    assert_eq!((event.name, descriptor.socket.fd, descriptor.args[1]), ("memfd_create", 5, 1));
    assert_eq!(descriptor.path, Components { bytes: b"memfd:x\0", truncated: true });
    assert_eq!(descriptor.text, b"x");
}

#[test]
fn a_call_that_is_not_known_has_its_name_of_the_tables() {
    let name = |number: u16| {
        let record = Record::new(kind(family::PLAIN, number), size_of::<PlainBody>()).finish();
        decode(&record).map(|event| event.name).ok()
    };
    let getppid = u16::try_from(Abi::NATIVE.number("getppid").unwrap()).unwrap();
    assert_eq!(name(call::NATIVE_BASE + getppid), Some("getppid"));
    assert_eq!((name(call::NATIVE_BASE + 500), name(call::COMPAT_BASE + 1000)), (None, None));
    let record = Record::new(kind(family::PATHS, call::NATIVE_BASE + getppid), size_of::<PathsBody>()).finish();
    assert!(decode(&record).is_err(), "only plain calls");
}

#[test]
fn what_does_not_fit_is_refused() {
    let with = |at: usize, bytes: &[u8]| {
        let mut record = Record(exec_record());
        record.put(at, bytes);
        decode(&record.0).map(|event| event.name)
    };
    let body = size_of::<Head>();
    let too_long = (exec_record().len() as u16 + 1).to_ne_bytes();
    assert!(matches!(with(offset_of!(Head, len), &too_long), Err(DecodeError::Short { .. })));
    assert!(matches!(with(offset_of!(Head, len), &[9, 0]), Err(DecodeError::Short { .. })));
    assert!(matches!(with(offset_of!(Head, kind), &kind(11, 1).to_ne_bytes()), Err(DecodeError::Kind { .. })));
    assert!(
        matches!(with(offset_of!(Head, kind), &kind(family::FORK, 1).to_ne_bytes()), Err(DecodeError::Kind { .. })),
        "execve is no fork"
    );
    assert!(matches!(
        with(offset_of!(Head, kind), &kind(family::EXEC, 0).to_ne_bytes()),
        Err(DecodeError::Kind { .. })
    ));
    assert!(matches!(with(offset_of!(Head, nargs), &[0]), Err(DecodeError::Arguments { .. })));
    let texts = DecodeError::Text { kind: kind(family::EXEC, 1) };
    assert_eq!(with(body + offset_of!(ExecBody, argv_len), &[255, 255]), Err(texts));
    assert_eq!(with(body + offset_of!(ExecBody, exe_len), &[2, 0]), Err(texts), "components end with NUL");
}

// SAFE-1: no bytes panic the decoder.
#[test]
fn every_prefix_and_every_changed_byte_is_survived() {
    for record in records() {
        assert!(decode(&record).is_ok());
        for cut in 0..record.len() {
            assert!(decode(&record[..cut]).is_err(), "a prefix is not an event");
        }
        for at in 0..record.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = record.clone();
                changed[at] = value;
                let _ = decode(&changed);
            }
        }
    }
}

proptest! {
    // SAFE-1: random bytes behind a plausible head; what decodes lies inside the record.
    #[test]
    fn random_bytes_are_survived(
        family in 0u16..12, call in 0u16..2048, nargs in 0u8..20, len in 0u16..400,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = bytes;
        let fields: [(usize, Vec<u8>); 3] = [
            (offset_of!(Head, kind), kind(family, call).to_ne_bytes().to_vec()),
            (offset_of!(Head, nargs), vec![nargs]),
            (offset_of!(Head, len), len.to_ne_bytes().to_vec()),
        ];
        for (at, value) in fields {
            if let Some(slot) = bytes.get_mut(at..at + value.len()) {
                slot.copy_from_slice(&value);
            }
        }
        if let Ok(event) = decode(&bytes) {
            prop_assert!(usize::from(event.head.len) <= bytes.len());
            prop_assert!(!event.name.is_empty());
        }
    }
}
