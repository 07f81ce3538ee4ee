//! A ladder of one process: it looks at new rows of its base, makes what is due, and says what queries may read.

use crate::base::{Base, Sketched};
use crate::make::make;
use crate::plan::{is_settled, stretches};
use crate::state::{State, UNIT_US, Unit, unit_of};
use crate::tier::Tier;
use crate::view::View;
use crate::{Error, Result};
use arc_swap::ArcSwap;
use bodkin_schema::{Clock, MetricId, Stream, Tenant};
use bodkin_table::{Hold, Retention, Snapshot, TableFile, Tables, time_bounds};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// How often a stretch is tried whose files compaction takes away meanwhile.
const ATTEMPTS_MAX: u32 = 3;
/// Place of the base behind the tiers, where each has a day.
const BASE: usize = 4;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct RollupStats {
    /// Units made, each time counted.
    pub units_made: AtomicU64,
    /// Rows of the base read to make them.
    pub rows_read: AtomicU64,
    /// Units whose late rows came when the others were gone: their rows stay as they are.
    pub units_settled: AtomicU64,
}

/// What the ladder has to do and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RollupProgress {
    /// Units (two hours of event time) whose rows are made and up to date.
    pub units_made: u64,
    /// Units that wait.
    pub units_pending: u64,
    /// Units of the making under way, and of them those that are done.
    pub units_planned: u64,
    /// See `units_planned`.
    pub units_done: u64,
    /// Rows of the base read since the start.
    pub rows_read: u64,
    /// Start of the oldest unit that waits, in milliseconds since 1970.
    pub oldest_pending_ms: Option<i64>,
}

/// Makes the tiers of one of a node's tables.
pub struct Ladder {
    base: Base,
    tables: Arc<Tables>,
    clock: Arc<dyn Clock>,
    retention: RwLock<Retention>,
    sketched: RwLock<Arc<Sketched>>,
    state: Arc<ArcSwap<State>>,
    /// One making at a time.
    working: tokio::sync::Mutex<()>,
    planned: AtomicU64,
    done: AtomicU64,
    stats: RollupStats,
}

impl fmt::Debug for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ladder").field("base", &self.base).field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// New rows of the base stay in files of their own until the ladder has looked at them.
#[derive(Debug)]
struct Unseen(Base, Arc<ArcSwap<State>>);

impl Hold for Unseen {
    fn is_held(&self, stream: Stream, file: &TableFile) -> bool {
        stream == self.0.stream() && !self.1.load().has_seen(file)
    }
}

impl Ladder {
    /// Reads what was made. From now on compaction waits for the ladder to look at new rows of `base`.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub async fn open(
        tables: Arc<Tables>,
        base: Base,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let state = Arc::new(ArcSwap::from_pointee(State::load(tables.store(), base.folder()).await?));
        tables.add_hold(Arc::new(Unseen(base, state.clone())));
        Ok(Arc::new(Self {
            base,
            tables,
            clock,
            retention: RwLock::new(retention),
            sketched: RwLock::default(),
            state,
            working: tokio::sync::Mutex::default(),
            planned: AtomicU64::new(0),
            done: AtomicU64::new(0),
            stats: RollupStats::default(),
        }))
    }

    /// Counts on rows as long as `retention` says from now on.
    pub fn keep(&self, retention: Retention) {
        *self.retention.write().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    /// Rows of these metrics have sketches from now on; those that are made stay as they are.
    pub fn sketch(&self, metrics: impl IntoIterator<Item = MetricId>) {
        let metrics = Arc::new(metrics.into_iter().map(|metric| metric.0).collect());
        *self.sketched.write().unwrap_or_else(PoisonError::into_inner) = metrics;
    }

    /// Its counters.
    pub fn stats(&self) -> &RollupStats {
        &self.stats
    }

    /// How far it is.
    pub fn progress(&self) -> RollupProgress {
        let state = self.state.load();
        let pending = || state.units.iter().filter(|(_, unit)| unit.pending.is_some());
        RollupProgress {
            units_made: state.units.values().filter(|unit| unit.pending.is_none() && unit.made_day.is_some()).count()
                as u64,
            units_pending: pending().count() as u64,
            units_planned: self.planned.load(Relaxed),
            units_done: self.done.load(Relaxed),
            rows_read: self.stats.rows_read.load(Relaxed),
            oldest_pending_ms: pending().next().map(|(start, _)| start.div_euclid(1000)),
        }
    }

    /// A snapshot that `take` gives, with the state of the ladder that belongs to it.
    ///
    /// # Errors
    /// Those of `take`.
    pub async fn view<E>(
        &self,
        take: impl AsyncFn() -> std::result::Result<Arc<Snapshot>, E>,
    ) -> std::result::Result<View, E> {
        loop {
            let state = self.state.load_full();
            let snapshot = take().await?;
            // A state is published before anything that it allows happens to the tables: where it stayed, they fit.
            if Arc::ptr_eq(&state, &self.state.load()) {
                let [minute, ten_minutes, hour, day, _] = self.kept_since(&state);
                return Ok(View::new(self.base, snapshot, state, [minute, ten_minutes, hour, day]));
            }
        }
    }

    /// Looks at new rows and makes what is due. Called again and again; safe to drop at any time.
    ///
    /// # Errors
    /// Where the tables or the state cannot be read or written: what is not made is read from the samples.
    pub async fn round(&self) -> Result<u64> {
        self.work(None).await
    }

    /// Makes at once all that waits within `range` (microseconds of event time), however new. Returns the number of
    /// units made.
    ///
    /// # Errors
    /// As [`Self::round`].
    pub async fn backfill(&self, range: Range<i64>) -> Result<u64> {
        self.work(Some(range)).await
    }

    async fn work(&self, all: Option<Range<i64>>) -> Result<u64> {
        let _working = self.working.lock().await;
        let snapshot = self.tables.snapshot();
        self.look(&snapshot).await?;
        let now_ms = self.clock.now().micros().div_euclid(1000);
        let kept_since = self.state.load().kept_since[BASE];
        let due = stretches(&self.state.load(), now_ms, kept_since, all.as_ref());
        let units = |stretch: &Range<i64>| ((stretch.end - stretch.start) / UNIT_US) as u64;
        self.planned.store(due.iter().map(units).sum(), Relaxed);
        self.done.store(0, Relaxed);
        for stretch in due {
            self.make_stretch(&snapshot, &stretch).await?;
            self.done.fetch_add(units(&stretch), Relaxed);
            self.stats.units_made.fetch_add(units(&stretch), Relaxed);
        }
        Ok(self.done.load(Relaxed))
    }

    /// Notes the units of rows in files that are new. Every file of `snapshot` is known afterwards.
    async fn look(&self, snapshot: &Snapshot) -> Result<()> {
        let state = self.state.load_full();
        let mut next = State::clone(&state);
        let own = Tenant::default();
        for file in snapshot.table(self.base.stream()).files.iter().filter(|file| !state.has_seen(file)) {
            if file.tenant == own && bodkin_table::origin(&file.path) != bodkin_table::Origin::Foreign {
                for unit in self.units_of(file).await? {
                    next.touch(unit, file.date, file.modified_ms);
                }
            }
            next.see(file);
        }
        next.kept_since = self.kept_since(&state);
        let kept_since = next.kept_since[BASE];
        for unit in next.units.values_mut().filter(|unit| unit.pending.is_some() && is_settled(unit, kept_since)) {
            unit.pending = None;
            self.stats.units_settled.fetch_add(1, Relaxed);
        }
        let day_kept_since = next.kept_since[Tier::Day as usize];
        next.units.retain(|_, unit| unit.pending.is_some() || unit.made_day.is_none_or(|day| day >= day_kept_since));
        if next != *state || next.number == 0 {
            self.publish(next).await?;
        }
        Ok(())
    }

    async fn units_of(&self, file: &Arc<TableFile>) -> Result<Vec<i64>> {
        let (min, max) = time_bounds(self.base.stream(), file);
        if max.saturating_sub(min) < UNIT_US {
            let (first, last) = (unit_of(min), unit_of(max));
            return Ok(if first == last { vec![first] } else { vec![first, last] });
        }
        let mut units = std::collections::BTreeSet::new();
        let mut last = None;
        let note = |ts_us: i64| {
            // Rows of a series or a container follow each other: most are in the unit of the one before.
            let unit = unit_of(ts_us);
            if last.replace(unit) != Some(unit) {
                units.insert(unit);
            }
        };
        self.tables.event_times(self.base.stream(), file, note).await?;
        Ok(units.into_iter().collect())
    }

    async fn make_stretch(&self, snapshot: &Snapshot, stretch: &Range<i64>) -> Result<()> {
        let day = self.clock.now().day();
        let state = self.state.load_full();
        let version = i64::try_from(state.number).unwrap_or(i64::MAX);
        let sketched = self.sketched.read().unwrap_or_else(PoisonError::into_inner).clone();
        let from = snapshot.table(self.base.stream());
        let mut attempt = 0;
        let read = loop {
            attempt += 1;
            match make(&self.tables, self.base, from, stretch, (version, &sketched)).await {
                // Compaction was faster.
                Err(Error::Table(bodkin_table::Error::Conflict { .. })) if attempt < ATTEMPTS_MAX => {}
                made => break made?,
            }
        };
        self.stats.rows_read.fetch_add(read, Relaxed);
        let mut next = State::clone(&state);
        for unit in next.units.range_mut(stretch.clone()).map(|(_, unit)| unit) {
            *unit = Unit { pending: None, made_day: Some(day), ..*unit };
        }
        tracing::debug!(from_us = stretch.start, to_us = stretch.end, base = %self.base.stream(), read, version, "rollups made");
        self.publish(next).await
    }

    async fn publish(&self, next: State) -> Result<()> {
        let next = next.save(self.tables.store(), self.base.folder()).await?;
        self.state.store(Arc::new(next));
        Ok(())
    }

    /// The first day whose rows are surely there: of making, per tier, and of ingestion of the base.
    fn kept_since(&self, state: &State) -> [i32; 5] {
        let (today, retention) =
            (self.clock.now().day(), self.retention.read().unwrap_or_else(PoisonError::into_inner));
        let [minute, ten_minutes, hour, day] = Tier::ALL.map(|tier| self.base.tier(tier));
        let mut streams = [minute, ten_minutes, hour, day, self.base.stream()].into_iter();
        state.kept_since.map(|known| {
            let days = streams.next().map_or(0, |stream| retention.days(stream));
            known.max(today.saturating_sub_unsigned(days))
        })
    }
}
