//! The section `queries`: what one query, and all together, may take.

use anyhow::{Context, anyhow, bail};
use bodkin_query::QueryOptions;
use bodkin_scrape::Text;
use serde::Deserialize;

/// The section `queries`; what it does not say is as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueriesSection {
    /// Bytes that sorts, joins and aggregations of all queries may hold.
    memory: Option<Text>,
    /// Bytes that all queries may spill to the data folder; by default 16 GiB, or half of what is free there if that is less.
    spill: Option<Text>,
    /// How long a query may take.
    timeout: Option<String>,
    /// Rows of one answer.
    rows: Option<u64>,
    /// Bytes that one query may read from files.
    scan: Option<Text>,
}

impl QueriesSection {
    /// `options` with what this says.
    ///
    /// # Errors
    /// The key that is wrong.
    pub(crate) fn apply(&self, options: QueryOptions) -> anyhow::Result<QueryOptions> {
        if self.rows == Some(0) {
            bail!("queries.rows: is at least 1");
        }
        let timeout = self.timeout.as_deref().map(|text| super::time(text, "queries.timeout")).transpose()?;
        Ok(QueryOptions {
            memory_bytes_max: bytes("memory", &self.memory)?.unwrap_or(options.memory_bytes_max),
            spill_bytes_max: bytes("spill", &self.spill)?.map_or_else(|| spill_room(&options), |bytes| bytes as u64),
            timeout: timeout.unwrap_or(options.timeout),
            rows_max: self.rows.unwrap_or(options.rows_max),
            bytes_scanned_max: bytes("scan", &self.scan)?.map_or(options.bytes_scanned_max, |bytes| bytes as u64),
            ..options
        })
    }
}

/// Rows that come in need the disk, too.
fn spill_room(options: &QueryOptions) -> u64 {
    // The folder may still have to be made.
    let folders = options.spill_dir.iter().flat_map(|folder| folder.ancestors());
    let free = folders.filter_map(|folder| rustix::fs::statvfs(folder).ok()).next();
    let half = free.map_or(u64::MAX, |free| free.f_bavail.saturating_mul(free.f_frsize) / 2);
    options.spill_bytes_max.min(half)
}

fn bytes(key: &str, value: &Option<Text>) -> anyhow::Result<Option<usize>> {
    let size = |text: &Text| match bodkin_scrape::size(&text.0).map_err(|error| anyhow!(error))? {
        0 => bail!("is at least 1"),
        bytes => Ok(bytes),
    };
    value.as_ref().map(size).transpose().with_context(|| format!("queries.{key}"))
}

#[cfg(test)]
mod tests {
    use super::super::ServerConfig;
    use bodkin_query::QueryOptions;
    use std::time::Duration;

    fn options(text: &str) -> anyhow::Result<QueryOptions> {
        ServerConfig::parse(text)?.queries.apply(QueryOptions::default())
    }

    #[test]
    fn spilling_leaves_room_for_what_comes_in() {
        let folder = tempfile::tempdir().unwrap();
        let spill_dir = Some(folder.path().join("not/made/yet"));
        let options = QueryOptions { spill_dir, spill_bytes_max: u64::MAX, ..QueryOptions::default() };
        let found = ServerConfig::parse("").unwrap().queries.apply(options).unwrap();
        assert!(found.spill_bytes_max < 1 << 60, "{}", found.spill_bytes_max);
    }

    #[test]
    fn what_is_said_holds_and_the_rest_is_as_by_default() {
        let found = options("queries: {memory: 64MiB, spill: 1GiB, timeout: 10s, rows: 5, scan: 4096}").unwrap();
        assert_eq!((found.memory_bytes_max, found.spill_bytes_max), (64 << 20, 1 << 30));
        assert_eq!((found.timeout, found.rows_max, found.bytes_scanned_max), (Duration::from_secs(10), 5, 4096));
        let (found, default) = (options("").unwrap(), QueryOptions::default());
        assert_eq!((found.memory_bytes_max, found.timeout), (default.memory_bytes_max, default.timeout));
        for key in ["memory: 0", "memory: much", "spill: -1", "timeout: soon", "rows: 0", "scan: 1xB"] {
            let error = format!("{:#}", options(&format!("queries: {{{key}}}")).unwrap_err());
            assert!(error.contains(&format!("queries.{}", key.split(':').next().unwrap())), "{error}");
        }
        assert!(options("queries: {cores: 2}").is_err());
    }
}
