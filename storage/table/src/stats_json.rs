//! Delta's JSON of a file's statistics, read in one pass: a table of many files has hundreds of megabytes of it.

use crate::stats::StatValue;
use arrow::datatypes::{DataType, TimeUnit};
use bodkin_schema::Stream;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

const MICROS_PER_MILLI: i64 = 1000;

/// What a file's statistics say, by place of the column in its stream's schema.
#[derive(Debug, Default)]
pub(crate) struct ParsedStats {
    pub(crate) rows: Option<u64>,
    pub(crate) mins: Vec<(u16, StatValue)>,
    pub(crate) maxs: Vec<(u16, StatValue)>,
    pub(crate) nulls: Vec<(u16, u64)>,
}

/// Reads `text`. What another writer left out, or wrote otherwise, is not there.
pub(crate) fn parse(stream: Stream, text: &str) -> serde_json::Result<ParsedStats> {
    static COLUMNS: LazyLock<Vec<Columns>> = LazyLock::new(|| Stream::ALL.map(Columns::new).into());
    let mut parsed = ParsedStats::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let columns = &COLUMNS[crate::snapshot::slot(stream)];
    Object { columns, parsed: &mut parsed }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(parsed)
}

/// The columns of a stream by name.
struct Columns(Vec<(String, u16, DataType)>);

impl Columns {
    fn new(stream: Stream) -> Self {
        let schema = stream.schema();
        let fields = schema.fields().iter().zip(0u16..);
        let mut columns: Vec<_> =
            fields.map(|(field, place)| (field.name().clone(), place, field.data_type().clone())).collect();
        columns.sort_by(|left, right| left.0.cmp(&right.0));
        Self(columns)
    }

    /// Place among the columns; most writers name them in order, so the one after `next` is tried first.
    fn find(&self, name: &str, next: &mut usize) -> Option<&(String, u16, DataType)> {
        let place = match self.0.get(*next) {
            Some((found, ..)) if found == name => *next,
            _ => self.0.binary_search_by(|(found, ..)| found.as_str().cmp(name)).ok()?,
        };
        *next = place + 1;
        self.0.get(place)
    }
}

/// The whole object.
struct Object<'a> {
    columns: &'a Columns,
    parsed: &'a mut ParsedStats,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of statistics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { columns, parsed } = self;
        while let Some(key) = map.next_key_seed(Scalar)? {
            match key.text() {
                Some("numRecords") => parsed.rows = map.next_value_seed(Scalar)?.int().and_then(|n| n.try_into().ok()),
                Some("minValues") => {
                    map.next_value_seed(Values::new(columns, |place, data_type, value| {
                        parsed.mins.extend(bound(value, data_type, 0).map(|bound| (place, bound)));
                    }))?;
                }
                Some("maxValues") => {
                    map.next_value_seed(Values::new(columns, |place, data_type, value| {
                        // Other writers cut a timestamp's maximum to milliseconds.
                        let bound = bound(value, data_type, MICROS_PER_MILLI - 1);
                        parsed.maxs.extend(bound.map(|bound| (place, bound)));
                    }))?;
                }
                Some("nullCount") => {
                    map.next_value_seed(Values::new(columns, |place, _, value| {
                        parsed.nulls.extend(value.int().and_then(|n| n.try_into().ok()).map(|count| (place, count)));
                    }))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn bound(value: &Found<'_>, data_type: &DataType, slack_us: i64) -> Option<StatValue> {
    match data_type {
        DataType::Int32 | DataType::Int64 => value.int().map(StatValue::Int),
        DataType::Utf8 => value.text().map(|text| StatValue::Text(text.into())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let time: jiff::Timestamp = value.text()?.parse().ok()?;
            Some(StatValue::Int(time.as_microsecond().saturating_add(slack_us)))
        }
        _ => None,
    }
}

/// An object with a value for each column; anything else is passed over.
struct Values<'a, F> {
    columns: &'a Columns,
    each: F,
}

impl<'a, F: FnMut(u16, &DataType, &Found<'_>)> Values<'a, F> {
    fn new(columns: &'a Columns, each: F) -> Self {
        Self { columns, each }
    }
}

impl<'de, F: FnMut(u16, &DataType, &Found<'_>)> DeserializeSeed<'de> for Values<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(u16, &DataType, &Found<'_>)> Visitor<'de> for Values<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistics of columns")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut next = 0;
        while let Some(key) = map.next_key_seed(Scalar)? {
            match key.text().and_then(|name| self.columns.find(name, &mut next)) {
                Some((_, place, data_type)) => (self.each)(*place, data_type, &map.next_value_seed(Scalar)?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// One value, if it is of a kind that bounds are of.
enum Found<'de> {
    Int(i64),
    Text(Cow<'de, str>),
    Other,
}

impl Found<'_> {
    fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a [`Found`]; a text is borrowed where nothing in it is escaped.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(Found::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(Found::Text(text.to_owned().into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found<'de>, E> {
        Ok(Found::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found<'de>, E> {
        Ok(value.try_into().map_or(Found::Other, Found::Int))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Found::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other)
    }
}
