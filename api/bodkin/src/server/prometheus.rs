//! Prometheus's own work in this server: rules on time, targets scraped.

use super::storage::Storage;
use crate::prometheus::PrometheusSettings;
use async_trait::async_trait;
use bodkin_gateway::{Buckets, Gateway, Histogram, OwnLabels, OwnSample, OwnValue};
use bodkin_http::{Family, MetricsSource, Prometheus};
use bodkin_metrics::StoreView;
use bodkin_promql::{Engine, FloatHistogram, ResetHint, SampleValue, VectorSample};
use bodkin_promrules::{Notifier, NotifierOptions, RuleManager, SampleSink};
use bodkin_schema::{Clock, Tenant};
use bodkin_scrape::Scraper;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio_util::sync::CancellationToken;

/// Rules and scraping.
#[derive(Debug)]
pub(crate) struct PrometheusJobs {
    pub(crate) rules: Arc<RuleManager>,
    pub(crate) scraper: Arc<Scraper>,
    gateway: Arc<Gateway>,
}

impl PrometheusJobs {
    /// Nothing runs until something is loaded.
    pub(crate) fn new(
        engine: Engine,
        view: StoreView,
        gateway: &Arc<Gateway>,
        clock: &Arc<dyn Clock>,
        stopping: &CancellationToken,
    ) -> Arc<Self> {
        let notifier = Notifier::new(NotifierOptions::default());
        tokio::spawn(notifier.clone().run(stopping.clone()));
        let sink = Arc::new(RuleSink(gateway.clone()));
        Arc::new(Self {
            rules: RuleManager::new(engine, Arc::new(view), sink, notifier, clock.clone()),
            scraper: Scraper::new(Arc::new(gateway.clone()), clock.clone()),
            gateway: gateway.clone(),
        })
    }

    /// Goes on with what the configuration says now.
    pub(crate) async fn load(&self, settings: PrometheusSettings) -> anyhow::Result<()> {
        self.scraper.load(&settings.scrape, &settings.globals).await?;
        self.rules.notifier().set_targets(settings.alertmanagers, settings.edit);
        self.rules.load(&settings.rules, &settings.manager).await;
        Ok(())
    }

    /// What the HTTP API needs.
    pub(crate) fn api(&self, engine: Engine, storage: &Storage) -> Prometheus {
        Prometheus {
            engine,
            view: StoreView::new(storage.metrics().clone(), tokio::runtime::Handle::current()),
            gateway: storage.gateway().clone(),
            clock: storage.clock().clone(),
            rules: Some(self.rules.clone()),
            scraper: Some(self.scraper.clone()),
        }
    }

    /// Ends rules and scraping.
    pub(crate) async fn stop(&self) {
        self.rules.stop().await;
        self.scraper.stop().await;
    }
}

impl MetricsSource for PrometheusJobs {
    fn families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (rules, notified, scraped) = (self.rules.stats(), self.rules.notifier().stats(), self.scraper.stats());
        let mut families = super::gateway_metrics::families(&self.gateway);
        families.extend([
            Family::counter(
                "bodkin_promrules_rules_evaluated_total",
                "Evaluations of rules.",
                read(&rules.evaluations),
            ),
            Family::counter("bodkin_promrules_rules_failed_total", "Evaluations that failed.", read(&rules.failures)),
            Family::counter("bodkin_promrules_groups_missed_total", "Evaluations left out.", read(&rules.missed)),
            Family::counter(
                "bodkin_promrules_alerts_sent_total",
                "Alerts that an Alertmanager took.",
                read(&notified.sent),
            ),
            Family::counter(
                "bodkin_promrules_alerts_failed_total",
                "Alerts that one did not take.",
                read(&notified.errors),
            ),
            Family::counter(
                "bodkin_promrules_alerts_dropped_total",
                "Alerts that nobody was told.",
                read(&notified.dropped),
            ),
            Family::counter("bodkin_scrape_pages_taken_total", "Pages of targets.", read(&scraped.scrapes)),
            Family::counter("bodkin_scrape_pages_failed_total", "Pages that were not taken.", read(&scraped.failures)),
            Family::counter(
                "bodkin_scrape_samples_refused_total",
                "Samples of pages that were not stored, or not all of them.",
                read(&scraped.samples_refused),
            ),
            Family::counter(
                "bodkin_scrape_discoveries_failed_total",
                "Lookups of targets that failed.",
                read(&scraped.discovery_failures),
            ),
        ]);
        families
    }
}

/// Results of rules go the way of all samples.
#[derive(Debug)]
struct RuleSink(Arc<Gateway>);

#[async_trait]
impl SampleSink for RuleSink {
    async fn append(&self, at_ms: i64, samples: Vec<VectorSample>) -> Result<(), String> {
        let samples = samples.into_iter().map(|sample| own(at_ms, &sample)).collect();
        let stored = self.0.append(&Tenant::default(), samples, Vec::new()).await;
        stored.map(drop).map_err(|error| error.to_string())
    }
}

fn own(ts_ms: i64, sample: &VectorSample) -> OwnSample {
    let labels: OwnLabels = sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let value = match &sample.value {
        SampleValue::Float(value) => OwnValue::Float(*value),
        SampleValue::Histogram(histogram) => OwnValue::Histogram(Arc::new(stored(histogram))),
    };
    OwnSample::new(labels, ts_ms, value)
}

fn stored(histogram: &FloatHistogram) -> Histogram {
    let buckets = |spans: &[bodkin_promql::BucketSpan], counts: &[f64]| Buckets {
        offsets: spans.iter().map(|span| span.offset).collect(),
        lengths: spans.iter().map(|span| i32::try_from(span.length).unwrap_or(i32::MAX)).collect(),
        counts: counts.to_vec(),
    };
    Histogram {
        count: histogram.count,
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        positive: buckets(&histogram.positive_spans, &histogram.positive_buckets),
        negative: buckets(&histogram.negative_spans, &histogram.negative_buckets),
        custom_bounds: histogram.custom_values.to_vec(),
        reset_hint: match histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
    }
}
