//! Operators that enrich, as the configuration has them.

use super::graph::{Made, made};
use anyhow::Context;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bodkin_enrich::{Dimension, DimensionRows, Enrich, EnrichConfig};
use bodkin_schema::Stream;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tags and lookups alone; or those and a dimension: rows of it in its layout, and the operator that both meet in.
///
/// # Errors
/// What is wrong with the section.
pub(super) fn make(
    name: &str,
    config: &EnrichConfig,
    inputs: &[&str],
    schemas: &BTreeMap<String, SchemaRef>,
    schema: &SchemaRef,
) -> anyhow::Result<Vec<Made>> {
    let Some(dimension) = &config.dimension else {
        let enrich = Enrich::new(config, schema).context("enrich")?;
        let output = plain(&enrich.output(schema));
        return Ok(vec![made(name, "enrich", Arc::new(move || Box::new(enrich.clone())), &output)]);
    };
    // An input that is not there is the graph's to report; its columns are nobody's then.
    let from = schemas.get(&dimension.from).cloned().unwrap_or_else(|| Stream::Events.schema());
    let stream = format!("{name}.{}", dimension.from);
    let rows = DimensionRows::new(&stream, dimension, &from, schema).context("enrich")?;
    let both = Dimension::new(&stream, config, schema).context("enrich")?;
    let (layout, output, key) = (rows.output().clone(), plain(&both.output()), both.key().to_vec());
    let mut all = vec![
        made(&stream, "dimension", Arc::new(move || Box::new(rows.clone())), &layout),
        made(name, "enrich", Arc::new(move || Box::new(both.clone())), &output),
    ];
    if let [rows, both] = all.as_mut_slice() {
        rows.spec = rows.spec.clone().reads(&[&dimension.from]);
        let reads: Vec<&str> = inputs.iter().copied().chain([stream.as_str()]).collect();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        both.spec = both.spec.clone().reads(&reads).key(&key);
        (rows.is_inner, both.is_inner, rows.is_end) = (true, true, false);
    }
    Ok(all)
}

/// What reads it plans on plain texts; dictionaries are another layout of the same.
fn plain(output: &SchemaRef) -> SchemaRef {
    let plain = output.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(_, value) => Field::new(field.name(), value.as_ref().clone(), true),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(plain.collect::<Vec<_>>()))
}
