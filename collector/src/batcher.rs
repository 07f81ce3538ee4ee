//! When the rows gathered so far become a batch.

use std::time::Duration;

/// Bounds of a batch: whichever is reached first ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushRule {
    /// Most rows: while a batch is made nobody reads the rings, and a million and a half events a second fill them in
    /// eight milliseconds.
    pub rows_max: usize,
    /// Most bytes of texts; with the other columns a message stays below the 4 MiB that gRPC servers take by default.
    pub text_bytes_max: usize,
    /// Longest time from the first row on: what an event waits at most before it is sent.
    pub delay: Duration,
    /// Rows below which a batch may wait for more: a batch costs as much as some hundreds of rows.
    pub rows_few: usize,
    /// Longest time for so few rows.
    pub delay_few: Duration,
    /// The same while the server is away: fewer, larger batches take less of the spool.
    pub delay_offline: Duration,
}

impl Default for FlushRule {
    fn default() -> Self {
        Self {
            rows_max: 8 * 1024,
            text_bytes_max: 1 << 20,
            delay: Duration::from_millis(100),
            rows_few: 64,
            delay_few: Duration::from_millis(150),
            delay_offline: Duration::from_secs(2),
        }
    }
}

/// Decides for one stream. Times are those of a monotonic clock.
#[derive(Debug)]
pub struct Batcher {
    rule: FlushRule,
    first_row: Option<Duration>,
}

impl Batcher {
    /// A batcher without rows.
    pub fn new(rule: FlushRule) -> Self {
        Self { rule, first_row: None }
    }

    /// Whether a builder of that size is full.
    pub fn is_full(&self, rows: usize, text_bytes: usize) -> bool {
        rows >= self.rule.rows_max || text_bytes >= self.rule.text_bytes_max
    }

    /// Whether a builder that holds `rows` is to be flushed at `now` because of its age. To be asked after each
    /// round of rows: the age counts from the first time that there are any.
    pub fn is_due(&mut self, rows: usize, now: Duration, is_connected: bool) -> bool {
        if rows == 0 {
            self.first_row = None;
            return false;
        }
        let since = *self.first_row.get_or_insert(now);
        let delay = match is_connected {
            true if rows < self.rule.rows_few => self.rule.delay_few,
            true => self.rule.delay,
            false => self.rule.delay_offline,
        };
        now.saturating_sub(since) >= delay
    }

    /// To be called after each flush.
    pub fn flushed(&mut self) {
        self.first_row = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn age_counts_from_the_first_row() {
        let mut batcher = Batcher::new(FlushRule::default());
        assert!(!batcher.is_due(0, MS(0), true));
        assert!(!batcher.is_due(70, MS(500), true));
        assert!(!batcher.is_due(80, MS(599), true));
        assert!(batcher.is_due(90, MS(600), true));
        assert!(!batcher.is_due(63, MS(649), true), "few rows wait for more");
        assert!(batcher.is_due(63, MS(650), true));
        batcher.flushed();
        assert!(!batcher.is_due(70, MS(650), true), "a new age begins");
        assert!(!batcher.is_due(1, MS(2_649), false), "offline batches wait longer");
        assert!(batcher.is_due(1, MS(2_650), false));
        assert!(!batcher.is_due(0, MS(9_000), true), "a flush for another reason");
        assert!(!batcher.is_due(1, MS(9_001), true));
    }

    #[test]
    fn size_ends_a_batch_at_once() {
        let batcher = Batcher::new(FlushRule::default());
        assert!(!batcher.is_full(8_191, 100));
        assert!(batcher.is_full(8_192, 100));
        assert!(batcher.is_full(1, 1 << 20));
    }
}
