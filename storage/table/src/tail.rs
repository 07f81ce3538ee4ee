//! Rows of a table that are in memory and in no file yet.
//!
//! Small parts are merged as they gather, in tiers of 16: a row is copied at most once per tier, a query meets few
//! parts, and the list that each append publishes stays short. Worst case per table: 16 parts in each of 4 tiers,
//! and one per 8,192 rows beyond.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bodkin_engine::TimeRange;
use bodkin_schema::{Epoch, Tenant};
use std::collections::BTreeMap;
use std::sync::Arc;

const FAN_IN: usize = 16;
/// Parts of this many rows stay as they are.
const ROWS_FULL: usize = 8192;

/// Rows in memory. Immutable.
#[derive(Clone, Debug)]
pub struct TailPart {
    /// The rows: the stream's columns in their registered order. Not sorted; a text column may be a dictionary of
    /// Utf8 with Int32 keys, in one part and not in the next.
    pub records: RecordBatch,
    /// Whose rows they are.
    pub tenant: Tenant,
    /// UTC day of ingestion, in days since 1970.
    pub date: i32,
    /// Earliest and latest event time; none where it is not known.
    pub event_time: Option<TimeRange>,
    /// Bytes that the rows use.
    pub bytes: usize,
}

/// The tail of one table, by the epoch that rows belong to. Shards pass a barrier one after the other, so that rows of
/// two epochs come at the same time. Rows of epoch zero belong to the one that is sealed next.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    epochs: BTreeMap<Epoch, Vec<Arc<TailPart>>>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, epoch: Epoch, part: TailPart) {
        self.bytes += part.bytes;
        let open = self.epochs.entry(epoch).or_default();
        open.push(Arc::new(part));
        for tier in 0.. {
            let Some(limit) = rows_limit(tier) else { break };
            let run = trailing_run(open, limit);
            if run >= FAN_IN {
                merge_last(open, run);
            }
        }
    }

    /// No more rows of `epoch` will come.
    pub(crate) fn seal(&mut self, epoch: Epoch) {
        if let Some(mut open) = self.epochs.remove(&Epoch(0)) {
            self.epochs.entry(epoch).or_default().append(&mut open);
        }
    }

    /// The rows that belong to `epoch`.
    pub(crate) fn sealed(&self, epoch: Epoch) -> Vec<Arc<TailPart>> {
        self.epochs.get(&epoch).cloned().unwrap_or_default()
    }

    /// Forgets the rows of `epoch` and of those before.
    pub(crate) fn forget_through(&mut self, epoch: Epoch) {
        let mut kept = self.epochs.split_off(&epoch.next());
        kept.extend(self.epochs.remove_entry(&Epoch(0)));
        let gone = std::mem::replace(&mut self.epochs, kept);
        self.bytes -= gone.values().flatten().map(|part| part.bytes).sum::<usize>();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All parts in order of arrival.
    pub(crate) fn parts(&self) -> Vec<Arc<TailPart>> {
        let (unsealed, sealed) = (self.epochs.get(&Epoch(0)), self.epochs.iter().filter(|(epoch, _)| epoch.0 > 0));
        sealed.flat_map(|(_, parts)| parts).chain(unsealed.into_iter().flatten()).cloned().collect()
    }
}

/// Rows that a part of this tier has less than; none beyond the last tier.
fn rows_limit(tier: u32) -> Option<usize> {
    let limit = FAN_IN.pow(tier + 1);
    (limit / FAN_IN < ROWS_FULL).then_some(limit.min(ROWS_FULL))
}

/// How many parts at the end have less than `rows_limit` rows and can be one.
fn trailing_run(parts: &[Arc<TailPart>], rows_limit: usize) -> usize {
    let Some(last) = parts.last() else { return 0 };
    let fits = |part: &&Arc<TailPart>| {
        part.records.num_rows() < rows_limit
            && (part.date, &part.tenant) == (last.date, &last.tenant)
            && part.records.schema_ref() == last.records.schema_ref()
    };
    parts.iter().rev().take_while(fits).count()
}

fn merge_last(parts: &mut Vec<Arc<TailPart>>, run: usize) {
    let merged = &parts[parts.len() - run..];
    let Some(first) = merged.first() else { return };
    let records = merged.iter().map(|part| &part.records);
    // It fails where a dictionary or a text column would outgrow its 32-bit offsets: then the parts stay apart.
    let Ok(records) = concat_batches(first.records.schema_ref(), records) else { return };
    let part = TailPart {
        records,
        tenant: first.tenant.clone(),
        date: first.date,
        event_time: merged.iter().map(|part| part.event_time).reduce(join).flatten(),
        bytes: merged.iter().map(|part| part.bytes).sum(),
    };
    parts.truncate(parts.len() - run);
    parts.push(Arc::new(part));
}

fn join(left: Option<TimeRange>, right: Option<TimeRange>) -> Option<TimeRange> {
    let (left, right) = (left?, right?);
    Some(TimeRange { min: left.min.min(right.min), max: left.max.max(right.max) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use bodkin_schema::EventTime;
    use proptest::prelude::*;

    fn part(first: i64, rows: usize, date: i32) -> TailPart {
        let values = Int64Array::from_iter_values(first..first + rows as i64);
        let records = RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).unwrap();
        let at = EventTime(first);
        let event_time = Some(TimeRange { min: at, max: at });
        TailPart { records, tenant: Tenant::default(), date, event_time, bytes: rows * 8 }
    }

    fn numbers(parts: &[Arc<TailPart>]) -> Vec<i64> {
        parts.iter().flat_map(|part| part.records.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn small_parts_become_few() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(Epoch(0), part(number, 1, 0));
        }
        let parts = tail.parts();
        assert!(parts.len() <= 4 * FAN_IN + 2, "{} parts", parts.len());
        assert_eq!(numbers(&parts), (0..10_000).collect::<Vec<_>>());
        assert_eq!(tail.bytes(), 80_000);
        assert_eq!(parts[0].event_time.unwrap().min, EventTime(0));
    }

    #[test]
    fn parts_of_different_days_stay_apart() {
        let mut tail = Tail::default();
        for number in 0..64 {
            tail.push(Epoch(0), part(number, 1, (number % 2) as i32));
        }
        assert_eq!(tail.parts().len(), 64);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn tail_1_every_row_stays_in_order(sizes in prop::collection::vec(1usize..5000, 1..120), seals in 0usize..4) {
            let mut tail = Tail::default();
            let mut next = 0i64;
            for (index, rows) in sizes.iter().enumerate() {
                tail.push(Epoch(0), part(next, *rows, 0));
                next += *rows as i64;
                if seals > 0 && index % (sizes.len() / seals + 1) == 0 {
                    tail.seal(Epoch(index as u64 + 1));
                }
            }
            prop_assert_eq!(numbers(&tail.parts()), (0..next).collect::<Vec<_>>());
            prop_assert_eq!(tail.bytes(), next as usize * 8);
            tail.seal(Epoch(1000));
            tail.forget_through(Epoch(1000));
            prop_assert!(tail.parts().is_empty() && tail.bytes() == 0);
        }
    }
}
