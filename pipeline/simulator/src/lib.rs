//! The data plane under a seeded scheduler that injects faults.
//!
//! Production code of ingest (sessions, lanes, replay), log (frames, segments, group commit, recovery), engine (inlet,
//! shards, exchange, operators' state, watermarks, side inputs) and epochs (coordinator, intents) runs here on a
//! simulated disk, object store, network and clock; only tables and agents are models. Every run is a function of its
//! seed. What must hold is checked while it runs and at the end, by the ids of the design's section 12.
//!
//! ```
//! let report = bodkin_simulator::simulate(7, None, false);
//! assert_eq!(report.violations, []);
//! assert_eq!(report.steps, bodkin_simulator::simulate(7, None, false).steps, "a seed repeats");
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `executor` | [`Sim`]: tasks, lives, time |
//! | `disk`, `store` | what survives a death, and what does not |
//! | `agent`, `server` | who sends; one life of the node |
//! | `sink`, `operators` | tables and a graph whose contents show what went wrong |
//! | `scenario` | [`Scenario`]: what a seed means |
//! | `world` | the history, and the invariants |
//! | `mutation` | [`Mutation`]: deliberate breaches that must be found |
//! | `run` | [`simulate`] |

mod agent;
mod disk;
mod executor;
mod mutation;
mod operators;
mod random;
mod run;
mod scenario;
mod server;
mod sink;
mod store;
mod world;

pub use executor::{Life, Sim, SimClock};
pub use mutation::Mutation;
pub use random::Random;
pub use run::{Report, simulate, simulate_scenario};
pub use scenario::{Failure, Scenario};
pub use world::Violation;
