//! Logs of the process: text on standard error.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Writes events of `level` and above (a `tracing` filter such as `info` or `warn,bodkin_ingest=debug`) to standard
/// error; in color on a terminal only.
///
/// # Errors
/// Where the filter is no filter.
pub(crate) fn start(level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| anyhow::anyhow!("--log {level:?}: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
