//! Numbers and names of system calls, and the tables by which the programs know the calls that are wanted.

use crate::layout::{CALLS, SOCKETCALLS, WANTED, call, family};
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

/// Names of the events that the programs can export, life-cycle ones included.
pub fn exportable() -> impl Iterator<Item = &'static str> {
    call::ALL.iter().map(|entry| entry.0).filter(|name| !name.is_empty())
}

/// Numbers of i386 socketcall.
const SOCKETCALL: [(usize, &str); 3] = [(3, "connect"), (5, "accept"), (18, "accept4")];

/// The tables [`Settings::calls`](crate::layout::Settings::calls) and
/// [`Settings::socketcalls`](crate::layout::Settings::socketcalls) for a choice of names. exec, fork and exit are always
/// told; naming one adds nothing, but execve and execveat that fail are exported only if named.
pub fn tables(wanted: &dyn Fn(&str) -> bool) -> (Box<[u32; CALLS]>, [u16; SOCKETCALLS]) {
    let mut calls = Box::new([0; CALLS]);
    let mut socketcalls = [0; SOCKETCALLS];
    for (number, slot) in calls.iter_mut().enumerate() {
        let native = Abi::NATIVE.name(number).map_or(0, |name| entry(name, wanted));
        let compat = Abi::COMPAT.and_then(|abi| abi.name(number)).map_or(0, |name| entry(name, wanted));
        *slot = u32::from(native) | u32::from(compat) << 16;
    }
    for (number, name) in SOCKETCALL {
        if let Some(slot) = socketcalls.get_mut(number) {
            *slot = entry(name, wanted);
        }
    }
    (calls, socketcalls)
}

/// One half of an entry of the table: 0 for a call that the programs do not know or nobody wants.
fn entry(name: &str, wanted: &dyn Fn(&str) -> bool) -> u16 {
    if name == "socketcall" {
        let any = SOCKETCALL.iter().any(|(_, name)| wanted(name));
        return if any { WANTED | family::SOCKET << 8 | call::SOCKETCALL } else { 0 };
    }
    match call::by_name(name) {
        Some((number, family::FORK)) => family::FORK << 8 | number, // read by the fork program for the name
        Some((number, family::EXEC)) if wanted(name) => WANTED | family::PATHS << 8 | number, // if it failed
        Some((number, family)) if family != family::EXEC && wanted(name) => WANTED | family << 8 | number,
        _ => 0,
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
        let (calls, socketcalls) = tables(&|name| matches!(name, "openat" | "connect" | "execve"));
        assert_eq!(calls[257], u32::from(WANTED | family::OPEN << 8 | 9));
        assert_eq!(calls[295], u32::from(WANTED | family::OPEN << 8 | 9) << 16, "32-bit openat, 64-bit preadv");
        assert_eq!(calls[59], u32::from(WANTED | family::PATHS << 8 | 1));
        assert_eq!(calls[56] as u16, family::FORK << 8 | 5, "clone is known but not wanted");
        assert_eq!(calls[2], u32::from(family::FORK << 8 | 3) << 16, "32-bit fork; 64-bit open is not wanted");
        assert_eq!(calls[0], 0);
        assert_eq!(socketcalls[3], WANTED | family::SOCKET << 8 | 17);
        assert_eq!(socketcalls[5], 0);
        assert_ne!(calls[102] >> 16, 0);
    }
}
