//! The agent as a program of its own.

use anyhow::Context;
use bodkin_collector::check::check;
use bodkin_collector::cli::{AgentArgs, ConfigWatch, OutputKind, ready_line};
use bodkin_collector::top::{self, TopArgs};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

// Batches are freed on another thread than they were made on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Watches this host and sends what happens to a Bodkin server.
#[derive(Debug, Parser)]
#[command(name = "bodkin-agent", version)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    args: AgentArgs,
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Says what this host allows and what will be missing; fails where there will be no kernel events
    Check {
        /// Configuration (YAML)
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows what processes, containers, calls, files and connections do now; sends nothing
    Top(TopArgs),
}

/// Nothing is committed ahead: after the kernel's types have been read at the start, 15 MiB of anonymous memory instead of
/// 28 to 44 (200 processes, `--output null`).
const ALLOCATOR_OPTION: (&str, &str) = ("MIMALLOC_ARENA_EAGER_COMMIT", "0");

/// Starts the program again with the option, which the allocator reads before `main`. Returns if that is done or cannot be.
fn with_allocator_option() {
    let (name, value) = ALLOCATOR_OPTION;
    if std::env::var_os(name).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // An error leaves us as we are, with more memory.
        let _ = Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
    }
}

fn main() -> ExitCode {
    with_allocator_option();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match cli.command {
        Some(Action::Check { config, json }) => look(config, json),
        Some(Action::Top(args)) => top::run(&args).map(|()| true).map_err(Into::into),
        None => run(&cli.args).map(|()| true),
    };
    match outcome.map(|is_good| if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn look(config: Option<PathBuf>, json: bool) -> anyhow::Result<bool> {
    let args = AgentArgs { config, output: Some(OutputKind::Null), ..AgentArgs::default() };
    let report = check(&args.resolve()?);
    let text = if json { serde_json::to_string(&report)? + "\n" } else { report.to_string() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report.is_good())
}

fn run(args: &AgentArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    runtime.block_on(async {
        // Before the ready line: who reads it may end us at once.
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let agent = args.start()?;
        let mut stdout = std::io::stdout().lock();
        // Nobody may be reading; that is no reason to stop.
        let _ = writeln!(stdout, "{}", ready_line(&agent.status())).and_then(|()| stdout.flush());
        drop(stdout);
        let mut watch = args.config.clone().map(ConfigWatch::new);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(ConfigWatch::INTERVAL), if watch.is_some() => {
                    if let Some(watch) = &mut watch {
                        watch.look(&agent);
                    }
                }
            }
        }
        agent.stop().context("stop")
    })
}
