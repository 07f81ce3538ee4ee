//! One run: agents send, servers live and die, queries look, and at the end everything is counted.

use crate::agent::Agent;
use crate::disk::SimDisk;
use crate::executor::{Life, Sim};
use crate::scenario::Scenario;
use crate::server::{Ends, Gateway, NODE, Node};
use crate::sink::{RAW, TABLES, read_all};
use crate::store::Cloud;
use crate::world::{Violation, World};
use crate::{Mutation, operators::WINDOW_US};
use bodkin_schema::{Clock, EventTime, Stream};
use bodkin_table::ModelLog;
use futures::future::{join_all, select};
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Simulated time after which a run that is not done is stuck.
const LIMIT: Duration = Duration::from_secs(1800);

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the seed meant.
    pub scenario: Scenario,
    /// Broken invariants.
    pub violations: Vec<Violation>,
    /// Polls of tasks: equal for equal seeds.
    pub steps: u64,
    /// Disk operations of all lives.
    pub disk_operations: u64,
    /// Requests to the store of all lives.
    pub store_requests: u64,
    /// What happened, where it was asked for.
    pub trace: Vec<String>,
}

/// Runs a seed. The same seed gives the same report.
pub fn simulate(seed: u64, mutation: Option<Mutation>, has_trace: bool) -> Report {
    simulate_scenario(Scenario::new(seed, mutation), has_trace)
}

/// Runs a scenario.
pub fn simulate_scenario(scenario: Scenario, has_trace: bool) -> Report {
    let scenario = Arc::new(scenario);
    let sim = Sim::new(scenario.seed);
    let world = World::new(has_trace);
    let node = Node {
        sim: sim.clone(),
        world: world.clone(),
        scenario: scenario.clone(),
        disk: SimDisk::default(),
        cloud: Cloud { failure: scenario.failure, ..Cloud::default() },
        gateway: Gateway::default(),
        skew: Arc::new(AtomicI64::new(0)),
    };
    let (disk, cloud) = (node.disk.clone(), node.cloud.clone());
    let is_done = sim.run(LIMIT, run(node));
    if !is_done {
        world.violate("LIVE", format!("not everything was stored after {} simulated minutes", LIMIT.as_secs() / 60));
    }
    Report {
        scenario: scenario.as_ref().clone(),
        violations: world.violations(),
        steps: sim.steps(),
        disk_operations: disk.operations(),
        store_requests: cloud.requests.load(Ordering::Relaxed),
        trace: world.take_trace(),
    }
}

async fn run(node: Node) {
    let agents: Vec<Agent> = (0..node.scenario.agents)
        .map(|number| Agent::new(number, &node.sim, &node.world, &node.scenario, &node.gateway))
        .collect();
    set_weather(&node, true);
    let queries = node.clone();
    node.sim.spawn(Life::WORLD, async move { queries.look().await });
    let weather = node.clone();
    node.sim.spawn(Life::WORLD, async move { change_weather(weather).await });
    let lives = node.clone();
    let working = join_all(agents.iter().map(Agent::work));
    futures::join!(working, async { lives.live_and_die().await });

    // Nothing goes wrong any more: everything that was kept has to arrive.
    set_weather(&node, false);
    agents.iter().for_each(Agent::calm);
    let last = node.clone();
    node.sim.spawn(Life::WORLD, async move { last.live_on().await });
    node.drain(&agents).await;
    close_windows(&node, &agents).await;
    check_end(&node).await;
}

/// Sends a row from the future, so that all windows before it close.
async fn close_windows(node: &Node, agents: &[Agent]) {
    let now = node.sim.clock(node.skew.clone()).now().0;
    agents.iter().for_each(|agent| agent.push(RAW[0], 1, now + 3_000_000_000));
    node.drain(agents).await;
    // The other producers are idle before long.
    for _ in 0..200 {
        node.sim.sleep(Duration::from_millis(200)).await;
        if node.watermark() > Some(EventTime(now + 2_000_000_000)) {
            break;
        }
    }
    // Twice: the first may end an epoch that began before the last partials.
    let mut flushed = 0;
    for _ in 0..50 {
        node.sim.sleep(Duration::from_secs(1)).await;
        agents.iter().for_each(|agent| agent.push(RAW[1], 1, now));
        node.drain(agents).await;
        let Some(server) = node.gateway.current() else { continue };
        // A server that ends meanwhile never catches up.
        let (caught_up, patience) = (server.inlet.progress().caught_up(), node.sim.sleep(Duration::from_secs(5)));
        select(pin!(caught_up), pin!(patience)).await;
        flushed += u32::from(server.flush.flush().await.is_ok());
        if flushed == 2 {
            return;
        }
    }
    node.world.violate("LIVE", "no epoch ends".to_owned());
}

async fn check_end(node: &Node) {
    let closed = node.watermark().map_or(i64::MIN, |time| time.0 - WINDOW_US);
    let store: Arc<dyn ObjectStore> = node.cloud.objects.clone();
    let mut rows = BTreeMap::new();
    for stream in TABLES {
        match read_table(&store, stream).await {
            Ok(found) => drop(rows.insert(stream, found)),
            Err(error) => node.world.violate("ONCE-2", format!("table {stream} cannot be read: {error}")),
        }
    }
    node.world.check_end(&rows, WINDOW_US, closed);
}

async fn read_table(
    store: &Arc<dyn ObjectStore>,
    stream: Stream,
) -> Result<Vec<crate::sink::Row>, bodkin_engine::SinkError> {
    read_all(store, &ModelLog::open(store.clone(), stream, NODE).await?).await
}

fn set_weather(node: &Node, is_bad: bool) {
    let (weather, scenario) = (&node.cloud.weather, &node.scenario);
    let set = |value: u64| if is_bad { value } else { 0 };
    weather.refused.store(set(scenario.store_refusals), Ordering::Relaxed);
    weather.unanswered.store(set(scenario.store_silences), Ordering::Relaxed);
    weather.slow_us.store(set(scenario.store_slow_us), Ordering::Relaxed);
    weather.is_down.store(false, Ordering::Relaxed);
    if !is_bad {
        node.skew.store(0, Ordering::Relaxed);
    }
}

/// Outages of the store and jumps of the server's clock, until the weather turns good for ever.
async fn change_weather(node: Node) {
    for _ in 0..4 {
        node.sim.pause(8_000_000).await;
        if node.scenario.has_outages && node.cloud.weather.slow_us.load(Ordering::Relaxed) > 0 {
            node.cloud.weather.is_down.store(true, Ordering::Relaxed);
            node.sim.pause(5_000_000).await;
            node.cloud.weather.is_down.store(false, Ordering::Relaxed);
        }
        if node.scenario.has_clock_jumps && node.cloud.weather.slow_us.load(Ordering::Relaxed) > 0 {
            let jump_s = node.sim.below(7200) as i64 - 3600;
            node.skew.store(jump_s * 1_000_000, Ordering::Relaxed);
        }
    }
}

impl Node {
    /// Lives of the server, one after the other, each ended in a way of its own.
    async fn live_and_die(&self) {
        for number in 1..=self.scenario.lives {
            let life = Life(number);
            let ends = self.start(life, self.sim.below(4) as usize + 1);
            if self.sim.chance(self.scenario.deaths_in_disk) {
                ends.fate.operations_left.store(self.sim.below(150) as i64 + 1, Ordering::Relaxed);
            }
            self.wait_for_end(&ends).await;
            if self.sim.chance(self.scenario.sleeps) && !ends.has_failed() {
                self.put_to_sleep(life, &ends);
            } else {
                let is_power_loss = self.sim.chance(self.scenario.power_losses);
                self.kill(life, &ends, is_power_loss);
            }
            self.sim.pause(1_000_000).await;
        }
    }

    /// Starts the server again whenever it cannot go on: a late request of an earlier life can still fence it.
    async fn live_on(&self) {
        for number in 1_000_000.. {
            let life = Life(number);
            let ends = self.start(life, 2);
            ends.fate.failures.store(0, Ordering::Relaxed);
            while !ends.has_failed() {
                self.sim.sleep(Duration::from_millis(20)).await;
            }
            self.kill(life, &ends, false);
            self.sim.sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until a server has everything that agents keep.
    async fn drain(&self, agents: &[Agent]) {
        while !agents.iter().all(Agent::is_drained) || self.gateway.current().is_none() {
            self.sim.sleep(Duration::from_millis(50)).await;
        }
    }

    fn watermark(&self) -> Option<EventTime> {
        self.gateway.current()?.inlet.watermark()
    }

    async fn wait_for_end(&self, ends: &Ends) {
        let until = self.sim.now() + Duration::from_millis(self.sim.below(self.scenario.life_ms) + 1);
        while self.sim.now() < until && !ends.has_failed() && !ends.fate.is_dead.load(Ordering::Relaxed) {
            self.sim.sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(&self, life: Life, ends: &Ends, is_power_loss: bool) {
        self.world.say(&self.sim, || {
            format!("life {} ends, power loss: {is_power_loss}, failure: {:?}", life.0, ends.failure())
        });
        self.gateway.set(None);
        ends.is_gone.store(true, Ordering::Relaxed);
        ends.fate.is_dead.store(true, Ordering::Relaxed);
        self.sim.end(life);
        match is_power_loss {
            true => self.disk.lose_power(&self.sim),
            false => self.disk.lose_process(),
        }
    }

    /// The process stops where it is, loses its disk to another one, and wakes up later.
    fn put_to_sleep(&self, life: Life, ends: &Ends) {
        self.world.say(&self.sim, || format!("life {} falls asleep", life.0));
        self.gateway.set(None);
        ends.has_slept.store(true, Ordering::Relaxed);
        ends.fate.is_dead.store(true, Ordering::Relaxed);
        self.sim.freeze(life);
        self.disk.lose_process();
        let node = self.clone();
        self.sim.spawn(Life::WORLD, async move {
            node.sim.pause(2_000_000 + 4000 * node.scenario.epoch_ms).await;
            node.world.say(&node.sim, || format!("life {} wakes up", life.0));
            node.sim.thaw(life);
        });
    }

    /// Queries at random moments, for ever.
    async fn look(&self) {
        loop {
            self.sim.pause(1_000_000).await;
            let Some(server) = self.gateway.current() else { continue };
            let acked = self.world.acked();
            let (node, life) = (self.clone(), server.life);
            self.sim.spawn(life, async move {
                if node.scenario.mutation != Some(Mutation::QueryDoesNotWait) {
                    server.inlet.progress().caught_up().await;
                }
                node.world.check_query(&server.tables.snapshot(), &acked, "ACK-2");
            });
        }
    }
}
