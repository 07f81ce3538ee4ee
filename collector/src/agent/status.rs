//! What the agent says about itself.

use super::control::Pushed;
use crate::client::ClientStats;
use crate::config::AgentSection;
use crate::process::TableStats;
use crate::spool::SpoolStats;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Rows lost, by class and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LossCount {
    /// Class of the rows.
    pub class: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many since the start.
    pub rows: u64,
}

/// The state of an agent.
#[derive(Clone, Debug, Serialize)]
pub struct AgentStatus {
    /// Kernel programs are attached.
    pub ebpf: bool,
    /// Their names.
    pub programs: Vec<String>,
    /// Names of the events that are watched; of the kernel's, exec, fork and exit are besides.
    pub events: Vec<String>,
    /// What cannot be seen, and why.
    pub unseen: Vec<String>,
    /// The server answers.
    pub connected: bool,
    /// Rows of `events` in the last second.
    pub rows_per_second: u64,
    /// Figures of the spool.
    pub spool: SpoolStats,
    /// Figures of the connection.
    pub client: ClientStats,
    /// Figures of the process table.
    pub processes: TableStats,
    /// Events left out by `agent.exclude` beside those that the kernel side left out.
    pub filtered: u64,
    /// What the server has configured.
    pub pushed: Pushed,
    /// All losses since the start.
    pub losses: Vec<LossCount>,
    /// The kernel's among them, by kind of event (open, exec, ...) and reason.
    pub kernel_losses: Vec<LossCount>,
}

/// What is wanted of the thread that reads events.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) section: AgentSection,
    /// Events that the loaded rules are asked about.
    pub(super) rule_events: BTreeSet<String>,
    /// A loaded rule may fire for messages on streams.
    pub(super) rule_streams: bool,
}

/// What threads tell the status.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ebpf: bool,
    pub(super) programs: Vec<String>,
    pub(super) unseen: Vec<String>,
    events: Mutex<Vec<String>>,
    /// What is wanted from now on, until the thread that reads events knows.
    wanted: Mutex<Option<Wanted>>,
    filtered: AtomicU64,
    rows_per_second: AtomicU64,
    processes: Mutex<TableStats>,
    kernel_losses: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Shared {
    pub(super) fn new(ebpf: bool, programs: Vec<String>, events: Vec<String>, unseen: Vec<String>) -> Self {
        Self {
            ebpf,
            programs,
            unseen,
            events: Mutex::new(events),
            wanted: Mutex::default(),
            filtered: AtomicU64::new(0),
            rows_per_second: AtomicU64::new(0),
            processes: Mutex::default(),
            kernel_losses: Mutex::default(),
        }
    }

    pub(super) fn set_wanted(&self, wanted: Wanted) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
    }

    pub(super) fn take_wanted(&self) -> Option<Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn set_events(&self, events: Vec<String>) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_filtered(&self, events: u64) {
        self.filtered.store(events, Ordering::Relaxed);
    }

    pub(super) fn filtered(&self) -> u64 {
        self.filtered.load(Ordering::Relaxed)
    }

    pub(super) fn set_rows_per_second(&self, rows: u64) {
        self.rows_per_second.store(rows, Ordering::Relaxed);
    }

    pub(super) fn rows_per_second(&self) -> u64 {
        self.rows_per_second.load(Ordering::Relaxed)
    }

    pub(super) fn set_processes(&self, stats: TableStats) {
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    pub(super) fn processes(&self) -> TableStats {
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_kernel_loss(&self, class: &'static str, reason: &'static str, count: u64) {
        let mut losses = self.kernel_losses.lock().unwrap_or_else(PoisonError::into_inner);
        *losses.entry((class, reason)).or_default() += count;
    }

    pub(super) fn kernel_losses(&self) -> Vec<LossCount> {
        let losses = self.kernel_losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.iter().map(|((class, reason), rows)| LossCount { class, reason, rows: *rows }).collect()
    }
}
