//! Event-time windows over a stream, written as SQL: `SELECT host, count(*) FROM events GROUP BY host, tumble(ts, '10s')`.
//!
//! A statement becomes two operators. [`WindowPartial`] groups each batch into partials: the groups' values and the
//! states of their aggregates, by pane. [`WindowMerge`] gets the partials of its keys through the exchange and keeps
//! them by pane; when the watermark has passed, it emits partials for the table `windows`, and the finished rows for
//! operators behind it. A late row is one more partial. Whoever reads the table merges partials ([`merged`]), so that
//! the answer is that of the same statement over the raw rows (LATE-1). This crate knows no tables and no clock.
//!
//! ```text
//!  events --> WindowPartial --(exchange by group)--> WindowMerge --> table windows, as partials
//!             pane, group, states of a batch             |
//!                                                         +--> finished rows, once per window
//! ```
//!
//! ```
//! use bodkin_schema::Stream;
//! use bodkin_window::WindowPlan;
//!
//! let text = "SELECT host, count(*) AS n FROM events GROUP BY host, hop(ts, '1m', '10s')";
//! let plan = WindowPlan::new(text, &["events"], &Stream::Events.schema())?;
//! assert_eq!(plan.output_schema().field(1).name(), "n");
//! assert!(WindowPlan::new("SELECT host FROM events", &["events"], &Stream::Events.schema()).is_err());
//! # Ok::<(), bodkin_window::WindowError>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`functions`] | `tumble` and `hop` in SQL, and what `hop` means in a batch query |
//! | `plan` | [`WindowPlan`]: from the statement to expressions on columns |
//! | `split` | the parts of a statement, and what is refused |
//! | `groups` | aggregates of many groups: update, merge, evaluate |
//! | `dictionary` | groups of a batch whose keys are dictionaries |
//! | `keys` | the distinct keys of rows, numbered |
//! | `pane` | partials by pane |
//! | `operator` | [`WindowPartial`], [`WindowMerge`] |
//! | `rows` | partials as rows of the table `windows`, and back; [`merged`] |
//! | `json` | flat objects of numbers and texts, as most of those rows are |
//! | `scratch` | [`Room`]; partials that memory has no room for |
//! | `state` | panes as bytes of a key group |

mod dictionary;
pub mod functions;
mod groups;
mod json;
mod keys;
mod operator;
mod pane;
mod plan;
mod rows;
mod scratch;
mod split;
mod state;
#[cfg(test)]
mod tests;

pub use operator::{WindowMerge, WindowPartial};
pub use plan::{WindowError, WindowPlan, WindowStats};
pub use rows::{Merged, merged};
pub use scratch::Room;
