//! What really happened, and what must hold of it.

use crate::executor::lock;
use crate::sink::{NUMBERED, RAW, Row, TAGGED};
use bodkin_schema::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its id, as in the design.
    pub id: &'static str,
    /// What was found.
    pub what: String,
}

/// A row that was made.
#[derive(Clone, Debug)]
struct Sent {
    key: String,
    time: i64,
    /// Side input that was acknowledged before the row was made.
    side: i64,
    stream: Stream,
}

#[derive(Debug, Default)]
struct State {
    sent: BTreeMap<i64, Sent>,
    acked: BTreeSet<i64>,
    side_acked: i64,
    /// What a query or a table showed of a row that does not depend on the order between shards.
    tags: BTreeMap<i64, i64>,
    /// Which life of the process has completed an epoch.
    completed: BTreeMap<u64, u64>,
    violations: Vec<Violation>,
    trace: Option<Vec<String>>,
}

/// The history of a run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

impl World {
    pub(crate) fn new(has_trace: bool) -> Self {
        let world = Self::default();
        lock(&world.0).trace = has_trace.then(Vec::new);
        world
    }

    /// Notes what happens, for whoever reads the trace of a seed.
    pub(crate) fn say(&self, sim: &crate::executor::Sim, what: impl FnOnce() -> String) {
        let mut state = lock(&self.0);
        if let Some(trace) = &mut state.trace {
            trace.push(format!("{:>12.6} {}", sim.now().as_secs_f64(), what()));
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        lock(&self.0).trace.take().unwrap_or_default()
    }

    /// A row is made; its id.
    pub(crate) fn make(&self, stream: Stream, key: &str, time: i64) -> i64 {
        let mut state = lock(&self.0);
        let id = state.sent.len() as i64 + 1;
        let side = state.side_acked;
        state.sent.insert(id, Sent { key: key.to_owned(), time, side, stream });
        id
    }

    pub(crate) fn ack(&self, ids: &[i64]) {
        lock(&self.0).acked.extend(ids);
    }

    pub(crate) fn acked(&self) -> BTreeSet<i64> {
        lock(&self.0).acked.clone()
    }

    pub(crate) fn side_acked(&self, value: i64) {
        let mut state = lock(&self.0);
        state.side_acked = state.side_acked.max(value);
    }

    pub(crate) fn side(&self) -> i64 {
        lock(&self.0).side_acked
    }

    /// A life of the process says that it has completed an epoch.
    pub(crate) fn completed(&self, epoch: u64, life: u64) {
        let first = *lock(&self.0).completed.entry(epoch).or_insert(life);
        if first != life {
            self.violate("FENCE", format!("epoch {epoch} was completed by life {first} and by life {life}"));
        }
    }

    pub(crate) fn violate(&self, id: &'static str, what: String) {
        let mut state = lock(&self.0);
        if state.violations.len() < 20 {
            state.violations.push(Violation { id, what });
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        lock(&self.0).violations.clone()
    }

    /// Checks what a query sees that started when `acked` were acknowledged.
    pub(crate) fn check_query(&self, rows: &BTreeMap<Stream, Vec<Row>>, acked: &BTreeSet<i64>, id: &'static str) {
        let mut seen = BTreeSet::new();
        for stream in RAW {
            for row in rows.get(&stream).into_iter().flatten() {
                if !seen.insert(row.id) {
                    self.violate("ONCE-1", format!("{stream} shows row {} twice", row.id));
                }
                self.check_row(stream, row);
            }
        }
        let missing: Vec<_> = acked.difference(&seen).take(5).collect();
        if !missing.is_empty() {
            self.violate(id, format!("acknowledged rows {missing:?} are not in a query that started later"));
        }
        for row in rows.get(&TAGGED).into_iter().flatten().filter(|row| row.key == "tag") {
            self.check_tag(row);
        }
    }

    fn check_row(&self, stream: Stream, row: &Row) {
        let found = lock(&self.0).sent.get(&row.id).map(|sent| (sent.stream, sent.key.clone()));
        match found {
            None => self.violate("TAIL-1", format!("{stream} shows row {}, which nobody made", row.id)),
            Some((made_for, key)) if made_for != stream || (stream == Stream::Drops && key != row.key) => {
                self.violate("TAIL-1", format!("{stream} shows row {} changed", row.id));
            }
            Some(_) => {}
        }
    }

    fn check_tag(&self, row: &Row) {
        let mut state = lock(&self.0);
        let first = *state.tags.entry(row.id).or_insert(row.made);
        let side = state.sent.get(&row.id).map_or(0, |sent| sent.side);
        drop(state);
        if first != row.made {
            self.violate("DET-1", format!("row {} was tagged {first} once, and {} after a replay", row.id, row.made));
        }
        if row.made / 2 < side {
            let saw = row.made / 2;
            self.violate(
                "DET-1",
                format!("row {} saw side input {saw}; {side} was acknowledged before it was made", row.id),
            );
        }
    }

    /// Checks what the tables hold at the end, when everything was flushed. `closed` is the window up to which all are
    /// closed.
    pub(crate) fn check_end(&self, rows: &BTreeMap<Stream, Vec<Row>>, window_us: i64, closed: i64) {
        self.check_query(rows, &self.acked(), "ACK-1");
        let drops: BTreeSet<i64> = rows.get(&Stream::Drops).into_iter().flatten().map(|row| row.id).collect();
        self.check_numbers(rows, &drops);
        let tagged: Vec<_> = rows.get(&TAGGED).into_iter().flatten().filter(|row| row.key == "tag").collect();
        self.check_same("tag", &drops, tagged.iter().map(|row| row.id));
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for id in &drops {
            let time = lock(&self.0).sent.get(id).map_or(0, |sent| sent.time);
            *expected.entry(time.div_euclid(window_us) * window_us).or_default() += 1;
        }
        let mut found: BTreeMap<i64, i64> = BTreeMap::new();
        for row in rows.get(&TAGGED).into_iter().flatten().filter(|row| row.key == "window") {
            *found.entry(row.id).or_default() += row.made;
        }
        let until = |windows: BTreeMap<i64, i64>| {
            windows.into_iter().filter(|(window, _)| *window < closed).collect::<Vec<_>>()
        };
        let (expected, found) = (until(expected), until(found));
        if expected != found {
            self.violate("LATE-1", format!("windows hold {found:?}, their rows are {expected:?}"));
        }
    }

    fn check_numbers(&self, rows: &BTreeMap<Stream, Vec<Row>>, drops: &BTreeSet<i64>) {
        let mut by_key: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for row in rows.get(&NUMBERED).into_iter().flatten() {
            by_key.entry(&row.key).or_default().push(row.made);
        }
        self.check_same("number", drops, rows.get(&NUMBERED).into_iter().flatten().map(|row| row.id));
        for (key, mut numbers) in by_key {
            numbers.sort_unstable();
            if !numbers.iter().copied().eq(1..=numbers.len() as i64) {
                self.violate("ONCE-2", format!("rows of key {key} are numbered {numbers:?}: state and rows disagree"));
            }
        }
    }

    /// Checks that an operator saw each stored row once.
    fn check_same(&self, operator: &str, stored: &BTreeSet<i64>, made: impl Iterator<Item = i64>) {
        let mut seen = BTreeSet::new();
        for id in made {
            if !seen.insert(id) {
                self.violate("ONCE-1", format!("operator {operator} made row {id} twice"));
            }
        }
        let missing: Vec<_> = stored.symmetric_difference(&seen).take(5).collect();
        if !missing.is_empty() {
            self.violate("ONCE-2", format!("operator {operator} and the table disagree on rows {missing:?}"));
        }
    }
}
