//! Pages of exporters, whatever their format: one sample after the other.

use crate::families;
use crate::gateway::WriteError;
use crate::intake::Intake;
use crate::memory::Metadata;
use crate::own::{self, OwnExemplar, OwnSample, OwnValue};
use crate::text::{self, TextFormat};

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFormat {
    /// As text.
    Text(TextFormat),
    /// As messages `io.prometheus.client.MetricFamily`, each behind its length.
    Families,
}

impl PageFormat {
    /// The format that `Content-Type` names; the text format where it names none of these.
    pub fn from_content_type(value: &str) -> Self {
        match value.split(';').next().map(str::trim) {
            Some("application/openmetrics-text") => Self::Text(TextFormat::OpenMetrics),
            Some("application/vnd.google.protobuf") => Self::Families,
            _ => Self::Text(TextFormat::Prometheus),
        }
    }
}

/// What is taken of a histogram that a page has both as a native and as a classic one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// The classic one.
    Classic,
    /// The native one.
    #[default]
    Native,
    /// Both.
    Both,
}

/// One sample of a page, with its labels as they were written.
#[derive(Clone, Debug)]
pub struct PageSample<'a> {
    /// The name and the labels as text: equal texts are one series.
    pub series: &'a str,
    /// The value.
    pub value: OwnValue,
    /// The time that the page says, in milliseconds.
    pub ts_ms: Option<i64>,
    /// What the page said last that a metric is.
    pub kind: &'static str,
    /// Observations with traces.
    pub exemplars: Vec<OwnExemplar>,
}

impl PageSample<'_> {
    /// The labels, the name as `__name__` among them. Bounds of histograms and quantiles of summaries are written in one
    /// way, as Prometheus does.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn labels(&self) -> Result<Vec<(String, String)>, String> {
        let mut labels = text::labels_of(self.series)?;
        let bound = match self.kind {
            "histogram" => "le",
            "summary" => "quantile",
            _ => return Ok(labels),
        };
        for (_, value) in labels.iter_mut().filter(|(name, _)| name == bound) {
            if let Ok(number) = value.parse() {
                *value = families::bound_text(number);
            }
        }
        Ok(labels)
    }
}

/// Reads a page without looking at labels: `sample` is called for each sample, and says whether it goes on. What the page
/// says of metrics is returned. Unlike a body that is pushed, a page with one bad line is refused as a whole, as Prometheus
/// does.
///
/// # Errors
/// The first line or metric family that is none.
pub fn read_page(
    page: &[u8],
    format: PageFormat,
    histograms: Histograms,
    sample: impl FnMut(PageSample<'_>) -> Result<(), String>,
) -> Result<Vec<Metadata>, String> {
    match format {
        PageFormat::Families => families::read(page, histograms, sample),
        PageFormat::Text(format) => {
            let page = std::str::from_utf8(page).map_err(|_| "the page is not UTF-8".to_owned())?;
            text::read_page(page, format, sample)
        }
    }
}

/// Reads a page that was pushed; samples without a time get `now_ms`. A line of text that is none is a problem, the others
/// are taken.
pub(crate) fn read(page: &[u8], format: PageFormat, now_ms: i64, intake: &mut Intake<'_>) -> Result<(), WriteError> {
    if let PageFormat::Text(format) = format {
        return text::read(page, format, now_ms, intake);
    }
    let mut key = Vec::new();
    let metadata = families::read(page, Histograms::Both, |sample| {
        let ts_ms = sample.ts_ms.unwrap_or(now_ms);
        let labels = sample.labels()?.into();
        let sample = OwnSample { labels, ts_ms, value: sample.value, exemplars: sample.exemplars };
        own::take(&sample, &mut key, intake);
        Ok(())
    });
    intake.metadata.extend(metadata.map_err(WriteError::Text)?);
    Ok(())
}
