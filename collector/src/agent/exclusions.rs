//! Keeps the kernel side told of what nobody wants.

use crate::filters::{ExcludeSection, Filters, Why};
use crate::probe::{Probe, ProbeError};
use crate::process::ProcessTable;
use bodkin_ebpf::event::{Body, Event};
use rustc_hash::FxHashSet;

/// Processes that the kernel side leaves out at most; others are left out here.
const PROCESSES_MAX: usize = 4_000;

/// The filters, and what the kernel side knows of them.
#[derive(Debug, Default)]
pub(super) struct Exclusions {
    filters: Filters,
    /// Cgroups of the filters that the kernel side leaves out by itself.
    cgroups: Vec<String>,
    /// A cgroup of the filters may have come to be.
    has_new_cgroup: bool,
    known: FxHashSet<u32>,
    to_exclude: Vec<u32>,
    to_include: Vec<u32>,
    /// Events that came and were left out.
    filtered: u64,
}

impl Exclusions {
    /// Takes other filters over.
    pub(super) fn set(&mut self, section: &ExcludeSection, probe: &mut Probe) -> Result<(), ProbeError> {
        let filters = Filters::new(section);
        let prefixes: Vec<String> = filters.path_prefixes().collect();
        probe.exclude_paths(&prefixes)?;
        self.filters = filters;
        self.cgroups = probe.exclude_cgroups(self.filters.cgroups())?;
        self.to_include = self.known.drain().collect();
        self.apply(probe);
        Ok(())
    }

    /// Whether an event, which `table` has been told of, is left out.
    pub(super) fn hides(&mut self, event: &Event<'_>, table: &ProcessTable) -> bool {
        if self.filters.is_empty() {
            return false;
        }
        let pid = event.head.tgid;
        if matches!(event.body, Body::Exit(_)) && self.known.contains(&pid) {
            self.to_include.push(pid);
        }
        let why = table.get(pid).and_then(|process| self.filters.excludes(process));
        let is_process = why.is_some();
        let is_left_out_by_cgroup = match why {
            Some(Why::Cgroup(cgroup)) => self.cgroups.iter().any(|known| known == cgroup),
            _ => false,
        };
        self.has_new_cgroup |= matches!(why, Some(Why::Cgroup(_))) && !is_left_out_by_cgroup;
        if is_process
            && !is_left_out_by_cgroup
            && self.known.len() < PROCESSES_MAX
            && !self.known.contains(&pid)
            && !matches!(event.body, Body::Exit(_) | Body::Reparent(_))
        {
            self.known.insert(pid);
            self.to_exclude.push(pid);
        } else if !is_process && self.known.contains(&pid) {
            // It has become another program, or has moved.
            self.to_include.push(pid);
        }
        let is_hidden = is_process || self.filters.excludes_path(event);
        self.filtered += u64::from(is_hidden);
        is_hidden
    }

    /// Events that came and were left out, since the start.
    pub(super) fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Looks again for cgroups that were not there; to be called now and then.
    pub(super) fn look_again(&mut self, probe: &mut Probe) {
        if !std::mem::take(&mut self.has_new_cgroup) {
            return;
        }
        match probe.exclude_cgroups(self.filters.cgroups()) {
            Ok(cgroups) => self.cgroups = cgroups,
            Err(error) => tracing::debug!(%error, "a cgroup is left out here and not in the kernel"),
        }
    }

    /// Tells the kernel side what has changed.
    pub(super) fn apply(&mut self, probe: &mut Probe) {
        if self.to_exclude.is_empty() && self.to_include.is_empty() {
            return;
        }
        let mut outcome = Ok(());
        for pid in self.to_exclude.drain(..) {
            outcome = outcome.and(probe.exclude(pid));
        }
        for pid in self.to_include.drain(..) {
            self.known.remove(&pid);
            outcome = outcome.and(probe.include(pid));
        }
        if let Err(error) = outcome {
            tracing::debug!(%error, "a process is left out here and not in the kernel");
        }
    }
}
