//! The `bodkin` binary: command line and wiring of roles.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`], [`config`] | the command line, the configuration file |
//! | [`server`] | the server role: log, shard, tables, queries, listeners |
//! | [`up`] | server and agent in one process, and what a person sees of them |
//! | [`sql`], [`output`] | `bodkin sql` and how answers are written |
//! | [`rules`] | `bodkin rules`: check, list, explain, test |
//! | [`detect`] | `bodkin detect`: rules over files and tables |
//! | [`promql`] | `bodkin promql` |
//! | [`rollup`] | `bodkin rollup`: tiers of samples and flows |
//! | [`prometheus`] | the section `prometheus` of the configuration, and Prometheus's own files |
//! | [`flow`] | `bodkin forward`, `bodkin alerts` |
//! | [`graph`] | `bodkin graph`, `bodkin tap`: what runs between log and tables |
//! | [`offline`] | tables and log of a folder that no server holds, read without changing them |
//! | [`run`] | the ready line, signals |
//! | [`allocator`] | when memory goes back to the system |

mod allocator;
mod cli;
mod config;
mod detect;
mod flow;
mod graph;
mod logging;
mod offline;
mod output;
mod prometheus;
mod promql;
mod rollup;
mod rules;
mod run;
mod server;
mod sql;
mod store;
mod up;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::tune();
    let Cli { log, command } = Cli::parse();
    let result = logging::start(&log).and_then(|()| {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = threads.enable_all().thread_keep_alive(allocator::IDLE_THREAD_STAYS).build()?;
        runtime.spawn(allocator::collect());
        runtime.block_on(dispatch(command))
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(args).await?,
        Command::Server(args) => run::server(args).await?,
        Command::Agent(args) => run::agent(args).await?,
        Command::Promql(args) => return Ok(promql::run(args).await),
        Command::Forward(args) => flow::forward(args).await?,
        Command::Alerts(args) => flow::alerts(args).await?,
        Command::Graph(args) => graph::graph(args).await?,
        Command::Tap(args) => graph::tap(args).await?,
        Command::Rollup(args) => rollup::run(args).await?,
        Command::Sql(args) => return Ok(sql::run(args, offline::open).await),
        Command::Rules(args) => return rules::run(args).await,
        Command::Detect(args) => return detect::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}
