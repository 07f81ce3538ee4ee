//! A file of a table: as an intent names it, as the log names it, as a query sees it.

use crate::stats::FileStats;
use crate::suffixed::Suffixed;
use crate::{DATE, Error, Result, TENANT};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bodkin_schema::{COMMENT, EventTime, Stream, Tenant};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// A file that is uploaded and not yet part of its table. Stands in intents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedFile {
    /// Path in the table.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// Value of the partition `tenant`.
    pub tenant: String,
    /// Value of the partition `date`, `YYYY-MM-DD`.
    pub date: String,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
    /// Statistics as Delta's JSON.
    pub stats: String,
    /// Columns that it has beyond those of its stream: values of another type (see [`bodkin_schema::suffix`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suffixed: Vec<String>,
}

/// A file that is part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Path in the table.
    pub path: String,
    /// The object in the tables' store.
    pub location: Path,
    /// Bytes.
    pub size: u64,
    /// Rows, exactly.
    pub rows: u64,
    /// Whose rows they are.
    pub tenant: Tenant,
    /// UTC day of ingestion, in days since 1970.
    pub date: i32,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
    /// Bounds and null counts of the stream's columns.
    pub stats: FileStats,
}

impl TableFile {
    /// The file that `prepared` becomes.
    pub(crate) fn new(stream: Stream, prepared: &PreparedFile) -> Result<Self> {
        let PreparedFile { path, tenant, date, .. } = prepared;
        let corrupt = |reason: &str| Error::Corrupt { path: format!("{stream}/{path}"), reason: reason.to_owned() };
        let location = Path::parse(format!("{}/{path}", table_path(stream)));
        let (rows, stats) = FileStats::parse(stream, path, &prepared.stats)?;
        Ok(Self {
            location: location.map_err(|_| corrupt("not a path in the table"))?,
            size: prepared.size,
            rows,
            tenant: Tenant(tenant.as_str().into()),
            date: parse_date(date).ok_or_else(|| corrupt("its date is none"))?,
            modified_ms: prepared.modified_ms,
            stats,
            path: path.clone(),
        })
    }

    /// Its values of the partition columns, as the log holds them.
    pub(crate) fn partition_values(&self) -> HashMap<String, Option<String>> {
        partition_values(&self.tenant.0, &format_date(self.date))
    }
}

pub(crate) fn partition_values(tenant: &str, date: &str) -> HashMap<String, Option<String>> {
    HashMap::from([(TENANT.to_owned(), Some(tenant.to_owned())), (DATE.to_owned(), Some(date.to_owned()))])
}

/// Where the table lies in the store.
pub(crate) fn table_path(stream: Stream) -> Path {
    Path::from_iter(["tables", stream.name()])
}

/// Columns of the table: the stream's, those of `suffixed`, then the partition columns.
pub(crate) fn table_schema(stream: Stream, suffixed: &Suffixed) -> SchemaRef {
    let comment = |text: &str| HashMap::from([(COMMENT.to_owned(), text.to_owned())]);
    let mut fields = suffixed.row_schema(stream).fields().to_vec();
    fields.push(Arc::new(Field::new(TENANT, DataType::Utf8, false).with_metadata(comment("whose rows they are"))));
    fields.push(Arc::new(Field::new(DATE, DataType::Date32, false).with_metadata(comment("UTC day of ingestion"))));
    Arc::new(Schema::new(fields))
}

pub(crate) fn format_date(day: i32) -> String {
    EventTime(i64::from(day).saturating_mul(86_400_000_000)).date()
}

fn parse_date(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let since = jiff::civil::date(1970, 1, 1).until(date).ok()?;
    Some(since.get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip() {
        for day in [-1, 0, 1, 20_000, 30_000] {
            assert_eq!(parse_date(&format_date(day)), Some(day));
        }
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn a_path_that_leaves_the_table_is_refused() {
        let file = |path: &str| PreparedFile {
            path: path.to_owned(),
            size: 1,
            rows: 1,
            tenant: "default".to_owned(),
            date: "2026-01-01".to_owned(),
            modified_ms: 0,
            stats: r#"{"numRecords":1}"#.to_owned(),
            suffixed: Vec::new(),
        };
        let path = "tenant=default/date=2026-01-01/a.parquet";
        let good = TableFile::new(Stream::Drops, &file(path)).unwrap();
        assert_eq!(good.location.as_ref(), format!("tables/drops/{path}"));
        assert!(TableFile::new(Stream::Drops, &file("../samples/a.parquet")).is_err());
        assert!(TableFile::new(Stream::Drops, &file("s3://elsewhere/a.parquet")).is_err());
    }
}
