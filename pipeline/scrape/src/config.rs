//! `scrape_configs` of a Prometheus configuration.

use crate::relabel::{LabelMap, Relabel, RelabelConfig};
use bodkin_gateway::{Histograms, PageFormat, TextFormat};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scrape_configs, job {job:?}: {message}")]
pub struct ConfigError {
    /// The job.
    pub job: String,
    /// What is wrong.
    pub message: String,
}

/// A scalar of YAML as text, whatever type it looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_str(Scalar)
    }
}

/// A duration in Prometheus's notation, as `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a valid duration string: {text:?}");
    let (mut rest, mut ms, mut last) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(wrong()),
        };
        if factor >= last {
            return Err(wrong());
        }
        (last, rest) = (factor, &rest[unit..]);
        ms = count.checked_mul(factor).and_then(|part| ms.checked_add(part)).ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(ms)) }
}

/// A size as `10MB` or `64KiB`.
///
/// # Errors
/// Where it is none.
pub fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("not a size: {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count: usize = text[..digits].parse().map_err(|_| wrong())?;
    let power = match text[digits..].to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(wrong()),
    };
    count.checked_mul(1 << power).ok_or_else(wrong)
}

/// What a job takes from the section `global`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// How often.
    pub scrape_interval: Duration,
    /// How long a page may take.
    pub scrape_timeout: Duration,
    /// Formats that targets are asked for, the best first; none for the default.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Native histograms are taken, and asked for.
    pub scrape_native_histograms: bool,
    /// Classic histograms are taken even where there is a native one.
    pub always_scrape_classic_histograms: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: None,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
        }
    }
}

/// A format of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScrapeProtocol {
    /// Messages `io.prometheus.client.MetricFamily`: the only one with native histograms.
    PrometheusProto,
    /// The text format.
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0,
    /// The text format with any characters in names.
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1,
    /// OpenMetrics.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0,
    /// OpenMetrics with any characters in names.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1,
}

impl ScrapeProtocol {
    const TEXTS: [Self; 4] =
        [Self::OpenMetricsText1, Self::OpenMetricsText0, Self::PrometheusText1, Self::PrometheusText0];

    /// What a job asks for that says nothing of it.
    fn default_for(takes_native: bool) -> Vec<Self> {
        let first = takes_native.then_some(Self::PrometheusProto);
        first.into_iter().chain(Self::TEXTS).collect()
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::PrometheusText0 => "text/plain;version=0.0.4",
            Self::PrometheusText1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Self::OpenMetricsText0 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        }
    }

    /// A header `Accept` that asks for these, the best first.
    fn accept(protocols: &[Self]) -> String {
        let weights = (2..=protocols.len() + 1).rev();
        let wanted = protocols.iter().zip(weights);
        let wanted = wanted.map(|(protocol, weight)| format!("{};q=0.{weight}", protocol.media_type()));
        wanted.chain(["*/*;q=0.1".to_owned()]).collect::<Vec<_>>().join(",")
    }

    /// How a page of this format is read.
    pub(crate) fn format(self) -> PageFormat {
        match self {
            Self::PrometheusProto => PageFormat::Families,
            Self::PrometheusText0 | Self::PrometheusText1 => PageFormat::Text(TextFormat::Prometheus),
            Self::OpenMetricsText0 | Self::OpenMetricsText1 => PageFormat::Text(TextFormat::OpenMetrics),
        }
    }
}

/// Targets that are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host:port`
    pub targets: Vec<Text>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, Text>,
}

/// Files that name targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSdConfig {
    /// JSON or YAML; the last part of a path may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often they are read again; a change is seen within seconds all the same.
    pub refresh_interval: Option<Text>,
}

/// Who a request is from, and whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// A header `Authorization`.
    pub authorization: Option<Authorization>,
    /// The same, of old.
    pub bearer_token: Option<Text>,
    /// The same from a file.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed; they are by default.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 is spoken where the target can; it is by default.
    pub enable_http2: Option<bool>,
}

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// User.
    pub username: Text,
    /// Password.
    pub password: Option<Text>,
    /// A file that holds it.
    pub password_file: Option<PathBuf>,
}

/// A header `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// `Bearer` where it is missing.
    pub r#type: Option<String>,
    /// What follows it.
    pub credentials: Option<Text>,
    /// A file that holds it.
    pub credentials_file: Option<PathBuf>,
}

/// TLS of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Trusts anybody.
    pub insecure_skip_verify: bool,
}

/// An HTTP endpoint that names targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSdConfig {
    /// The URL.
    pub url: String,
    /// How often it is asked.
    pub refresh_interval: Option<Text>,
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// A header `Authorization`.
    pub authorization: Option<Authorization>,
    /// The same, of old.
    pub bearer_token: Option<Text>,
    /// The same from a file.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed; they are by default.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 is spoken where the target can; it is by default.
    pub enable_http2: Option<bool>,
}

/// One job. Keys as in Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// Its name: the label `job`.
    pub job_name: String,
    /// How often.
    pub scrape_interval: Option<Text>,
    /// How long a page may take.
    pub scrape_timeout: Option<Text>,
    /// `/metrics` where it is missing.
    pub metrics_path: Option<String>,
    /// `http` where it is missing.
    pub scheme: Option<String>,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<Text>>,
    /// Labels of the page win over those of the target.
    pub honor_labels: bool,
    /// Times of the page are taken; they are by default.
    pub honor_timestamps: Option<bool>,
    /// Series with times of their own become stale, too.
    pub track_timestamps_staleness: bool,
    /// Targets that are written down.
    pub static_configs: Vec<StaticConfig>,
    /// Targets in files.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Targets by HTTP.
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// Rules for targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules for samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Bytes of a page; 0 for the default.
    pub body_size_limit: Option<Text>,
    /// Samples of a page after relabeling; 0 for any number.
    pub sample_limit: usize,
    /// Targets of the job; 0 for any number.
    pub target_limit: usize,
    /// Labels of a sample; 0 for any number.
    pub label_limit: usize,
    /// Bytes of a label's name.
    pub label_name_length_limit: usize,
    /// Bytes of a label's value.
    pub label_value_length_limit: usize,
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// A header `Authorization`.
    pub authorization: Option<Authorization>,
    /// The same, of old.
    pub bearer_token: Option<Text>,
    /// The same from a file.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed; they are by default.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 is spoken where the target can; it is by default.
    pub enable_http2: Option<bool>,
    /// Formats that its targets are asked for, the best first.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// The format of pages that do not say theirs, or not in a way that is known.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Native histograms are taken, and asked for.
    pub scrape_native_histograms: Option<bool>,
    /// Classic histograms are taken even where there is a native one.
    #[serde(alias = "scrape_classic_histograms")]
    pub always_scrape_classic_histograms: Option<bool>,
    // Known, and without effect here.
    convert_classic_histograms_to_nhcb: Option<Ignored>,
    enable_compression: Option<Ignored>,
    keep_dropped_targets: Option<Ignored>,
    native_histogram_bucket_limit: Option<Ignored>,
    native_histogram_min_bucket_factor: Option<Ignored>,
    metric_name_validation_scheme: Option<Ignored>,
    metric_name_escaping_scheme: Option<Ignored>,
}

/// A value that is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

macro_rules! as_client {
    ($config:expr) => {
        HttpClientConfig {
            basic_auth: $config.basic_auth.clone(),
            authorization: $config.authorization.clone(),
            bearer_token: $config.bearer_token.clone(),
            bearer_token_file: $config.bearer_token_file.clone(),
            tls_config: $config.tls_config.clone(),
            follow_redirects: $config.follow_redirects,
            enable_http2: $config.enable_http2,
        }
    };
}

impl HttpSdConfig {
    /// As whom it is asked.
    pub fn client(&self) -> HttpClientConfig {
        as_client!(self)
    }
}

impl ScrapeConfig {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError { job: self.job_name.clone(), message };
        if self.job_name.is_empty() {
            return Err(wrong("job_name is empty".to_owned()));
        }
        if let Some(scheme) = self.scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
            return Err(wrong(format!("scheme {scheme:?} is neither http nor https")));
        }
        self.job(&Globals::default()).map(drop)
    }

    /// The job, ready to run.
    pub(crate) fn job(&self, globals: &Globals) -> Result<Job, ConfigError> {
        let wrong = |key: &str, message: String| ConfigError {
            job: self.job_name.clone(),
            message: format!("{key}: {message}"),
        };
        let optional = |key: &str, text: &Option<Text>, default: Duration| match text {
            Some(text) => duration(&text.0).map_err(|why| wrong(key, why)),
            None => Ok(default),
        };
        let interval = optional("scrape_interval", &self.scrape_interval, globals.scrape_interval)?;
        let timeout = optional("scrape_timeout", &self.scrape_timeout, globals.scrape_timeout.min(interval))?;
        if interval.is_zero() || timeout.is_zero() {
            return Err(wrong("scrape_interval", "intervals and timeouts are longer than 0".to_owned()));
        }
        if timeout > interval {
            return Err(wrong("scrape_timeout", "is greater than scrape_interval".to_owned()));
        }
        let body_bytes_max = self.body_size_limit.as_ref().map_or(Ok(0), |text| size(&text.0));
        let body_bytes_max = body_bytes_max.map_err(|why| wrong("body_size_limit", why))?;
        let refreshes = self.file_sd_configs.iter().map(|sd| &sd.refresh_interval);
        for interval in refreshes.chain(self.http_sd_configs.iter().map(|sd| &sd.refresh_interval)) {
            optional("refresh_interval", interval, Duration::ZERO)?;
        }
        if let Some(sd) = self.http_sd_configs.iter().find(|sd| url::Url::parse(&sd.url).is_err()) {
            return Err(wrong("http_sd_configs", format!("{:?} is no URL", sd.url)));
        }
        let takes_native = self.scrape_native_histograms.unwrap_or(globals.scrape_native_histograms);
        let takes_classic = self.always_scrape_classic_histograms.unwrap_or(globals.always_scrape_classic_histograms);
        let protocols = self.scrape_protocols.clone().or_else(|| globals.scrape_protocols.clone());
        let protocols = protocols.unwrap_or_else(|| ScrapeProtocol::default_for(takes_native));
        if protocols.is_empty() {
            return Err(wrong("scrape_protocols", "names no format".to_owned()));
        }
        if let Some(twice) = (1..protocols.len()).find(|at| protocols[..*at].contains(&protocols[*at])) {
            return Err(wrong("scrape_protocols", format!("{:?} is there twice", protocols[twice])));
        }
        Ok(Job {
            accept: ScrapeProtocol::accept(&protocols),
            histograms: match (takes_native, takes_classic) {
                (false, _) => Histograms::Classic,
                (true, false) => Histograms::Native,
                (true, true) => Histograms::Both,
            },
            interval,
            timeout,
            body_bytes_max: if body_bytes_max == 0 { BODY_BYTES_MAX } else { body_bytes_max },
            relabel: Relabel::compile(&self.relabel_configs).map_err(|why| wrong("relabel_configs", why))?,
            metric_relabel: Relabel::compile(&self.metric_relabel_configs)
                .map_err(|why| wrong("metric_relabel_configs", why))?,
            config: self.clone(),
        })
    }

    /// As whom its targets are asked.
    pub fn client(&self) -> HttpClientConfig {
        as_client!(self)
    }

    /// The groups of targets that are written down.
    pub(crate) fn static_groups(&self) -> Vec<TargetGroup> {
        self.static_configs.iter().map(|group| TargetGroup::new("static", group)).collect()
    }
}

/// Bytes of a page unless the job says otherwise.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A job, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) config: ScrapeConfig,
    /// The header that asks for its formats.
    pub(crate) accept: String,
    pub(crate) histograms: Histograms,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) relabel: Vec<Relabel>,
    pub(crate) metric_relabel: Vec<Relabel>,
}

/// Addresses with labels in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetGroup {
    pub(crate) addresses: Vec<String>,
    pub(crate) labels: LabelMap,
}

impl TargetGroup {
    pub(crate) fn new(_source: &str, group: &StaticConfig) -> Self {
        Self {
            addresses: group.targets.iter().map(|target| target.0.clone()).collect(),
            labels: group.labels.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        for (text, ms) in [("15s", 15_000), ("1m30s", 90_000), ("1h", 3_600_000), ("5ms", 5)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        assert!(["", "5", "s", "1s1m", "1x", "1m1m"].iter().all(|text| duration(text).is_err()));
        assert_eq!([size("0"), size("10MB"), size("1KiB")], [Ok(0), Ok(10 << 20), Ok(1024)]);
        assert!(size("ten").is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |yaml: &str| serde_saphyr::from_str::<ScrapeConfig>(yaml).unwrap().check().unwrap_err().to_string();
        let unknown = serde_saphyr::from_str::<ScrapeConfig>("{job_name: a, kubernetes_sd_configs: [{role: pod}]}")
            .unwrap_err()
            .to_string();
        assert!(unknown.contains("kubernetes_sd_configs") && unknown.contains("file_sd_configs"), "{unknown}");
        assert!(error("{metrics_path: /x}").contains("job_name"));
        assert!(error("{job_name: a, scrape_interval: 5s, scrape_timeout: 10s}").contains("greater than"));
        assert!(error("{job_name: a, scheme: ftp}").contains("ftp"));
        assert!(
            error("{job_name: a, relabel_configs: [{action: keep, regex: '('}]}").contains("relabel_configs: rule 1")
        );
        let all: ScrapeConfig = serde_saphyr::from_str(
            "{job_name: a, scrape_interval: 5s, params: {collect: [cpu, 1]}, basic_auth: {username: u, password: 1}, \
             tls_config: {insecure_skip_verify: true}, scrape_protocols: [PrometheusText0.0.4], body_size_limit: 1MB}",
        )
        .unwrap();
        all.check().unwrap();
        let job = all.job(&Globals::default()).unwrap();
        assert_eq!((job.timeout, job.body_bytes_max), (Duration::from_secs(5), 1 << 20));
        assert_eq!(all.client().basic_auth.unwrap().password, Some(Text("1".into())));
    }

    #[test]
    fn formats_that_are_asked_for() {
        let job = |yaml: &str| serde_saphyr::from_str::<ScrapeConfig>(yaml).unwrap().job(&Globals::default());
        let plain = job("{job_name: a}").unwrap();
        assert!(plain.accept.starts_with("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"));
        assert!(plain.accept.ends_with("text/plain;version=0.0.4;q=0.2,*/*;q=0.1"), "{}", plain.accept);
        assert_eq!(plain.histograms, Histograms::Classic);
        let native = job("{job_name: a, scrape_native_histograms: true}").unwrap();
        assert!(native.accept.starts_with("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"));
        assert!(native.accept.contains("encoding=delimited;q=0.6,"), "{}", native.accept);
        let both = "{job_name: a, scrape_native_histograms: true, scrape_classic_histograms: true, \
                     scrape_protocols: [PrometheusText0.0.4]}";
        let both = job(both).unwrap();
        assert_eq!(
            (both.histograms, both.accept.as_str()),
            (Histograms::Both, "text/plain;version=0.0.4;q=0.2,*/*;q=0.1")
        );
        assert!(job("{job_name: a, scrape_protocols: []}").unwrap_err().message.contains("scrape_protocols"));
        let twice = "{job_name: a, scrape_protocols: [PrometheusProto, PrometheusProto]}";
        assert!(job(twice).unwrap_err().message.contains("twice"));
    }
}
