//! Tiers of flows: what a process said to a service, window by window.
//!
//! ```text
//!   flows      host, container, process, addresses, both ports  --+
//!                                                                 |  the service's port only
//!   flows_1m   the same key, window of a minute: sums, extremes <-+--> flows_10m --> flows_1h --> flows_1d
//! ```
//! All measures can be added up in any order, so that more than one row of a key in a window is as right as one: a fold
//! that holds many keys lets go of what it has, and memory is bounded.

mod fold;
mod key;
mod measure;
mod read;

pub(crate) use fold::FlowFold;
pub use read::{FlowsAsked, flow_windows};
