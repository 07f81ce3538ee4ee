//! Numbers and names of system calls, and the tables by which the programs know the calls that are wanted.

use crate::call;
use crate::layout::{CALLS, SOCKETCALLS, WANTED, family, kind};
use crate::syscall_tables::{AARCH64, I386, X86_64};

/// A set of system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, as a 64-bit kernel serves it.
    I386,
    /// 64-bit ARM.
    Aarch64,
}

impl Abi {
    /// The numbers of this machine's 64-bit programs.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// The numbers of the 32-bit programs that this machine runs too, where the kernel programs tell their calls.
    pub const COMPAT: Option<Self> = if cfg!(target_arch = "x86_64") { Some(Self::I386) } else { None };

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => X86_64,
            Self::I386 => I386,
            Self::Aarch64 => AARCH64,
        }
    }

    /// The name of a number.
    pub fn name(self, number: usize) -> Option<&'static str> {
        self.names().get(number).copied().filter(|name| !name.is_empty())
    }

    /// The number of a name; O(n).
    pub fn number(self, name: &str) -> Option<usize> {
        self.names().iter().position(|known| !known.is_empty() && *known == name)
    }
}

/// Names of the events that the programs can export: the known ones, and every other system call of this machine.
pub fn exportable() -> impl Iterator<Item = &'static str> {
    let known = call::ALL.iter().map(|call| call.name).filter(|name| !name.is_empty());
    let native = Abi::NATIVE.names().iter().copied();
    let compat =
        Abi::COMPAT.map_or(&[][..], Abi::names).iter().copied().filter(|name| Abi::NATIVE.number(name).is_none());
    known.chain(native.chain(compat).filter(|name| !name.is_empty() && call::by_name(canonical(name)).is_none()))
}

/// Says whether [`exportable`] has that name; O(n).
pub fn is_exportable(name: &str) -> bool {
    let is_call = |abi: Abi| abi.number(name).is_some();
    call::by_name(name).is_some() || is_call(Abi::NATIVE) || Abi::COMPAT.is_some_and(is_call)
}

/// Numbers of i386 socketcall.
const SOCKETCALL: [(usize, &str); 10] = [
    (1, "socket"),
    (2, "bind"),
    (3, "connect"),
    (4, "listen"),
    (5, "accept"),
    (11, "sendto"),
    (12, "recvfrom"),
    (16, "sendmsg"),
    (17, "recvmsg"),
    (18, "accept4"),
];

/// The name of the call that a call of 32-bit programs is a wider form of.
fn canonical(name: &str) -> &str {
    match name {
        "fcntl64" => "fcntl",
        "truncate64" => "truncate",
        "ftruncate64" => "ftruncate",
        "stat64" => "stat",
        "lstat64" => "lstat",
        "fstat64" => "fstat",
        "fstatat64" => "newfstatat",
        "mmap2" => "mmap",
        "sendfile64" => "sendfile",
        other => match other.strip_suffix("32") {
            Some(base) if call::by_name(base).is_some() => base,
            _ => other,
        },
    }
}

/// The tables [`Settings::calls`](crate::layout::Settings::calls) and
/// [`Settings::socketcalls`](crate::layout::Settings::socketcalls) for a choice of names. exec, fork and exit are always
/// told; naming one adds nothing, but execve and execveat that fail are exported only if named. So is what changes the
/// state of a process ([`call::STATE`]).
pub fn tables(wanted: &dyn Fn(&str) -> bool) -> (Box<[u32; CALLS]>, [u16; SOCKETCALLS]) {
    let wanted = |name: &str| wanted(name) || call::STATE.binary_search(&name).is_ok();
    let mut calls = Box::new([0; CALLS]);
    let mut socketcalls = [0; SOCKETCALLS];
    for (number, slot) in calls.iter_mut().enumerate() {
        let name = |abi: Abi| abi.name(number).unwrap_or_default();
        let native = entry(name(Abi::NATIVE), call::NATIVE_BASE, number, &wanted);
        let compat = Abi::COMPAT.map_or(0, |abi| entry(name(abi), call::COMPAT_BASE, number, &wanted));
        *slot = u32::from(native) | u32::from(compat) << 16;
    }
    for (number, name) in SOCKETCALL {
        if let Some(slot) = socketcalls.get_mut(number) {
            *slot = entry(name, call::NATIVE_BASE, 0, &wanted);
        }
    }
    (calls, socketcalls)
}

/// One half of an entry of the table: 0 for a call that nobody wants. `base` and `number` make the kind of a call that
/// is not known by name.
fn entry(name: &str, base: u16, number: usize, wanted: &dyn Fn(&str) -> bool) -> u16 {
    if name == "socketcall" {
        let any = SOCKETCALL.iter().any(|(_, name)| wanted(name));
        return if any { WANTED | kind(family::SOCKET, call::SOCKETCALL) } else { 0 };
    }
    let is_wanted = wanted(name) || wanted(canonical(name));
    let known = call::by_name(canonical(name));
    let family = known.and_then(|call| call::ALL.get(usize::from(call))).map_or(family::PLAIN, |call| call.family);
    match (known, family) {
        (Some(call), family::FORK) => kind(family::FORK, call), // read by the fork program for the name
        _ if !is_wanted || name.is_empty() => 0,
        (Some(call), family::EXEC) => WANTED | kind(family::PATHS, call), // if it failed
        (Some(call), family) => WANTED | kind(family, call),
        (None, _) => u16::try_from(number).map_or(0, |number| WANTED | kind(family::PLAIN, base + number)),
    }
}

/// A set of events by the number in their kind: what becomes a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSet([u64; call::COUNT / 64]);

impl CallSet {
    /// The events of those names.
    pub fn new(wanted: &dyn Fn(&str) -> bool) -> Self {
        let mut set = Self([0; call::COUNT / 64]);
        let is_wanted = |name: &str| !name.is_empty() && (wanted(name) || wanted(canonical(name)));
        for (number, call) in call::ALL.iter().enumerate() {
            set.put(number, is_wanted(call.name));
        }
        for (abi, base) in [(Some(Abi::NATIVE), call::NATIVE_BASE), (Abi::COMPAT, call::COMPAT_BASE)] {
            for (number, name) in abi.map_or(&[][..], Abi::names).iter().enumerate() {
                set.put(usize::from(base) + number, is_wanted(name));
            }
        }
        set
    }

    /// Says whether the event of that kind is in it. The life of processes always is.
    pub fn contains(&self, of_kind: u16) -> bool {
        let number = usize::from(crate::layout::call_of(of_kind));
        let is_in = self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1);
        is_in || matches!(crate::layout::family_of(of_kind), family::EXEC | family::FORK | family::EXIT)
    }

    fn put(&mut self, number: usize, is_in: bool) {
        if let Some(word) = self.0.get_mut(number / 64).filter(|_| is_in) {
            *word |= 1 << (number % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        for (abi, number, name) in [
            (Abi::X86_64, 0, "read"),
            (Abi::X86_64, 59, "execve"),
            (Abi::X86_64, 257, "openat"),
            (Abi::X86_64, 334, "rseq"),
            (Abi::X86_64, 424, "pidfd_send_signal"),
            (Abi::X86_64, 437, "openat2"),
            (Abi::X86_64, 469, "file_setattr"),
            (Abi::I386, 102, "socketcall"),
            (Abi::I386, 295, "openat"),
            (Abi::I386, 362, "connect"),
            (Abi::Aarch64, 56, "openat"),
            (Abi::Aarch64, 62, "lseek"),
            (Abi::Aarch64, 221, "execve"),
            (Abi::Aarch64, 276, "renameat2"),
            (Abi::Aarch64, 435, "clone3"),
        ] {
            assert_eq!(abi.name(number), Some(name), "{abi:?} {number}");
            assert_eq!(abi.number(name), Some(number), "{abi:?} {name}");
        }
        assert_eq!(Abi::X86_64.name(335), None);
        assert_eq!(Abi::X86_64.name(100_000), None);
        assert_eq!(Abi::X86_64.number(""), None);
    }

    #[test]
    fn a_name_has_one_number() {
        for abi in [Abi::X86_64, Abi::I386, Abi::Aarch64] {
            assert!(abi.names().len() <= CALLS);
            for (number, name) in abi.names().iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                assert_eq!(abi.number(name), Some(number), "{abi:?} {name}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn tables_hold_what_is_wanted() {
        let (calls, socketcalls) = tables(&|name| matches!(name, "openat" | "connect" | "execve" | "getppid"));
        assert_eq!(calls[257], u32::from(WANTED | kind(family::OPEN, 9)));
        assert_eq!(calls[295], u32::from(WANTED | kind(family::OPEN, 9)) << 16, "32-bit openat, 64-bit preadv");
        assert_eq!(calls[59] as u16, WANTED | kind(family::PATHS, 1));
        assert_eq!(calls[56] as u16, kind(family::FORK, 5), "clone is known but not wanted");
        assert_eq!(calls[2], u32::from(kind(family::FORK, 3)) << 16, "32-bit fork; 64-bit open is not wanted");
        assert_eq!(calls[0], 0);
        assert_eq!(calls[110] as u16, WANTED | kind(family::PLAIN, 256 + 110), "getppid");
        assert_eq!(calls[64] >> 16, u32::from(WANTED | kind(family::PLAIN, 1024 + 64)), "32-bit getppid");
        let setuid = WANTED | kind(family::IDENTITY, call::by_name("setuid").unwrap());
        assert_eq!((calls[105] as u16, (calls[213] >> 16) as u16), (setuid, setuid), "a state, whatever is wanted");
        assert_eq!(socketcalls[3], WANTED | kind(family::SOCKET, 12));
        assert_eq!(socketcalls[5], 0);
        assert_ne!(calls[102] >> 16, 0);
    }

    #[test]
    fn rows_are_what_was_named() {
        let set = CallSet::new(&|name| matches!(name, "chdir" | "getppid"));
        let of = |family, name| kind(family, call::by_name(name).unwrap());
        assert!(set.contains(of(family::PATHS, "chdir")) && !set.contains(of(family::IDENTITY, "setuid")));
        assert!(set.contains(of(family::EXEC, "execve")) && !set.contains(of(family::PATHS, "execve")));
        let getppid = call::NATIVE_BASE + Abi::NATIVE.number("getppid").unwrap() as u16;
        assert!(set.contains(kind(family::PLAIN, getppid)) && !set.contains(kind(family::PLAIN, getppid + 1)));
        assert!(!set.contains(u16::MAX), "any number has an answer");
    }

    #[test]
    fn every_call_can_be_exported() {
        let all: Vec<&str> = exportable().collect();
        assert!(
            all.len() > 350 && ["read", "getppid", "setuid", "io_uring_enter"].iter().all(|name| all.contains(name))
        );
        assert!(all.iter().all(|name| is_exportable(name)) && !is_exportable("opne") && !is_exportable(""));
    }
}
