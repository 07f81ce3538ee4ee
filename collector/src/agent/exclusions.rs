//! Keeps the kernel side told of what nobody wants.

use crate::filters::{ExcludeSection, Filters};
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
        let is_process = table.get(pid).is_some_and(|process| self.filters.excludes(process));
        if is_process
            && self.known.len() < PROCESSES_MAX
            && !self.known.contains(&pid)
            && !matches!(event.body, Body::Exit(_))
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
