//! Sorted runs: files of one writer that follow each other in the table's sort order, told by their names.
//!
//! ```text
//!   <node>-<life>-<20-digit epoch>-<n>.parquet                         rows of an epoch
//!   <node>-<life>-<20-digit epoch>r<k>-<n>.parquet                     more of them than are sorted at once
//!   <node>-<life>-c<level>-<window start in ms>-<32 hex>-<n>.parquet   made by compaction
//! ```
//! The life is eight hex digits that a process makes when it opens the tables.
//! Files whose names differ in `<n>` alone are one run. A file with any other name is of another writer: nobody says
//! that it is sorted.

use crate::TableFile;
use bodkin_schema::{Epoch, Stream, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much time the rows of a file span, by their arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One epoch.
    Epoch,
    /// A quarter of an hour.
    Quarter,
    /// Two hours.
    TwoHours,
    /// The day of the partition.
    Day,
}

impl Level {
    /// What compaction makes, the smallest first.
    pub(crate) const COMPACTED: [Self; 3] = [Self::Quarter, Self::TwoHours, Self::Day];

    /// Length of its windows.
    pub(crate) fn window_ms(self) -> i64 {
        match self {
            Self::Epoch => 1,
            Self::Quarter => 15 * 60 * 1000,
            Self::TwoHours => 2 * 3600 * 1000,
            Self::Day => 24 * 3600 * 1000,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Epoch => 0,
            Self::Quarter => 1,
            Self::TwoHours => 2,
            Self::Day => 3,
        }
    }

    fn from_number(number: &str) -> Option<Self> {
        Self::COMPACTED.into_iter().find(|level| level.number().to_string() == number)
    }
}

/// What the name of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// Path without number and ending: equal for the files of a run.
    pub(crate) run: &'a str,
    pub(crate) number: u32,
    pub(crate) level: Level,
    /// Start of its window; none for an epoch.
    pub(crate) window_ms: Option<i64>,
    /// Node and life that wrote it, and in which epoch; none for what compaction made.
    pub(crate) epoch: Option<(&'a str, Epoch)>,
}

impl<'a> FileName<'a> {
    /// Reads a path in a table; none where another writer chose it.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let (run, number) = path.strip_suffix(".parquet")?.rsplit_once('-')?;
        let number = number.parse().ok()?;
        let name = run.rsplit('/').next()?;
        let (rest, last) = name.rsplit_once('-')?;
        if last.len() == 32 && last.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let (rest, window) = rest.rsplit_once('-')?;
            let (_, level) = rest.rsplit_once("-c")?;
            let (level, window_ms) = (Level::from_number(level)?, window.parse().ok()?);
            return Some(Self { run, number, level, window_ms: Some(window_ms), epoch: None });
        }
        let epoch = last.split_once('r').map_or(last, |(epoch, _)| epoch);
        if epoch.len() != 20 {
            return None;
        }
        let epoch = Some((rest, Epoch(epoch.parse().ok()?)));
        Some(Self { run, number, level: Level::Epoch, window_ms: None, epoch })
    }
}

/// What the path of an object in the tables' store says: table, run (equal for the files of one), place in the run.
/// None where it is no file of ours, and nobody says that it is sorted.
pub fn run_of(location: &str) -> Option<(Stream, &str, u32)> {
    let table = location.strip_prefix("tables/")?.split('/').next()?;
    let name = FileName::parse(location)?;
    Some((Stream::from_name(table)?, name.run, name.number))
}

/// Name of a file of an epoch. `sort` counts the stretches of rows that were sorted apart.
pub(crate) fn epoch_file(node: &str, epoch: Epoch, sort: usize, number: usize) -> String {
    match sort {
        0 => format!("{node}-{:020}-{number}.parquet", epoch.0),
        _ => format!("{node}-{:020}r{sort}-{number}.parquet", epoch.0),
    }
}

/// Name of a file that compaction makes.
pub(crate) fn compacted_file(node: &str, level: Level, window_ms: i64, id: uuid::Uuid, number: usize) -> String {
    format!("{node}-c{}-{window_ms}-{}-{number}.parquet", level.number(), id.simple())
}

/// Files of one partition that hold one ascending sequence of rows, in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The files.
    pub files: Vec<Arc<TableFile>>,
    /// How much time they span.
    pub level: Level,
    /// When their first row came in, about, in milliseconds since 1970: older runs first.
    pub since_ms: i64,
}

impl Run {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Rows of its files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// The sorted runs of `files` by tenant and day, the oldest first; none where a file is of another writer.
pub fn sorted_runs(files: &[Arc<TableFile>]) -> Option<BTreeMap<(Tenant, i32), Vec<Run>>> {
    let (runs, foreign) = runs(files);
    foreign.is_empty().then_some(runs)
}

/// The sorted runs of `files` by tenant and day, the oldest first, and the files that are in none.
#[allow(clippy::type_complexity, reason = "two results, each plain")]
pub(crate) fn runs(files: &[Arc<TableFile>]) -> (BTreeMap<(Tenant, i32), Vec<Run>>, Vec<Arc<TableFile>>) {
    let mut named: BTreeMap<&str, Vec<(u32, &Arc<TableFile>)>> = BTreeMap::new();
    let mut foreign = Vec::new();
    for file in files {
        match FileName::parse(&file.path) {
            Some(name) => named.entry(name.run).or_default().push((name.number, file)),
            None => foreign.push(file.clone()),
        }
    }
    let mut runs: BTreeMap<_, Vec<Run>> = BTreeMap::new();
    for mut numbered in named.into_values() {
        numbered.sort_unstable_by_key(|(number, _)| *number);
        let files: Vec<_> = numbered.into_iter().map(|(_, file)| file.clone()).collect();
        let Some((first, name)) = files.first().and_then(|file| Some((file, FileName::parse(&file.path)?))) else {
            continue;
        };
        let (level, since_ms) = (name.level, name.window_ms.unwrap_or(first.modified_ms));
        let key = (first.tenant.clone(), first.date);
        runs.entry(key).or_default().push(Run { level, since_ms, files });
    }
    // Names are in order of epochs, so runs of equal age stay in it.
    runs.values_mut().for_each(|runs| runs.sort_by_key(|run| run.since_ms));
    (runs, foreign)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::PreparedFile;

    /// A file of `drops` in the partition of day `date`.
    pub(crate) fn file(name: &str, date: &str, modified_ms: i64, size: u64, rows: u64) -> Arc<TableFile> {
        let prepared = PreparedFile {
            path: format!("tenant=default/date={date}/{name}"),
            size,
            rows,
            tenant: "default".to_owned(),
            date: date.to_owned(),
            modified_ms,
            stats: format!(r#"{{"numRecords":{rows}}}"#),
            suffixed: Vec::new(),
        };
        Arc::new(TableFile::new(Stream::Drops, &prepared).unwrap())
    }

    #[test]
    fn names_say_what_they_were_made_of() {
        let node = "7f0f5d0e-2f7a-4c7e-9a8e-1d2b3c4d5e6f";
        let path = format!("tenant=a/date=2026-01-01/{}", epoch_file(node, Epoch(7), 0, 3));
        let name = FileName::parse(&path).unwrap();
        assert_eq!(
            (name.number, name.level, name.window_ms, name.epoch),
            (3, Level::Epoch, None, Some((node, Epoch(7))))
        );
        let more = epoch_file(node, Epoch(7), 2, 4);
        let more = FileName::parse(&more).unwrap();
        assert_eq!((more.number, more.epoch), (4, Some((node, Epoch(7)))));
        assert!(!path.ends_with(more.run) && !path.contains(more.run), "sorted apart");
        let compacted = compacted_file(node, Level::TwoHours, 7_200_000, uuid::Uuid::nil(), 12);
        let name = FileName::parse(&compacted).unwrap();
        assert_eq!((name.number, name.level, name.window_ms, name.epoch), (12, Level::TwoHours, Some(7_200_000), None));
        for foreign in ["part-00000-4d63f9a0-c000.snappy.parquet", "a.parquet", "x-1-2.parquet", "n-7-1.csv"] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn runs_are_in_order_of_age() {
        let id = uuid::Uuid::nil();
        let name = |number| compacted_file("n", Level::Quarter, 900_000, id, number);
        let files = [
            file(&epoch_file("n", Epoch(9), 0, 0), "2026-01-01", 2_000_000, 1, 1),
            file(&name(10), "2026-01-01", 1, 1, 1),
            file(&name(9), "2026-01-01", 1, 1, 1),
            file(&epoch_file("n", Epoch(8), 0, 0), "2026-01-01", 2_000_000, 1, 1),
            file(&epoch_file("n", Epoch(3), 0, 0), "2026-01-02", 5, 1, 1),
        ];
        let by_partition = sorted_runs(&files).unwrap();
        let runs: Vec<_> = by_partition.values().flatten().collect();
        assert_eq!(runs.iter().map(|run| run.since_ms).collect::<Vec<_>>(), [900_000, 2_000_000, 2_000_000, 5]);
        assert_eq!(runs[0].files, [files[2].clone(), files[1].clone()]);
        assert_eq!(runs[1].files, [files[3].clone()], "epoch 8 before epoch 9");
        assert_eq!(sorted_runs(&[file("theirs.parquet", "2026-01-01", 1, 1, 1)]), None);
    }
}
