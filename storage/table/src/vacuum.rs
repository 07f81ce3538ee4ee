//! Which objects of a table may be deleted: decided from a listing, the log, the snapshots in use and the intents.

use crate::run::FileName;
use bodkin_schema::{Epoch, EventTime};
use std::collections::{HashMap, HashSet};

/// How long a file stays after the log has removed it. As long as the log keeps the versions that name it: whoever
/// reads an older version finds its files.
const GRACE_MS: i64 = 2 * 24 * 3600 * 1000;
/// Age at which a file that no log and no intent names is left over from work that was given up.
const ORPHAN_MS: i64 = 24 * 3600 * 1000;

/// An object below the folder of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path in the table.
    pub(crate) path: String,
    pub(crate) modified_ms: i64,
    pub(crate) size: u64,
}

/// A file that the log has removed from its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Path in the table.
    pub path: String,
    /// When, in milliseconds since 1970.
    pub removed_ms: i64,
}

/// What must stay, and what may go.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Paths of files that the log or a snapshot in use holds, or an intent names whose epoch may not be in the log yet.
    pub(crate) in_use: HashSet<String>,
    /// The newest intent of each node: its epoch, and the files that it names.
    pub(crate) prepared: HashMap<String, (Epoch, Vec<String>)>,
    pub(crate) removed: Vec<Removed>,
    /// The newest epoch that each node has decided.
    pub(crate) decided: HashMap<String, Epoch>,
}

/// The objects of `found` that may be deleted at `now`. With `is_now` the grace is waived, for files that the log has
/// removed and nothing else.
///
/// `found` must have been listed before the log and the intents were read: a file that came later is in neither.
pub(crate) fn deletable(found: Vec<Found>, named: &Named, now: EventTime, is_now: bool) -> Vec<Found> {
    let now_ms = now.micros().div_euclid(1000);
    let removed: HashMap<&str, i64> = named.removed.iter().map(|file| (file.path.as_str(), file.removed_ms)).collect();
    let may_go = |file: &Found| {
        if named.in_use.contains(&file.path) || !file.path.ends_with(".parquet") || file.path.starts_with('_') {
            return false;
        }
        match removed.get(file.path.as_str()) {
            Some(removed_ms) => is_now || removed_ms + GRACE_MS <= now_ms,
            None => file.modified_ms + ORPHAN_MS <= now_ms && is_decided(file, &named.decided),
        }
    };
    found.into_iter().filter(may_go).collect()
}

/// Whether the epoch that wrote the file has been decided, without it. What is not of an epoch waits for none.
fn is_decided(file: &Found, decided: &HashMap<String, Epoch>) -> bool {
    match FileName::parse(&file.path).and_then(|name| name.epoch) {
        // The name begins with the node; its life follows.
        Some((writer, epoch)) => {
            let node = writer.rsplit_once('-').map_or(writer, |(node, _)| node);
            [writer, node].iter().filter_map(|node| decided.get(*node)).any(|newest| epoch <= *newest)
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Level, compacted_file, epoch_file};

    const HOUR: i64 = 3600 * 1000;

    fn found(name: &str, age_ms: i64) -> Found {
        Found { path: format!("tenant=a/date=2026-01-01/{name}"), modified_ms: 100 * 24 * HOUR - age_ms, size: 1 }
    }

    fn gone(files: &[Found], named: &Named, is_now: bool) -> Vec<String> {
        let gone = deletable(files.to_vec(), named, EventTime(100 * 24 * HOUR * 1000), is_now);
        gone.into_iter().map(|file| file.path.rsplit('/').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_the_log_removed_goes_after_the_grace_or_now() {
        let names = [epoch_file("n", Epoch(1), 0, 0), epoch_file("n", Epoch(2), 0, 0), epoch_file("n", Epoch(3), 0, 0)];
        let files: Vec<_> = names.iter().map(|name| found(name, 90 * HOUR)).collect();
        let removed = |file: &Found, age| Removed { path: file.path.clone(), removed_ms: 100 * 24 * HOUR - age };
        let named = Named {
            in_use: [files[2].path.clone()].into(),
            removed: vec![removed(&files[0], 50 * HOUR), removed(&files[1], HOUR), removed(&files[2], 50 * HOUR)],
            decided: [("n".to_owned(), Epoch(9))].into(),
            ..Named::default()
        };
        assert_eq!(gone(&files, &named, false), names[..1]);
        assert_eq!(gone(&files, &named, true), names[..2], "the third is in use");
    }

    #[test]
    fn orphans_are_old_and_of_a_decided_epoch() {
        let compacted = compacted_file("n", Level::Quarter, 1, uuid::Uuid::nil(), 0);
        let old = epoch_file("n-0a1b2c3d", Epoch(5), 0, 0);
        let files = [
            found(&old, 25 * HOUR),
            found(&epoch_file("n", Epoch(5), 0, 1), 23 * HOUR),
            found(&epoch_file("n-0a1b2c3d", Epoch(6), 0, 0), 25 * HOUR),
            found(&epoch_file("stranger", Epoch(1), 0, 0), 25 * HOUR),
            found(&compacted, 25 * HOUR),
            found("notes.txt", 1000 * HOUR),
        ];
        let named = Named { decided: [("n".to_owned(), Epoch(5))].into(), ..Named::default() };
        assert_eq!(gone(&files, &named, false), [old.clone(), compacted.clone()]);
        assert_eq!(gone(&files, &named, true), [old, compacted], "`now` changes nothing for orphans");
        let named = Named { in_use: files.iter().map(|file| file.path.clone()).collect(), ..named };
        assert_eq!(gone(&files, &named, true), Vec::<String>::new());
    }
}
