//! Samples to batches: which series are new, and the two streams.

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use bodkin_schema::{EventTime, MetricId, SeriesId, Stream};
use std::collections::HashMap;
use std::sync::Arc;

/// How often a series that is still there is announced again, which moves its `last_seen`.
const ANNOUNCE_US: i64 = 3_600_000_000;

/// What one round of samples makes. `series` is to be sent first.
#[derive(Debug)]
pub struct MetricBatches {
    /// Series that are new in this life of the agent, or due again.
    pub series: Option<RecordBatch>,
    /// The samples; None where there was none.
    pub samples: Option<RecordBatch>,
}

#[derive(Debug)]
struct Known {
    first_seen: EventTime,
    announced: EventTime,
    sampled: EventTime,
}

/// Turns samples into rows. Memory: 40 bytes per series known; one not seen for an hour is forgotten.
#[derive(Debug)]
pub struct Registry {
    /// Labels of every series: instance and job.
    common: Vec<(String, String)>,
    known: HashMap<SeriesId, Known>,
    forgotten_at: EventTime,
    series: SeriesRows,
    series_ids: Vec<i64>,
    metric_ids: Vec<i64>,
    values: Vec<f64>,
}

impl Registry {
    /// A registry whose series all carry `instance` and `job`.
    pub fn new(instance: &str, job: &str) -> Self {
        Self {
            common: vec![("instance".into(), instance.into()), ("job".into(), job.into())],
            known: HashMap::new(),
            forgotten_at: EventTime::MIN,
            series: SeriesRows::new(),
            series_ids: Vec::new(),
            metric_ids: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Adds a sample taken at `now`. Labels with an empty value are no labels.
    ///
    /// # Errors
    /// None for any input; arrow's builders say they may fail.
    pub fn add(&mut self, now: EventTime, name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), ArrowError> {
        let mut all: Vec<(&str, &str)> = self.common.iter().map(|(label, text)| (&**label, &**text)).collect();
        all.extend(labels.iter().copied().filter(|(_, text)| !text.is_empty()));
        let (series_id, metric_id) = (SeriesId::of(name, &all), MetricId::of(name));
        let unannounced = Known { first_seen: now, announced: EventTime::MIN, sampled: now };
        let known = self.known.entry(series_id).or_insert(unannounced);
        known.sampled = now;
        if known.announced == EventTime::MIN || now.0.saturating_sub(known.announced.0) >= ANNOUNCE_US {
            known.announced = now;
            all.sort_unstable();
            self.series.push(series_id, metric_id, name, &all, known.first_seen, now)?;
        }
        self.series_ids.push(series_id.0);
        self.metric_ids.push(metric_id.0);
        self.values.push(value);
        Ok(())
    }

    /// The batches of the samples added since the last call, all at `now` cut to whole milliseconds.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn finish(&mut self, now: EventTime) -> Result<MetricBatches, ArrowError> {
        if now.0.saturating_sub(self.forgotten_at.0) >= ANNOUNCE_US {
            self.known.retain(|_, known| now.0.saturating_sub(known.sampled.0) < ANNOUNCE_US);
            self.forgotten_at = now;
        }
        let series = self.series.finish()?;
        let rows = self.values.len();
        if rows == 0 {
            return Ok(MetricBatches { series, samples: None });
        }
        let ts = now.0.div_euclid(1_000) * 1_000;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(std::mem::take(&mut self.series_ids))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.metric_ids))),
            Arc::new(TimestampMicrosecondArray::from(vec![ts; rows]).with_timezone("UTC")),
            Arc::new(Float64Array::from(std::mem::take(&mut self.values))),
        ];
        Ok(MetricBatches { series, samples: Some(RecordBatch::try_new(Stream::Samples.schema(), columns)?) })
    }
}

/// Columns of `series` in the making.
#[derive(Debug)]
struct SeriesRows {
    series_id: Int64Builder,
    metric_id: Int64Builder,
    name: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    first_seen: Vec<i64>,
    last_seen: Vec<i64>,
}

impl SeriesRows {
    fn new() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            series_id: Int64Builder::new(),
            metric_id: Int64Builder::new(),
            name: StringBuilder::new(),
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            first_seen: Vec::new(),
            last_seen: Vec::new(),
        }
    }

    fn push(
        &mut self,
        series_id: SeriesId,
        metric_id: MetricId,
        name: &str,
        labels: &[(&str, &str)],
        first_seen: EventTime,
        last_seen: EventTime,
    ) -> Result<(), ArrowError> {
        self.series_id.append_value(series_id.0);
        self.metric_id.append_value(metric_id.0);
        self.name.append_value(name);
        for (label, text) in labels {
            self.labels.keys().append_value(label);
            self.labels.values().append_value(text);
        }
        self.labels.append(true)?;
        self.first_seen.push(first_seen.0);
        self.last_seen.push(last_seen.0);
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.first_seen.is_empty() {
            return Ok(None);
        }
        let times = |column: &mut Vec<i64>| {
            Arc::new(TimestampMicrosecondArray::from(std::mem::take(column)).with_timezone("UTC"))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.series_id.finish()),
            Arc::new(self.metric_id.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.labels.finish()),
            times(&mut self.first_seen),
            times(&mut self.last_seen),
        ];
        RecordBatch::try_new(Stream::Series.schema(), columns).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use arrow::util::display::array_value_to_string;

    const START: EventTime = EventTime(1_700_000_000_123_456);

    fn at(seconds: i64) -> EventTime {
        EventTime(START.0 + seconds * 1_000_000)
    }

    fn round(registry: &mut Registry, now: EventTime, names: &[&str]) -> MetricBatches {
        for name in names {
            registry.add(now, name, &[("mode", "idle"), ("empty", "")], 1.5).unwrap();
        }
        registry.finish(now).unwrap()
    }

    #[test]
    fn a_series_is_announced_once_and_again_after_an_hour() {
        let mut registry = Registry::new("h", "node");
        let rows = |batch: Option<RecordBatch>| batch.map_or(0, |batch| batch.num_rows());
        assert_eq!(rows(round(&mut registry, at(0), &["a", "b"]).series), 2);
        assert_eq!(rows(round(&mut registry, at(10), &["a", "b"]).series), 0);
        assert_eq!(rows(round(&mut registry, at(20), &["a", "c"]).series), 1);
        let later = round(&mut registry, at(3_600), &["a"]).series.unwrap();
        assert_eq!(later.num_rows(), 1);
        let time = |column: usize| later.column(column).as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!((time(4), time(5)), (at(0).0, at(3_600).0), "first_seen stays");
        round(&mut registry, at(7_300), &["a"]);
        assert_eq!(registry.known.len(), 1, "b and c were not seen for an hour");
    }

    #[test]
    fn ids_are_those_of_the_schema_and_times_are_whole_milliseconds() {
        let mut registry = Registry::new("h", "node");
        let MetricBatches { series, samples } = round(&mut registry, START, &["node_load1"]);
        let (series, samples) = (series.unwrap(), samples.unwrap());
        let labels = [("instance", "h"), ("job", "node"), ("mode", "idle")];
        let expected = SeriesId::of("node_load1", &labels).0;
        assert_eq!(series.column(0).as_primitive::<Int64Type>().value(0), expected);
        assert_eq!(samples.column(0).as_primitive::<Int64Type>().value(0), expected);
        assert_eq!(samples.column(1).as_primitive::<Int64Type>().value(0), MetricId::of("node_load1").0);
        let ts = samples.column(2).as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(ts, 1_700_000_000_123_000);
        assert_eq!(array_value_to_string(series.column(3), 0).unwrap(), "{instance: h, job: node, mode: idle}");
        assert!(registry.finish(START).unwrap().samples.is_none());
        assert_eq!(series.column(3).len(), 1);
    }
}
