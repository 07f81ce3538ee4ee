//! The surface as a client sees it: through the router, and over a socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod fake;
mod prometheus;
mod routes;
mod socket;
mod sql;
