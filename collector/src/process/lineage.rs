//! A process with those whose names its rows repeat: ancestors, leaders, users.

use super::Process;
use super::users::Users;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Ancestors that are told at most.
pub const ANCESTORS_MAX: usize = 16;

/// A process as a row tells it, borrowed from the table.
#[derive(Debug)]
pub struct Lineage<'a> {
    /// The process.
    pub process: &'a Process,
    /// Its ancestors, the parent first, as far as they are known.
    pub ancestors: Vec<&'a Process>,
    /// Leader of its process group, if it lives.
    pub group_leader: Option<&'a Process>,
    /// Leader of its session, if it lives.
    pub session_leader: Option<&'a Process>,
    /// Process id of the oldest shell among the process and its ancestors.
    pub login_shell: Option<u32>,
    /// Names of ids.
    pub users: &'a Users,
}

impl<'a> Lineage<'a> {
    /// Looks everything up. O(ancestors).
    pub(crate) fn of(process: &'a Process, entries: &'a FxHashMap<u32, Process>, users: &'a Users) -> Self {
        let mut ancestors: Vec<&Process> = Vec::new();
        let mut at = process;
        while let Some(parent) = at.ppid.and_then(|ppid| entries.get(&ppid))
            && ancestors.len() < ANCESTORS_MAX
            && parent.pid != at.pid
        {
            ancestors.push(parent);
            at = parent;
        }
        let is_shell = |process: &&Process| process.comm.as_deref().is_some_and(|comm| comm.ends_with("sh"));
        let shell = ancestors.iter().rev().copied().chain([process]).find(is_shell);
        let leader = |id: u32| if id == process.pid { Some(process) } else { entries.get(&id).filter(|_| id > 0) };
        Self {
            process,
            group_leader: leader(process.ids.pgid),
            session_leader: leader(process.ids.sid),
            login_shell: shell.map(|process| process.pid),
            ancestors,
            users,
        }
    }

    /// comm of the parent, also of one that was gone before it was known.
    pub fn parent_name(&self) -> Option<&Arc<str>> {
        self.ancestors.first().and_then(|parent| parent.comm.as_ref()).or(self.process.pname.as_ref())
    }
}
