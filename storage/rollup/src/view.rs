//! What a query may read from the tiers: one snapshot of the tables and the state that belongs to it.

use crate::base::Base;
use crate::state::{State, UNIT_US, unit_of};
use crate::tier::Tier;
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use bodkin_schema::Tenant;
use bodkin_table::{Snapshot, TailPart, time_bounds};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// A snapshot of the tables, and which stretches of time its tiers tell exactly.
#[derive(Clone, Debug)]
pub struct View {
    /// The tables.
    pub snapshot: Arc<Snapshot>,
    state: Arc<State>,
    /// Per tier the first day of making whose rows are still there.
    kept_since_day: [i32; 4],
    /// Units of rows that nobody looked at yet.
    unseen: BTreeSet<i64>,
    /// Stretches of such rows whose units are not known one by one.
    unseen_stretches: Vec<Range<i64>>,
}

impl View {
    pub(crate) fn new(base: Base, snapshot: Arc<Snapshot>, state: Arc<State>, kept_since_day: [i32; 4]) -> Self {
        let table = snapshot.table(base.stream()).clone();
        let known = state.clone();
        let mut view = Self { snapshot, state, kept_since_day, unseen: BTreeSet::new(), unseen_stretches: Vec::new() };
        let own = Tenant::default();
        for file in table.files.iter().filter(|file| file.tenant == own && !known.has_seen(file)) {
            view.unsee(time_bounds(base.stream(), file));
        }
        for part in table.tail.iter().filter(|part| part.tenant == own) {
            match part.event_time {
                Some(time) if time.max.0.saturating_sub(time.min.0) < UNIT_US => view.unsee((time.min.0, time.max.0)),
                _ => view.unsee_each(base, part),
            }
        }
        view
    }

    fn unsee(&mut self, (min, max): (i64, i64)) {
        if max.saturating_sub(min) < UNIT_US {
            self.unseen.extend([unit_of(min), unit_of(max)]);
        } else {
            self.unseen_stretches.push(unit_of(min)..unit_of(max).saturating_add(UNIT_US));
        }
    }

    fn unsee_each(&mut self, base: Base, part: &TailPart) {
        let column = base.stream().time_column().and_then(|name| part.records.column_by_name(name));
        let times = column.and_then(|ts| ts.as_primitive_opt::<TimestampMicrosecondType>());
        match times {
            Some(times) => self.unseen.extend(times.values().iter().map(|ts| unit_of(*ts))),
            None => self.unseen_stretches.push(i64::MIN..i64::MAX),
        }
    }

    /// Whether the rows of `tier` tell exactly what the rows between the times (microseconds) are.
    pub fn is_exact(&self, tier: Tier, range: &Range<i64>) -> bool {
        let mut unit = unit_of(range.start);
        while unit < range.end {
            if !self.is_unit_exact(tier, unit) {
                return false;
            }
            unit = unit.saturating_add(UNIT_US);
        }
        true
    }

    fn is_unit_exact(&self, tier: Tier, unit_us: i64) -> bool {
        let kept_since = self.kept_since_day[tier as usize];
        let is_made = match self.state.units.get(&unit_us) {
            Some(unit) => unit.pending.is_none() && unit.made_day.is_some_and(|day| day >= kept_since),
            // No row of it was ever seen.
            None => !self.state.is_full && self.state.number > 0,
        };
        is_made
            && !self.unseen.contains(&unit_us)
            && !self.unseen_stretches.iter().any(|stretch| stretch.contains(&unit_us))
    }

    /// `range` (microseconds) in stretches, each with the tier to read it from: `tier` where that tells it exactly,
    /// a finer tier where `tier` is coarser than a unit and a part of its window is not made, none for the base.
    pub fn sources(&self, tier: Tier, range: Range<i64>) -> Vec<(Option<Tier>, Range<i64>)> {
        let mut found: Vec<(Option<Tier>, Range<i64>)> = Vec::new();
        let mut add = |source, stretch: Range<i64>| match found.last_mut() {
            Some((last, open)) if *last == source && open.end == stretch.start => open.end = stretch.end,
            _ if stretch.is_empty() => {}
            _ => found.push((source, stretch)),
        };
        let mut at = range.start;
        let length = tier.window_us().max(UNIT_US);
        while at < range.end {
            let block = crate::tier::floor(at, length)..crate::tier::floor(at, length).saturating_add(length);
            let end = block.end.min(range.end);
            // Only whole windows can be taken from a tier.
            let is_whole = at.rem_euclid(tier.window_us()) == 0 && end.rem_euclid(tier.window_us()) == 0;
            if is_whole && self.is_exact(tier, &block) {
                add(Some(tier), at..end);
            } else if tier == Tier::Day {
                let finer = self.sources(Tier::Hour, at..end);
                finer.into_iter().for_each(|(source, stretch)| add(source, stretch));
            } else {
                add(None, at..end);
            }
            if end <= at {
                break;
            }
            at = end;
        }
        found
    }
}
