//! Pools of targets, each target asked on its time.

use crate::config::{ConfigError, Globals, Job, ScrapeConfig, TargetGroup};
use crate::discovery::{from_files, from_http};
use crate::fetch::{Page, client, get};
use crate::page::{Memory, Read, Report};
use crate::relabel::LabelMap;
use crate::target::{Found, Target, targets};
use async_trait::async_trait;
use bodkin_gateway::{Gateway, Metadata, OwnSample, PageFormat, TextFormat};
use bodkin_schema::{Clock, Tenant};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often files are looked at: a change is seen within this.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
const HTTP_INTERVAL: Duration = Duration::from_secs(60);
/// Dropped targets of a job that are shown.
const DROPPED_SHOWN: usize = 1000;
/// Metrics of a target whose descriptions are kept.
const METADATA_SHOWN: usize = 10_000;

/// Takes what is scraped.
#[async_trait]
pub trait SampleSink: Send + Sync + fmt::Debug {
    /// Stores samples, and what is said of their metrics.
    ///
    /// # Errors
    /// Why they, or some of them, are not stored.
    async fn append(&self, samples: Vec<OwnSample>, metadata: Vec<Metadata>) -> Result<(), String>;
}

#[async_trait]
impl SampleSink for Arc<Gateway> {
    async fn append(&self, samples: Vec<OwnSample>, metadata: Vec<Metadata>) -> Result<(), String> {
        let stored = Gateway::append(self, &Tenant::default(), samples, metadata).await;
        stored.map(drop).map_err(|error| error.to_string())
    }
}

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl TargetHealth {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target as it is now.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// The target.
    pub target: Target,
    /// How it is.
    pub health: TargetHealth,
    /// Why its last page was not taken.
    pub error: Option<String>,
    /// When it was asked last, in milliseconds.
    pub scraped_at_ms: Option<i64>,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// What its last page says of its metrics.
    pub metadata: Arc<[Metadata]>,
}

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its name.
    pub job: String,
    /// Its targets.
    pub active: Vec<TargetView>,
    /// What relabeling dropped: the labels before it; at most a thousand.
    pub dropped: Vec<LabelMap>,
    /// All that relabeling dropped.
    pub dropped_count: usize,
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct ScraperStats {
    /// Pages taken.
    pub scrapes: AtomicU64,
    /// Pages that were not.
    pub failures: AtomicU64,
    /// Samples of pages that are not stored.
    pub samples_refused: AtomicU64,
    /// Lookups of targets that failed; what was known before goes on.
    pub discovery_failures: AtomicU64,
}

/// Scrapes what a configuration names.
#[derive(Debug)]
pub struct Scraper {
    sink: Arc<dyn SampleSink>,
    clock: Arc<dyn Clock>,
    stats: Arc<ScraperStats>,
    pools: Mutex<Vec<Arc<Pool>>>,
}

impl Scraper {
    /// A scraper without targets.
    pub fn new(sink: Arc<dyn SampleSink>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { sink, clock, stats: Arc::default(), pools: Mutex::default() })
    }

    /// Its counters.
    pub fn stats(&self) -> &ScraperStats {
        &self.stats
    }

    /// Goes on with these jobs. A job that stays as it was is left alone.
    ///
    /// # Errors
    /// What is wrong with a job; everything stays as it was then.
    pub async fn load(&self, configs: &[ScrapeConfig], globals: &Globals) -> Result<(), ConfigError> {
        let mut jobs: Vec<Job> = Vec::with_capacity(configs.len());
        for config in configs {
            if jobs.iter().any(|job| job.config.job_name == config.job_name) {
                let message = "found multiple scrape configs with this job name".to_owned();
                return Err(ConfigError { job: config.job_name.clone(), message });
            }
            config.check()?;
            jobs.push(config.job(globals)?);
        }
        let mut old = std::mem::take(&mut *lock(&self.pools));
        let mut now = Vec::with_capacity(jobs.len());
        for job in jobs {
            let is_same = |pool: &Arc<Pool>| {
                pool.job.config == job.config && (pool.job.interval, pool.job.timeout) == (job.interval, job.timeout)
            };
            match old.iter().position(is_same) {
                Some(at) => now.push(old.swap_remove(at)),
                None => now.push(self.start(job)),
            }
        }
        *lock(&self.pools) = now;
        for gone in old {
            gone.stop(true).await;
        }
        Ok(())
    }

    /// Stops; nothing is marked stale: a start goes on.
    pub async fn stop(&self) {
        let pools = std::mem::take(&mut *lock(&self.pools));
        for pool in pools {
            pool.stop(false).await;
        }
    }

    /// The jobs as they are now.
    pub fn pools(&self) -> Vec<PoolView> {
        lock(&self.pools).iter().map(|pool| pool.view()).collect()
    }

    fn start(&self, job: Job) -> Arc<Pool> {
        let pool = Arc::new(Pool {
            job: Arc::new(job),
            sink: self.sink.clone(),
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            targets: Mutex::default(),
            dropped: Mutex::default(),
            stopping: CancellationToken::new(),
            task: Mutex::default(),
        });
        *lock(&pool.task) = Some(tokio::spawn(pool.clone().discover()));
        pool
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job and its targets.
#[derive(Debug)]
struct Pool {
    job: Arc<Job>,
    sink: Arc<dyn SampleSink>,
    clock: Arc<dyn Clock>,
    stats: Arc<ScraperStats>,
    /// By URL and labels.
    targets: Mutex<BTreeMap<String, Arc<Loop>>>,
    dropped: Mutex<(Vec<LabelMap>, usize)>,
    stopping: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A target that is asked again and again.
#[derive(Debug)]
struct Loop {
    target: Target,
    state: Mutex<LoopState>,
    stopping: CancellationToken,
    /// The target is gone, and its series are to be marked.
    is_gone: std::sync::atomic::AtomicBool,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct LoopState {
    health: TargetHealth,
    error: Option<String>,
    scraped_at_ms: Option<i64>,
    seconds: f64,
    metadata: Arc<[Metadata]>,
}

impl Pool {
    /// Finds targets until told to stop.
    async fn discover(self: Arc<Self>) {
        let config = &self.job.config;
        let mut files: Vec<Vec<TargetGroup>> = vec![Vec::new(); config.file_sd_configs.len()];
        let mut answers: Vec<Vec<TargetGroup>> = vec![Vec::new(); config.http_sd_configs.len()];
        let interval =
            |text: &Option<crate::config::Text>| text.as_ref().and_then(|text| crate::config::duration(&text.0).ok());
        let mut next_http: Vec<Duration> = vec![Duration::ZERO; answers.len()];
        loop {
            for (known, config) in files.iter_mut().zip(&config.file_sd_configs) {
                self.learn(known, from_files(config.clone()).await);
            }
            let now = self.clock.monotonic();
            for ((known, config), next) in answers.iter_mut().zip(&config.http_sd_configs).zip(&mut next_http) {
                if now >= *next {
                    self.learn(known, from_http(config).await);
                    *next =
                        now + interval(&config.refresh_interval).unwrap_or(HTTP_INTERVAL).max(Duration::from_secs(1));
                }
            }
            let statics = config.static_groups();
            self.sync(statics.iter().chain(files.iter().flatten()).chain(answers.iter().flatten())).await;
            if files.is_empty() && answers.is_empty() {
                return self.stopping.cancelled().await;
            }
            tokio::select! {
                () = tokio::time::sleep(FILES_INTERVAL) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    fn learn(&self, known: &mut Vec<TargetGroup>, found: Result<Vec<TargetGroup>, String>) {
        match found {
            Ok(found) => *known = found,
            Err(error) => {
                self.stats.discovery_failures.fetch_add(1, Relaxed);
                tracing::warn!(job = self.job.config.job_name, error, "targets stay as they were");
            }
        }
    }

    /// Starts what is new, stops what is gone.
    async fn sync(&self, groups: impl Iterator<Item = &TargetGroup>) {
        let (mut wanted, mut dropped, mut dropped_count) = (BTreeMap::new(), Vec::new(), 0);
        for found in groups.flat_map(|group| targets(&self.job, group)) {
            match found {
                Ok(Found::Target(target)) => drop(wanted.insert(format!("{}{:?}", target.url, target.labels), *target)),
                Ok(Found::Dropped(labels)) => {
                    dropped_count += 1;
                    if dropped.len() < DROPPED_SHOWN {
                        dropped.push(labels);
                    }
                }
                Err(error) => tracing::warn!(job = self.job.config.job_name, error, "a target is left out"),
            }
        }
        let limit = self.job.config.target_limit;
        if limit > 0 && wanted.len() > limit {
            tracing::error!(
                job = self.job.config.job_name,
                limit,
                found = wanted.len(),
                "target_limit exceeded: no target is scraped"
            );
            wanted.clear();
        }
        *lock(&self.dropped) = (dropped, dropped_count);
        let mut gone = Vec::new();
        {
            let mut running = lock(&self.targets);
            running.retain(|key, target| {
                let stays = wanted.contains_key(key);
                if !stays {
                    gone.push(target.clone());
                }
                stays
            });
            for (key, target) in wanted {
                let seed = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
                running.entry(key).or_insert_with(|| self.start(target, seed));
            }
        }
        for target in gone {
            target.stop(true).await;
        }
    }

    fn start(&self, target: Target, seed: u64) -> Arc<Loop> {
        let target = Arc::new(Loop {
            target,
            state: Mutex::default(),
            stopping: CancellationToken::new(),
            is_gone: false.into(),
            task: Mutex::default(),
        });
        let work = Work {
            job: self.job.clone(),
            target: target.clone(),
            sink: self.sink.clone(),
            clock: self.clock.clone(),
            stats: self.stats.clone(),
            memory: Memory::default(),
            seed,
        };
        *lock(&target.task) = Some(tokio::spawn(work.run()));
        target
    }

    async fn stop(&self, is_gone: bool) {
        self.stopping.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // It may have panicked; that was told.
            let _ = task.await;
        }
        let running = std::mem::take(&mut *lock(&self.targets));
        for target in running.into_values() {
            target.stop(is_gone).await;
        }
    }

    fn view(&self) -> PoolView {
        let active = lock(&self.targets).values().map(|running| running.view()).collect();
        let (dropped, dropped_count) = lock(&self.dropped).clone();
        PoolView { job: self.job.config.job_name.clone(), active, dropped, dropped_count }
    }
}

impl Loop {
    async fn stop(&self, is_gone: bool) {
        self.is_gone.store(is_gone, Relaxed);
        self.stopping.cancel();
        let task = lock(&self.task).take();
        if let Some(task) = task {
            // As above.
            let _ = task.await;
        }
    }

    fn view(&self) -> TargetView {
        let state = lock(&self.state);
        TargetView {
            target: self.target.clone(),
            health: state.health,
            error: state.error.clone(),
            scraped_at_ms: state.scraped_at_ms,
            seconds: state.seconds,
            metadata: state.metadata.clone(),
        }
    }
}

/// The task of a target.
struct Work {
    job: Arc<Job>,
    target: Arc<Loop>,
    sink: Arc<dyn SampleSink>,
    clock: Arc<dyn Clock>,
    stats: Arc<ScraperStats>,
    memory: Memory,
    seed: u64,
}

impl Work {
    async fn run(mut self) {
        let client = match client(&self.job.config.client()) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(job = self.job.config.job_name, error, "its targets cannot be asked");
                lock(&self.target.state).error = Some(error);
                return;
            }
        };
        let interval = self.target.target.interval;
        // Targets are spread over the interval, each at its own place.
        let offset = interval.mul_f64((self.seed % 10_000) as f64 / 10_000.0);
        let since_slot = Duration::from_micros(
            self.clock.now().micros().rem_euclid(interval.as_micros().max(1) as i64).unsigned_abs(),
        );
        let first = if offset >= since_slot { offset - since_slot } else { interval + offset - since_slot };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.target.stopping.cancelled() => break,
            }
            self.scrape(&client).await;
        }
        if self.target.is_gone.load(Relaxed) && lock(&self.target.state).scraped_at_ms.is_some() {
            let now_ms = self.now_ms();
            let mut stale = self.memory.all_stale(now_ms);
            stale.extend(Report::stale(&self.target.target.labels, now_ms));
            self.store(stale, Vec::new()).await;
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().micros().div_euclid(1000)
    }

    async fn scrape(&mut self, client: &reqwest::Client) {
        let (begun, now_ms) = (self.clock.monotonic(), self.now_ms());
        let (target, job) = (&self.target.target, &self.job);
        let page =
            get(client, &job.config.client(), &target.url, &job.accept, target.timeout, job.body_bytes_max).await;
        let read = page.and_then(|page| self.read(&page, now_ms));
        let seconds = (self.clock.monotonic() - begun).as_secs_f64();
        let error = read.as_ref().err().cloned();
        let mut read = read.unwrap_or_else(|_| Read { samples: self.memory.all_stale(now_ms), ..Read::default() });
        let counter = if error.is_none() { &self.stats.scrapes } else { &self.stats.failures };
        counter.fetch_add(1, Relaxed);
        let report =
            Report { is_up: error.is_none(), seconds, scraped: read.scraped, kept: read.kept, added: read.added };
        read.samples.extend(report.samples(&self.target.target.labels, now_ms));
        self.keep(&read.metadata);
        self.store(read.samples, read.metadata).await;
        let mut state = lock(&self.target.state);
        state.health = if report.is_up { TargetHealth::Up } else { TargetHealth::Down };
        (state.error, state.scraped_at_ms, state.seconds) = (error, Some(now_ms), seconds);
    }

    /// Keeps what a page says of its metrics, which is the same from page to page. A target that is away keeps its own.
    fn keep(&self, metadata: &[Metadata]) {
        let mut state = lock(&self.target.state);
        let shown = &metadata[..metadata.len().min(METADATA_SHOWN)];
        if !shown.is_empty() && *state.metadata != *shown {
            state.metadata = shown.into();
        }
    }

    fn read(&mut self, page: &Page, now_ms: i64) -> Result<Read, String> {
        let media = page.content_type.split(';').next().unwrap_or_default().trim();
        let format = match (media, self.job.config.fallback_scrape_protocol) {
            ("application/openmetrics-text" | "application/vnd.google.protobuf" | "text/plain", _) => {
                PageFormat::from_content_type(&page.content_type)
            }
            (_, Some(fallback)) => fallback.format(),
            // Pages without a type are taken for what most are.
            ("" | "text/html" | "application/octet-stream", None) => PageFormat::Text(TextFormat::Prometheus),
            (other, None) => return Err(format!("received unsupported Content-Type {other:?}")),
        };
        self.memory.read(&self.job, &self.target.target.labels, &page.bytes, format, now_ms)
    }

    async fn store(&self, samples: Vec<OwnSample>, metadata: Vec<Metadata>) {
        let count = samples.len();
        if let Err(error) = self.sink.append(samples, metadata).await {
            self.stats.samples_refused.fetch_add(count as u64, Relaxed);
            tracing::warn!(target_url = %self.target.target.url, error, "samples of a page are not stored, or not all of them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_gateway::OwnValue;
    use bodkin_schema::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(Debug, Default)]
    struct Taken(Mutex<Vec<(String, f64)>>);

    #[async_trait]
    impl SampleSink for Arc<Taken> {
        async fn append(&self, samples: Vec<OwnSample>, _: Vec<Metadata>) -> Result<(), String> {
            for sample in samples {
                let labels: BTreeMap<_, _> = sample.labels.iter().cloned().collect();
                let OwnValue::Float(value) = sample.value else { continue };
                let shown = format!("{}{{job={}}}", labels["__name__"], labels["job"]);
                self.0.lock().unwrap().push((shown, value));
            }
            Ok(())
        }
    }

    impl Taken {
        async fn wait_for(&self, wanted: &str, fits: impl Fn(f64) -> bool) {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
            loop {
                if self.0.lock().unwrap().iter().any(|(shown, value)| shown == wanted && fits(*value)) {
                    return;
                }
                assert!(tokio::time::Instant::now() < deadline, "{wanted}: {:?}", self.0.lock().unwrap());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// An exporter with one metric.
    async fn exporter() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _ = socket.read(&mut request).await;
                    let page = "# TYPE answer gauge\nanswer 42\n";
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
                    let _ = socket
                        .write_all(format!("{head}content-length: {}\r\n\r\n{page}", page.len()).as_bytes())
                        .await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn targets_of_a_file_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("targets.json");
        std::fs::write(&file, format!("[{{\"targets\": [\"{}\"]}}]", exporter().await)).unwrap();
        let config: ScrapeConfig = serde_saphyr::from_str(&format!(
            "{{job_name: n, scrape_interval: 100ms, file_sd_configs: [{{files: ['{}']}}]}}",
            file.display()
        ))
        .unwrap();
        let taken = Arc::new(Taken::default());
        let scraper = Scraper::new(Arc::new(taken.clone()), Arc::new(SystemClock::default()));
        scraper.load(std::slice::from_ref(&config), &Globals::default()).await.unwrap();
        taken.wait_for("answer{job=n}", |value| value == 42.0).await;
        taken.wait_for("up{job=n}", |value| value == 1.0).await;
        let target = &scraper.pools()[0].active[0];
        assert_eq!((target.health, target.metadata[0].name.as_str()), (TargetHealth::Up, "answer"));
        // The file names another target, which nobody answers for.
        std::fs::write(&file, "[{\"targets\": [\"127.0.0.1:1\"]}]").unwrap();
        taken.wait_for("answer{job=n}", f64::is_nan).await;
        taken.wait_for("up{job=n}", |value| value == 0.0).await;
        assert!(scraper.pools()[0].active[0].error.is_some());
        assert!(scraper.load(&[config.clone(), config], &Globals::default()).await.is_err());
        scraper.load(&[], &Globals::default()).await.unwrap();
        assert!(scraper.pools().is_empty());
    }
}
