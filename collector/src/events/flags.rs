//! Flags of calls by name, in Falco's order: rule conditions and outputs compare these texts.

/// What a flags value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlagKind {
    /// open, openat, openat2, creat.
    Open,
    /// clone, clone3, unshare, setns.
    Clone,
    /// unlinkat.
    Unlink,
    /// renameat2.
    Rename,
    /// execveat and linkat, fchownat, fchmodat2.
    At,
    /// The executable of an exec: not an argument.
    Exe,
    /// mount.
    Mount,
    /// umount2.
    Umount,
    /// memfd_create.
    Memfd,
    /// dup3, userfaultfd, accept4: what open calls O_CLOEXEC and O_NONBLOCK.
    Descriptor,
}

impl FlagKind {
    /// The flags of the call `name` by their kind and the number of the argument that has them.
    pub(crate) fn of_call(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "unlinkat" => (Self::Unlink, 2),
            "renameat2" => (Self::Rename, 4),
            "execveat" | "linkat" | "fchownat" => (Self::At, 4),
            "fchmodat2" => (Self::At, 3),
            "mount" => (Self::Mount, 3),
            "umount2" => (Self::Umount, 1),
            "unshare" => (Self::Clone, 0),
            "setns" => (Self::Clone, 1),
            "memfd_create" => (Self::Memfd, 1),
            "dup3" => (Self::Descriptor, 2),
            "userfaultfd" => (Self::Descriptor, 0),
            _ => return None,
        })
    }

    fn names(self) -> &'static [(u64, &'static str)] {
        match self {
            Self::Open => OPEN,
            Self::Clone => CLONE,
            Self::Unlink => &[(0x200, "AT_REMOVEDIR")],
            Self::Rename => &[(4, "RENAME_WHITEOUT"), (2, "RENAME_EXCHANGE"), (1, "RENAME_NOREPLACE")],
            Self::At => &[(0x400, "AT_SYMLINK_FOLLOW"), (0x1000, "AT_EMPTY_PATH"), (0x100, "AT_SYMLINK_NOFOLLOW")],
            Self::Exe => EXE,
            Self::Mount => MOUNT,
            Self::Umount => &[(1, "FORCE"), (2, "DETACH"), (4, "EXPIRE"), (8, "NOFOLLOW")],
            Self::Memfd => &[
                (1, "MFD_CLOEXEC"),
                (2, "MFD_ALLOW_SEALING"),
                (4, "MFD_HUGETLB"),
                (8, "MFD_NOEXEC_SEAL"),
                (16, "MFD_EXEC"),
            ],
            Self::Descriptor => &[(0o4_000, "O_NONBLOCK"), (O_CLOEXEC, "O_CLOEXEC")],
        }
    }
}

/// Bits of [`FlagKind::Exe`].
pub(crate) mod exe {
    pub(crate) const WRITABLE: u64 = 1;
    pub(crate) const UPPER_LAYER: u64 = 2;
    pub(crate) const FROM_MEMFD: u64 = 4;
    pub(crate) const LOWER_LAYER: u64 = 8;
}

const EXE: &[(u64, &str)] = &[
    (exe::WRITABLE, "EXE_WRITABLE"),
    (exe::UPPER_LAYER, "EXE_UPPER_LAYER"),
    (exe::FROM_MEMFD, "EXE_FROM_MEMFD"),
    (exe::LOWER_LAYER, "EXE_LOWER_LAYER"),
];

const MOUNT: &[(u64, &str)] = &[
    (0x1, "RDONLY"),
    (0x2, "NOSUID"),
    (0x4, "NODEV"),
    (0x8, "NOEXEC"),
    (0x10, "SYNCHRONOUS"),
    (0x20, "REMOUNT"),
    (0x40, "MANDLOCK"),
    (0x80, "DIRSYNC"),
    (0x400, "NOATIME"),
    (0x800, "NODIRATIME"),
    (0x1000, "BIND"),
    (0x2000, "MOVE"),
    (0x4000, "REC"),
    (0x8000, "SILENT"),
    (0x1_0000, "POSIXACL"),
    (0x2_0000, "UNBINDABLE"),
    (0x4_0000, "PRIVATE"),
    (0x8_0000, "SLAVE"),
    (0x10_0000, "SHARED"),
    (0x20_0000, "RELATIME"),
    (0x100_0000, "STRICTATIME"),
    (0x200_0000, "LAZYTIME"),
];

/// Bits of a name must all be set, and each bit is named once: so the composite ones stand first.
const OPEN: &[(u64, &str)] = &[
    (0o100_000, "O_LARGEFILE"),
    (0o20_200_000, "O_TMPFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o40_000, "O_DIRECT"),
    (0o1_000, "O_TRUNC"),
    (0o4_010_000, "O_SYNC"),
    (0o4_000, "O_NONBLOCK"),
    (0o200, "O_EXCL"),
    (0o10_000, "O_DSYNC"),
    (0o2_000, "O_APPEND"),
    (0o100, "O_CREAT"),
    (0o400, "O_NOCTTY"),
    (0o20_000, "O_ASYNC"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o10_000_000, "O_PATH"),
];
const O_ACCMODE: u64 = 0o3;
const O_CLOEXEC: u64 = 0o2_000_000;

const CLONE: &[(u64, &str)] = &[
    (0x400, "CLONE_FILES"),
    (0x200, "CLONE_FS"),
    (0x8000_0000, "CLONE_IO"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x0002_0000, "CLONE_NEWNS"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x8000, "CLONE_PARENT"),
    (0x0010_0000, "CLONE_PARENT_SETTID"),
    (0x2000, "CLONE_PTRACE"),
    (0x800, "CLONE_SIGHAND"),
    (0x0004_0000, "CLONE_SYSVSEM"),
    (0x0001_0000, "CLONE_THREAD"),
    (0x0080_0000, "CLONE_UNTRACED"),
    (0x100, "CLONE_VM"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x0020_0000, "CLONE_CHILD_CLEARTID"),
    (0x0100_0000, "CLONE_CHILD_SETTID"),
    (0x0008_0000, "CLONE_SETTLS"),
    (0x4000, "CLONE_VFORK"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
    (0x1000, "CLONE_PIDFD"),
    (0x1_0000_0000, "CLONE_CLEAR_SIGHAND"),
    (0x2_0000_0000, "CLONE_INTO_CGROUP"),
];

/// Writes the names of the bits of `value` joined by `|`; bits without a name are left out. False where that names
/// nothing.
pub(crate) fn describe(kind: FlagKind, value: u64, out: &mut String) -> bool {
    let mut rest = value;
    let mut names = Vec::new();
    for (bits, name) in kind.names() {
        if rest & bits == *bits {
            rest &= !bits;
            names.push(*name);
        }
    }
    if kind == FlagKind::Open {
        names.push(match value & O_ACCMODE {
            0 => "O_RDONLY",
            1 => "O_WRONLY",
            _ => "O_RDWR",
        });
        if value & O_CLOEXEC != 0 {
            names.push("O_CLOEXEC");
        }
    }
    out.push_str(&names.join("|"));
    !names.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_falco_writes_them() {
        let table = [
            (FlagKind::Open, 0, Some("O_RDONLY")),
            (FlagKind::Open, 0o2_000_000, Some("O_RDONLY|O_CLOEXEC")),
            (FlagKind::Open, 0o1_101, Some("O_TRUNC|O_CREAT|O_WRONLY")),
            (FlagKind::Open, 0o2_200_002, Some("O_DIRECTORY|O_RDWR|O_CLOEXEC")),
            (FlagKind::Open, 0o20_200_002, Some("O_TMPFILE|O_RDWR")),
            (FlagKind::Open, 0o4_010_000, Some("O_SYNC|O_RDONLY")),
            (FlagKind::Open, 0o10_000, Some("O_DSYNC|O_RDONLY")),
            (FlagKind::Open, 0o3, Some("O_RDWR")),
            (FlagKind::Clone, 0x4100 | 17, Some("CLONE_VM|CLONE_VFORK")),
            (FlagKind::Clone, 17, None),
            (FlagKind::Unlink, 0x200, Some("AT_REMOVEDIR")),
            (FlagKind::Unlink, 0, None),
            (FlagKind::Rename, 1, Some("RENAME_NOREPLACE")),
            (FlagKind::At, 0x1000, Some("AT_EMPTY_PATH")),
            (FlagKind::Clone, 0x1000_0000, Some("CLONE_NEWUSER")),
            (FlagKind::Exe, exe::WRITABLE | exe::FROM_MEMFD, Some("EXE_WRITABLE|EXE_FROM_MEMFD")),
            (FlagKind::Mount, 0x1000, Some("BIND")),
            (FlagKind::Memfd, 0, None),
        ];
        for (kind, value, expected) in table {
            let mut text = String::new();
            let has_any = describe(kind, value, &mut text);
            assert_eq!(has_any.then_some(&*text), expected, "{kind:?} {value:#o}");
        }
    }
}
