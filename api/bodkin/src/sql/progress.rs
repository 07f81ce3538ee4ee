//! A sign of life on standard error while a query takes long.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

const SHOWN_AFTER: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(200);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
/// Carriage return, then erase to the end of the line.
const ERASE: &str = "\r\u{1b}[K";

/// Shows nothing where standard error is no terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, started: Instant::now() }
    }

    /// Waits for `future`; while that takes long, shows the time since the start and the `rows` so far.
    pub(crate) async fn wait<F: Future>(&mut self, rows: u64, err: &mut dyn Write, future: F) -> F::Output {
        let mut future = pin!(future);
        if !self.is_terminal {
            return future.await;
        }
        let mut ticks = interval_at(self.started + SHOWN_AFTER, STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut frames = FRAMES.into_iter().cycle();
        let mut is_shown = false;
        loop {
            tokio::select! {
                biased;
                output = &mut future => {
                    if is_shown {
                        // A terminal that is gone shows nothing anyway.
                        let _ = write!(err, "{ERASE}").and_then(|()| err.flush());
                    }
                    return output;
                }
                _ = ticks.tick() => {
                    is_shown = true;
                    let (frame, seconds) = (frames.next().unwrap_or('|'), self.started.elapsed().as_secs());
                    let rows = if rows == 0 { String::new() } else { format!(", {rows} rows") };
                    let _ = write!(err, "{ERASE}{frame} {seconds} s{rows}").and_then(|()| err.flush());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_shown_for_a_short_wait_or_without_a_terminal() {
        let mut err = Vec::new();
        Progress::new(true).wait(0, &mut err, sleep(Duration::from_millis(900))).await;
        Progress::new(false).wait(0, &mut err, sleep(Duration::from_secs(60))).await;
        assert_eq!(err, b"");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_shows_and_erases() {
        let mut err = Vec::new();
        let mut progress = Progress::new(true);
        progress.wait(0, &mut err, sleep(Duration::from_millis(1300))).await;
        assert_eq!(err, b"\r\x1b[K| 1 s\r\x1b[K/ 1 s\r\x1b[K");
        err.clear();
        progress.wait(8192, &mut err, sleep(Duration::from_millis(50))).await;
        assert_eq!(err, b"\r\x1b[K| 1 s, 8192 rows\r\x1b[K");
    }
}
