//! Running a role until it is told to stop.

use crate::server::{Reloader, Server, ServerArgs};
use bodkin_collector::cli::AgentArgs;
use bodkin_schema::{Clock, SystemClock};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// `bodkin server`.
pub(crate) async fn server(args: ServerArgs) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let server = Server::start(&args, clock, Arc::new(|| serde_json::Value::Null)).await?;
    server.node().ready();
    say_ready(&server)?;
    tracing::info!(data_dir = %server.data_dir().display(), http = server.http_url(), flight = server.flight_url(), "ready");
    until_stopped(server).await
}

/// `bodkin agent`.
pub(crate) async fn agent(args: AgentArgs) -> anyhow::Result<()> {
    let agent = tokio::task::spawn_blocking(move || args.start()).await??;
    say(&bodkin_collector::cli::ready_line(&agent.status()))?;
    stop_signal().await?;
    tokio::task::spawn_blocking(move || agent.stop()).await??;
    Ok(())
}

/// The first line on standard output: scripts wait for it.
pub(crate) fn say_ready(server: &Server) -> std::io::Result<()> {
    say(&json!({"ready": true, "http": server.http_url(), "flight": server.flight_url()}).to_string())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Waits for SIGTERM or SIGINT, then stops in order; where the server cannot go on, says why.
pub(crate) async fn until_stopped(mut server: Server) -> anyhow::Result<()> {
    let reload = server.reloader();
    tokio::select! {
        result = stop_signal() => result?,
        error = server.failed() => return Err(error),
        error = reload_at_hangup(reload) => return Err(error),
    }
    tracing::info!("stopping");
    server.stop().await?;
    tracing::info!("stopped; everything is in the tables");
    Ok(())
}

/// Reads the configuration again at each SIGHUP. Resolves where signals cannot be had; a configuration that is wrong is
/// logged, and the one before stays.
pub(crate) async fn reload_at_hangup(reload: Reloader) -> anyhow::Error {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return error.into(),
    };
    while hangups.recv().await.is_some() {
        match reload.reload().await {
            Ok(()) => tracing::info!("configuration read again"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "the configuration stays as it was"),
        }
    }
    anyhow::anyhow!("signals have ended")
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
