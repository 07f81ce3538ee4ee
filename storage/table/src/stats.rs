//! Statistics of a file: bounds and null counts per column, as Delta writes them.
//!
//! Bounds are bounds and not values: a text is cut to [`TEXT_CHARS`] characters (a maximum rounded up), a timestamp is
//! rounded to milliseconds (outward), as readers expect. Floats have none (NaN would not be in them), nor have
//! Booleans and maps (Delta defines none).

use crate::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Characters of a text that a bound keeps; Spark's default.
const TEXT_CHARS: usize = 32;
const MICROS_PER_MILLI: i64 = 1000;

/// One bound of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatValue {
    /// Of an Int32, Int64, or of a Timestamp in microseconds since 1970.
    Int(i64),
    /// Of a text; may be cut.
    Text(Box<str>),
}

/// What is known of a column in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnStats {
    /// No value is less.
    pub min: Option<StatValue>,
    /// No value is greater.
    pub max: Option<StatValue>,
    /// Exact number of nulls.
    pub null_count: Option<u64>,
}

/// What is known of the columns of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    columns: Box<[ColumnStats]>,
}

static UNKNOWN: ColumnStats = ColumnStats { min: None, max: None, null_count: None };

impl FileStats {
    /// The column at `index` of the stream's schema; empty where nothing is known.
    pub fn column(&self, index: usize) -> &ColumnStats {
        self.columns.get(index).unwrap_or(&UNKNOWN)
    }

    /// Reads Delta's JSON: the number of rows, and what is known of the columns of `schema`. What another writer
    /// left out or wrote otherwise is unknown.
    pub(crate) fn parse(schema: &Schema, path: &str, text: &str) -> Result<(u64, Self)> {
        let corrupt = |reason: String| Error::Corrupt { path: path.to_owned(), reason };
        let stats: Value = serde_json::from_str(text).map_err(|error| corrupt(format!("statistics: {error}")))?;
        let rows = stats.get("numRecords").and_then(Value::as_u64);
        let rows = rows.ok_or_else(|| corrupt("statistics without numRecords".to_owned()))?;
        let of = |kind: &str, name: &str| stats.get(kind).and_then(|columns| columns.get(name));
        let columns = schema
            .fields()
            .iter()
            .map(|field| ColumnStats {
                min: of("minValues", field.name()).and_then(|value| bound(value, field.data_type(), 0)),
                // Other writers cut a timestamp's maximum to milliseconds.
                max: of("maxValues", field.name())
                    .and_then(|value| bound(value, field.data_type(), MICROS_PER_MILLI - 1)),
                null_count: of("nullCount", field.name()).and_then(Value::as_u64),
            })
            .collect();
        Ok((rows, Self { columns }))
    }
}

fn bound(value: &Value, data_type: &DataType, slack_us: i64) -> Option<StatValue> {
    match data_type {
        DataType::Int32 | DataType::Int64 => value.as_i64().map(StatValue::Int),
        DataType::Utf8 => value.as_str().map(|text| StatValue::Text(text.into())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(StatValue::Int(time.as_microsecond().saturating_add(slack_us)))
        }
        _ => None,
    }
}

/// Bounds of many files as an array of `data_type`, for pruning; null where there is none.
pub fn stat_array<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a StatValue>>) -> ArrayRef {
    let int = |value: Option<&StatValue>| match value {
        Some(StatValue::Int(value)) => Some(*value),
        _ => None,
    };
    fn text(value: Option<&StatValue>) -> Option<&str> {
        match value {
            Some(StatValue::Text(text)) => Some(text.as_ref()),
            _ => None,
        }
    }
    match data_type {
        DataType::Int64 => Arc::new(values.map(int).collect::<Int64Array>()),
        DataType::Int32 => {
            Arc::new(values.map(|value| int(value).and_then(|value| value.try_into().ok())).collect::<Int32Array>())
        }
        DataType::Utf8 => Arc::new(values.map(text).collect::<StringArray>()),
        DataType::Utf8View => Arc::new(values.map(text).collect::<StringViewArray>()),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(values.map(int).collect::<TimestampMicrosecondArray>().with_timezone_opt(zone.clone()))
        }
        other => new_null_array(other, values.count()),
    }
}

/// Gathers the statistics of a file while its rows pass.
#[derive(Debug)]
pub(crate) struct StatsBuilder {
    rows: u64,
    columns: Vec<Gathered>,
}

#[derive(Clone, Debug, Default)]
struct Gathered {
    nulls: u64,
    bounds: Option<Bounds>,
}

#[derive(Clone, Debug)]
enum Bounds {
    Int(i64, i64),
    Text(String, String),
}

impl StatsBuilder {
    pub(crate) fn new(columns: usize) -> Self {
        Self { rows: 0, columns: vec![Gathered::default(); columns] }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes rows of the file: how many, their nulls, and the bounds of what is no text.
    pub(crate) fn update(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (gathered, column) in self.columns.iter_mut().zip(batch.columns()) {
            gathered.nulls += column.null_count() as u64;
            gathered.widen(column);
        }
    }

    /// Takes bounds of texts of a column.
    pub(crate) fn widen_text(&mut self, column: usize, min: &[u8], max: &[u8]) {
        if let (Some(gathered), Ok(min), Ok(max)) =
            (self.columns.get_mut(column), str::from_utf8(min), str::from_utf8(max))
        {
            gathered.widen_text(min, max);
        }
    }

    /// Delta's JSON.
    pub(crate) fn finish(&self, schema: &Schema) -> String {
        let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (gathered, field) in self.columns.iter().zip(schema.fields()) {
            if !matches!(field.data_type(), DataType::Map(..) | DataType::List(_) | DataType::Struct(_)) {
                nulls.insert(field.name().clone(), gathered.nulls.into());
            }
            let (min, max) = match &gathered.bounds {
                Some(Bounds::Int(min, max)) if matches!(field.data_type(), DataType::Timestamp(..)) => {
                    (time(min.div_euclid(MICROS_PER_MILLI)), time(ceil_millis(*max)))
                }
                Some(Bounds::Int(min, max)) => (Some((*min).into()), Some((*max).into())),
                Some(Bounds::Text(min, max)) => (Some(cut_down(min).into()), cut_up(max).map(Value::from)),
                None => (None, None),
            };
            min.and_then(|min| mins.insert(field.name().clone(), min));
            max.and_then(|max| maxs.insert(field.name().clone(), max));
        }
        json!({"numRecords": self.rows, "minValues": mins, "maxValues": maxs, "nullCount": nulls}).to_string()
    }
}

impl Gathered {
    fn widen(&mut self, column: &ArrayRef) {
        let ints = match column.data_type() {
            DataType::Int32 => {
                let values = column.as_primitive::<Int32Type>();
                min(values).zip(max(values)).map(|(min, max)| (min.into(), max.into()))
            }
            DataType::Int64 => {
                let values = column.as_primitive::<Int64Type>();
                min(values).zip(max(values))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let values = column.as_primitive::<TimestampMicrosecondType>();
                min(values).zip(max(values))
            }
            _ => None,
        };
        if let Some((min, max)) = ints {
            self.bounds = Some(match self.bounds {
                Some(Bounds::Int(low, high)) => Bounds::Int(low.min(min), high.max(max)),
                _ => Bounds::Int(min, max),
            });
        }
    }

    fn widen_text(&mut self, min: &str, max: &str) {
        match &mut self.bounds {
            Some(Bounds::Text(low, high)) => {
                if min < low.as_str() {
                    *low = min.to_owned();
                }
                if max > high.as_str() {
                    *high = max.to_owned();
                }
            }
            _ => self.bounds = Some(Bounds::Text(min.to_owned(), max.to_owned())),
        }
    }
}

fn ceil_millis(micros: i64) -> i64 {
    micros.div_euclid(MICROS_PER_MILLI) + i64::from(micros.rem_euclid(MICROS_PER_MILLI) != 0)
}

/// A time as Delta writes it. None outside of the years that every reader can parse.
fn time(millis: i64) -> Option<Value> {
    let time = jiff::Timestamp::from_millisecond(millis).ok()?;
    let year = time.to_zoned(jiff::tz::TimeZone::UTC).year();
    (1..=9999).contains(&year).then(|| format!("{time:.3}").into())
}

fn cut_down(text: &str) -> &str {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// The least text of [`TEXT_CHARS`] characters that is greater than every text with the same beginning. None where
/// there is no such text.
fn cut_up(text: &str) -> Option<String> {
    let cut = cut_down(text);
    if cut.len() == text.len() {
        return Some(cut.to_owned());
    }
    let mut chars: Vec<char> = cut.chars().collect();
    while let Some(last) = chars.pop() {
        // UTF-8 sorts as its characters do; the gap of the surrogates has no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::Stream;
    use proptest::prelude::*;

    #[test]
    fn long_texts_are_rounded_outward() {
        let long = "x".repeat(40);
        assert_eq!(cut_down(&long).len(), 32);
        assert_eq!(cut_up(&long), Some(format!("{}y", "x".repeat(31))));
        assert_eq!(cut_up("short"), Some("short".to_owned()));
        let highest: String = std::iter::repeat_n(char::MAX, 40).collect();
        assert_eq!(cut_up(&highest), None);
        let carries = format!("a{}", "\u{10ffff}".repeat(40));
        assert_eq!(cut_up(&carries), Some("b".to_owned()));
    }

    #[test]
    fn times_are_rounded_outward_and_far_ones_left_out() {
        assert_eq!(time(-1), Some("1969-12-31T23:59:59.999Z".into()));
        assert_eq!(ceil_millis(-1), 0);
        assert_eq!(ceil_millis(1), 1);
        assert_eq!(ceil_millis(-1000), -1);
        assert_eq!(time(i64::MAX / 1000), None);
        assert_eq!(time(-62_135_596_800_001), None, "the year 0");
    }

    #[test]
    fn arrays_for_pruning_have_the_type_of_the_column() {
        let values = [Some(StatValue::Int(7)), None, Some(StatValue::Int(i64::MAX))];
        for field in Stream::Events.schema().fields() {
            let array = stat_array(field.data_type(), values.iter().map(Option::as_ref));
            assert_eq!((array.data_type(), array.len()), (field.data_type(), 3), "{}", field.name());
        }
        let ints = stat_array(&DataType::Int32, values.iter().map(Option::as_ref));
        assert!(ints.is_valid(0) && ints.is_null(1) && ints.is_null(2));
    }

    #[test]
    fn statistics_of_others_may_lack_anything_but_the_rows() {
        let schema = Stream::Drops.schema();
        let (rows, stats) = FileStats::parse(&schema, "f", r#"{"numRecords":3,"maxValues":{"ts":1}}"#).unwrap();
        assert_eq!((rows, stats.column(0)), (3, &ColumnStats::default()));
        assert!(FileStats::parse(&schema, "f", "{}").is_err());
        assert!(FileStats::parse(&schema, "f", "").is_err());
    }

    proptest! {
        #[test]
        fn a_cut_bound_holds(text in "\\PC{0,80}", other in "\\PC{0,80}") {
            let high = if text > other { &text } else { &other };
            if let Some(bound) = cut_up(high) {
                prop_assert!(bound.as_str() >= text.as_str() && bound.chars().count() <= TEXT_CHARS);
            }
            prop_assert!(cut_down(&text) <= text.as_str());
        }
    }
}
