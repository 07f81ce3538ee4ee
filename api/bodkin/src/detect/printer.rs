//! Findings on standard output.

use arrow::array::RecordBatch;
use bodkin_rules::FindingRows;
use std::io::{self, BufWriter, Stdout, Write};

/// Writes findings as they come.
pub(crate) struct Printer {
    out: BufWriter<Stdout>,
    is_json: bool,
    hostname: String,
    /// The line that is made.
    line: Vec<u8>,
    /// How many were written.
    pub(super) findings: u64,
}

impl Printer {
    pub(super) fn new(is_json: bool, hostname: String) -> Self {
        Self { out: BufWriter::new(io::stdout()), is_json, hostname, line: Vec::new(), findings: 0 }
    }

    /// Writes rows of `findings`.
    pub(super) fn print(&mut self, rows: &RecordBatch) -> io::Result<()> {
        let rows = FindingRows::new(rows);
        self.findings += rows.len() as u64;
        for row in 0..rows.len() {
            if self.is_json {
                self.line.clear();
                rows.write_falco(row, &self.hostname, &mut self.line);
                self.out.write_all(&self.line)?;
            } else {
                writeln!(self.out, "{}", rows.output(row).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The name of this host; Falco says it where an event has none.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
