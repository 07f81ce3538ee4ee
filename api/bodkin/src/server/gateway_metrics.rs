//! What gateways took and refused, by tenant and limit, as `/metrics` shows it.

use bodkin_gateway::{Gateway, Limit, TenantUse};
use bodkin_http::{Family, MetricKind, Sample};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The families of a gateway.
pub(super) fn families(gateway: &Gateway) -> Vec<Family> {
    let (stats, tenants) = (gateway.stats(), gateway.tenants());
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    let counter =
        |name: &'static str, help: &'static str, counter: &AtomicU64| Family::counter(name, help, read(counter));
    let samples = "Float samples that were taken, those that were there already included.";
    let per_tenant = tenants.iter().map(|used| sample(used, None, used.series as f64)).collect();
    let per_limit = |value: &dyn Fn(&TenantUse, Limit, u64) -> f64| {
        let all = tenants.iter().flat_map(|used| used.refused.map(|(limit, refused)| (used, limit, refused)));
        all.map(|(used, limit, refused)| sample(used, Some(limit), value(used, limit, refused))).collect()
    };
    vec![
        counter("bodkin_gateway_bodies_taken_total", "Bodies that were taken, in part or whole.", &stats.bodies),
        counter("bodkin_gateway_bodies_repeated_total", "Bodies that had been stored before.", &stats.duplicate_bodies),
        counter("bodkin_gateway_bodies_refused_total", "Bodies that were refused as a whole.", &stats.refused_bodies),
        counter("bodkin_gateway_samples_taken_total", samples, &stats.samples),
        counter("bodkin_gateway_histograms_taken_total", "Native histograms that were taken.", &stats.histograms),
        counter(
            "bodkin_gateway_parts_refused_total",
            "Faulty parts of bodies, which their senders were told of.",
            &stats.problems,
        ),
        counter("bodkin_gateway_series_invalid_total", "Series left out for invalid labels.", &stats.invalid_series),
        family("bodkin_gateway_series", "Series that a tenant has sent.", MetricKind::Gauge, per_tenant),
        family(
            "bodkin_gateway_limit",
            "Limits of a tenant.",
            MetricKind::Gauge,
            per_limit(&|used, limit, _| limit.of(&used.limits) as f64),
        ),
        family(
            "bodkin_gateway_limits_met_total",
            "Series, histograms and bodies of a tenant that a limit refused, each time that they were sent.",
            MetricKind::Counter,
            per_limit(&|_, _, refused| refused as f64),
        ),
    ]
}

fn family(name: &'static str, help: &'static str, kind: MetricKind, samples: Vec<Sample>) -> Family {
    Family { name: name.into(), help: help.into(), kind, samples }
}

fn sample(used: &TenantUse, limit: Option<Limit>, value: f64) -> Sample {
    let mut labels = vec![("tenant".into(), used.tenant.to_string())];
    labels.extend(limit.map(|limit| ("limit".into(), limit.name().to_owned())));
    Sample { labels, value, ..Sample::default() }
}
