//! `bodkin detect`: rules over what is already there: a file of events, or the tables of a server or a folder.

mod history;
mod input;
mod printer;

pub(crate) use printer::hostname;

use crate::offline;
use crate::rules::{read_files, rule_set};
use crate::sql::DEFAULT_SERVER;
use anyhow::{Context, bail};
use bodkin_http::DetectSearch;
use bodkin_rules::{Events, Matching, Options, Rule, RuleFile, RuleSet, Source, to_batch};
use bodkin_schema::{Clock, Stream, SystemClock};
use clap::ValueEnum;
use input::Chunk;
use printer::Printer;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `bodkin detect`.
#[derive(Debug, clap::Args)]
pub(crate) struct DetectArgs {
    /// Server whose tables are searched
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER)]
    server: String,
    /// Data folder whose tables are searched; where a server runs on it, that server is asked
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "input"])]
    data_dir: Option<PathBuf>,
    /// File of events to search instead: Parquet, Arrow, JSON or JSON lines, also gzipped; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    input: Option<PathBuf>,
    /// What the events of the file are
    #[arg(long, value_enum, default_value_t = SourceArg::Syscall)]
    source: SourceArg,
    /// Search only what happened since then: 30d, 12h, 15m, or a time as RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Search only what happened before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many rules may fire for one event
    #[arg(long, value_enum, default_value_t = MatchingArg::First)]
    matching: MatchingArg,
    /// How to write findings
    #[arg(long, value_enum, default_value_t = DetectFormat::Json)]
    format: DetectFormat,
    /// Rule files, or folders of them
    #[arg(required = true, value_name = "RULES")]
    rules: Vec<PathBuf>,
}

/// A source of events, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum SourceArg {
    /// Kernel events: rows with columns of the table events
    Syscall,
    /// Kubernetes audit events
    K8sAudit,
    /// Records of AWS CloudTrail
    AwsCloudtrail,
    /// Any other JSON objects
    Json,
}

impl From<SourceArg> for Source {
    fn from(source: SourceArg) -> Self {
        match source {
            SourceArg::Syscall => Self::Syscall,
            SourceArg::K8sAudit => Self::K8sAudit,
            SourceArg::AwsCloudtrail => Self::AwsCloudtrail,
            SourceArg::Json => Self::Json,
        }
    }
}

/// How many rules may fire for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MatchingArg {
    /// The first one, in the order of the files
    First,
    /// Every one
    All,
}

impl From<MatchingArg> for Matching {
    fn from(matching: MatchingArg) -> Self {
        match matching {
            MatchingArg::First => Self::First,
            MatchingArg::All => Self::All,
        }
    }
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DetectFormat {
    /// One JSON object per line, as Falco writes them
    Json,
    /// What the rules print, one line each
    Text,
}

/// Runs the command.
pub(crate) async fn run(args: DetectArgs) -> anyhow::Result<ExitCode> {
    let files = read_files(&args.rules)?;
    let rules = rule_set(&files, &Options::default())?;
    let matching = args.matching.into();
    let mut printer = Printer::new(args.format == DetectFormat::Json, hostname());
    let result = match &args.input {
        Some(input) => {
            if args.since.is_some() || args.until.is_some() {
                bail!("--since and --until are for tables: a file is searched whole");
            }
            let source = args.source.into();
            tokio::task::block_in_place(|| over_file(input, source, &rules, matching, &mut printer))
        }
        None => {
            let clock = SystemClock::default();
            let span = history::Span::parse(args.since.as_deref(), args.until.as_deref(), clock.now())?;
            let search = DetectSearch { rules: rules.into(), files, matching, since: span.since, until: span.until };
            history::run(&args.server, args.data_dir.as_ref(), search, offline::open, &mut printer).await
        }
    };
    match result {
        Ok(()) => printer.finish()?,
        Err(error) if is_closed(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}

/// The reader of standard output has seen enough, as `head` does.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn over_file(
    path: &Path,
    source: Source,
    rules: &RuleSet,
    matching: Matching,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut rejected = 0_u64;
    let mut reader = input::Reader::new(path, source, rules);
    reader.read(&mut |chunk| {
        match chunk {
            Chunk::Rows(rows) => {
                if let Some(found) = rules.over(Stream::Events, &rows, matching) {
                    printer.print(&found)?;
                }
            }
            Chunk::Documents(documents) => {
                let found = rules.findings(Events::Documents(source, &documents), matching);
                printer.print(&to_batch(&found))?;
            }
            Chunk::Rejected(messages) => {
                rejected += messages.len() as u64;
                let mut err = io::stderr().lock();
                for message in messages {
                    writeln!(err, "skipped: {}: {message}", path.display())?;
                }
            }
        }
        Ok(())
    })?;
    if rejected > 0 {
        writeln!(io::stderr(), "{rejected} skipped: no event of source {source}")?;
    }
    Ok(())
}

/// What a rule costs per event of its source in a file, measured.
pub(crate) fn cost(path: &Path, files: &[RuleFile], rule: &Rule) -> anyhow::Result<String> {
    let rules = crate::rules::only(files, &rule.name)?;
    let mut cost = Cost::default();
    input::Reader::new(path, rule.source, &rules).read(&mut |chunk| {
        match &chunk {
            Chunk::Rows(rows) => cost.measure(&rules, Events::Batch(rows)),
            Chunk::Documents(documents) => cost.measure(&rules, Events::Documents(rule.source, documents)),
            Chunk::Rejected(_) => {}
        }
        Ok(())
    })?;
    cost.said().with_context(|| format!("{} holds no event of source {}", path.display(), rule.source))
}

/// What a rule of source `syscall` costs per event among the newest of a server; none where there are none.
pub(crate) async fn recent_cost(server: &str, files: &[RuleFile], rule: &Rule) -> anyhow::Result<Option<String>> {
    if rule.source != Source::Syscall {
        return Ok(None);
    }
    let rules = crate::rules::only(files, &rule.name)?;
    let mut cost = Cost::default();
    for rows in history::recent(server, &rules).await? {
        cost.measure(&rules, Events::Batch(&rows));
    }
    Ok(cost.said())
}

/// A measurement.
#[derive(Default)]
struct Cost {
    clock: SystemClock,
    events: u64,
    findings: u64,
    spent: Duration,
}

impl Cost {
    fn measure(&mut self, rules: &RuleSet, events: Events<'_>) {
        let start = self.clock.monotonic();
        self.findings += rules.evaluate(events, Matching::All).len() as u64;
        self.spent += self.clock.monotonic() - start;
        self.events += events.len() as u64;
    }

    fn said(&self) -> Option<String> {
        let per_event = self.spent.as_secs_f64() * 1e9 / self.events as f64;
        let Self { events, findings, .. } = self;
        (*events > 0).then(|| format!("{per_event:.1} ns per event over {events} events, {findings} findings"))
    }
}
