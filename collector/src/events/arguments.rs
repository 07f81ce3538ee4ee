//! The column `evt_args`: arguments that have no column of their own, under Falco's names.

use super::names;
use crate::lossy::lossy;
use crate::process::capabilities;
use crate::process::users::Users;
use arrow::array::{ArrayBuilder, ArrayRef, MapBuilder, MapFieldNames, StringBuilder};
use arrow::error::ArrowError;
use bodkin_ebpf::call::NATIVE_BASE;
use bodkin_ebpf::event::{Body, Event};
use bodkin_ebpf::layout::call_of;
use std::fmt::Write as _;
use std::sync::Arc;

/// What `-1` says where an id stays as it is.
const UNCHANGED: u64 = u32::MAX as u64;

/// The column in the making.
#[derive(Debug)]
pub(super) struct ArgumentColumn {
    map: MapBuilder<StringBuilder, StringBuilder>,
    scratch: String,
    bytes: usize,
}

impl Default for ArgumentColumn {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        Self { map, scratch: String::new(), bytes: 0 }
    }
}

impl ArgumentColumn {
    /// Says the arguments of `event` in a row; rows that are left out are null.
    pub(super) fn put(&mut self, row: usize, event: &Event<'_>, users: &Users) -> Result<(), ArrowError> {
        let may_have_any =
            matches!(event.body, Body::Paths(_) | Body::Descriptor(_) | Body::Identity(_) | Body::Plain(_));
        // Calls that are known by number alone have none that are told.
        if !may_have_any || call_of(event.head.kind) >= NATIVE_BASE {
            return Ok(());
        }
        self.map.append_nulls(row.saturating_sub(self.map.len()))?;
        let has_any = match &event.body {
            Body::Paths(paths) => self.paths(event.name, paths),
            Body::Descriptor(descriptor) => self.descriptor(event.name, descriptor.args, descriptor.text),
            Body::Identity(identity) => self.identity(event.name, identity, users),
            Body::Plain(args) => self.plain(event.name, *args),
            _ => false,
        };
        self.map.append(has_any)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.bytes = 0;
        self.map.append_nulls(rows.saturating_sub(self.map.len()))?;
        Ok(Arc::new(self.map.finish()))
    }

    fn paths(&mut self, name: &str, paths: &bodkin_ebpf::event::Paths<'_>) -> bool {
        let raw2 = paths.name2.as_ref().map_or(&[][..], |name2| name2.raw);
        match name {
            "symlink" | "symlinkat" => self.text("target", &lossy(raw2)),
            "mount" => self.text("dev", &lossy(raw2)),
            "chown" | "lchown" => self.numbers(&[("uid", paths.args[1]), ("gid", paths.args[2])]),
            "fchownat" => self.numbers(&[("uid", paths.args[2]), ("gid", paths.args[3])]),
            "mknod" => self.numbers(&[("dev", paths.args[2])]),
            "mknodat" => self.numbers(&[("dev", paths.args[3])]),
            _ => return false,
        }
        true
    }

    fn descriptor(&mut self, name: &str, args: [u64; 6], text: &[u8]) -> bool {
        let text = || lossy(text);
        match name {
            "socket" => {
                self.name_or_number("domain", args[0], names::domain(args[0]));
                self.numbers(&[("type", args[1]), ("proto", args[2])]);
            }
            "bpf" => self.name_or_number("cmd", args[0], names::bpf(args[0])),
            "dup" | "dup2" | "dup3" => self.numbers(&[("oldfd", args[0]), ("newfd", args[1])]),
            "listen" => self.numbers(&[("backlog", args[1])]),
            "setns" => self.numbers(&[("nstype", args[1])]),
            "memfd_create" | "delete_module" => self.text("name", &text()),
            "finit_module" | "init_module" => self.text("uargs", &text()),
            "fchown" => self.numbers(&[("uid", args[1]), ("gid", args[2])]),
            "fcntl" => self.numbers(&[("cmd", args[1])]),
            "ioctl" => self.numbers(&[("request", args[1]), ("argument", args[2])]),
            "shutdown" => self.numbers(&[("how", args[1])]),
            "read" | "write" | "pread64" | "pwrite64" => self.numbers(&[("size", args[2])]),
            _ => return false,
        }
        true
    }

    fn identity(&mut self, name: &str, identity: &bodkin_ebpf::event::Identity<'_>, users: &Users) -> bool {
        let args = identity.args;
        match name {
            "setuid" | "setfsuid" => self.user("uid", args[0], users),
            "setgid" | "setfsgid" => self.group("gid", args[0], users),
            "setreuid" => [("ruid", 0), ("euid", 1)].iter().for_each(|(key, at)| self.user(key, args[*at], users)),
            "setregid" => [("rgid", 0), ("egid", 1)].iter().for_each(|(key, at)| self.group(key, args[*at], users)),
            "setresuid" => {
                [("ruid", 0), ("euid", 1), ("suid", 2)].iter().for_each(|(key, at)| self.user(key, args[*at], users));
            }
            "setresgid" => {
                [("rgid", 0), ("egid", 1), ("sgid", 2)].iter().for_each(|(key, at)| self.group(key, args[*at], users));
            }
            "capset" => {
                let caps = identity.caps;
                let sets =
                    [("inheritable", caps.inheritable), ("permitted", caps.permitted), ("effective", caps.effective)];
                for (which, set) in sets {
                    let mut text = std::mem::take(&mut self.scratch);
                    capabilities::write_names(set, &mut text);
                    self.text(&format!("cap_{which}"), &text);
                    self.scratch = text;
                }
            }
            "setpgid" => self.numbers(&[("pid", args[0]), ("pgid", args[1])]),
            "prctl" => self.numbers(&[("option", args[0]), ("arg2_int", args[1])]),
            _ => return false,
        }
        true
    }

    fn plain(&mut self, name: &str, args: [u64; 6]) -> bool {
        match name {
            "ptrace" => {
                self.name_or_number("request", args[0], names::ptrace(args[0]));
                self.numbers(&[("pid", args[1])]);
            }
            "kill" | "tkill" => {
                self.numbers(&[(if name == "kill" { "pid" } else { "tid" }, args[0])]);
                self.name_or_number("sig", args[1], names::signal(args[1]));
            }
            "tgkill" => {
                self.numbers(&[("pid", args[0]), ("tid", args[1])]);
                self.name_or_number("sig", args[2], names::signal(args[2]));
            }
            "signaldeliver" => {
                self.numbers(&[("spid", args[0])]);
                self.name_or_number("sig", args[1], names::signal(args[1]));
            }
            "process_vm_readv" | "process_vm_writev" => self.numbers(&[("pid", args[0])]),
            "socketpair" => self.name_or_number("domain", args[0], names::domain(args[0])),
            "close_range" => self.numbers(&[("first", args[0]), ("last", args[1]), ("flags", args[2])]),
            "seccomp" => self.numbers(&[("op", args[0]), ("flags", args[1])]),
            _ => return false,
        }
        true
    }

    fn user(&mut self, key: &str, uid: u64, users: &Users) {
        self.id(key, uid, |uid| users.name(uid));
    }

    fn group(&mut self, key: &str, gid: u64, users: &Users) {
        self.id(key, gid, |gid| users.group(gid));
    }

    /// An id by its name, where it has one.
    fn id<'a>(&mut self, key: &str, id: u64, name: impl Fn(u32) -> Option<&'a Arc<str>>) {
        let id = id & UNCHANGED;
        match u32::try_from(id).ok().and_then(name) {
            Some(name) => self.text(key, name),
            None if id == UNCHANGED => self.text(key, "-1"),
            None => self.numbers(&[(key, id)]),
        }
    }

    fn name_or_number(&mut self, key: &str, number: u64, name: Option<&str>) {
        match name {
            Some(name) => self.text(key, name),
            None => self.numbers(&[(key, number)]),
        }
    }

    /// Numbers as C's int reads them where they fit one.
    fn numbers(&mut self, entries: &[(&str, u64)]) {
        for (key, number) in entries {
            let mut text = std::mem::take(&mut self.scratch);
            text.clear();
            let is_small = *number >> 32 == 0 || *number >> 31 == 0x1_ffff_ffff;
            // Writing to a String does not fail.
            let _ = if is_small { write!(text, "{}", *number as i32) } else { write!(text, "{number}") };
            self.text(key, &text);
            self.scratch = text;
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.bytes += key.len() + value.len();
        self.map.keys().append_value(key);
        self.map.values().append_value(value);
    }
}
