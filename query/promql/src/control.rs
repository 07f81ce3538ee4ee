//! What bounds one query: cancellation, a deadline, samples and bytes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bodkin_schema::time::{Clock, SystemClock};

use crate::error::Error;

/// Cancels the query that was started with it. Clones cancel the same query.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Ends the query at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says whether [`CancelToken::cancel`] was called.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples that may be in memory at once.
    pub samples_max: u64,
    /// Bytes that matrices and decoded samples may hold at once.
    pub bytes_max: u64,
    /// How long the query may run.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples_max: 50_000_000, bytes_max: 2 << 30, timeout: Duration::from_secs(120) }
    }
}

/// Cancellation, deadline and budget of one running query; shared by its threads.
pub struct QueryControl {
    cancel: CancelToken,
    clock: Arc<dyn Clock>,
    begun: Duration,
    limits: Limits,
    bytes: AtomicI64,
    bytes_peak: AtomicI64,
    samples_read: AtomicU64,
    samples: AtomicI64,
    samples_peak: AtomicI64,
}

impl QueryControl {
    /// Starts the time of a query.
    pub fn new(limits: Limits, cancel: CancelToken, clock: Arc<dyn Clock>) -> Self {
        let begun = clock.monotonic();
        Self {
            cancel,
            clock,
            begun,
            limits,
            bytes: AtomicI64::new(0),
            bytes_peak: AtomicI64::new(0),
            samples_read: AtomicU64::new(0),
            samples: AtomicI64::new(0),
            samples_peak: AtomicI64::new(0),
        }
    }

    /// A control with default limits that nobody cancels.
    pub fn unbounded() -> Self {
        Self::new(Limits::default(), CancelToken::default(), Arc::new(SystemClock::default()))
    }

    /// Time since the query began.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.begun)
    }

    /// Fails where the query was canceled or its time is up. Cheap: call it every few thousand samples.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancel.is_canceled() {
            return Err(Error::Canceled { during: "expression evaluation" });
        }
        if self.elapsed() > self.limits.timeout {
            return Err(Error::Timeout { during: "expression evaluation" });
        }
        Ok(())
    }

    /// Charges bytes to the query; give them back with [`QueryControl::release`].
    pub fn charge(&self, bytes: usize) -> Result<(), Error> {
        let held = self.bytes.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
        self.bytes_peak.fetch_max(held, Ordering::Relaxed);
        if held as u64 > self.limits.bytes_max {
            return Err(Error::TooManyBytes { limit: self.limits.bytes_max });
        }
        Ok(())
    }

    /// Gives bytes back.
    pub fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    /// Counts samples that were read from the store.
    pub fn count_read(&self, samples: u64) {
        self.samples_read.fetch_add(samples, Ordering::Relaxed);
    }

    /// Charges samples that a matrix holds; give them back with [`QueryControl::release_samples`].
    pub fn charge_samples(&self, samples: i64) -> Result<(), Error> {
        let held = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
        self.samples_peak.fetch_max(held, Ordering::Relaxed);
        if held > 0 && held as u64 > self.limits.samples_max {
            return Err(Error::TooManySamples { during: "query execution" });
        }
        Ok(())
    }

    /// Gives samples back.
    pub fn release_samples(&self, samples: usize) {
        self.samples.fetch_sub(samples as i64, Ordering::Relaxed);
    }

    /// Bytes charged at the moment.
    pub fn bytes_held(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Samples read from the store so far.
    pub fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }

    /// The most samples that were in memory at once.
    pub fn samples_peak(&self) -> u64 {
        self.samples_peak.load(Ordering::Relaxed).max(0) as u64
    }

    /// The most bytes that were charged at once.
    pub fn bytes_peak(&self) -> u64 {
        self.bytes_peak.load(Ordering::Relaxed).max(0) as u64
    }
}

impl fmt::Debug for QueryControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryControl").field("limits", &self.limits).finish_non_exhaustive()
    }
}
