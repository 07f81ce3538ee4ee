//! What the tests of several modules share.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use bodkin_schema::{Clock, EventTime, Stream};
use bodkin_wal::{BatchFrame, Limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
pub(crate) struct ManualClock {
    millis: AtomicU64,
}

impl ManualClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        EventTime(1_700_000_000_000_000 + self.millis.load(Ordering::Relaxed) as i64 * 1_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(100) + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// A batch of `drops` whose rows count `first`, `first + 1`, ...
pub(crate) fn numbered(first: i64, rows: usize) -> RecordBatch {
    let text = |text: &'static str| Arc::new(StringArray::from(vec![text; rows]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC")),
        text("p"),
        text("security"),
        text("r"),
        Arc::new(Int64Array::from_iter_values(first..first + rows as i64)),
    ];
    RecordBatch::try_new(Stream::Drops.schema(), columns).unwrap()
}

/// The numbers in a frame made from [`numbered`].
pub(crate) fn numbers(frame: &BatchFrame) -> Vec<i64> {
    let batch = frame.decode(&Limits::default()).unwrap();
    batch.column(4).as_primitive::<Int64Type>().values().to_vec()
}
