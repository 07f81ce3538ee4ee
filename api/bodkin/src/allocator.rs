//! The allocator of the server, and when it gives memory back to the system.

use libmimalloc_sys::{mi_collect, mi_option_set_default, mi_option_t};
use std::ffi::c_long;
use std::time::Duration;

/// Batches are made on one thread and freed on another; mimalloc gives such memory back without contention.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, version 3: the bindings do not name it.
const PURGE_DELAY: mi_option_t = 15;

/// Milliseconds that freed memory stays with the process. What a query or an epoch frees is of use to the next one, and
/// to get pages back costs more than to keep them: with half a second, an eighth of what ingest takes of the processor,
/// and two milliseconds of a look-up after a pause. More than an epoch and the pause of somebody who reads a chart.
const PURGE_DELAY_MS: c_long = 10_000;

/// How often memory is given back where nobody allocates, which else is when it happens.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a thread stays that has no blocking work. Each thread keeps some of what it freed for itself, and work goes to
/// whichever is idle: with dozens of them, all would hold what an epoch took in their turn.
pub(crate) const IDLE_THREAD_STAYS: Duration = Duration::from_millis(200);

/// Sets what is not the allocator's default. The environment (`MIMALLOC_PURGE_DELAY`) goes first.
pub(crate) fn tune() {
    // SAFETY: stores a number that any thread may set and read at any time.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}

/// Gives back what was freed long enough ago, every second. Does not end.
pub(crate) async fn collect() {
    let mut interval = tokio::time::interval(COLLECT_INTERVAL);
    loop {
        interval.tick().await;
        // SAFETY: works on the memory of this thread, and on what is free.
        unsafe { mi_collect(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmimalloc_sys::mi_option_get;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000, "the default of mimalloc 3; another option has this number now");
        tune();
        assert_eq!(delay(), PURGE_DELAY_MS);
    }
}
