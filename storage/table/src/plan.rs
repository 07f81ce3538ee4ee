//! What to compact and what to let go: decided from the list of files and the time alone.

use crate::TableFile;
use crate::run::{Level, Run, runs};
use bodkin_schema::{EventTime, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long after its end a window may still get files: an epoch that is late, a node that was away.
const SLACK_MS: i64 = 2 * 60 * 1000;
/// Runs that are merged at once.
const FAN_IN_MAX: usize = 64;
/// Bytes of row groups that are open at once: one per run.
const OPEN_BYTES_MAX: u64 = 128 << 20;
/// Bytes that one job reads, so that its commit comes and its lease holds.
const JOB_BYTES_MAX: u64 = 8 << 30;
/// Rows of a row group, as the writer makes them.
const ROWS_PER_GROUP: u64 = crate::file_writer::ROWS_PER_GROUP as u64;

/// Runs to be made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Whose rows.
    pub tenant: Tenant,
    /// Day of the partition, in days since 1970.
    pub date: i32,
    /// What the result spans.
    pub level: Level,
    /// Start of the window, in milliseconds since 1970.
    pub window_ms: i64,
    /// The runs, the oldest first: of equal samples the first stays.
    pub runs: Vec<Run>,
}

/// The jobs that are due at `now`, in an order in which they can be done one by one; none of them shares a file with
/// another. Where `is_forced`, every window counts as ended, and each partition becomes one run.
///
/// A window whose end is `SLACK_MS` ago is merged; the windows of a level are made from the files that no larger
/// window wants. A job takes no more runs than memory allows to be open at once: a window with more of them becomes
/// several jobs, and one with fewer runs each time.
pub fn plan_compaction(files: &[Arc<TableFile>], now: EventTime, is_forced: bool) -> Vec<Job> {
    let now_ms = now.micros().div_euclid(1000);
    let (by_partition, _) = runs(files);
    let mut jobs = Vec::new();
    for ((tenant, date), runs) in by_partition {
        let mut windows: BTreeMap<(Level, i64), Vec<Run>> = BTreeMap::new();
        for run in runs {
            if let Some(window) = window_of(&run, date, now_ms, is_forced) {
                windows.entry(window).or_default().push(run);
            }
        }
        for ((level, window_ms), runs) in windows {
            let chunks = chunks(runs).into_iter().filter(|runs| runs.len() > 1);
            jobs.extend(chunks.map(|runs| Job { tenant: tenant.clone(), date, level, window_ms, runs }));
        }
    }
    jobs
}

/// The largest window that has ended and holds the run.
fn window_of(run: &Run, date: i32, now_ms: i64, is_forced: bool) -> Option<(Level, i64)> {
    let due = |level: &Level| {
        let window_ms = match level {
            // Rows of a day may be written after midnight: the partition is the window.
            Level::Day => i64::from(date) * Level::Day.window_ms(),
            _ => run.since_ms.div_euclid(level.window_ms()) * level.window_ms(),
        };
        let has_ended = window_ms + level.window_ms() + SLACK_MS <= now_ms;
        (has_ended || is_forced).then_some((*level, window_ms))
    };
    Level::COMPACTED.iter().rev().filter(|level| **level >= run.level).find_map(due)
}

/// `runs` in pieces that can be merged at once.
fn chunks(runs: Vec<Run>) -> Vec<Vec<Run>> {
    let mut chunks: Vec<Vec<Run>> = Vec::new();
    let (mut open, mut bytes) = (0, 0);
    for run in runs {
        let (run_open, run_bytes) = (group_bytes(&run), run.bytes());
        let fits = chunks.last().is_some_and(|chunk| {
            chunk.len() < FAN_IN_MAX && open + run_open <= OPEN_BYTES_MAX && bytes + run_bytes <= JOB_BYTES_MAX
        });
        match chunks.last_mut().filter(|_| fits) {
            Some(chunk) => {
                chunk.push(run);
                (open, bytes) = (open + run_open, bytes + run_bytes);
            }
            None => {
                chunks.push(vec![run]);
                (open, bytes) = (run_open, run_bytes);
            }
        }
    }
    chunks
}

/// Bytes of the largest row group of the run, about.
fn group_bytes(run: &Run) -> u64 {
    let of_file = |file: &Arc<TableFile>| file.size * file.rows.min(ROWS_PER_GROUP) / file.rows.max(1);
    run.files.iter().map(of_file).max().unwrap_or_default()
}

/// The files whose day of ingestion is more than `days` before today.
pub fn expired(files: &[Arc<TableFile>], now: EventTime, days: u32) -> Vec<Arc<TableFile>> {
    let first_kept = i64::from(now.day()) - i64::from(days);
    files.iter().filter(|file| i64::from(file.date) < first_kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::file;
    use crate::run::{compacted_file, epoch_file};
    use bodkin_schema::Epoch;
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;
    /// 2026-01-02T00:00:00Z.
    const TODAY_MS: i64 = 1_767_312_000_000;
    const MINUTE: i64 = 60_000;

    fn epoch(number: u64, date: &str, at_ms: i64) -> Arc<TableFile> {
        file(&epoch_file("n", Epoch(number), 0, 0), date, at_ms, 1 << 20, 10_000)
    }

    fn plan(files: &[Arc<TableFile>], now_ms: i64) -> Vec<(Level, i64, usize)> {
        let jobs = plan_compaction(files, EventTime(now_ms * 1000), false);
        jobs.into_iter().map(|job| (job.level, job.window_ms - TODAY_MS, job.runs.len())).collect()
    }

    #[test]
    fn each_window_is_merged_when_it_has_ended() {
        let files: Vec<_> = (0..36).map(|n| epoch(n, "2026-01-02", TODAY_MS + n as i64 * 5 * MINUTE)).collect();
        assert_eq!(plan(&files, TODAY_MS), []);
        assert_eq!(plan(&files, TODAY_MS + 16 * MINUTE), [], "the quarter may still get files");
        assert_eq!(plan(&files, TODAY_MS + 17 * MINUTE), [(Level::Quarter, 0, 3)]);
        let quarters = [(Level::Quarter, 0, 3), (Level::Quarter, 15 * MINUTE, 3)];
        assert_eq!(plan(&files, TODAY_MS + 32 * MINUTE), quarters);
        let later = [(Level::Quarter, 120 * MINUTE, 3), (Level::TwoHours, 0, 24)];
        assert_eq!(plan(&files, TODAY_MS + 137 * MINUTE), later);
        assert_eq!(plan(&files, TODAY_MS + DAY_MS + 2 * MINUTE), [(Level::Day, 0, 36)]);
        assert_eq!(plan(&files[..1], TODAY_MS + DAY_MS + 2 * MINUTE), [], "one run is as it should be");
    }

    #[test]
    fn merged_windows_go_into_larger_ones_and_then_rest() {
        let id = uuid::Uuid::nil();
        let merged = |level: Level, minute: i64, number| {
            file(&compacted_file("n", level, TODAY_MS + minute * MINUTE, id, number), "2026-01-02", 1, 1, 1)
        };
        let quarters = [merged(Level::Quarter, 0, 0), merged(Level::Quarter, 0, 1), merged(Level::Quarter, 15, 0)];
        assert_eq!(plan(&quarters, TODAY_MS + 60 * MINUTE), []);
        assert_eq!(plan(&quarters, TODAY_MS + 122 * MINUTE), [(Level::TwoHours, 0, 2)]);
        assert_eq!(plan(&[merged(Level::TwoHours, 0, 0)], TODAY_MS + 122 * MINUTE), []);
        let late = [merged(Level::TwoHours, 0, 0), epoch(4, "2026-01-02", TODAY_MS + 119 * MINUTE)];
        assert_eq!(plan(&late, TODAY_MS + 200 * MINUTE), [(Level::TwoHours, 0, 2)], "a late file joins its window");
    }

    #[test]
    fn force_makes_each_partition_one_run() {
        let files = [
            epoch(1, "2026-01-01", TODAY_MS - MINUTE),
            epoch(2, "2026-01-01", TODAY_MS + MINUTE),
            epoch(3, "2026-01-02", TODAY_MS + MINUTE),
        ];
        let jobs = plan_compaction(&files, EventTime((TODAY_MS + 2 * MINUTE) * 1000), true);
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].level, jobs[0].window_ms, jobs[0].runs.len()), (Level::Day, TODAY_MS - DAY_MS, 2));
    }

    #[test]
    fn files_of_others_stay() {
        let files = [file("a.parquet", "2026-01-01", 1, 1, 1), file("b.parquet", "2026-01-01", 1, 1, 1)];
        assert_eq!(plan_compaction(&files, EventTime(TODAY_MS * 1000), true), []);
    }

    #[test]
    fn days_expire_by_ingestion() {
        let files = [epoch(1, "2025-12-31", 1), epoch(2, "2026-01-01", 1), epoch(3, "2026-01-02", 1)];
        let gone = |days| expired(&files, EventTime(TODAY_MS * 1000), days).len();
        assert_eq!([gone(3), gone(2), gone(1), gone(0)], [0, 0, 1, 2]);
    }

    proptest! {
        #[test]
        fn it_ends_and_no_file_is_in_two_jobs(
            files in prop::collection::vec((0i64..3 * DAY_MS, 1u64..2_000, 1u64..3_000_000), 1..200),
            now in 0i64..4 * DAY_MS,
            is_forced in any::<bool>(),
        ) {
            let dates = ["2026-01-02", "2026-01-03", "2026-01-04"];
            let mut files: Vec<_> = files.iter().enumerate().map(|(n, (at, mib, rows))| {
                let name = epoch_file("n", Epoch(n as u64), 0, 0);
                file(&name, dates[(at / DAY_MS) as usize], TODAY_MS + at, mib << 20, *rows)
            }).collect();
            let now = EventTime((TODAY_MS + now) * 1000);
            let rows: u64 = files.iter().map(|file| file.rows).sum();
            let mut rounds = 0;
            loop {
                let jobs = plan_compaction(&files, now, is_forced);
                if jobs.is_empty() { break }
                rounds += 1;
                prop_assert!(rounds < 20);
                for (number, job) in jobs.into_iter().enumerate() {
                    prop_assert!(job.runs.len() <= FAN_IN_MAX);
                    prop_assert!(job.runs.is_sorted_by_key(|run| run.since_ms));
                    let taken: Vec<_> = job.runs.iter().flat_map(|run| &run.files).collect();
                    let before = files.len();
                    files.retain(|file| !taken.contains(&file));
                    prop_assert_eq!(before - files.len(), taken.len());
                    let id = uuid::Uuid::from_u128((rounds << 32) + number as u128);
                    let name = compacted_file("n", job.level, job.window_ms, id, 0);
                    let (bytes, rows) = (taken.iter().map(|file| file.size).sum(), taken.iter().map(|file| file.rows).sum());
                    files.push(file(&name, &crate::file::format_date(job.date), 1, bytes, rows));
                }
            }
            prop_assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), rows);
        }
    }
}
