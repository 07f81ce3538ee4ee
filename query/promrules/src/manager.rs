//! Groups on time: one task each, from load to reload.

use crate::alert::AlertView;
use crate::file::{Group, Rule, RuleFile, RuleKind};
use crate::group::{RuleResult, RuleState, States, evaluate, farewell, millis, slot_ms};
use crate::notify::Notifier;
use async_trait::async_trait;
use bodkin_promql::{Engine, Storage, VectorSample};
use bodkin_schema::Clock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Takes what rules give.
#[async_trait]
pub trait SampleSink: Send + Sync + fmt::Debug {
    /// Stores samples of one time, in milliseconds; they are visible to queries when this returns.
    ///
    /// # Errors
    /// Why they are not stored.
    async fn append(&self, at_ms: i64, samples: Vec<VectorSample>) -> Result<(), String>;
}

/// Settings of a [`RuleManager`].
#[derive(Clone, Debug)]
pub struct ManagerOptions {
    /// How often groups are evaluated that do not say.
    pub interval: Duration,
    /// How far behind the present queries look where a group does not say.
    pub query_offset: Duration,
    /// Labels that alerts get, and that templates see.
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach this server.
    pub external_url: String,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
        }
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct ManagerStats {
    /// Rules evaluated.
    pub evaluations: AtomicU64,
    /// Of those, how many failed.
    pub failures: AtomicU64,
    /// Evaluations of groups that were left out because the one before took too long.
    pub missed: AtomicU64,
}

/// What evaluations share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) external_labels: BTreeMap<String, String>,
    pub(crate) external_url: String,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// Runs rule files.
pub struct RuleManager {
    engine: Engine,
    storage: Arc<dyn Storage>,
    sink: Arc<dyn SampleSink>,
    notifier: Arc<Notifier>,
    clock: Arc<dyn Clock>,
    stats: Arc<ManagerStats>,
    running: RwLock<Vec<Arc<Running>>>,
    /// One reload at a time.
    reload: tokio::sync::Mutex<()>,
}

impl fmt::Debug for RuleManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleManager").field("stats", &self.stats).finish_non_exhaustive()
    }
}

/// A group that runs.
#[derive(Debug)]
struct Running {
    group: Group,
    interval: Duration,
    query_offset: Duration,
    shared: Arc<Shared>,
    states: States,
    last: Mutex<(Option<i64>, f64)>,
    stopping: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not run yet.
    Unknown,
    /// It runs.
    Good,
    /// Its last evaluation failed.
    Bad,
}

impl Health {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// A rule as it is now.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The rule.
    pub rule: Rule,
    /// How it is.
    pub health: Health,
    /// Why its last evaluation failed.
    pub error: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// When it ran last, in milliseconds.
    pub evaluated_at_ms: Option<i64>,
    /// The most urgent state of its alerts; `inactive` for a recording rule.
    pub state: crate::alert::AlertState,
    /// Its alerts.
    pub alerts: Vec<AlertView>,
}

/// A group as it is now.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: String,
    /// How often it runs.
    pub interval: Duration,
    /// Series of one rule at most.
    pub limit: usize,
    /// How long its last evaluation took, in seconds.
    pub seconds: f64,
    /// When it ran last, in milliseconds.
    pub evaluated_at_ms: Option<i64>,
    /// Its rules.
    pub rules: Vec<RuleView>,
}

impl RuleManager {
    /// A manager without rules.
    pub fn new(
        engine: Engine,
        storage: Arc<dyn Storage>,
        sink: Arc<dyn SampleSink>,
        notifier: Arc<Notifier>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            storage,
            sink,
            notifier,
            clock,
            stats: Arc::default(),
            running: RwLock::default(),
            reload: tokio::sync::Mutex::default(),
        })
    }

    /// Its counters.
    pub fn stats(&self) -> &ManagerStats {
        &self.stats
    }

    /// Where its alerts go.
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Goes on with the rules of these files. A group that stays as it was keeps its alerts and goes on; of one that
    /// changed the alerts of rules that stay are kept; what is gone is marked stale.
    pub async fn load(&self, files: &[RuleFile], options: &ManagerOptions) {
        let _one = self.reload.lock().await;
        let shared = Arc::new(Shared {
            engine: self.engine.clone(),
            storage: self.storage.clone(),
            external_labels: options.external_labels.clone(),
            external_url: options.external_url.clone(),
        });
        let mut old = std::mem::take(&mut *self.running.write().unwrap_or_else(PoisonError::into_inner));
        let mut now = Vec::new();
        for group in files.iter().flat_map(|file| &file.groups) {
            let interval = group.interval.unwrap_or(options.interval).max(Duration::from_millis(1));
            let query_offset = group.query_offset.unwrap_or(options.query_offset);
            let same = old.iter().position(|old| {
                old.group == *group
                    && (old.interval, old.query_offset) == (interval, query_offset)
                    && old.shared.external_labels == shared.external_labels
                    && old.shared.external_url == shared.external_url
            });
            if let Some(at) = same {
                now.push(old.swap_remove(at));
                continue;
            }
            let before = old.iter().position(|old| old.group.name == group.name && old.group.file == group.file);
            let before = before.map(|at| old.swap_remove(at));
            if let Some(before) = &before {
                before.stop().await;
            }
            let states = states(group, before.as_deref());
            if let Some(before) = before {
                self.say_farewell(&before).await;
            }
            now.push(self.start(group.clone(), interval, query_offset, shared.clone(), states));
        }
        for gone in old {
            gone.stop().await;
            self.say_farewell(&gone).await;
        }
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Stops all groups; what they gave is not marked: a start goes on with it.
    pub async fn stop(&self) {
        let _one = self.reload.lock().await;
        let running = std::mem::take(&mut *self.running.write().unwrap_or_else(PoisonError::into_inner));
        for group in running {
            group.stop().await;
        }
    }

    async fn say_farewell(&self, gone: &Running) {
        let at_ms = self.clock.now().micros().div_euclid(1000);
        let stale: Vec<VectorSample> = gone.states.iter().flat_map(|state| farewell(&lock(state))).collect();
        if !stale.is_empty()
            && let Err(error) = self.sink.append(at_ms, stale).await
        {
            tracing::warn!(group = gone.group.name, error, "series of rules that are gone are not marked stale");
        }
    }

    fn start(
        &self,
        group: Group,
        interval: Duration,
        query_offset: Duration,
        shared: Arc<Shared>,
        states: States,
    ) -> Arc<Running> {
        let running = Arc::new(Running {
            group,
            interval,
            query_offset,
            shared,
            states,
            last: Mutex::default(),
            stopping: CancellationToken::new(),
            task: Mutex::default(),
        });
        let work = Work {
            running: running.clone(),
            sink: self.sink.clone(),
            notifier: self.notifier.clone(),
            clock: self.clock.clone(),
            stats: self.stats.clone(),
        };
        *running.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(work.run()));
        running
    }

    /// The groups as they are now.
    pub fn groups(&self) -> Vec<GroupView> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|running| running.view()).collect()
    }
}

/// States for the rules of a group; those of rules that were there before, with the same labels, go on.
fn states(group: &Group, before: Option<&Running>) -> States {
    let mut left: Vec<(&Rule, &Mutex<RuleState>)> =
        before.map_or_else(Vec::new, |before| before.group.rules.iter().zip(before.states.iter()).collect());
    let state = |rule: &Rule| {
        let same = left.iter().position(|(old, _)| {
            old.name == rule.name
                && old.labels == rule.labels
                && matches!(old.kind, RuleKind::Recording) == matches!(rule.kind, RuleKind::Recording)
        });
        let state = same.map(|at| std::mem::take(&mut *lock(left.swap_remove(at).1)));
        Mutex::new(state.unwrap_or_default())
    };
    Arc::new(group.rules.iter().map(state).collect())
}

fn lock(state: &Mutex<RuleState>) -> std::sync::MutexGuard<'_, RuleState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    async fn stop(&self) {
        self.stopping.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It may have panicked; that was told.
            let _ = task.await;
        }
    }

    fn view(&self) -> GroupView {
        let (evaluated_at_ms, seconds) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.group.rules.iter().zip(self.states.iter()).map(|(rule, state)| {
            let state = lock(state);
            RuleView {
                rule: rule.clone(),
                health: match (&state.error, state.is_evaluated) {
                    (Some(_), _) => Health::Bad,
                    (None, true) => Health::Good,
                    (None, false) => Health::Unknown,
                },
                error: state.error.clone(),
                seconds: state.seconds,
                evaluated_at_ms: state.evaluated_at_ms,
                state: state.alerts.state(),
                alerts: state.alerts.views(),
            }
        });
        GroupView {
            name: self.group.name.clone(),
            file: self.group.file.clone(),
            interval: self.interval,
            limit: self.group.limit,
            seconds,
            evaluated_at_ms,
            rules: rules.collect(),
        }
    }
}

/// The task of a group.
struct Work {
    running: Arc<Running>,
    sink: Arc<dyn SampleSink>,
    notifier: Arc<Notifier>,
    clock: Arc<dyn Clock>,
    stats: Arc<ManagerStats>,
}

impl Work {
    async fn run(self) {
        let interval_ms = millis(self.running.interval).max(1);
        let mut last = None;
        loop {
            let now_ms = self.now_ms();
            let slot = slot_ms(&self.running.group, now_ms, interval_ms);
            // The slot that began before the start is left out, as is one that has been evaluated.
            let next = match last {
                Some(last) if slot > last => slot,
                _ => slot + interval_ms,
            };
            if let Some(last) = last {
                let missed = (next - last) / interval_ms - 1;
                self.stats.missed.fetch_add(missed.max(0) as u64, Relaxed);
            }
            let wait = Duration::from_millis((next - now_ms).max(0).unsigned_abs());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.running.stopping.cancelled() => return,
            }
            last = Some(next);
            self.evaluate(next, interval_ms).await;
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().micros().div_euclid(1000)
    }

    async fn evaluate(&self, slot_ms: i64, interval_ms: i64) {
        let begun = self.clock.monotonic();
        let at_ms = slot_ms - millis(self.running.query_offset);
        for index in 0..self.running.group.rules.len() {
            if self.running.stopping.is_cancelled() {
                return;
            }
            self.evaluate_rule(index, at_ms, interval_ms).await;
        }
        let seconds = (self.clock.monotonic() - begun).as_secs_f64();
        *self.running.last.lock().unwrap_or_else(PoisonError::into_inner) = (Some(slot_ms), seconds);
    }

    async fn evaluate_rule(&self, index: usize, at_ms: i64, interval_ms: i64) {
        let Some(rule) = self.running.group.rules.get(index) else { return };
        let begun = self.clock.monotonic();
        let running = self.running.clone();
        let evaluated = tokio::task::spawn_blocking(move || {
            let (rule, mut state) = (&running.group.rules[index], lock(&running.states[index]));
            evaluate(&running.shared, &running.group, rule, &mut state, at_ms, interval_ms)
        });
        let outcome = match evaluated.await {
            Ok(outcome) => outcome,
            Err(error) => Err(format!("the evaluation ended early: {error}")),
        };
        let outcome = match outcome {
            Ok(RuleResult { samples, notifications }) => {
                self.notifier.push(notifications);
                if samples.is_empty() { Ok(()) } else { self.sink.append(at_ms, samples).await }
            }
            Err(error) => Err(error),
        };
        self.stats.evaluations.fetch_add(1, Relaxed);
        if let Err(error) = &outcome {
            self.stats.failures.fetch_add(1, Relaxed);
            tracing::warn!(group = self.running.group.name, rule = rule.name, error, "evaluating rule failed");
        }
        let mut state = lock(&self.running.states[index]);
        state.error = outcome.err();
        state.is_evaluated = true;
        state.evaluated_at_ms = Some(at_ms);
        state.seconds = (self.clock.monotonic() - begun).as_secs_f64();
    }
}
