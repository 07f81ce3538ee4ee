//! Syntax trees to text: one line, pretty, and the JSON of the HTTP API.

mod json;
mod line;
mod pretty;

use crate::error::Error;

/// Formats a query as Prometheus's `format_query` does.
pub fn format_query(query: &str) -> Result<String, Error> {
    Ok(pretty::pretty(&crate::parser::parse(query)?))
}

/// The syntax tree of a query as Prometheus's `parse_query` gives it.
pub fn parse_query(query: &str) -> Result<serde_json::Value, Error> {
    Ok(json::expr(&crate::parser::parse(query)?))
}

#[cfg(test)]
mod tests;
