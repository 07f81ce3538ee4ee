//! Statistics of a file: bounds and null counts per column, as Delta writes them.
//!
//! Bounds are bounds and not values: a text is cut to [`TEXT_CHARS`] characters (a maximum rounded up), a timestamp is
//! rounded to milliseconds (outward), as readers expect. Floats have none (NaN would not be in them), nor have
//! Booleans and maps (Delta defines none).

use crate::{Error, Result, stats_json};
use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use bodkin_schema::Stream;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnStats<'a> {
    /// No value is less.
    pub min: Option<&'a StatValue>,
    /// No value is greater.
    pub max: Option<&'a StatValue>,
    /// Exact number of nulls.
    pub null_count: Option<u64>,
}

/// What is known of the columns of a file. Costs 4 bytes for each column of the stream, and 56 for each with bounds:
/// most columns of an event are null in most files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// By column, in order.
    bounds: Box<[(u16, ColumnBounds)]>,
    /// Of each column; [`NOT_COUNTED`] where it is not known.
    null_counts: Box<[u32]>,
}

/// Not known, or more than a file has rows.
const NOT_COUNTED: u32 = u32::MAX;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ColumnBounds {
    min: Option<StatValue>,
    max: Option<StatValue>,
}

impl FileStats {
    /// The column at `index` of the stream's schema; empty where nothing is known.
    pub fn column(&self, index: usize) -> ColumnStats<'_> {
        let bounds = self.bounds.binary_search_by_key(&index, |(column, _)| usize::from(*column)).ok();
        let bounds = bounds.and_then(|place| self.bounds.get(place)).map(|(_, bounds)| bounds);
        let null_count = self.null_counts.get(index).filter(|count| **count != NOT_COUNTED);
        ColumnStats {
            min: bounds.and_then(|bounds| bounds.min.as_ref()),
            max: bounds.and_then(|bounds| bounds.max.as_ref()),
            null_count: null_count.map(|count| u64::from(*count)),
        }
    }

    /// Reads Delta's JSON: the number of rows, and what is known of the columns of `stream`. What another writer
    /// left out or wrote otherwise is unknown.
    pub(crate) fn parse(stream: Stream, path: &str, text: &str) -> Result<(u64, Self)> {
        let corrupt = |reason: String| Error::Corrupt { path: path.to_owned(), reason };
        let parsed = stats_json::parse(stream, text).map_err(|error| corrupt(format!("statistics: {error}")))?;
        let rows = parsed.rows.ok_or_else(|| corrupt("statistics without numRecords".to_owned()))?;
        let mut bounds: BTreeMap<u16, ColumnBounds> = BTreeMap::new();
        parsed.mins.into_iter().for_each(|(column, value)| bounds.entry(column).or_default().min = Some(value));
        parsed.maxs.into_iter().for_each(|(column, value)| bounds.entry(column).or_default().max = Some(value));
        let mut null_counts = vec![NOT_COUNTED; stream.schema().fields().len()];
        for (column, count) in parsed.nulls {
            null_counts[usize::from(column)] = count.try_into().unwrap_or(NOT_COUNTED);
        }
        Ok((rows, Self { bounds: bounds.into_iter().collect(), null_counts: null_counts.into() }))
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

    /// Counts rows whose columns come by themselves.
    pub(crate) fn count(&mut self, rows: usize) {
        self.rows += rows as u64;
    }

    /// Takes values of one column: their nulls, and the bounds of what is no text.
    pub(crate) fn update_column(&mut self, index: usize, values: &ArrayRef) {
        if let Some(gathered) = self.columns.get_mut(index) {
            gathered.nulls += values.null_count() as u64;
            gathered.widen(values);
        }
    }

    /// Counts nulls of a column of texts.
    pub(crate) fn count_nulls(&mut self, index: usize, nulls: usize) {
        if let Some(gathered) = self.columns.get_mut(index) {
            gathered.nulls += nulls as u64;
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
        let parse = |text: &str| FileStats::parse(Stream::Drops, "f", text);
        let (rows, stats) = parse(r#"{"numRecords":3,"maxValues":{"ts":1}}"#).unwrap();
        assert_eq!((rows, stats.column(0)), (3, ColumnStats::default()));
        for odd in ["{}", "", "3", "null", "[]", r#"{"numRecords":-1}"#, r#"{"numRecords":"3"}"#, r#"{"numRecords":3"#]
        {
            assert!(parse(odd).is_err(), "{odd}");
        }
        for odd in ["null", "7", "[{}]", r#""text""#, "true", "1.5", "{}", r#"{"count":{"a":[1]},"class":null,"x":0}"#]
        {
            let text = format!(
                r#"{{"tightBounds":true,"minValues":{odd},"maxValues":{odd},"nullCount":{odd},"numRecords":3}}"#
            );
            let (rows, stats) = parse(&text).unwrap();
            assert!(rows == 3 && (0..6).all(|index| stats.column(index) == ColumnStats::default()), "{odd}");
        }
    }

    #[test]
    fn columns_come_in_any_order() {
        let text = r#"{"nullCount":{"theirs":9,"ts":1,"count":5000000000},"maxValues":{"ts":"1970-01-01T00:00:00.001Z",
            "count":18446744073709551615},"minValues":{"reason":"a\"b","count":-4,"class":"c"},"numRecords":3}"#;
        let (_, stats) = FileStats::parse(Stream::Drops, "f", text).unwrap();
        let text = |text: &str| StatValue::Text(text.into());
        let (ts, class, reason, count) = (stats.column(0), stats.column(2), stats.column(3), stats.column(4));
        assert_eq!((ts.max, ts.null_count), (Some(&StatValue::Int(1_999)), Some(1)));
        assert_eq!((class.min, reason.min), (Some(&text("c")), Some(&text("a\"b"))));
        assert_eq!((count.min, count.max, count.null_count), (Some(&StatValue::Int(-4)), None, None));
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
