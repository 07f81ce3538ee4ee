//! Rows per second, from a counter that only grows.

use bodkin_schema::Clock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(10);

/// The rate of a counter over the last ten seconds.
#[derive(Debug)]
pub(crate) struct Rate {
    clock: Arc<dyn Clock>,
    seen: Mutex<VecDeque<(Duration, u64)>>,
}

impl Rate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Notes the counter's value and returns its growth per second since the oldest value noted in the window; zero
    /// at the first call.
    pub(crate) fn note(&self, total: u64) -> f64 {
        let now = self.clock.monotonic();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.len() > 1 && seen.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            seen.pop_front();
        }
        seen.push_back((now, total));
        match seen.front() {
            Some((at, first)) if now > *at => total.saturating_sub(*first) as f64 / (now - *at).as_secs_f64(),
            _ => 0.0,
        }
    }
}
