//! Who did it: the process behind each kernel event.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | [`ProcessTable`]: all processes by id, kept up to date by events |
//! | [`proc_fs`] | [`ProcFs`]: what `/proc` tells about a process |
//! | [`lineage`] | [`Lineage`]: a process with its ancestors, its session and its users |
//! | [`container`] | container ids from cgroup paths |
//! | [`capabilities`] | sets of capabilities by name |
//! | [`users`] | names of user and group ids |

pub mod capabilities;
pub mod container;
pub mod lineage;
pub mod proc_fs;
pub mod table;
pub mod users;

use crate::lossy::lossy;
use bodkin_ebpf::event::{ExeFile, Head};
use bodkin_ebpf::layout::{Capabilities, Ids};
use std::sync::Arc;

pub use lineage::Lineage;
pub use proc_fs::ProcFs;
pub use table::{Limits, ProcessTable, TableStats};

/// What is known of one process. Texts are shared with its children and with the batch being built.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Start since boot in nanoseconds; 0 where unknown.
    pub start_ns: u64,
    /// Process id of the parent.
    pub ppid: Option<u32>,
    /// comm of the parent when the process was started: for a parent that is gone.
    pub pname: Option<Arc<str>>,
    /// Short name.
    pub comm: Option<Arc<str>>,
    /// Resolved executable.
    pub exe: Option<Arc<str>>,
    /// First argument.
    pub arg0: Option<Arc<str>>,
    /// argv joined by blanks.
    pub cmdline: Option<Arc<str>>,
    /// argv without the first, joined by blanks.
    pub args: Option<Arc<str>>,
    /// Working directory.
    pub cwd: Option<Arc<str>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Real group id.
    pub gid: Option<u32>,
    /// Audit login uid.
    pub loginuid: Option<u32>,
    /// Controlling terminal as the kernel numbers it, 0 without one.
    pub tty: Option<i32>,
    /// Group, session, and ids of its own namespace; 0 where unknown.
    pub ids: Ids,
    /// Capabilities.
    pub caps: Option<Capabilities>,
    /// Start of the first process of its pid namespace since boot; 0 in the initial one.
    pub pidns_start_ns: u64,
    /// Inode of the executable.
    pub file: Option<ExeFile>,
    /// Its user could write the executable when it was started.
    pub is_exe_writable: Option<bool>,
    /// Container, or [`container::HOST`].
    pub container_id: Arc<str>,
    /// Path of the cgroup, v1 pids hierarchy where mounted.
    pub cgroup: Arc<str>,
    /// Inode of the v2 cgroup as the last event said; 0 before the first.
    pub cgroup_id: u64,
    /// Who took over the children of a process that ended; 0 otherwise.
    pub(crate) heir: u32,
    /// Living processes of the table whose parent it is.
    pub(crate) children: u32,
    /// Where the batch being built says all this.
    pub(crate) stamp: Stamp,
    /// Number of the table's look-up that used it last.
    pub(crate) used: u64,
    /// Bytes of texts that the table has charged for it.
    pub(crate) charged: usize,
    pub(crate) is_exited: bool,
    /// It has ended, and its children are its own until a later event.
    pub(crate) keeps_children: bool,
}

/// Place of a process's values in a batch that is being built, and what that place is valid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The batch; 0 for none.
    pub(crate) batch: u64,
    /// State of the table: changes when a process with children does.
    pub(crate) epoch: u64,
    /// Row of the process columns.
    pub(crate) row: u32,
}

impl Process {
    /// A process of which only the id is known.
    pub fn unknown(pid: u32) -> Self {
        Self {
            pid,
            start_ns: 0,
            ppid: None,
            pname: None,
            comm: None,
            exe: None,
            arg0: None,
            cmdline: None,
            args: None,
            cwd: None,
            uid: None,
            gid: None,
            loginuid: None,
            tty: None,
            ids: Ids::default(),
            caps: None,
            pidns_start_ns: 0,
            file: None,
            is_exe_writable: None,
            container_id: container::HOST.into(),
            cgroup: "".into(),
            cgroup_id: 0,
            heir: 0,
            children: 0,
            stamp: Stamp::default(),
            used: 0,
            charged: 0,
            is_exited: false,
            keeps_children: false,
        }
    }

    /// Whether an event's head says of its process what is known already.
    pub(crate) fn is_as_in(&self, head: &Head) -> bool {
        let is_same_user = self.uid == Some(head.uid) && self.gid == Some(head.gid);
        // Threads of one process may be in different (threaded) cgroups: its first one speaks for it.
        let is_same_cgroup = self.cgroup_id == head.cgroup_id || head.tid != head.tgid;
        is_same_user && is_same_cgroup && self.ppid.unwrap_or(0) == head.ppid
    }

    /// Takes over what is known of the executable, and whether its user may write it.
    pub(crate) fn set_file(&mut self, file: ExeFile) {
        const OVERRIDE: u64 = 1 << 1; // CAP_DAC_OVERRIDE
        let class = match (self.uid, self.gid) {
            (Some(uid), _) if uid == file.uid => 0o200,
            (_, Some(gid)) if gid == file.gid => 0o020,
            _ => 0o002,
        };
        let may_override = self.caps.is_some_and(|caps| caps.effective & OVERRIDE != 0);
        self.is_exe_writable = Some(file.mode & class != 0 || may_override);
        self.file = Some(file);
    }

    /// Sets the three argument texts from argv, each argument followed by NUL; null where there is none (kernel
    /// threads). An argv of one empty text, which the kernel makes of an empty one, gives empty texts.
    pub(crate) fn set_argv(&mut self, argv: &[u8]) {
        (self.arg0, self.args, self.cmdline) = if argv.is_empty() {
            (None, None, None)
        } else {
            let text = lossy(argv.strip_suffix(&[0]).unwrap_or(argv));
            let (arg0, args) = text.split_once('\0').unwrap_or((&text, ""));
            (Some(arg0.into()), Some(args.replace('\0', " ").into()), Some(text.replace('\0', " ").into()))
        };
    }

    pub(crate) fn set_container(&mut self, id: Option<&str>, cgroup: &str) {
        replace_text(&mut self.container_id, id.unwrap_or(container::HOST));
        replace_text(&mut self.cgroup, cgroup);
    }

    /// Bytes that its texts hold, those shared with others counted again: an upper bound.
    pub(crate) fn text_bytes(&self) -> usize {
        let texts = [&self.pname, &self.comm, &self.exe, &self.arg0, &self.cmdline, &self.args, &self.cwd];
        texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() + self.container_id.len() + self.cgroup.len()
    }
}

/// Keeps the shared text where it is the same already.
pub(crate) fn replace_text(text: &mut Arc<str>, new: &str) {
    if **text != *new {
        *text = new.into();
    }
}

/// As [`replace_text`], for a text that may be missing.
pub(crate) fn set_text(text: &mut Option<Arc<str>>, new: &str) {
    if text.as_deref() != Some(new) {
        *text = Some(new.into());
    }
}
