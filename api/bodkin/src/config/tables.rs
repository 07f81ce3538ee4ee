//! The section `tables`: how long each keeps its rows.

use anyhow::{Context, bail};
use bodkin_schema::Stream;
use bodkin_table::Retention;
use serde::Deserialize;

/// `{retention: 90d}`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableSection {
    /// Days of ingestion: `90d`.
    retention: String,
}

impl TableSection {
    /// `retention` with what this says of `table`.
    ///
    /// # Errors
    /// The table that is none; the time that is not whole days, one at least.
    pub(super) fn apply(&self, retention: Retention, table: &str) -> anyhow::Result<Retention> {
        let stream = Stream::from_name(table).with_context(|| {
            let tables: Vec<_> = Stream::ALL.iter().map(|stream| stream.name()).collect();
            format!("tables: there is no table {table:?}; there are {}", tables.join(", "))
        })?;
        let days = self.retention.strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
        match days {
            Some(days) if days > 0 => Ok(retention.with(stream, days)),
            _ => bail!("tables.{table}.retention: {:?} is no number of whole days, as 30d is", self.retention),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerConfig;
    use bodkin_schema::Stream;

    #[test]
    fn tables_keep_what_they_are_told() {
        let config = ServerConfig::parse("tables:\n  events: {retention: 90d}\n").unwrap();
        let retention = config.retention().unwrap();
        assert_eq!((retention.days(Stream::Events), retention.days(Stream::Samples)), (90, 15));
        let error = |text: &str| format!("{:#}", ServerConfig::parse(text).unwrap_err());
        assert!(error("tables: {event: {retention: 1d}}").contains("no table \"event\"; there are events"));
        for wrong in ["0d", "1h", "d", "-1d", "1.5d", "99999999999d"] {
            let text = format!("tables: {{events: {{retention: {wrong}}}}}");
            assert!(error(&text).contains("tables.events.retention"), "{wrong}");
        }
    }
}
