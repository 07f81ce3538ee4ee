//! OTLP metrics over HTTP, as Prometheus's own receiver takes them.
//!
//! Resource attributes `service.name`, `service.namespace` and `service.instance.id` become `job` and `instance`; the
//! others stand in one series `target_info` per resource. Sums and histograms of changes ("delta") are added up per
//! series, from 0 at the start of the process: a counter that was reset, to a query.

mod attributes;
mod names;
mod points;

use crate::delta::Deltas;
use crate::intake::{Intake, LabelSource};
use crate::memory::Metadata;
use crate::series::{Resolved, SeriesError};
use crate::wire::{Reader, WireError};
use names::NameKind;

/// Data points are told apart by this field of `Metric`.
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const HISTOGRAM: u32 = 9;
const EXPONENTIAL: u32 = 10;
const SUMMARY: u32 = 11;

/// Reads an `ExportMetricsServiceRequest` into `intake`.
///
/// # Errors
/// Where the bytes are no such message.
pub(crate) fn read(body: &[u8], deltas: &Deltas, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    while let Some(field) = request.field()? {
        if field.number == 1 {
            resource_metrics(field.message()?, deltas, intake)?;
        }
    }
    Ok(())
}

/// What the points of one resource share.
pub(super) struct Context<'c, 'i, 'a> {
    pub(super) job: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) deltas: &'c Deltas,
    pub(super) intake: &'i mut Intake<'a>,
    /// The newest time of the resource's points, in milliseconds.
    pub(super) newest_ms: Option<i64>,
    key: Vec<u8>,
}

fn resource_metrics(message: Reader<'_>, deltas: &Deltas, intake: &mut Intake<'_>) -> Result<(), WireError> {
    let mut attributes = Vec::new();
    let mut reader = message;
    while let Some(field) = reader.field()? {
        if field.number == 1 {
            let mut resource = field.message()?;
            while let Some(part) = resource.field()? {
                if part.number == 1 {
                    attributes::read(part.message()?, &mut attributes)?;
                }
            }
        }
    }
    let take = |attributes: &mut Vec<(String, String)>, key: &str| {
        let place = attributes.iter().position(|(known, _)| known == key)?;
        Some(attributes.swap_remove(place).1).filter(|value| !value.is_empty())
    };
    let name = take(&mut attributes, "service.name");
    let namespace = take(&mut attributes, "service.namespace");
    let instance = take(&mut attributes, "service.instance.id");
    let job = name.map(|name| namespace.map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}")));
    let mut context = Context { job, instance, deltas, intake, newest_ms: None, key: Vec::new() };
    let mut reader = message;
    while let Some(field) = reader.field()? {
        if field.number == 2 {
            let mut scope = field.message()?;
            while let Some(part) = scope.field()? {
                if part.number == 2 {
                    metric(part.message()?, &mut context)?;
                }
            }
        }
    }
    target_info(attributes, &mut context);
    Ok(())
}

/// `target_info` says what else is known of a resource; there is none where nobody could join it.
fn target_info(attributes: Vec<(String, String)>, context: &mut Context<'_, '_, '_>) {
    let Some(newest_ms) = context.newest_ms else { return };
    if attributes.is_empty() || (context.job.is_none() && context.instance.is_none()) {
        return;
    }
    let labels = attributes::labels(attributes);
    if let Some(series) = context.series("target_info", labels, None) {
        context.intake.sample(series, newest_ms, 1.0);
    }
}

/// One metric: its name first, which may come after its points.
fn metric(message: Reader<'_>, context: &mut Context<'_, '_, '_>) -> Result<(), WireError> {
    let (mut name, mut description, mut unit) = ("", "", "");
    let mut data = Vec::new();
    let mut reader = message;
    while let Some(field) = reader.field()? {
        match field.number {
            1 => name = field.text()?,
            2 => description = field.text()?,
            3 => unit = field.text()?,
            kind @ (GAUGE | SUM | HISTOGRAM | EXPONENTIAL | SUMMARY) => data.push((kind, field.message()?)),
            _ => {}
        }
    }
    for (kind, data) in data {
        let shape = points::Shape::read(data)?;
        let (name_kind, kind_word) = match kind {
            SUM if shape.is_monotonic => (NameKind::Counter, "counter"),
            GAUGE => (NameKind::Gauge, "gauge"),
            SUM => (NameKind::Other, "gauge"),
            SUMMARY => (NameKind::Other, "summary"),
            _ => (NameKind::Other, "histogram"),
        };
        let name = names::metric(name, unit, name_kind);
        if name.is_empty() {
            context.intake.problems.add(|| "a metric has no name".to_owned());
            continue;
        }
        let (help, unit) = (description.to_owned(), unit.to_owned());
        context.intake.metadata.push(Metadata { name: name.clone(), kind: kind_word, help, unit });
        match kind {
            GAUGE | SUM => points::numbers(data, &name, &shape, context)?,
            HISTOGRAM => points::histograms(data, &name, &shape, context)?,
            EXPONENTIAL => points::exponentials(data, &name, &shape, context)?,
            _ => points::summaries(data, &name, context)?,
        }
    }
    Ok(())
}

impl Context<'_, '_, '_> {
    /// The series `name{labels}` of this resource, with one more label where it has one.
    pub(super) fn series(
        &mut self,
        name: &str,
        labels: Vec<(String, String)>,
        more: Option<(&str, &str)>,
    ) -> Option<Resolved> {
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (label, value) in [("job", &self.job), ("instance", &self.instance)] {
            if let Some(value) = value {
                pairs.retain(|(known, _)| *known != label);
                pairs.push((label, value));
            }
        }
        pairs.extend(more);
        pairs.push(("__name__", name));
        self.key.clear();
        for (label, value) in &pairs {
            for text in [label, value] {
                self.key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.key.extend_from_slice(text.as_bytes());
            }
        }
        match self.intake.series(&self.key, &Pairs(&pairs)) {
            Ok(series) => Some(series),
            Err(error) => {
                self.intake.problems.add(|| format!("metric {name}: {error}"));
                None
            }
        }
    }

    pub(super) fn saw(&mut self, ts_ms: i64) {
        self.newest_ms = self.newest_ms.max(Some(ts_ms));
    }
}

struct Pairs<'p>(&'p [(&'p str, &'p str)]);

impl<'p> LabelSource<'p> for Pairs<'p> {
    fn labels(&self, into: &mut Vec<(&'p str, &'p str)>) -> Result<(), SeriesError> {
        into.extend_from_slice(self.0);
        Ok(())
    }
}
