//! `bodkin sql`: asks a server, or a data folder without one, and writes the answer.

mod client;
pub(crate) mod http;
mod progress;
mod server_file;

pub(crate) use client::Remote;
pub(crate) use progress::Progress;
pub(crate) use server_file::ServerFile;

use crate::output::{Console, OutputFormat, write_error};
use bodkin_http::{SqlAnswer, SqlEngine, SqlError};
use bodkin_schema::{Clock, Principal, SystemClock};
use futures::StreamExt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Where a server listens unless told otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:9470";

/// Arguments of `bodkin sql`.
#[derive(Debug, clap::Args)]
pub(crate) struct SqlArgs {
    /// Server to ask
    #[arg(long, value_name = "URL", conflicts_with = "data_dir", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Data folder to read; where a server runs on it, that server is asked
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
    /// Say on standard error where the time went
    #[arg(long)]
    pub(crate) timing: bool,
    /// One statement that reads
    #[arg(value_name = "SELECT ...")]
    pub(crate) query: String,
}

/// What a data folder turned out to be.
pub(crate) enum DataDir {
    /// A server holds it and listens at this URL.
    Live(String),
    /// Nobody holds it; this engine reads it without changing it.
    Stopped(Arc<dyn SqlEngine>),
}

/// Why there is no answer.
enum Failure {
    /// The command line asks for what cannot be.
    Usage { message: String, hint: String },
    /// The query has no answer.
    Query(Box<SqlError>),
    /// The data folder cannot be opened.
    Open(anyhow::Error),
    /// The answer cannot be written.
    Output(io::Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Query(Box::new(error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the command on the standard streams; errors are told there. `open` is called for `--data-dir` alone.
/// The future holds the lock of standard output: it is for `block_on`, not for `spawn`.
pub(crate) async fn run(args: SqlArgs, open: impl AsyncFnOnce(&Path) -> anyhow::Result<DataDir>) -> ExitCode {
    let console = Console::of_process();
    ExitCode::from(execute(&args, open, &console, &mut io::stdout().lock(), &mut io::stderr()).await)
}

async fn execute(
    args: &SqlArgs,
    open: impl AsyncFnOnce(&Path) -> anyhow::Result<DataDir>,
    console: &Console,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    // What goes wrong on standard error itself cannot be told anywhere.
    let (error, code) = match answer(args, open, console, out, err).await {
        Ok(()) => return 0,
        // The reader has seen enough, as `head` does.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        Err(Failure::Usage { message, hint }) => (plain_error(message, Some(hint)), 2),
        Err(Failure::Query(error)) => (*error, 1),
        Err(Failure::Open(error)) => (plain_error(format!("{error:#}"), None), 1),
        Err(Failure::Output(error)) => (plain_error(format!("the answer cannot be written: {error}"), None), 1),
    };
    let _ = write_error(&error, &args.query, console, err);
    code
}

fn plain_error(message: String, hint: Option<String>) -> SqlError {
    SqlError { hint, ..SqlError::new(bodkin_http::SqlErrorKind::Internal, message) }
}

async fn answer(
    args: &SqlArgs,
    open: impl AsyncFnOnce(&Path) -> anyhow::Result<DataDir>,
    console: &Console,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    if args.format.is_binary() && console.out_width.is_some() {
        let message = format!("format {} is not for a terminal", args.format.name());
        return Err(Failure::Usage { message, hint: format!("write to a file: > answer.{}", args.format.name()) });
    }
    let engine: Arc<dyn SqlEngine> = match &args.data_dir {
        None => Arc::new(remote(&args.server)?),
        Some(folder) => match open(folder).await.map_err(Failure::Open)? {
            DataDir::Live(server) => Arc::new(remote(&server)?),
            DataDir::Stopped(engine) => engine,
        },
    };
    let clock = SystemClock::default();
    let mut progress = Progress::new(console.is_err_terminal);
    let answer = progress.wait(0, err, engine.sql(&Principal::default(), &args.query)).await?;
    let started = clock.monotonic();
    let (rows, stats) = write_rows(answer, args.format, console, &mut progress, out, err).await?;
    let elapsed = clock.monotonic();
    if args.format == OutputFormat::Table {
        let noun = if rows == 1 { "row" } else { "rows" };
        writeln!(err, "({rows} {noun}, {})", duration_text(elapsed))?;
    }
    if args.timing {
        let parts = [
            format!("total {}", duration_text(elapsed)),
            format!("first answer after {}", duration_text(started)),
            format!("engine {}", duration_text(Duration::from_secs_f64(stats.elapsed_ms.max(0.0) / 1e3))),
            format!(
                "scanned {} in {} files, {} pruned",
                bytes_text(stats.bytes_scanned),
                stats.files_scanned,
                stats.files_pruned
            ),
        ];
        writeln!(err, "timing: {}", parts.join("; "))?;
    }
    Ok(())
}

fn remote(server: &str) -> Result<Remote, Failure> {
    let hint = || format!("name it as in --server {DEFAULT_SERVER}");
    Remote::parse(server).map_err(|message| Failure::Usage { message, hint: hint() })
}

/// Writes rows as they come; gives their number and what the engine says of the query.
async fn write_rows(
    mut answer: SqlAnswer,
    format: OutputFormat,
    console: &Console,
    progress: &mut Progress,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(u64, bodkin_http::SqlStats), Failure> {
    let unwritable =
        |error: arrow::error::ArrowError| plain_error(format!("the answer cannot be written: {error}"), None);
    let mut encoder = format.encoder(&answer.schema, console).map_err(unwritable)?;
    let mut bytes = Vec::new();
    let mut rows = 0;
    encoder.begin(&mut bytes).map_err(unwritable)?;
    while let Some(batch) = progress.wait(rows, err, answer.batches.next()).await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        encoder.batch(&batch, &mut bytes).map_err(unwritable)?;
        out.write_all(&bytes)?;
        bytes.clear();
    }
    let stats = bodkin_http::SqlStats { rows, ..(answer.stats)() };
    encoder.finish(&stats, &mut bytes).map_err(unwritable)?;
    out.write_all(&bytes)?;
    out.flush()?;
    Ok((rows, stats))
}

fn duration_text(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.2} s", duration.as_secs_f64()),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() as usize / 10).min(UNITS.len() - 1);
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests;
