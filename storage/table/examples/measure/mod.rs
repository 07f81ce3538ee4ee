//! What examples that measure have in common.

use std::error::Error;

/// CPU time of this process so far; the kernel counts in hundredths of a second.
pub(crate) fn cpu_seconds() -> Result<f64, Box<dyn Error + Send + Sync>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> f64 { fields.get(index).and_then(|field| field.parse().ok()).unwrap_or_default() };
    Ok((ticks(11) + ticks(12)) / 100.0)
}
