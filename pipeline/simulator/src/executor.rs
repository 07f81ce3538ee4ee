//! Runs tasks one at a time in an order that the seed chooses, with a time of its own.
//!
//! Time stands still while any task can run, then jumps to the next timer. Every task belongs to a life: of a process,
//! or of the world around. Ending a life drops its tasks wherever they wait, as kill -9 does; freezing it keeps them from
//! running, as a stopped virtual machine does.

use crate::random::Random;
use bodkin_engine::Timer;
use bodkin_schema::{Clock, EventTime};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Where simulated clocks start: 2026-03-01T00:00:00Z.
const START_US: i64 = 1_772_323_200_000_000;

/// Whose a task is. The world's tasks never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u64);

impl Life {
    /// The world around the processes.
    pub const WORLD: Self = Self(0);
}

type Task = (Life, BoxFuture<'static, ()>);

#[derive(Default)]
struct State {
    now_us: u64,
    next: u64,
    /// By due time, then by order of asking.
    timers: BTreeMap<(u64, u64), Waker>,
    born: Vec<(u64, Task)>,
    ended: Vec<Life>,
    frozen: BTreeSet<Life>,
}

struct Shared {
    state: Mutex<State>,
    random: Mutex<Random>,
    ready: Arc<Mutex<Vec<u64>>>,
    steps: AtomicU64,
}

/// A handle to the simulation: spawns, waits, draws. Cheap to clone.
#[derive(Clone)]
pub struct Sim(Arc<Shared>);

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("now", &self.now()).finish_non_exhaustive()
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push(self.id);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// A simulation without tasks.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            ready: Arc::default(),
            steps: AtomicU64::new(0),
        }))
    }

    /// Starts a task.
    pub fn spawn(&self, life: Life, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = lock(&self.0.state);
        state.next += 1;
        let id = state.next;
        state.born.push((id, (life, Box::pin(task))));
    }

    /// Ends a life: its tasks are dropped before any other task runs.
    pub fn end(&self, life: Life) {
        let mut state = lock(&self.0.state);
        state.frozen.remove(&life);
        state.ended.push(life);
    }

    /// Keeps the tasks of a life from running.
    pub fn freeze(&self, life: Life) {
        lock(&self.0.state).frozen.insert(life);
    }

    /// Lets them run again.
    pub fn thaw(&self, life: Life) {
        lock(&self.0.state).frozen.remove(&life);
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_micros(lock(&self.0.state).now_us)
    }

    /// Resolves after `duration`. Safe to drop.
    pub async fn sleep(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2).max(1);
        let mut due = None;
        poll_fn(|context| {
            let mut state = lock(&self.0.state);
            let due = *due.get_or_insert_with(|| {
                state.next += 1;
                (state.now_us + micros, state.next)
            });
            if state.now_us >= due.0 {
                return Poll::Ready(());
            }
            state.timers.insert(due, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Sleeps for a time below `micros_max`.
    pub async fn pause(&self, micros_max: u64) {
        let micros = self.below(micros_max);
        self.sleep(Duration::from_micros(micros)).await;
    }

    /// A random number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        lock(&self.0.random).below(end)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        lock(&self.0.random).chance(per_mille)
    }

    /// Polls of tasks so far: equal for equal seeds.
    pub fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    /// A clock that is `skew` microseconds ahead.
    pub fn clock(&self, skew: Arc<AtomicI64>) -> Arc<SimClock> {
        Arc::new(SimClock { sim: self.clone(), skew })
    }

    /// Runs until `main` is done or `limit` of simulated time has passed; whether it was done.
    pub fn run(&self, limit: Duration, main: impl Future<Output = ()> + Send + 'static) -> bool {
        let is_done = Arc::new(Mutex::new(false));
        let done = is_done.clone();
        self.spawn(Life::WORLD, async move {
            main.await;
            *lock(&done) = true;
        });
        let mut tasks: BTreeMap<u64, Task> = BTreeMap::new();
        while !*lock(&is_done) && self.now() < limit {
            self.settle(&mut tasks);
            let Some(id) = self.choose(&tasks) else {
                if !self.advance() {
                    break;
                }
                continue;
            };
            self.0.steps.fetch_add(1, Ordering::Relaxed);
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: self.0.ready.clone() }));
            let Some((_, task)) = tasks.get_mut(&id) else { continue };
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                tasks.remove(&id);
            }
        }
        let is_done = *lock(&is_done);
        self.forget();
        drop(tasks);
        is_done
    }

    /// Takes up tasks that were born and drops those whose life has ended.
    fn settle(&self, tasks: &mut BTreeMap<u64, Task>) {
        loop {
            let (born, ended) = {
                let mut state = lock(&self.0.state);
                (std::mem::take(&mut state.born), std::mem::take(&mut state.ended))
            };
            if born.is_empty() && ended.is_empty() {
                return;
            }
            for (id, task) in born {
                tasks.insert(id, task);
                lock(&self.0.ready).push(id);
            }
            // Dropping a task runs code of its own, which may spawn and wake.
            let gone: Vec<u64> =
                tasks.iter().filter(|(_, (life, _))| ended.contains(life)).map(|(id, _)| *id).collect();
            for id in gone {
                drop(tasks.remove(&id));
            }
        }
    }

    /// A task that can run, chosen at random.
    fn choose(&self, tasks: &BTreeMap<u64, Task>) -> Option<u64> {
        let frozen = lock(&self.0.state).frozen.clone();
        let mut ready = lock(&self.0.ready);
        ready.retain(|id| tasks.contains_key(id));
        let can_run: Vec<usize> = (0..ready.len())
            .filter(|at| ready.get(*at).and_then(|id| tasks.get(id)).is_some_and(|(life, _)| !frozen.contains(life)))
            .collect();
        let at = *can_run.get(self.below(can_run.len() as u64) as usize)?;
        Some(ready.swap_remove(at))
    }

    /// Jumps to the next timer; false where there is none.
    fn advance(&self) -> bool {
        let mut state = lock(&self.0.state);
        let Some(((due, _), waker)) = state.timers.pop_first() else { return false };
        state.now_us = state.now_us.max(due);
        drop(state);
        waker.wake();
        true
    }

    /// Drops what refers to tasks, which refer to the simulation.
    fn forget(&self) {
        let (born, timers) = {
            let mut state = lock(&self.0.state);
            (std::mem::take(&mut state.born), std::mem::take(&mut state.timers))
        };
        drop((born, timers));
        lock(&self.0.ready).clear();
    }
}

impl Timer for Sim {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let sim = self.clone();
        Box::pin(async move { Self::sleep(&sim, duration).await })
    }
}

/// A clock of the simulation, which may be wrong.
#[derive(Debug)]
pub struct SimClock {
    sim: Sim,
    skew: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn now(&self) -> EventTime {
        let now = i64::try_from(self.sim.now().as_micros()).unwrap_or(i64::MAX);
        EventTime(START_US + now + self.skew.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.sim.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(seed: u64) -> (Vec<(u64, u128)>, u64) {
        let sim = Sim::new(seed);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..5 {
            let (sim, seen) = (sim.clone(), seen.clone());
            sim.clone().spawn(Life(number % 2 + 1), async move {
                for _ in 0..4 {
                    sim.pause(1000).await;
                    lock(&seen).push((number, sim.now().as_micros()));
                }
            });
        }
        let main = sim.clone();
        assert!(sim.run(Duration::from_secs(10), async move {
            main.sleep(Duration::from_micros(1500)).await;
            main.end(Life(1));
            main.sleep(Duration::from_secs(1)).await;
        }));
        let seen = lock(&seen).clone();
        (seen, sim.steps())
    }

    #[test]
    fn a_seed_repeats_and_an_ended_life_does_nothing_more() {
        assert_eq!(trace(3), trace(3));
        assert_ne!(trace(3), trace(4));
        let (seen, _) = trace(3);
        assert!(seen.iter().all(|(number, at)| number % 2 == 1 || *at <= 1500));
        assert!(seen.iter().filter(|(number, _)| number % 2 == 1).count() == 8);
    }

    #[test]
    fn a_frozen_life_goes_on_after_a_thaw() {
        let sim = Sim::new(1);
        let count = Arc::new(AtomicU64::new(0));
        let (task, counted) = (sim.clone(), count.clone());
        sim.spawn(Life(1), async move {
            loop {
                task.sleep(Duration::from_millis(1)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (main, counted) = (sim.clone(), count.clone());
        sim.run(Duration::from_secs(1), async move {
            main.sleep(Duration::from_micros(10_500)).await;
            main.freeze(Life(1));
            let before = counted.load(Ordering::Relaxed);
            main.sleep(Duration::from_millis(10)).await;
            assert_eq!(counted.load(Ordering::Relaxed), before);
            main.thaw(Life(1));
            main.sleep(Duration::from_millis(10)).await;
            assert!(counted.load(Ordering::Relaxed) > before + 5);
        });
    }
}
