//! Tags and lookups as they stand in the configuration.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is wrong with an enrichment.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct EnrichError {
    /// Key or file.
    pub place: String,
    /// Why.
    pub reason: String,
}

impl EnrichError {
    pub(crate) fn new(place: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { place: place.into(), reason: reason.to_string() }
    }
}

/// The section `enrich` of an operator.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrichConfig {
    /// Columns that are the same for all rows.
    pub tags: BTreeMap<String, String>,
    /// Columns that depend on a key.
    pub lookups: Vec<LookupConfig>,
    /// Columns that depend on a key, as rows of another stream say.
    pub dimension: Option<DimensionConfig>,
}

/// A stream or operator whose rows say what is known of a key from their time on, until the next row of the key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionConfig {
    /// The stream or operator.
    pub from: String,
    /// Columns that both have.
    pub key: Vec<String>,
    /// Columns of `from` that rows get.
    pub columns: Vec<String>,
    /// What the names of those columns begin with in the stream.
    #[serde(default)]
    pub prefix: String,
    /// Column of `from` from when on a row is valid.
    #[serde(default = "ts")]
    pub valid_from: String,
    /// Column of `from` that is true where nothing is known of the key from then on.
    #[serde(default)]
    pub ends: Option<String>,
    /// Column of the stream with the time that counts.
    #[serde(default = "ts")]
    pub time: String,
    /// Rows wait until the watermark has passed their time: then all that was known at it is there.
    #[serde(default)]
    pub wait: bool,
}

/// A file that keys are looked up in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupConfig {
    /// CSV with a header, or Parquet: told by its content.
    pub file: PathBuf,
    /// Column of the stream.
    pub key: String,
    /// Column of the file; that of the stream's name by default.
    #[serde(default)]
    pub file_key: Option<String>,
    /// How keys are compared.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// Columns of the file that rows get; all but the key by default.
    #[serde(default)]
    pub columns: Vec<String>,
    /// What the names of those columns begin with in the stream.
    #[serde(default)]
    pub prefix: String,
    /// Column of the file from when on a row is valid: RFC 3339, or a day.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// Column of the file until when a row is valid, exclusive; empty is for ever.
    #[serde(default)]
    pub valid_to: Option<String>,
    /// Column of the stream with the time that counts.
    #[serde(default = "ts")]
    pub time: String,
}

fn ts() -> String {
    "ts".to_owned()
}

/// How keys are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// Equal texts.
    #[default]
    Exact,
    /// An address in a network; the longest prefix wins.
    Cidr,
}
