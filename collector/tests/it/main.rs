//! Integration tests of the agent.
#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint knows only functions that are tests themselves")]

mod agent;
mod containers;
mod probe;
mod runtimes;
mod sending;
mod server;

use std::time::{Duration, Instant};

/// Polls until `is_there` says so; fails after 20 s.
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_there() {
        assert!(Instant::now() < until, "no {what} within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
