//! The section `prometheus` of the configuration: Prometheus's own keys, here or in a file of its own.

use anyhow::{Context, anyhow, bail};
use bodkin_promql::{EngineOptions, Release};
use bodkin_promrules::{Alertmanager, Edit, ManagerOptions, RuleFile};
use bodkin_scrape::{Globals, Relabel, RelabelConfig, ScrapeConfig, ScrapeProtocol, StaticConfig, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The section.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PrometheusSection {
    /// A configuration file of Prometheus, which is taken as it is.
    file: Option<PathBuf>,
    /// Whose behavior counts where releases of Prometheus disagree: `3.5` or `3.14`.
    release: Option<Text>,
    /// Where people reach this server.
    external_url: String,
    global: Global,
    rule_files: Vec<PathBuf>,
    scrape_configs: Vec<ScrapeConfig>,
    scrape_config_files: Vec<PathBuf>,
    alerting: Alerting,
}

/// A configuration file of Prometheus.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PrometheusFile {
    global: Global,
    rule_files: Vec<PathBuf>,
    scrape_configs: Vec<ScrapeConfig>,
    scrape_config_files: Vec<PathBuf>,
    alerting: Alerting,
    // What Prometheus does besides: not done here.
    remote_write: Option<Unused>,
    remote_read: Option<Unused>,
    storage: Option<Unused>,
    tracing: Option<Unused>,
    otlp: Option<Unused>,
    runtime: Option<Unused>,
}

/// A value that is not looked at.
#[derive(Clone, Debug)]
struct Unused;

impl<'de> Deserialize<'de> for Unused {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Global {
    scrape_interval: Option<Text>,
    scrape_timeout: Option<Text>,
    evaluation_interval: Option<Text>,
    rule_query_offset: Option<Text>,
    external_labels: BTreeMap<String, Text>,
    scrape_protocols: Option<Vec<ScrapeProtocol>>,
    scrape_native_histograms: bool,
    always_scrape_classic_histograms: bool,
    #[serde(rename = "query_log_file")]
    _query_log_file: Option<Unused>,
    #[serde(rename = "metric_name_validation_scheme")]
    _metric_name_validation_scheme: Option<Unused>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Alerting {
    alertmanagers: Vec<AlertmanagerSection>,
    alert_relabel_configs: Vec<RelabelConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertmanagerSection {
    static_configs: Vec<StaticConfig>,
    scheme: Option<String>,
    path_prefix: String,
    timeout: Option<Text>,
    api_version: Option<String>,
}

/// What runs.
pub(crate) struct PrometheusSettings {
    pub(crate) engine: EngineOptions,
    pub(crate) rules: Vec<RuleFile>,
    pub(crate) manager: ManagerOptions,
    pub(crate) alertmanagers: Vec<Alertmanager>,
    pub(crate) edit: Option<Edit>,
    pub(crate) scrape: Vec<ScrapeConfig>,
    pub(crate) globals: Globals,
}

impl PrometheusSection {
    /// Reads the files that the section names.
    ///
    /// # Errors
    /// What is wrong, with its key and file.
    pub(crate) fn settings(&self) -> anyhow::Result<PrometheusSettings> {
        let mut here = self.clone();
        if let Some(path) = &self.file {
            here.add_file(path).with_context(|| format!("prometheus.file {}", path.display()))?;
        }
        let global = &here.global;
        let or = |key: &str, text: &Option<Text>, default: Duration| match text {
            Some(text) => duration(&text.0).with_context(|| format!("prometheus.global.{key}")),
            None => Ok(default),
        };
        let globals = Globals::default();
        let scrape_interval = or("scrape_interval", &global.scrape_interval, globals.scrape_interval)?;
        let globals = Globals {
            scrape_interval,
            scrape_timeout: or("scrape_timeout", &global.scrape_timeout, globals.scrape_timeout.min(scrape_interval))?,
            scrape_protocols: global.scrape_protocols.clone(),
            scrape_native_histograms: global.scrape_native_histograms,
            always_scrape_classic_histograms: global.always_scrape_classic_histograms,
        };
        let external_labels =
            global.external_labels.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        let manager = ManagerOptions {
            interval: or("evaluation_interval", &global.evaluation_interval, Duration::from_secs(60))?,
            query_offset: or("rule_query_offset", &global.rule_query_offset, Duration::ZERO)?,
            external_labels,
            external_url: here.external_url.clone(),
        };
        for config in &here.scrape_configs {
            config.check().context("prometheus")?;
        }
        Ok(PrometheusSettings {
            engine: EngineOptions { release: here.release()?, ..EngineOptions::default() },
            rules: rule_files(&here.rule_files)?,
            manager,
            alertmanagers: here.alerting.alertmanagers()?,
            edit: here.alerting.edit()?,
            scrape: here.scrape_configs,
            globals,
        })
    }

    fn release(&self) -> anyhow::Result<Release> {
        match self.release.as_ref().map(|text| text.0.as_str()) {
            None | Some("3.5") => Ok(Release::V3_5),
            Some("3.14") => Ok(Release::V3_14),
            Some(other) => bail!("prometheus.release: there is {:?} and {:?}, not {other:?}", "3.5", "3.14"),
        }
    }

    /// Adds what a configuration file of Prometheus says.
    fn add_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)?;
        let file: PrometheusFile = serde_saphyr::from_str(&text).map_err(|error| anyhow!("{error}"))?;
        let unused = [
            ("remote_write", file.remote_write.is_some()),
            ("remote_read", file.remote_read.is_some()),
            ("storage", file.storage.is_some()),
            ("tracing", file.tracing.is_some()),
            ("otlp", file.otlp.is_some()),
            ("runtime", file.runtime.is_some()),
        ];
        for (key, _) in unused.iter().filter(|(_, is_there)| *is_there) {
            tracing::warn!(file = %path.display(), key, "this part of a Prometheus configuration has no effect here");
        }
        // Paths are relative to the file.
        let folder = path.parent().unwrap_or(Path::new("."));
        self.global = file.global;
        self.rule_files.extend(file.rule_files.iter().map(|path| folder.join(path)));
        self.scrape_configs.extend(file.scrape_configs.into_iter().map(|config| relative_to(folder, config)));
        self.scrape_config_files.extend(file.scrape_config_files.iter().map(|path| folder.join(path)));
        self.alerting.alertmanagers.extend(file.alerting.alertmanagers);
        self.alerting.alert_relabel_configs.extend(file.alerting.alert_relabel_configs);
        for path in std::mem::take(&mut self.scrape_config_files).iter().flat_map(|pattern| matching(pattern)) {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Jobs {
                #[serde(default)]
                scrape_configs: Vec<ScrapeConfig>,
            }
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let jobs: Jobs = serde_saphyr::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
            self.scrape_configs.extend(jobs.scrape_configs);
        }
        Ok(())
    }
}

fn relative_to(folder: &Path, mut config: ScrapeConfig) -> ScrapeConfig {
    for path in config.file_sd_configs.iter_mut().flat_map(|sd| &mut sd.files) {
        *path = folder.join(&*path);
    }
    config
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let ms = bodkin_promql::parse_duration_ms(text).map_err(|error| anyhow!(error))?;
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// The files that a path with `*` in its last part stands for, sorted; the path itself where it has none.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fits =
        |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(fits)).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn rule_files(patterns: &[PathBuf]) -> anyhow::Result<Vec<RuleFile>> {
    let read = |path: PathBuf| {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("prometheus.rule_files {}", path.display()))?;
        RuleFile::parse(&path.display().to_string(), &text).context("prometheus.rule_files")
    };
    patterns.iter().flat_map(|pattern| matching(pattern)).map(read).collect()
}

impl Alerting {
    fn alertmanagers(&self) -> anyhow::Result<Vec<Alertmanager>> {
        let mut found = Vec::new();
        for section in &self.alertmanagers {
            if let Some(version) = section.api_version.as_deref().filter(|version| *version != "v2") {
                bail!("prometheus.alerting.alertmanagers.api_version: Alertmanagers speak v2, not {version:?}");
            }
            let timeout = section.timeout.as_ref().map_or(Ok(Duration::from_secs(10)), |text| duration(&text.0));
            let timeout = timeout.context("prometheus.alerting.alertmanagers.timeout")?;
            let scheme = section.scheme.as_deref().unwrap_or("http");
            let prefix = section.path_prefix.trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            for target in section.static_configs.iter().flat_map(|group| &group.targets) {
                let url = format!("{scheme}://{}{slash}{prefix}/api/v2/alerts", target.0);
                url::Url::parse(&url).with_context(|| format!("prometheus.alerting.alertmanagers {url}"))?;
                found.push(Alertmanager { url, timeout });
            }
        }
        Ok(found)
    }

    fn edit(&self) -> anyhow::Result<Option<Edit>> {
        if self.alert_relabel_configs.is_empty() {
            return Ok(None);
        }
        let rules = Relabel::compile(&self.alert_relabel_configs);
        let rules = rules.map_err(|why| anyhow!("prometheus.alerting.alert_relabel_configs: {why}"))?;
        Ok(Some(std::sync::Arc::new(move |labels: &mut BTreeMap<String, String>| {
            bodkin_scrape::relabel::relabel(&rules, labels)
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_prometheus_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.rules.yml", "groups: [{name: g, rules: [{record: a, expr: '1'}]}]\n");
        write("b.rules.yml", "groups: [{name: h, rules: [{alert: B, expr: up == 0}]}]\n");
        write(
            "prometheus.yml",
            "global: {scrape_interval: 15s, evaluation_interval: 30s, external_labels: {dc: 1}}\nrule_files: ['*.rules.yml']\n\
             remote_write: [{url: 'http://x'}]\nscrape_configs: [{job_name: n, file_sd_configs: [{files: [t.json]}]}]\n\
             alerting: {alertmanagers: [{path_prefix: /am, static_configs: [{targets: ['h:9093']}]}], \
             alert_relabel_configs: [{regex: replica, action: labeldrop}]}\n",
        );
        let yaml = format!("{{file: '{}', release: 3.14}}", dir.path().join("prometheus.yml").display());
        let section: PrometheusSection = serde_saphyr::from_str(&yaml).unwrap();
        let settings = section.settings().unwrap();
        assert_eq!(settings.rules.len(), 2);
        assert_eq!(settings.alertmanagers[0].url, "http://h:9093/am/api/v2/alerts");
        assert_eq!(
            (settings.manager.interval, settings.manager.external_labels["dc"].as_str()),
            (Duration::from_secs(30), "1")
        );
        assert_eq!(settings.globals.scrape_interval, Duration::from_secs(15));
        assert_eq!(settings.scrape[0].file_sd_configs[0].files[0], dir.path().join("t.json"));
        assert_eq!(settings.engine.release, Release::V3_14);
        let mut labels = BTreeMap::from([("replica".to_owned(), "1".to_owned())]);
        assert!(settings.edit.unwrap()(&mut labels) && labels.is_empty());
        write("b.rules.yml", "groups: [{name: h, rules: [{alert: B, expr: up ==}]}]\n");
        let error = format!("{:#}", section.settings().err().unwrap());
        assert!(error.contains("b.rules.yml") && error.contains("could not parse expression"), "{error}");
    }

    #[test]
    fn nothing_is_the_default() {
        let settings = PrometheusSection::default().settings().unwrap();
        assert!(settings.rules.is_empty() && settings.scrape.is_empty() && settings.alertmanagers.is_empty());
        let wrong: PrometheusSection = serde_saphyr::from_str("release: 2").unwrap();
        assert!(wrong.settings().is_err());
    }
}
