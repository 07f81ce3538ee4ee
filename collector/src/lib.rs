//! The agent: kernel events and host metrics as Arrow batches, sent over Flight.
//!
//! It keeps what it gathers until a server has it on disk, counts what it loses, and says what it cannot see. It does
//! not evaluate, aggregate or enrich: it is small, and everything that can wait is the server's. Never DataFusion.
//!
//! ```no_run
//! use bodkin_collector::agent::{Agent, AgentConfig, Output};
//! use bodkin_collector::client::{Server, TlsFiles};
//! use bodkin_schema::SystemClock;
//! use std::sync::Arc;
//!
//! let server = Server::new("grpc://127.0.0.1:9471", &TlsFiles::default())?;
//! let config = AgentConfig::new(Output::Server(server), "bodkin-agent-data");
//! let agent = Agent::start(config, Arc::new(SystemClock::default()))?;
//! assert!(agent.status().ebpf || !agent.status().unseen.is_empty());
//! agent.stop()?;
//! # Ok::<(), bodkin_collector::Error>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`agent`] | [`Agent`](agent::Agent): threads, status, stopping |
//! | [`probe`] | kernel programs: attaching, reading rings |
//! | [`fallback`] | processes from `/proc` where there are no kernel programs |
//! | [`process`], [`path`] | who did it, and on what |
//! | [`containers`] | what runtimes say about containers |
//! | [`events`] | rows of `events` |
//! | [`filters`] | what is not told at all |
//! | [`flows`] | rows of `flows` |
//! | [`host_names`] | addresses of the names that rules compare with |
//! | [`host_metrics`] | rows of `series` and `samples` |
//! | [`syscall_stats`] | counts and times of system calls as metrics |
//! | [`losses`] | rows of `drops` |
//! | [`batcher`] | when rows become a batch |
//! | [`spool`] | batches until they are acknowledged |
//! | [`client`] | sending them |
//! | [`check`] | what a host allows |
//! | [`top`] | what goes on now, in a terminal |
//! | [`config`], [`cli`], [`data_dir`] | configuration, command line, the agent's folder |

pub mod agent;
pub mod batcher;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod containers;
pub mod data_dir;
pub mod error;
pub mod events;
pub mod fallback;
pub mod filters;
pub mod flows;
pub mod host_metrics;
pub mod host_names;
pub mod losses;
mod lossy;
pub mod path;
pub mod probe;
pub mod process;
pub mod spool;
pub mod syscall_stats;
pub mod top;

#[cfg(test)]
mod testing;

pub use error::{Error, Result};
