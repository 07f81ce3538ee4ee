//! The rules of the server: read from files, put into force, read again when the files change.
//!
//! ```text
//!  files --check--> side input in the log --> operator --> table findings
//!    ^ every 2 s, SIGHUP, POST /api/v1/rules     |
//!    a broken file changes nothing               +--> feed: counters, live streams, outputs
//! ```

mod feed;
mod limit;
mod output;

use super::audit::AuditIntake;
use super::feed::Notes;
use super::storage::Storage;
use crate::config::{OutputSection, RulesSection};
use crate::rules::read_files;
use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bodkin_http::{Detection, DetectionError, Family, LiveFindings, MetricKind, MetricsSource, RunningRules, Sample};
use bodkin_query::RuleCatalog;
use bodkin_rules::{
    Document, Matching, Options, RULES_INPUT, Report, RuleFile, RuleLoader, RuleSet, RulesInForce, RulesOperator,
    Source,
};
use bodkin_schema::Principal;
use feed::FindingsFeed;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What tells that a file is another: name, size, time of change.
type Fingerprint = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// Is told of rules that come into force.
type Listener = Arc<dyn Fn(&RuleSet) + Send + Sync>;

/// The rules of one server.
pub(crate) struct RuleKeeper {
    paths: Vec<PathBuf>,
    /// Nobody asked for the paths: they need not exist.
    is_optional: bool,
    options: Options,
    matching: Matching,
    hostname: String,
    running: ArcSwap<RunningRules>,
    loader: Arc<RuleLoader>,
    /// Where rules are logged.
    notes: OnceLock<Notes>,
    feed: Arc<FindingsFeed>,
    audit: OnceLock<Arc<AuditIntake>>,
    /// Of the files as they were last read. One reload runs at a time.
    seen: tokio::sync::Mutex<Fingerprint>,
    told: Mutex<Option<Listener>>,
    reloaded: AtomicU64,
    refused: AtomicU64,
}

impl RuleKeeper {
    /// The keeper of the rules that `section` names; without any, of those in the folder `rules` of the data folder.
    ///
    /// # Errors
    /// What is wrong with the section.
    pub(crate) fn new(section: &RulesSection, data_dir: &Path) -> anyhow::Result<Arc<Self>> {
        let paths = section.files.clone().unwrap_or_else(|| vec![data_dir.join("rules")]);
        // A folder that nobody asked for may be missing, and may be made later.
        let is_missing = section.files.is_none() && !paths.iter().all(|path| path.exists());
        let (options, matching) = (section.options()?, section.matching());
        // What the files hold decides whether the server starts at all.
        let files = if is_missing { Vec::new() } else { read_files(&paths)? };
        let loader = Arc::new(RuleLoader::default());
        let in_force = RulesInForce { files, options: options.clone(), matching };
        let (set, report) = loader.load(&in_force);
        let rules = set.ok_or_else(|| anyhow!("the rules cannot be used\n{report}"))?;
        let now = RunningRules { files: Arc::new(in_force.files), rules, matching };
        Ok(Arc::new(Self {
            paths,
            is_optional: section.files.is_none(),
            options,
            matching,
            hostname: crate::detect::hostname(),
            loader,
            notes: OnceLock::new(),
            running: ArcSwap::from_pointee(now),
            feed: Arc::new(FindingsFeed::default()),
            audit: OnceLock::new(),
            seen: tokio::sync::Mutex::default(),
            told: Mutex::default(),
            reloaded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// The operator that runs the rules.
    pub(crate) fn operator(&self) -> RulesOperator {
        let feed = self.feed.clone();
        RulesOperator::new(self.loader.clone()).observed_by(Arc::new(move |tenant, found| feed.saw(tenant, found)))
    }

    /// Tells `listener` of the rules now, and whenever others come into force.
    pub(crate) fn tell(&self, listener: Listener) {
        listener(&self.running.load().rules);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Puts the rules in force for all rows from now on, takes events of APIs, and watches the files. What the
    /// log held before was seen by the rules that were in force then.
    ///
    /// # Errors
    /// Where the log takes nothing.
    pub(crate) async fn start(
        self: &Arc<Self>,
        storage: &Storage,
        audit: Arc<AuditIntake>,
        output: &OutputSection,
        stopping: &CancellationToken,
    ) -> anyhow::Result<()> {
        // Set once, by the wiring.
        let _ = (self.audit.set(audit), self.notes.set(storage.notes().clone()));
        self.log(&self.in_force(self.running.load().files.as_ref().clone())).await?;
        *self.seen.lock().await = fingerprint(&self.paths);
        output::spawn(output, &self.feed, &self.hostname, stopping)?;
        tokio::spawn(self.clone().watch(stopping.clone()));
        Ok(())
    }

    /// Until the server stops: SIGHUP, and changes of the files.
    async fn watch(self: Arc<Self>, stopping: CancellationToken) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::warn!(%error, "rules are not watched"),
        };
        let mut looks = tokio::time::interval(WATCH_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                () = stopping.cancelled() => return,
                _ = hangups.recv() => true,
                _ = looks.tick() => false,
            };
            if is_asked || *self.seen.lock().await != fingerprint(&self.paths) {
                match self.reload().await {
                    Ok(report) if report.is_ok() => {}
                    Ok(report) => tracing::error!("rules stay as they were: the files have errors\n{report}"),
                    Err(error) => tracing::error!(%error, "rules stay as they were"),
                }
            }
        }
    }

    async fn reload_now(&self) -> anyhow::Result<Report> {
        let mut seen = self.seen.lock().await;
        *seen = fingerprint(&self.paths);
        let is_missing = self.is_optional && !self.paths.iter().all(|path| path.exists());
        let paths = if is_missing { Vec::new() } else { self.paths.clone() };
        let files = match tokio::task::spawn_blocking(move || read_files(&paths)).await? {
            Ok(files) => files,
            Err(unreadable) => return Ok(unreadable.into_report()),
        };
        let in_force = Arc::new(self.in_force(files));
        let load = {
            let (loader, in_force) = (self.loader.clone(), in_force.clone());
            move || loader.load(&in_force)
        };
        let (rules, report) = tokio::task::spawn_blocking(load).await?;
        let Some(rules) = rules else { return Ok(report) };
        self.log(&in_force).await?;
        let now = RunningRules { files: Arc::new(in_force.files.clone()), rules, matching: self.matching };
        tracing::info!(rules = now.rules.rules().len(), files = now.files.len(), "rules are in force");
        if let Some(listener) = self.told.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            listener(&now.rules);
        }
        self.running.store(Arc::new(now));
        Ok(report)
    }

    fn in_force(&self, files: Vec<RuleFile>) -> RulesInForce {
        RulesInForce { files, options: self.options.clone(), matching: self.matching }
    }

    /// Every row that is acknowledged after this is seen by these rules. Does nothing where they are in force already.
    async fn log(&self, rules: &RulesInForce) -> anyhow::Result<()> {
        let notes = self.notes.get().context("the server is starting")?;
        notes.put_side_input(RULES_INPUT, serde_json::to_value(rules)?).await
    }
}

/// What the paths hold, without reading it. What cannot be looked at counts as gone.
fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let mut all = Vec::new();
    for path in paths {
        let of = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.len(), metadata.modified().ok()))
        };
        match std::fs::read_dir(path) {
            Ok(entries) => all.extend(entries.flatten().filter_map(|entry| of(entry.path()))),
            Err(_) => all.extend(of(path.clone())),
        }
    }
    all.sort();
    all
}

#[async_trait]
impl Detection for RuleKeeper {
    fn rules(&self) -> RunningRules {
        self.running.load().as_ref().clone()
    }

    async fn reload(&self) -> Result<Report, DetectionError> {
        let result = self.reload_now().await;
        let counter = if result.as_ref().is_ok_and(Report::is_ok) { &self.reloaded } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        result.map_err(|error| DetectionError::Files(format!("{error:#}")))
    }

    fn live(&self) -> broadcast::Receiver<Arc<LiveFindings>> {
        self.feed.subscribe()
    }

    async fn store(
        &self,
        principal: &Principal,
        source: Source,
        documents: Vec<Document>,
    ) -> Result<u64, DetectionError> {
        let Some(audit) = self.audit.get() else {
            return Err(DetectionError::Overloaded("the server is starting".to_owned()));
        };
        audit.store(principal, source, documents).await
    }

    fn hostname(&self) -> &str {
        &self.hostname
    }
}

impl std::fmt::Debug for RuleKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleKeeper").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl RuleCatalog for RuleKeeper {
    fn files(&self) -> Arc<Vec<RuleFile>> {
        self.running.load().files.clone()
    }

    fn matching(&self) -> Matching {
        self.matching
    }
}

impl MetricsSource for RuleKeeper {
    fn families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let running = self.running.load();
        let enabled = running.rules.rules().iter().filter(|rule| rule.is_enabled).count();
        vec![
            Family::gauge("bodkin_rules_enabled", "Rules that run.", enabled as f64),
            Family::counter(
                "bodkin_rules_sets_reloaded_total",
                "Times that rules were read again.",
                read(&self.reloaded),
            ),
            Family::counter("bodkin_rules_sets_refused_total", "Times that the files had errors.", read(&self.refused)),
            Family::counter(
                "bodkin_rules_findings_missed_total",
                "Batches of findings that an output was too slow for; they are in the table.",
                self.feed.missed(),
            ),
            Family::counter(
                "bodkin_rules_findings_held_back_total",
                "Findings that a limit kept from an output; they are in the table.",
                self.feed.held_back(),
            ),
            Family::counter(
                "bodkin_audit_events_repeated_total",
                "Events of APIs that had come before.",
                self.audit.get().map_or(0, |audit| audit.duplicates()),
            ),
            Family {
                name: "bodkin_rules_findings_made_total".into(),
                help: "Findings by rule.".into(),
                kind: MetricKind::Counter,
                samples: self.feed.counts().into_iter().map(sample).collect(),
            },
        ]
    }
}

fn sample((key, count): (feed::Key, u64)) -> Sample {
    let labels = vec![("rule".into(), key.rule), ("priority".into(), key.priority), ("source".into(), key.source)];
    Sample { labels, value: count as f64, ..Sample::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("none")];
        let before = fingerprint(&paths);
        std::fs::write(folder.path().join("a.yaml"), "- list: a\n").unwrap();
        let after = fingerprint(&paths);
        assert_ne!(before, after);
        assert_eq!(after, fingerprint(&paths));
    }

    #[test]
    fn errors_of_files_stop_the_start_and_no_files_are_fine() {
        let folder = tempfile::tempdir().unwrap();
        assert!(RuleKeeper::new(&RulesSection::default(), folder.path()).is_ok());
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("rules/a.yaml"), "- rule: x\n").unwrap();
        let error = RuleKeeper::new(&RulesSection::default(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("a.yaml:1:"), "{error}");
    }
}
