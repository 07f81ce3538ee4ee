//! Who did it: the process behind each kernel event.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | [`ProcessTable`]: all processes by id, kept up to date by events |
//! | [`proc_fs`] | [`ProcFs`]: what `/proc` tells about a process |
//! | [`container`] | container ids from cgroup paths |
//! | [`users`] | names of user ids |

pub mod container;
pub mod proc_fs;
pub mod table;
pub mod users;

use crate::events::RowKeys;
use std::sync::Arc;

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
    /// comm of the parent.
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
    /// Working directory at the last exec (chdir is not followed).
    pub cwd: Option<Arc<str>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Name of `uid`.
    pub user: Option<Arc<str>>,
    /// Audit login uid.
    pub loginuid: Option<u32>,
    /// Controlling terminal as the kernel numbers it, 0 without one.
    pub tty: Option<i32>,
    /// Container, or [`container::HOST`].
    pub container_id: Arc<str>,
    /// Path of the cgroup, v1 pids hierarchy where mounted.
    pub cgroup: Arc<str>,
    /// Inode of the v2 cgroup as the last event said; 0 before the first.
    pub cgroup_id: u64,
    /// Keys of the texts in the batch being built.
    pub(crate) keys: RowKeys,
    /// Number of the table's look-up that used it last.
    pub(crate) used: u64,
    /// Bytes of texts that the table has charged for it.
    pub(crate) charged: usize,
    pub(crate) is_exited: bool,
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
            user: None,
            loginuid: None,
            tty: None,
            container_id: container::HOST.into(),
            cgroup: "".into(),
            cgroup_id: 0,
            keys: RowKeys::default(),
            used: 0,
            charged: 0,
            is_exited: false,
        }
    }

    /// Sets the three argument texts from argv, each argument followed by NUL; null where there is none (kernel
    /// threads).
    pub(crate) fn set_argv(&mut self, argv: &[u8]) {
        let argv = argv.strip_suffix(&[0]).unwrap_or(argv);
        let text = String::from_utf8_lossy(argv);
        (self.arg0, self.args, self.cmdline) = if argv.is_empty() {
            (None, None, None)
        } else {
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
        let texts = [&self.pname, &self.comm, &self.exe, &self.arg0, &self.cmdline, &self.args, &self.cwd, &self.user];
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
