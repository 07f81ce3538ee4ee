//! `bodkin-agent top`: what processes, containers, system calls, files and connections do now, in a terminal.
//!
//! It attaches programs of its own, which count and time every system call while it runs; nothing is sent or stored.
//!
//! | module | what it holds |
//! |---|---|
//! | [`tally`] | [`Tally`]: from readings and events to what an interval did |
//! | `screen` | an interval as text |

mod screen;
pub mod tally;

pub use tally::{Interval, Tally};

use crate::config::SyscallStats;
use crate::probe::{Probe, ProbeConfig};
use crate::process::users::Users;
use crate::process::{Limits, ProcFs, ProcessTable};
use crate::{Error, Result};
use bodkin_ebpf::Event;
use bodkin_ebpf::event::Body;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two looks into the rings.
const PAUSE: Duration = Duration::from_millis(20);

/// What is shown, and how often.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TopArgs {
    /// Seconds between two screens
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Lines of each list
    #[arg(long, value_name = "LINES", default_value_t = 8)]
    pub lines: usize,
    /// Screens before it ends; goes on until it is interrupted where it is missing
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Shows screens until there were as many as asked for, or nobody reads them.
///
/// # Errors
/// [`Error::NoEbpf`] where programs cannot be attached, [`Error::Io`].
pub fn run(args: &TopArgs) -> Result<()> {
    let config = ProbeConfig { syscall_stats: SyscallStats::Latency, flows: true, ..ProbeConfig::default() };
    let mut probe = Probe::attach(&config).map_err(|error| Error::NoEbpf(crate::error::chain(&error)))?;
    let mut processes = ProcessTable::new(Limits::default(), ProcFs::default(), Users::open("/etc/passwd"));
    processes.scan();
    let mut tally = Tally::default();
    tally.end(&probe.calls(), &probe.flows().unwrap_or_default(), &processes, Duration::from_secs(args.interval));
    let mut out = std::io::stdout().lock();
    let clear = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    let mut screens = 0;
    while args.count.is_none_or(|count| screens < count) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(args.interval) {
            probe.drain(&mut |event: &Event<'_>| {
                processes.apply(event);
                match &event.body {
                    Body::Open(open) => tally.opened(&open.name),
                    Body::Flow(flow) => tally.ended(flow),
                    _ => {}
                }
            });
            probe.wait(PAUSE).map_err(|error| Error::NoEbpf(crate::error::chain(&error)))?;
        }
        processes.expire(crate::probe::clock::boot_ns());
        let readings = probe.calls();
        let flows = probe.flows().unwrap_or_default();
        let interval = tally.end(&readings, &flows, &processes, begun.elapsed());
        probe.forget_calls(&readings, &interval.gone);
        let text = format!("{clear}{}", screen::write(&interval, args.lines));
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Error::io(Path::new("standard output"), "write"))?,
        }
        screens += 1;
    }
    Ok(())
}
