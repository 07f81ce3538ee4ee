//! Metrics of system calls, from the kernel's counts by process: `syscalls_total`, `syscall_errors_total` and, where
//! calls are timed, `syscall_duration_seconds` as a classic histogram; by call, program and container.
//!
//! Processes come and go, so counts are summed up over those of the same short name and container: a sum only grows.

use crate::host_metrics::{MetricBatches, Registry};
use crate::probe::CallReading;
use crate::process::ProcessTable;
use arrow::error::ArrowError;
use bodkin_ebpf::layout::{TIMES_BUCKETS, TIMES_FIRST_BITS};
use bodkin_schema::EventTime;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Sums that are kept at most; what comes later goes to the program `other`.
const SUMS_MAX: usize = 8 * 1024;

/// Who made which call.
type SumKey = (&'static str, Arc<str>, Arc<str>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    errors: u64,
    ns: u64,
    times: Option<[u64; TIMES_BUCKETS]>,
}

/// Sums of all calls since the start.
#[derive(Debug)]
pub struct SyscallStats {
    sums: FxHashMap<SumKey, Counts>,
    /// What each process's counts said last.
    told: FxHashMap<(u32, &'static str), Counts>,
    registry: Registry,
}

impl SyscallStats {
    /// None yet; `host` is the instance of all series.
    pub fn new(host: &str) -> Self {
        Self { sums: FxHashMap::default(), told: FxHashMap::default(), registry: Registry::new(host, "syscalls") }
    }

    /// Adds what `readings` have more than the last ones, and makes samples of all sums. Returns the processes that are
    /// gone: their counts need not be kept.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn round(
        &mut self,
        readings: &[CallReading],
        table: &ProcessTable,
        now: EventTime,
    ) -> Result<(MetricBatches, Vec<u32>), ArrowError> {
        let mut gone = Vec::new();
        let mut told = FxHashMap::default();
        for reading in readings {
            let counts = Counts::of(reading);
            let before = self.told.get(&(reading.tgid, reading.name)).copied().unwrap_or_default();
            let living = table.lineage(reading.tgid).map(|lineage| lineage.process);
            let text = |text: Option<&Arc<str>>| text.cloned().unwrap_or_else(|| "".into());
            let comm = text(living.and_then(|process| process.comm.as_ref()));
            let container = text(living.map(|process| &process.container_id));
            self.sum(reading.name, comm, container).add(&counts, &before);
            match living {
                Some(process) if !process.is_exited => drop(told.insert((reading.tgid, reading.name), counts)),
                _ => gone.push(reading.tgid),
            }
        }
        self.told = told;
        gone.dedup();
        for ((name, comm, container), counts) in &self.sums {
            add_samples(&mut self.registry, now, [name, comm, container], counts)?;
        }
        Ok((self.registry.finish(now)?, gone))
    }

    fn sum(&mut self, name: &'static str, comm: Arc<str>, container: Arc<str>) -> &mut Counts {
        let key = (name, comm, container);
        if self.sums.len() >= SUMS_MAX && !self.sums.contains_key(&key) {
            return self.sums.entry((name, "other".into(), "".into())).or_default();
        }
        self.sums.entry(key).or_default()
    }
}

impl Counts {
    fn of(reading: &CallReading) -> Self {
        Self { calls: reading.calls, errors: reading.errors, ns: reading.ns, times: reading.times }
    }

    /// Adds what `now` has more than `before`; a count that went back belongs to another process of that number.
    fn add(&mut self, now: &Self, before: &Self) {
        let more = |now: u64, before: u64| if now >= before { now - before } else { now };
        self.calls += more(now.calls, before.calls);
        self.errors += more(now.errors, before.errors);
        self.ns += more(now.ns, before.ns);
        if let Some(now) = now.times {
            let before = before.times.unwrap_or_default();
            let sums = self.times.get_or_insert_default();
            for ((sum, now), before) in sums.iter_mut().zip(now).zip(before) {
                *sum += more(now, before);
            }
        }
    }
}

fn add_samples(
    registry: &mut Registry,
    now: EventTime,
    [name, comm, container]: [&str; 3],
    counts: &Counts,
) -> Result<(), ArrowError> {
    let labels = [("syscall", name), ("comm", comm), ("container_id", container)];
    registry.add(now, "syscalls_total", &labels, counts.calls as f64)?;
    if counts.errors > 0 {
        registry.add(now, "syscall_errors_total", &labels, counts.errors as f64)?;
    }
    let Some(times) = counts.times else { return Ok(()) };
    let total: u64 = times.iter().sum();
    let mut below = 0;
    for (at, count) in times.iter().enumerate() {
        below += count;
        // Buckets that say nothing new are left out; the last has no bound.
        if *count == 0 || at + 1 == TIMES_BUCKETS {
            continue;
        }
        let bound = (1_u64 << (at as u32 + TIMES_FIRST_BITS)) as f64 / 1e9;
        let le = bound.to_string();
        let labels = [labels[0], labels[1], labels[2], ("le", le.as_str())];
        registry.add(now, "syscall_duration_seconds_bucket", &labels, below as f64)?;
    }
    let infinite = [labels[0], labels[1], labels[2], ("le", "+Inf")];
    registry.add(now, "syscall_duration_seconds_bucket", &infinite, total as f64)?;
    registry.add(now, "syscall_duration_seconds_sum", &labels, counts.ns as f64 / 1e9)?;
    registry.add(now, "syscall_duration_seconds_count", &labels, total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::users::Users;
    use crate::process::{Limits, ProcFs, Process};
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    fn reading(tgid: u32, calls: u64, times: Option<[u64; TIMES_BUCKETS]>) -> CallReading {
        CallReading::for_test(tgid, "read", calls, times)
    }

    #[test]
    fn sums_only_grow_whoever_ends() {
        let root = tempfile::tempdir().unwrap();
        let mut table = ProcessTable::new(Limits::default(), ProcFs::at(root.path()), Users::open("/nowhere"));
        for pid in [10, 11] {
            let mut process = Process::unknown(pid);
            process.comm = Some("cat".into());
            table.put(process);
        }
        let mut stats = SyscallStats::new("h");
        let mut round = |readings: &[CallReading], table: &ProcessTable| {
            let (batches, gone) = stats.round(readings, table, EventTime(1)).unwrap();
            let values = batches.samples.unwrap().column(3).as_primitive::<Float64Type>().values().to_vec();
            (values, gone)
        };
        assert_eq!(round(&[reading(10, 5, None), reading(11, 7, None)], &table), (vec![12.0], vec![]));
        assert_eq!(round(&[reading(10, 6, None), reading(11, 7, None)], &table), (vec![13.0], vec![]));
        table.forget(10);
        let (values, gone) = round(&[reading(10, 8, None), reading(11, 7, None)], &table);
        assert_eq!((values.iter().sum::<f64>(), gone), (15.0, vec![10]), "the last counts of one that is gone");
        // Another process has its number.
        let mut process = Process::unknown(10);
        process.comm = Some("cat".into());
        table.put(process);
        let (values, _) = round(&[reading(10, 1, None)], &table);
        assert_eq!(values.iter().sum::<f64>(), 16.0);
    }

    #[test]
    fn times_become_a_histogram() {
        let root = tempfile::tempdir().unwrap();
        let table = ProcessTable::new(Limits::default(), ProcFs::at(root.path()), Users::open("/nowhere"));
        let mut times = [0; TIMES_BUCKETS];
        (times[0], times[2], times[TIMES_BUCKETS - 1]) = (3, 2, 1);
        let mut stats = SyscallStats::new("h");
        let (batches, _) = stats.round(&[reading(1, 6, Some(times))], &table, EventTime(1)).unwrap();
        let values = batches.samples.unwrap().column(3).as_primitive::<Float64Type>().values().to_vec();
        // total, two buckets that say something, +Inf, sum, count
        assert_eq!(values, [6.0, 3.0, 5.0, 6.0, 0.0, 6.0]);
    }
}
