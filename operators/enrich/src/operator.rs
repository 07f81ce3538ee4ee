//! The operator: rows in, the same rows with further columns out.

use crate::config::{EnrichConfig, EnrichError};
use crate::lookup::Lookup;
use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bodkin_engine::{Batch, Operator, Output};
use std::sync::Arc;

/// Adds tags and looked-up columns.
#[derive(Clone, Debug)]
pub struct Enrich {
    tags: Vec<(String, ArrayRef)>,
    lookups: Vec<Lookup>,
    rows_failed: u64,
}

/// Further columns are texts, as dictionaries.
pub(crate) fn tag_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl Enrich {
    /// An operator for rows like `schema`. Reads the files of its lookups.
    ///
    /// # Errors
    /// What is wrong with a file, or which column is missing or there already.
    pub fn new(config: &EnrichConfig, schema: &SchemaRef) -> Result<Self, EnrichError> {
        let tag = |(name, value): (&String, &String)| {
            (name.clone(), Arc::new(StringArray::from(vec![value.as_str()])) as ArrayRef)
        };
        let lookups = config.lookups.iter().map(Lookup::new).collect::<Result<Vec<_>, _>>()?;
        for lookup in &lookups {
            for name in [Some(lookup.key()), lookup.time()].into_iter().flatten() {
                if schema.column_with_name(name).is_none() {
                    return Err(EnrichError::new("lookups", format!("the stream has no column {name:?}")));
                }
            }
        }
        let made = Self { tags: config.tags.iter().map(tag).collect(), lookups, rows_failed: 0 };
        let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for name in made.names() {
            if names.contains(&name) {
                return Err(EnrichError::new(name, "there is such a column already: choose another prefix"));
            }
            names.push(name);
        }
        Ok(made)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let tags = self.tags.iter().map(|(name, _)| name.as_str());
        tags.chain(self.lookups.iter().flat_map(Lookup::names))
    }

    /// The columns of what goes out for rows like `schema`: further ones are texts, as dictionaries.
    pub fn output(&self, schema: &SchemaRef) -> SchemaRef {
        let added = self.names().map(|name| Arc::new(Field::new(name, tag_type(), true)));
        Arc::new(Schema::new(schema.fields().iter().cloned().chain(added).collect::<Vec<_>>()))
    }

    /// The rows with their further columns.
    ///
    /// # Errors
    /// Where a column has another type than it should.
    pub fn rows(&self, records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = records.columns().to_vec();
        if let Some((_, first)) = self.tags.first() {
            let zeros = Int32Array::from(vec![0; records.num_rows()]);
            let checked = DictionaryArray::<Int32Type>::try_new(zeros, first.clone())?;
            columns.extend(self.tags.iter().map(|(_, value)| Arc::new(checked.with_values(value.clone())) as ArrayRef));
        }
        for lookup in &self.lookups {
            let column = |name: &str| {
                let missing = || ArrowError::SchemaError(format!("there is no column {name:?}"));
                records.column_by_name(name).ok_or_else(missing)
            };
            let times = lookup.time().map(column).transpose()?;
            let times = times.map(|times| {
                let wrong = || ArrowError::SchemaError("the time of a lookup is no time in microseconds".to_owned());
                times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)
            });
            columns.extend(lookup.columns(column(lookup.key())?, times.transpose()?)?);
        }
        RecordBatch::try_new(self.output(&records.schema()), columns)
    }
}

impl Operator for Enrich {
    fn name(&self) -> &str {
        "enrich"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.rows(&batch.records) {
            Ok(records) => {
                let stream = batch.stream.clone();
                out.emit(batch.derived(&stream, records));
            }
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::warn!(rows_failed = self.rows_failed, %error, "rows cannot be enriched");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampMicrosecondArray;
    use arrow::compute::cast;
    use std::io::Write;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file
    }

    fn records(hosts: Vec<Option<&str>>, seconds: &[i64], is_dictionary: bool) -> RecordBatch {
        let ts = TimestampMicrosecondArray::from_iter_values(seconds.iter().map(|second| second * 1_000_000));
        let host: ArrayRef = match is_dictionary {
            true => Arc::new(hosts.into_iter().collect::<DictionaryArray<Int32Type>>()),
            false => Arc::new(StringArray::from(hosts)),
        };
        let columns: Vec<(&str, ArrayRef)> = vec![("ts", Arc::new(ts.with_timezone("UTC"))), ("host", host)];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn enriched(config: &str, records: &RecordBatch) -> Vec<Vec<Option<String>>> {
        let config: EnrichConfig = serde_json::from_str(config).unwrap();
        let enrich = Enrich::new(&config, &records.schema()).unwrap();
        let made = enrich.rows(records).unwrap();
        assert_eq!(made.schema(), enrich.output(&records.schema()));
        let text = |column: &ArrayRef| {
            let column = cast(column, &DataType::Utf8).unwrap();
            column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
        };
        made.columns().iter().skip(records.num_columns()).map(text).collect()
    }

    fn texts(values: &[Option<&str>]) -> Vec<Option<String>> {
        values.iter().map(|value| value.map(str::to_owned)).collect()
    }

    #[test]
    fn a_row_finds_what_was_valid_at_its_time() {
        let assets = file(
            "host,owner,zone,from,to\na,ann,z1,1970-01-01T00:00:00Z,1970-01-01T00:01:00Z\na,bob,,1970-01-01T00:01:00Z,\nb,carl,z2,,\n",
        );
        let config = format!(
            r#"{{"tags": {{"env": "prod"}}, "lookups": [{{"file": {:?}, "key": "host", "prefix": "asset_", "valid_from": "from", "valid_to": "to"}}]}}"#,
            assets.path()
        );
        for is_dictionary in [true, false] {
            let all = records(
                vec![Some("a"), Some("a"), Some("b"), None, Some("c"), Some("a")],
                &[30, 60, 0, 0, 0, -1],
                is_dictionary,
            );
            for (from, count) in [(0, 6), (1, 4), (0, 0)] {
                let columns = enriched(&config, &all.slice(from, count));
                let part = |values: [Option<&str>; 6]| texts(&values[from..from + count]);
                assert_eq!(columns[0], part([Some("prod"); 6]));
                assert_eq!(columns[1], part([Some("ann"), Some("bob"), Some("carl"), None, None, None]));
                assert_eq!(columns[2], part([Some("z1"), None, Some("z2"), None, None, None]));
            }
        }
    }

    #[test]
    fn addresses_find_their_network_and_errors_say_where() {
        let networks = file("net,name\n10.0.0.0/8,corp\n10.1.0.0/16,lab\n");
        let config = |more: &str| {
            format!(
                r#"{{"lookups": [{{"file": {:?}, "key": "host", "file_key": "net", "match": "cidr"{more}}}]}}"#,
                networks.path()
            )
        };
        let all = records(vec![Some("10.1.2.3"), Some("10.9.9.9"), Some("x")], &[0, 0, 0], false);
        assert_eq!(enriched(&config(""), &all)[0], texts(&[Some("lab"), Some("corp"), None]));
        let error = |config: &str| {
            let config: EnrichConfig = serde_json::from_str(config).unwrap();
            Enrich::new(&config, &all.schema()).unwrap_err().to_string()
        };
        assert!(error(&config(r#", "columns": ["nme"]"#)).contains("there are net, name"));
        assert!(error(&config(r#", "prefix": "", "valid_from": "name""#)).contains("row 1: \"corp\" is no time"));
        assert!(error(r#"{"tags": {"host": "x"}}"#).contains("already"));
        assert!(error(r#"{"lookups": [{"file": "/none.csv", "key": "host"}]}"#).contains("/none.csv"));
        let wrong = file("host,name\n10.0.0.0/99,x\n");
        let config = format!(r#"{{"lookups": [{{"file": {:?}, "key": "host", "match": "cidr"}}]}}"#, wrong.path());
        assert!(error(&config).contains("row 1: \"10.0.0.0/99\" is no network"));
    }
}
