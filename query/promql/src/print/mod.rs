//! Syntax trees to text: one line, pretty, and the JSON of the HTTP API.

mod json;
mod line;
mod pretty;

use crate::error::Error;
use crate::options::{Features, Release};

/// Formats a query as Prometheus's `format_query` does.
pub fn format_query(query: &str, release: Release) -> Result<String, Error> {
    Ok(pretty::pretty(&crate::parser::parse_as(query, &Features::default(), release)?))
}

/// The syntax tree of a query as Prometheus's `parse_query` gives it.
pub fn parse_query(query: &str, release: Release) -> Result<serde_json::Value, Error> {
    let mut tree = json::expr(&crate::parser::parse_as(query, &Features::default(), release)?);
    if release == Release::V3_5 {
        without_later(&mut tree);
    }
    Ok(tree)
}

/// Takes out what 3.5 does not have: durations as expressions, and modifiers that are not there.
fn without_later(tree: &mut serde_json::Value) {
    crate::stack::grow(|| match tree {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, value| match name.as_str() {
                "offsetExpr" | "rangeExpr" | "stepExpr" => false,
                "anchored" | "smoothed" => *value == true,
                "fillValues" => value.as_object().is_some_and(|sides| sides.values().any(|side| !side.is_null())),
                _ => true,
            });
            fields.values_mut().for_each(without_later);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(without_later),
        _ => {}
    });
}

#[cfg(test)]
mod tests;
