//! Sets of capabilities by name.

/// Names by number, as of Linux 6.17.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Writes the names of a set over `out`, joined by blanks; numbers without a name are left out.
pub fn write_names(set: u64, out: &mut String) {
    out.clear();
    for (_, name) in NAMES.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_by_name() {
        let mut out = "left over".to_owned();
        write_names(0, &mut out);
        assert_eq!(out, "");
        write_names(1 << 21 | 1 << 7 | 1 << 63, &mut out);
        assert_eq!(out, "CAP_SETUID CAP_SYS_ADMIN");
        write_names(u64::MAX, &mut out);
        assert!(out.starts_with("CAP_CHOWN ") && out.ends_with(" CAP_CHECKPOINT_RESTORE"));
    }
}
