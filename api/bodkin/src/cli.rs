//! The command line: what `bodkin --help` says.

use crate::detect::DetectArgs;
use crate::flow::{AlertsArgs, ForwardArgs};
use crate::graph::{GraphArgs, TapArgs};
use crate::promql::PromqlArgs;
use crate::rollup::RollupArgs;
use crate::rules::RulesArgs;
use crate::server::ServerArgs;
use crate::sql::SqlArgs;
use bodkin_collector::cli::AgentArgs;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  bodkin up                                        agent and server on this host, data in ./bodkin-data
  bodkin sql 'SELECT * FROM processes LIMIT 10'    ask the server on this host
  bodkin sql --data-dir bodkin-data --format csv 'SELECT count(*) FROM events'
  bodkin rules check falco_rules.yaml              what is wrong with rules, and where
  bodkin detect --since 30d falco_rules.yaml       run rules over what was stored
  bodkin promql --start 1h 'rate(node_cpu_seconds_total[5m])'
  bodkin server --http 127.0.0.1:9470              a server alone
  bodkin agent --server grpc://127.0.0.1:9471      an agent alone";

/// What happens on hosts and containers: watch it, keep it as columns, ask SQL
#[derive(Debug, Parser)]
#[command(name = "bodkin", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to log: error, warn, info, debug, or per module (warn,bodkin_ingest=debug)
    #[arg(long, global = true, value_name = "FILTER", default_value = "warn,bodkin=info")]
    pub(crate) log: String,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run agent and server in one process
    Up(UpArgs),
    /// Run a server: it stores what agents send, and answers
    Server(ServerArgs),
    /// Run an agent: it watches this host and sends to a server
    Agent(AgentArgs),
    /// Ask SQL
    Sql(SqlArgs),
    /// Check, list, explain and test detection rules
    Rules(RulesArgs),
    /// Run detection rules over a file of events, or over what a server has stored
    Detect(DetectArgs),
    /// Ask PromQL: a table for one moment, a chart for a range
    Promql(PromqlArgs),
    /// Show the graph of a running server: operators, rows, lag, state
    Graph(GraphArgs),
    /// Show alerts and their rules
    Alerts(AlertsArgs),
    /// Try the channels that alerts and rows leave by
    Forward(ForwardArgs),
    /// Make the tiers of samples, or show what is made
    Rollup(RollupArgs),
    /// Show live rows of a stream or an operator, as JSON lines
    Tap(TapArgs),
}

/// Arguments of `bodkin up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Watch without eBPF: /proc only
    #[arg(long, conflicts_with = "require_ebpf")]
    pub(crate) no_ebpf: bool,
    /// Fail where eBPF cannot be attached
    #[arg(long)]
    pub(crate) require_ebpf: bool,
}
