//! The rollup ladder: tiers of samples and flows, made once these are old, made again where one comes late.
//!
//! [`Ladder`] looks at every new file of its [`Base`], notes which stretches of event time it touches, and makes the rows of
//! `rollup_1m`, `rollup_10m`, `rollup_1h`, `rollup_1d` (of flows: `flows_1m` and so on) for them when they are due: all
//! rows of a stretch leave and enter a table in one commit, so that a window is there once. A [`View`] tells which
//! stretches the tiers tell exactly; whatever is not made, or was touched since, is read from the base. The crate knows nothing of labels and queries
//! (`bodkin-metrics` reads the tiers for PromQL and SQL) and keeps no time (`bodkin` calls it).
//!
//! ```
//! use bodkin_rollup::{Bucket, Tier};
//!
//! let mut bucket = Bucket::of(0, 5.0);
//! bucket.append(&Bucket::of(15_000_000, 2.0)); // the counter began again
//! assert_eq!((bucket.increase(), bucket.resets), (2.0, 1));
//! assert_eq!(Tier::coarsest(&[7_200_000]), Some(Tier::Hour));
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `base` | [`Base`]: the tables that have tiers |
//! | `tier` | [`Tier`]: lengths and tables |
//! | `bucket` | [`Bucket`]: what is known of a stretch of samples |
//! | `rows` | [`TierRow`], [`RowColumns`]: buckets to columns and back |
//! | `fold` | samples in order to rows of the tiers |
//! | `flows` | flows in order to rows of their tiers, and windows of them for SQL |
//! | `make` | a stretch read, folded and replaced |
//! | [`sketch`] | [`Sketch`]: values by size, for quantiles |
//! | `state` | what was made and what waits: an object decided by a conditional put |
//! | `plan` | what is due, from state and time alone |
//! | `view` | [`View`]: what a query may read from which tier |
//! | `ladder` | [`Ladder`]: all of it, for one process |

mod base;
mod bucket;
mod error;
mod flows;
mod fold;
mod ladder;
mod make;
mod plan;
mod rows;
pub mod sketch;
mod state;
mod tier;
mod view;

pub use base::Base;
pub use bucket::Bucket;
pub use error::{Error, Result};
pub use flows::{FlowsAsked, flow_windows};
pub use ladder::{Ladder, RollupProgress, RollupStats};
pub use rows::{RowColumns, RowParts, TierRow};
pub use sketch::Sketch;
pub use tier::Tier;
pub use view::View;
