//! `bodkin up`: server and agent in one process, and what a person sees of them.

use crate::cli::UpArgs;
use crate::run::{reload_at_hangup, say_ready, stop_signal};
use crate::server::{AgentView, Server, ServerNode};
use anyhow::Context;
use bodkin_collector::agent::{Agent, AgentConfig, AgentStatus, EbpfMode, Output};
use bodkin_collector::cli::ConfigWatch;
use bodkin_collector::client::{Server as Upstream, TlsFiles};
use bodkin_collector::config::ConfigFile;
use bodkin_rules::RuleSet;
use bodkin_schema::{Clock, SystemClock};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Queries that show something on every host, a minute after the start.
const TRY: [&str; 3] = [
    "SELECT ts, pid, comm, cmdline FROM processes WHERE evt_type = 'execve' ORDER BY ts DESC LIMIT 10",
    "SELECT comm, count(*) AS opens FROM file_events GROUP BY comm ORDER BY opens DESC LIMIT 10",
    "SELECT ts, comm, remote_addr, remote_port, result FROM network_events ORDER BY ts DESC LIMIT 10",
];

/// Types of events beyond which a rule names so many that it means all: they are not watched for its sake.
const EVENTS_MAX: usize = 100;

/// The agent of this process, once it runs.
type AgentSlot = Arc<Mutex<Option<Agent>>>;

/// Runs both until SIGTERM.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let config = args.server.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
    let slot = AgentSlot::default();
    let mut server = Server::start(&args.server, clock.clone(), agent_view(&slot)).await?;
    let upstream = Upstream::new(&server.flight_url(), &TlsFiles::default())?;
    let ebpf = match (args.no_ebpf, args.require_ebpf) {
        (true, _) => EbpfMode::Off,
        (_, true) => EbpfMode::Require,
        _ => EbpfMode::Auto,
    };
    let folder = args.server.data_dir.join("agent");
    let (section, containers) = (config.agent, config.containers);
    let config = AgentConfig { ebpf, section, containers, ..AgentConfig::new(Output::Server(upstream), folder) };
    let agent = tokio::task::spawn_blocking(move || Agent::start(config, clock)).await?.context("agent")?;
    let status = agent.status();
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(agent);
    server.rules().tell(resolver(&slot));
    server.node().ready();
    say_ready(&server)?;
    let node = server.node().clone();
    let is_watched = std::io::stdout().is_terminal();
    if is_watched {
        print_banner(&server, &status)?;
    }
    let reload = server.reloader();
    tokio::select! {
        result = stop_signal() => result?,
        error = server.failed() => return Err(error),
        error = reload_at_hangup(reload) => return Err(error),
        () = watch_config(args.server.config.clone(), slot.clone()) => {}
        () = show_rate(node), if is_watched => {}
    }
    if is_watched {
        eprintln!("\nstopping");
    }
    // The agent first: what it still holds goes to the server while that listens.
    let agent = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(agent) = agent {
        tokio::task::spawn_blocking(move || agent.stop()).await?.context("agent")?;
    }
    server.stop().await
}

/// The agent tells the events that rules are asked about, and resolves the host names that they compare addresses with.
fn resolver(slot: &AgentSlot) -> Arc<dyn Fn(&RuleSet) + Send + Sync> {
    let slot = slot.clone();
    Arc::new(move |rules| {
        if let Some(agent) = slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            agent.set_rules(rule_events(rules), rules.wants_streams(), rules.host_names());
        }
    })
}

/// Events that the enabled rules are asked about; one that is asked about all events asks for none in particular.
fn rule_events(rules: &RuleSet) -> Vec<String> {
    let restrictions = rules.restrictions();
    let named = restrictions.iter().filter_map(|restriction| restriction.events.names_or_others().ok());
    named.filter(|names| names.len() <= EVENTS_MAX).flatten().map(str::to_owned).collect()
}

/// Applies what the configuration says of the agent whenever the file changes.
async fn watch_config(file: Option<PathBuf>, slot: AgentSlot) {
    let Some(file) = file else { return std::future::pending().await };
    let mut watch = ConfigWatch::new(file);
    loop {
        tokio::time::sleep(ConfigWatch::INTERVAL).await;
        if let Some(agent) = slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            watch.look(agent);
        }
    }
}

fn agent_view(slot: &AgentSlot) -> AgentView {
    let slot = slot.clone();
    Arc::new(move || {
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map_or(serde_json::Value::Null, |agent| serde_json::json!(agent.status()))
    })
}

fn print_banner(server: &Server, status: &AgentStatus) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(banner(server, status).as_bytes())?;
    out.flush()
}

fn banner(server: &Server, status: &AgentStatus) -> String {
    let mut text = format!("\nbodkin {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<8} {value}");
    };
    line("data", &server.data_dir().display().to_string());
    line("http", &format!("{}   SQL, /metrics, /healthz, /api/v1/openapi.json", server.http_url()));
    line("flight", &format!("{}   Flight SQL, DoPut", server.flight_url()));
    line("ebpf", if status.ebpf { "attached" } else { "not attached" });
    for (name, values) in [("programs", &status.programs), ("events", &status.events)] {
        if !values.is_empty() {
            line(name, &values.join(" "));
        }
    }
    for unseen in &status.unseen {
        line("unseen", unseen);
    }
    text.push_str("\nTry in another terminal\n");
    for query in TRY {
        let _ = writeln!(text, "  ./bodkin sql --server {} \"{query}\"", server.http_url());
    }
    text.push('\n');
    text
}

/// One line that is written over every second; standard error, so that nothing else is on standard output.
async fn show_rate(node: Arc<ServerNode>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let (rows, rate) = node.rows();
        eprint!("\r\x1b[Krows {rows}   rows/s {rate:.0}");
    }
}
