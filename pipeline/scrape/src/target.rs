//! Labels of what is discovered to a target: its URL, and the labels of its samples.

use crate::config::{Job, TargetGroup};
use crate::relabel::{LabelMap, relabel};
use std::time::Duration;
use url::Url;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where its page is.
    pub url: Url,
    /// Labels of its samples.
    pub labels: LabelMap,
    /// What was known of it before relabeling.
    pub discovered: LabelMap,
    /// How often it is asked.
    pub interval: Duration,
    /// How long that may take.
    pub timeout: Duration,
}

/// What becomes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Target(Box<Target>),
    /// Relabeling dropped it.
    Dropped(LabelMap),
}

/// The targets of a group.
pub(crate) fn targets(job: &Job, group: &TargetGroup) -> Vec<Result<Found, String>> {
    group.addresses.iter().map(|address| target(job, address, &group.labels)).collect()
}

fn target(job: &Job, address: &str, labels: &LabelMap) -> Result<Found, String> {
    let config = &job.config;
    let mut discovered: LabelMap = LabelMap::new();
    let mut put = |name: &str, value: String| drop(discovered.insert(name.to_owned(), value));
    put("job", config.job_name.clone());
    put("__scrape_interval__", format_duration(job.interval));
    put("__scrape_timeout__", format_duration(job.timeout));
    put("__metrics_path__", config.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned()));
    put("__scheme__", config.scheme.clone().unwrap_or_else(|| "http".to_owned()));
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            put(&format!("__param_{name}"), first.0.clone());
        }
    }
    put("__address__", address.to_owned());
    // Labels of the group win over those of the job.
    discovered.extend(labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut labels = discovered.clone();
    if !relabel(&job.relabel, &mut labels) {
        return Ok(Found::Dropped(discovered));
    }
    let take = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let address = take("__address__");
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let interval = crate::config::duration(&take("__scrape_interval__"))?;
    let timeout = crate::config::duration(&take("__scrape_timeout__"))?;
    if interval.is_zero() || timeout > interval {
        return Err(format!("scrape interval {interval:?} and timeout {timeout:?} do not go together"));
    }
    let url = url(config, &labels, &address)?;
    labels.entry("instance".to_owned()).or_insert(address);
    labels.retain(|name, value| !name.starts_with("__") && !value.is_empty());
    Ok(Found::Target(Box::new(Target { url, labels, discovered, interval, timeout })))
}

fn url(config: &crate::config::ScrapeConfig, labels: &LabelMap, address: &str) -> Result<Url, String> {
    let get = |name: &str| labels.get(name).map_or("", String::as_str);
    let scheme = get("__scheme__");
    if !["http", "https"].contains(&scheme) {
        return Err(format!("scheme {scheme:?} is neither http nor https"));
    }
    let path = get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url =
        Url::parse(&format!("{scheme}://{address}{slash}{path}")).map_err(|error| format!("{address:?}: {error}"))?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, values) in &config.params {
        let values = values.iter().skip(1).map(|value| (name.clone(), value.0.clone()));
        pairs.extend(values);
    }
    for (name, value) in labels {
        if let Some(param) = name.strip_prefix("__param_") {
            let at = pairs.iter().position(|(known, _)| known == param).unwrap_or(pairs.len());
            pairs.insert(at, (param.to_owned(), value.clone()));
        }
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

/// A duration as Prometheus writes it.
pub(crate) fn format_duration(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, length, whole_only) in [
        ("y", 31_536_000_000, true),
        ("w", 604_800_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ] {
        if (whole_only && !ms.is_multiple_of(length)) || ms < length {
            continue;
        }
        out.push_str(&format!("{}{unit}", ms / length));
        ms %= length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Globals, ScrapeConfig};

    fn of(yaml: &str) -> Vec<Result<Found, String>> {
        let config: ScrapeConfig = serde_saphyr::from_str(yaml).unwrap();
        let job = config.job(&Globals::default()).unwrap();
        config.static_groups().iter().flat_map(|group| targets(&job, group)).collect()
    }

    #[test]
    fn labels_and_url() {
        let found = of(
            "{job_name: n, metrics_path: probe, params: {module: [a, b], x: [1]}, static_configs: [{targets: ['h:1'], \
                        labels: {zone: z, __meta_x: y}}], relabel_configs: [{source_labels: [__meta_x], target_label: x}, \
                        {source_labels: [__address__], target_label: __param_target}]}",
        );
        let Ok(Found::Target(target)) = &found[0] else { panic!("{found:?}") };
        assert_eq!(target.url.as_str(), "http://h:1/probe?module=a&module=b&target=h%3A1&x=1");
        let labels: Vec<String> = target.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["instance=h:1", "job=n", "x=y", "zone=z"]);
        assert_eq!(target.discovered["__scrape_interval__"], "1m");
    }

    #[test]
    fn dropped_and_wrong_ones() {
        let found = of(
            "{job_name: n, static_configs: [{targets: [a, 'b/c', d]}], relabel_configs: [{source_labels: [__address__], \
                        regex: a, action: drop}, {source_labels: [__address__], regex: d, target_label: __scheme__, replacement: ftp}]}",
        );
        assert!(matches!(&found[0], Ok(Found::Dropped(labels)) if labels["__address__"] == "a"));
        assert!(found[1].as_ref().unwrap_err().contains("not a valid hostname"));
        assert!(found[2].as_ref().unwrap_err().contains("ftp"));
    }

    #[test]
    fn durations_are_written_as_prometheus_writes_them() {
        for (ms, text) in
            [(15_000, "15s"), (90_000, "1m30s"), (5, "5ms"), (604_800_000, "1w"), (691_200_000, "8d"), (0, "0s")]
        {
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
    }
}
