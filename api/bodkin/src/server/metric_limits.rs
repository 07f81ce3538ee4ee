//! The section `metrics`: how much of it a tenant may send, and how much of it stays in memory.

use anyhow::{Context, anyhow};
use bodkin_gateway::{GatewayLimits, TenantLimits};
use bodkin_metrics::MetricOptions;
use bodkin_schema::{MetricId, Tenant};
use bodkin_scrape::Text;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The section `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsSection {
    /// Bytes of samples in memory; what is older is read from the tables.
    head: Option<Text>,
    /// Metrics whose tiers have sketches, for quantiles.
    sketches: Vec<String>,
    /// What is beyond is refused by name.
    limits: LimitsSection,
    /// Limits of some tenants; what one does not say is as in `limits`.
    tenants: BTreeMap<String, LimitsSection>,
}

/// The limits of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    /// Series.
    series: Option<usize>,
    /// Labels of a series.
    labels: Option<usize>,
    /// Bytes of the names and values of the labels of a series.
    label_bytes: Option<Text>,
    /// Bytes of a body after decompression.
    body_bytes: Option<Text>,
    /// Buckets of a native histogram.
    buckets: Option<usize>,
}

impl LimitsSection {
    /// These limits where they are given, `defaults` elsewhere. `at` is where they stand.
    fn over(&self, at: &str, defaults: GatewayLimits) -> anyhow::Result<GatewayLimits> {
        let key = |name: &str| format!("{at}.{name}");
        Ok(GatewayLimits {
            body_bytes_max: bytes(&key("body_bytes"), &self.body_bytes, defaults.body_bytes_max)?,
            series_max: count(&key("series"), self.series, defaults.series_max)?,
            labels_max: count(&key("labels"), self.labels, defaults.labels_max)?,
            label_bytes_max: bytes(&key("label_bytes"), &self.label_bytes, defaults.label_bytes_max)?,
            buckets_max: count(&key("buckets"), self.buckets, defaults.buckets_max)?,
        })
    }
}

impl MetricsSection {
    /// The metrics whose tiers have sketches.
    pub(crate) fn sketched(&self) -> impl Iterator<Item = MetricId> {
        self.sketches.iter().map(|name| MetricId::of(name))
    }

    /// What senders may ask for.
    ///
    /// # Errors
    /// The key that is wrong.
    pub(crate) fn limits(&self) -> anyhow::Result<TenantLimits> {
        let default = self.limits.over("limits", GatewayLimits::default())?;
        let of = self.tenants.iter().map(|(name, limits)| {
            let limits = limits.over(&format!("tenants.{name}"), default)?;
            Ok((Tenant(name.as_str().into()), limits))
        });
        Ok(TenantLimits::new(default, of.collect::<anyhow::Result<_>>()?))
    }

    /// What stays in memory.
    ///
    /// # Errors
    /// The key that is wrong.
    pub(crate) fn memory(&self) -> anyhow::Result<MetricOptions> {
        let defaults = MetricOptions::default();
        Ok(MetricOptions { head_bytes_max: bytes("head", &self.head, defaults.head_bytes_max)?, ..defaults })
    }
}

fn count(key: &str, value: Option<usize>, default: usize) -> anyhow::Result<usize> {
    match value {
        Some(0) => Err(anyhow!("metrics.{key}: is at least 1")),
        value => Ok(value.unwrap_or(default)),
    }
}

fn bytes(key: &str, value: &Option<Text>, default: usize) -> anyhow::Result<usize> {
    let Some(text) = value else { return Ok(default) };
    let parsed = bodkin_scrape::size(&text.0).map_err(|error| anyhow!(error));
    parsed.and_then(|bytes| count(key, Some(bytes), 1)).with_context(|| format!("metrics.{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        let section: MetricsSection =
            serde_saphyr::from_str("{head: 64MiB, limits: {series: 1000, label_bytes: 4KiB, body_bytes: 1048576}}")
                .unwrap();
        let limits = section.limits().unwrap().of(&Tenant::default());
        assert_eq!((limits.series_max, limits.label_bytes_max, limits.body_bytes_max), (1000, 4096, 1 << 20));
        assert_eq!(limits.labels_max, GatewayLimits::default().labels_max);
        assert_eq!(section.memory().unwrap().head_bytes_max, 64 << 20);
        assert_eq!(MetricsSection::default().limits().unwrap(), TenantLimits::default());
        let error = |text: &str| {
            let section: MetricsSection = serde_saphyr::from_str(text).unwrap();
            format!("{:#}", section.limits().err().or(section.memory().err()).unwrap())
        };
        assert!(error("{limits: {series: 0}}").contains("metrics.limits.series"));
        assert!(error("{limits: {body_bytes: much}}").contains("metrics.limits.body_bytes"));
        assert!(error("{head: 0}").contains("metrics.head"));
        assert!(error("{tenants: {acme: {labels: 0}}}").contains("metrics.tenants.acme.labels"));
    }

    #[test]
    fn a_tenant_has_its_own_limits_and_else_those_of_all() {
        let section: MetricsSection =
            serde_saphyr::from_str("{limits: {series: 1000, labels: 30}, tenants: {acme: {series: 5000}}}").unwrap();
        let limits = section.limits().unwrap();
        let of = |name: &str| (limits.of(&Tenant(name.into())).series_max, limits.of(&Tenant(name.into())).labels_max);
        assert_eq!((of("acme"), of("default")), ((5000, 30), (1000, 30)));
    }
}
