//! Calls of 32-bit programs, whose numbers mean something else.

use std::path::Path;
use std::process::Command;

use bodkin_ebpf::layout::flag;

use super::*;

/// Without a C library, so that no 32-bit one is needed. 102 is socketcall: 1 socket, 3 connect.
const SOURCE: &str = r#"
static int call5(int nr, long a, long b, long c, long d, long e)
{
	int ret;
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return ret;
}
#define call(nr, a, b, c, d) call5(nr, a, b, c, d, 0)
void _start(void)
{
	struct { unsigned short family, port; unsigned char ip[4], rest[8]; } to = { 2, 0x0100, { 127, 0, 0, 1 } };
	long socket[] = { 2, 1, 0 };
	call(5, (long)("/nowhere/" MARKER "-open"), 0, 0, 0);
	call(8, (long)("/nowhere/" MARKER "-creat"), 0600, 0, 0);
	call(295, -100, (long)(MARKER "-openat"), 0, 0);
	call(38, (long)("/nowhere/" MARKER "-from"), (long)("/nowhere/" MARKER "-to"), 0, 0);
	call(10, (long)("/nowhere/" MARKER "-unlink"), 0, 0, 0);
	call(11, (long)("/nowhere/" MARKER "-execve"), 0, 0, 0);
	long fd = call(102, 1, (long)socket, 0, 0);
	long connect[] = { fd, (long)&to, 16 };
	call(102, 3, (long)connect, 0, 0);
	call(362, fd, (long)&to, 16, 0);
	char *argv[] = { MARKER "-execveat", 0 };
	int bin = call(5, (long)"/bin", 0, 0, 0);
	call5(358, bin, (long)"true", (long)argv, 0, 0);
	call(1, 1, 0, 0, 0);
}
"#;

/// Builds the program with the compiler that the kernel programs need anyway; None where it has no 32-bit side.
fn build(folder: &Path, marker: &str) -> Option<std::path::PathBuf> {
    let source = folder.join("calls.c");
    std::fs::write(&source, SOURCE).unwrap();
    let program = folder.join("calls");
    let built = Command::new("clang")
        .args(["-m32", "-O1", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-no-pie"])
        .arg(format!("-DMARKER=\"{marker}\""))
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output();
    built.is_ok_and(|output| output.status.success()).then_some(program)
}

#[test]
fn calls_of_a_32_bit_program_have_their_own_names() {
    let Some(mut probe) = watch_all() else { return };
    let folder = tempfile::tempdir().unwrap();
    let marker = marker("compat");
    let Some(program) = build(folder.path(), &marker) else {
        assert!(std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "no 32-bit program can be built");
        return;
    };
    let mut child = match Command::new(&program).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("not tested here: the kernel runs no 32-bit programs: {error}");
            return;
        }
    };
    child.wait().unwrap();
    let own = child.id();
    let keep = |seen: &Seen| seen.tgid == own;
    let seen = collect(&mut probe, &keep, &|seen| seen.iter().any(|seen| seen.name == "procexit"));
    let seen: Vec<Seen> = seen.into_iter().skip_while(|seen| seen.name != "execve").collect();
    let (start, calls) = seen.split_first().unwrap();
    assert!(matches!(&start.detail, Detail::Exec { exe, .. } if exe.ends_with("/calls")), "{start:?}");
    // At last it becomes a 64-bit program, by a descriptor and a name.
    let next = calls.iter().position(|seen| seen.name == "execveat").unwrap();
    let (calls, after) = calls.split_at(next);
    let marked = format!("{marker}-execveat");
    let expected = std::fs::canonicalize("/bin/true").unwrap();
    let Detail::Exec { exe, argv, comm, .. } = &after[0].detail else { panic!("{after:?}") };
    assert_eq!((Path::new(exe), argv, comm.as_str()), (expected.as_path(), &vec![marked], "true"));
    assert_eq!(after.last().map(|end| (end.name, end.ret)), Some(("procexit", 0)));
    assert!(after.iter().all(|seen| seen.flags & flag::COMPAT == 0));
    let cwd = std::env::current_dir().unwrap();
    let is_socket = |seen: &Seen| seen.name == "socket";
    let socket = calls.iter().find(|seen| is_socket(seen)).unwrap();
    assert!(matches!(&socket.detail, Detail::Descriptor { args: [2, 1, 0, ..], .. }), "{socket:?}");
    let found: Vec<String> = calls.iter().filter(|seen| !is_socket(seen)).map(Seen::line).collect();
    assert_eq!(
        found,
        [
            format!("open {ENOENT} /nowhere/{marker}-open"),
            format!("creat {ENOENT} /nowhere/{marker}-creat"),
            format!("openat {ENOENT} {}|{marker}-openat", cwd.display()),
            format!("rename {ENOENT} /nowhere/{marker}-from -> /nowhere/{marker}-to 0"),
            format!("unlink {ENOENT} /nowhere/{marker}-unlink"),
            format!("execve {ENOENT} /nowhere/{marker}-execve"),
            format!("connect {ECONNREFUSED} 0.0.0.0:0 -> 127.0.0.1:1"),
            format!("connect {ECONNREFUSED} 0.0.0.0:0 -> 127.0.0.1:1"),
            "open ok /bin".to_string(),
        ]
    );
    assert!(calls.iter().all(|seen| seen.flags & flag::COMPAT != 0));
}
