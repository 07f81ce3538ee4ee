//! What the ladder has made and what it still has to: one object in the store, decided by a conditional put.
//!
//! ```text
//! rollups/<20-digit number>.json     the highest number counts; the one before it is deleted later
//! rollups-flows/...                  the same of the ladder of flows
//! ```
//! A *unit* is two hours of event time: what is made, or to be made again, as a whole. A unit that a new sample falls
//! into is pending until a making that has seen the sample is in the tables, and queries read it from the samples.

use crate::tier::{Tier, floor};
use crate::{Error, Result};
use bodkin_schema::Epoch;
use bodkin_table::{Origin, TableFile, origin};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Length of a unit in microseconds: the windows of all tiers but the coarsest divide it, and it divides theirs.
pub(crate) const UNIT_US: i64 = 2 * Tier::Hour.window_us();
const FORMAT: u32 = 1;

/// What is known of one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// The oldest day of ingestion of its samples, in days since 1970.
    pub(crate) oldest_day: i32,
    /// Since when samples wait to be made, and when the last of them came; none where all are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<Pending>,
    /// The day of its making, in days since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made_day: Option<i32>,
}

/// When samples of a unit came in that are not in the tiers, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// The state of the ladder. Immutable once published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// How often it was written: the version of rows that are made from it.
    pub(crate) number: u64,
    /// Per node the last epoch whose samples were looked at.
    pub(crate) seen: BTreeMap<String, u64>,
    /// By start in microseconds.
    pub(crate) units: BTreeMap<i64, Unit>,
    /// There were more units than are kept: what is not among them is not known.
    #[serde(default)]
    pub(crate) is_full: bool,
    /// The first day of making whose rows are there, per tier, and of ingestion of samples. It never goes back: what
    /// retention took away is not there again when it is told to keep more.
    #[serde(default)]
    pub(crate) kept_since: [i32; 5],
}

/// The start of the unit that holds `ts_us`.
pub(crate) fn unit_of(ts_us: i64) -> i64 {
    floor(ts_us, UNIT_US)
}

/// A process is called `<node>-<life>`; epochs count per node.
fn node_of(process: &str) -> &str {
    process.rsplit_once('-').map_or(process, |(node, _)| node)
}

impl State {
    /// Units that are kept: eleven years, and the size of the object is bounded.
    const UNITS_MAX: usize = 50_000;

    /// Whether the rows of `file` were looked at. What was compacted was; files of other tools never are.
    pub(crate) fn has_seen(&self, file: &TableFile) -> bool {
        match origin(&file.path) {
            Origin::Epoch(process, Epoch(epoch)) => self.seen.get(node_of(process)).is_some_and(|seen| epoch <= *seen),
            Origin::Made => self.number > 0,
            Origin::Foreign => false,
        }
    }

    /// Remembers that `file` was looked at.
    pub(crate) fn see(&mut self, file: &TableFile) {
        if let Origin::Epoch(process, Epoch(epoch)) = origin(&file.path) {
            let seen = self.seen.entry(node_of(process).to_owned()).or_default();
            *seen = epoch.max(*seen);
        }
    }

    /// A sample of the unit came in on day `day` at `at_ms`.
    pub(crate) fn touch(&mut self, unit_us: i64, day: i32, at_ms: i64) {
        if self.units.len() >= Self::UNITS_MAX && !self.units.contains_key(&unit_us) {
            self.is_full = true;
            return;
        }
        let unit = self.units.entry(unit_us).or_insert(Unit { oldest_day: day, ..Unit::default() });
        unit.oldest_day = unit.oldest_day.min(day);
        let pending = unit.pending.get_or_insert(Pending { first_ms: at_ms, last_ms: at_ms });
        pending.first_ms = pending.first_ms.min(at_ms);
        pending.last_ms = pending.last_ms.max(at_ms);
    }

    /// The newest one in `store`; an empty one where there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or a newer version wrote it.
    pub(crate) async fn load(store: &Arc<dyn ObjectStore>, folder: &str) -> Result<Self> {
        let failed = |path: &str, source| Error::Store { path: path.to_owned(), source };
        let objects = store.list(Some(&Path::from(folder))).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await;
        let Some(newest) = objects.map_err(|source| failed(folder, source))?.into_iter().max() else {
            return Ok(Self { format: FORMAT, ..Self::default() });
        };
        let object = store.get(&newest).await.map_err(|source| failed(newest.as_ref(), source))?;
        let bytes = object.bytes().await.map_err(|source| failed(newest.as_ref(), source))?;
        let corrupt = |reason: String| Error::Corrupt { path: newest.to_string(), reason };
        let state: Self = serde_json::from_slice(&bytes)
            .map_err(|error| corrupt(format!("{error}; delete it, and tiers are made again")))?;
        if state.format > FORMAT {
            return Err(corrupt(format!("format {} is newer than {FORMAT}: run the newer version", state.format)));
        }
        Ok(state)
    }

    /// Writes it as the next one. Returns it with its number.
    ///
    /// # Errors
    /// [`Error::Overtaken`] where another process has written that one.
    pub(crate) async fn save(mut self, store: &Arc<dyn ObjectStore>, folder: &str) -> Result<Self> {
        let path_of = |number: u64| Path::from_iter([folder, &format!("{number:020}.json")]);
        let before = path_of(self.number);
        self.number += 1;
        self.format = FORMAT;
        let path = path_of(self.number);
        let bytes = serde_json::to_vec(&self)
            .map_err(|error| Error::Corrupt { path: path.to_string(), reason: error.to_string() })?;
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Err(Error::Overtaken { path: path.to_string() }),
            Err(source) => return Err(Error::Store { path: path.to_string(), source }),
        }
        // What stays is older and counts for nothing.
        let _ = store.delete(&before).await;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn the_highest_number_counts_and_is_written_once() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut state = State::load(&store, "rollups").await.unwrap();
        state.touch(unit_of(-5), 7, 1);
        state.touch(unit_of(-5), 6, 3);
        let one = state.clone().save(&store, "rollups").await.unwrap();
        assert!(matches!(state.save(&store, "rollups").await, Err(Error::Overtaken { .. })), "a zombie");
        let two = one.save(&store, "rollups").await.unwrap();
        let found = State::load(&store, "rollups").await.unwrap();
        assert_eq!((found.number, &found), (2, &two));
        let unit = Unit { oldest_day: 6, pending: Some(Pending { first_ms: 1, last_ms: 3 }), made_day: None };
        assert_eq!(found.units, BTreeMap::from([(-UNIT_US, unit)]));
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    }

    #[test]
    fn units_are_bounded() {
        let mut state = State::default();
        (0..State::UNITS_MAX as i64 + 1).for_each(|unit| state.touch(unit * UNIT_US, 0, 0));
        assert_eq!((state.units.len(), state.is_full), (State::UNITS_MAX, true));
    }
}
