//! The clock of kernel events: `CLOCK_BOOTTIME`, which counts sleep and never jumps.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, as the programs stamp events.
pub fn boot_ns() -> u64 {
    u64::try_from(nanos(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// Nanoseconds to add to a boot time to get nanoseconds since 1970. It changes whenever the wall clock is set or steered,
/// so take it anew every second or so.
///
/// Of five readings the one with the least time between its two boot stamps counts: its error is below that time.
pub fn wall_offset_ns() -> i64 {
    let sample = || {
        let before = nanos(clock_gettime(ClockId::Boottime));
        let wall = nanos(clock_gettime(ClockId::Realtime));
        let after = nanos(clock_gettime(ClockId::Boottime));
        (after - before, wall - (before + (after - before) / 2))
    };
    (0..5).map(|_| sample()).min_by_key(|(width, _)| *width).map_or(0, |(_, offset)| offset)
}

/// Saturates in the year 2262.
fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::time::{Clock, SystemClock};

    #[test]
    fn boot_time_plus_offset_is_wall_time() {
        let before = SystemClock::default().now().micros() * 1000;
        let boot = i64::try_from(boot_ns()).unwrap();
        let after = (SystemClock::default().now().micros() + 1) * 1000;
        let wall = boot + wall_offset_ns();
        let slack = 20_000_000; // another process may take the processor between two readings
        assert!(before - slack <= wall && wall <= after + slack, "{before} {wall} {after}");
    }

    #[test]
    fn boot_time_never_goes_back() {
        let first = boot_ns();
        assert!(first > 0 && boot_ns() >= first);
    }
}
