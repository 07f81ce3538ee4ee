//! Keys to rows of a file, valid at a time.

use crate::config::{EnrichError, LookupConfig, Matching};
use crate::file::read;
use crate::networks::{Network, Networks};
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int32Builder, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit, TimestampMicrosecondType};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A file that keys are looked up in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lookup {
    config: Arc<LookupConfig>,
    index: Arc<Index>,
    /// Names in the stream, and the values, one for each row of the file.
    columns: Vec<(String, ArrayRef)>,
}

/// Keys to the rows of each.
#[derive(Debug)]
struct Index {
    exact: FxHashMap<String, u32>,
    networks: Networks,
    /// By number of the key: rows of the file with the time from and until which they are valid, in that order.
    rows: Vec<Vec<(i64, i64, i32)>>,
}

impl Lookup {
    /// Reads the file of a lookup.
    ///
    /// # Errors
    /// What is wrong with the file or the section.
    pub fn new(config: &LookupConfig) -> Result<Self, EnrichError> {
        let records = read(&config.file)?;
        let place = config.file.display().to_string();
        let column = |name: &str| {
            let known =
                || records.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(", ");
            let missing = || EnrichError::new(&place, format!("there is no column {name:?}; there are {}", known()));
            records.column_by_name(name).map(|column| column.as_string::<i32>().clone()).ok_or_else(missing)
        };
        let key_name = config.file_key.as_ref().unwrap_or(&config.key);
        let keys = column(key_name)?;
        let from = times(&place, config.valid_from.as_deref().map(column).transpose()?.as_ref(), i64::MIN)?;
        let until = times(&place, config.valid_to.as_deref().map(column).transpose()?.as_ref(), i64::MAX)?;
        let own = [Some(key_name), config.valid_from.as_ref(), config.valid_to.as_ref()];
        let others = records.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let others = others.into_iter().filter(|name| own.iter().flatten().all(|own| *own != name));
        let names: Vec<String> = if config.columns.is_empty() { others.collect() } else { config.columns.clone() };
        let columns =
            names.iter().map(|name| Ok((format!("{}{name}", config.prefix), Arc::new(column(name)?) as ArrayRef)));
        let columns = columns.collect::<Result<Vec<_>, EnrichError>>()?;
        let mut index = Index { exact: FxHashMap::default(), networks: Networks::default(), rows: Vec::new() };
        let mut networks = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else { continue };
            let known = index.exact.get(key).copied();
            let number = match known {
                Some(number) => number,
                None => {
                    let number = index.rows.len() as u32;
                    if config.matching == Matching::Cidr {
                        let wrong = || EnrichError::new(&place, format!("row {}: {key:?} is no network", row + 1));
                        networks.push((Network::parse(key).ok_or_else(wrong)?, number));
                    }
                    index.exact.insert(key.to_owned(), number);
                    index.rows.push(Vec::new());
                    number
                }
            };
            let valid = |times: &Option<Vec<i64>>, otherwise| {
                times.as_ref().and_then(|times| times.get(row).copied()).unwrap_or(otherwise)
            };
            if let Some(rows) = index.rows.get_mut(number as usize) {
                rows.push((valid(&from, i64::MIN), valid(&until, i64::MAX), row as i32));
            }
        }
        index.rows.iter_mut().for_each(|rows| rows.sort_unstable());
        index.networks = Networks::new(networks);
        Ok(Self { config: Arc::new(config.clone()), index: Arc::new(index), columns })
    }

    /// Column of the stream with the key.
    pub fn key(&self) -> &str {
        &self.config.key
    }

    /// Column of the stream with the time that counts; none where rows are valid for ever.
    pub fn time(&self) -> Option<&str> {
        (self.config.valid_from.is_some() || self.config.valid_to.is_some()).then_some(self.config.time.as_str())
    }

    /// Names of the columns that it adds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The columns for rows with these keys and times. A key that is null or not known gives null.
    pub fn columns(
        &self,
        keys: &ArrayRef,
        times: Option<&TimestampMicrosecondArray>,
    ) -> Result<Vec<ArrayRef>, arrow::error::ArrowError> {
        let Some((_, first)) = self.columns.first() else { return Ok(Vec::new()) };
        // Rows are checked once: all columns have as many values.
        let checked = DictionaryArray::<Int32Type>::try_new(self.rows(keys, times)?, first.clone())?;
        let column = |(_, values): &(String, ArrayRef)| -> Result<ArrayRef, arrow::error::ArrowError> {
            if values.null_count() == 0 {
                return Ok(Arc::new(checked.with_values(values.clone())));
            }
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(present(checked.keys(), values), values.clone())?))
        };
        self.columns.iter().map(column).collect()
    }

    /// The row of the file for each row; each different key of a batch is looked up once.
    fn rows(
        &self,
        keys: &ArrayRef,
        times: Option<&TimestampMicrosecondArray>,
    ) -> Result<Int32Array, arrow::error::ArrowError> {
        let row_of = |number: Option<u32>, row: usize| {
            let rows = self.index.rows.get(number? as usize)?;
            match times {
                None => rows.last().map(|(_, _, row)| *row),
                Some(times) => {
                    let time = times.is_valid(row).then(|| times.value(row))?;
                    let valid = rows.iter().rev().find(|(from, until, _)| *from <= time && time < *until);
                    valid.map(|(_, _, row)| *row)
                }
            }
        };
        let mut made = Int32Builder::with_capacity(keys.len());
        if let Some(keys) = keys.as_dictionary_opt::<Int32Type>() {
            let values = cast(keys.values(), &DataType::Utf8)?;
            let numbers: Vec<Option<u32>> = values.as_string::<i32>().iter().map(|key| self.number(key?)).collect();
            for (row, key) in keys.keys().iter().enumerate() {
                let number = key.and_then(|key| numbers.get(key as usize).copied().flatten());
                made.append_option(row_of(number, row));
            }
            return Ok(made.finish());
        }
        let texts = cast(keys, &DataType::Utf8)?;
        let texts: &StringArray = texts.as_string();
        let mut known: FxHashMap<&str, Option<u32>> = FxHashMap::default();
        let mut last: Option<(&str, Option<u32>)> = None;
        for (row, key) in texts.iter().enumerate() {
            let number = match (key, last) {
                (None, _) => None,
                // Rows of one host or process come one behind the other.
                (Some(key), Some((same, number))) if same == key => number,
                (Some(key), _) => {
                    let number = *known.entry(key).or_insert_with(|| self.number(key));
                    last = Some((key, number));
                    number
                }
            };
            made.append_option(row_of(number, row));
        }
        Ok(made.finish())
    }

    fn number(&self, key: &str) -> Option<u32> {
        match self.config.matching {
            Matching::Exact => self.index.exact.get(key).copied(),
            Matching::Cidr => self.index.networks.find(key),
        }
    }
}

/// Rows whose value is there.
fn present(rows: &Int32Array, values: &ArrayRef) -> Int32Array {
    rows.iter().map(|row| row.filter(|row| values.is_valid(*row as usize))).collect()
}

/// The times of a column in microseconds; `empty` where there is none.
fn times(place: &str, column: Option<&StringArray>, empty: i64) -> Result<Option<Vec<i64>>, EnrichError> {
    let Some(column) = column else { return Ok(None) };
    let mut times = Vec::with_capacity(column.len());
    for (row, text) in column.iter().enumerate() {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            times.push(empty);
            continue;
        };
        let one: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let parsed = cast(&one, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok();
        let parsed = parsed.and_then(|parsed| {
            let parsed = parsed.as_primitive::<TimestampMicrosecondType>().clone();
            parsed.is_valid(0).then(|| parsed.value(0))
        });
        times.push(parsed.ok_or_else(|| EnrichError::new(place, format!("row {}: {text:?} is no time", row + 1)))?);
    }
    Ok(Some(times))
}
