//! What runtimes say about containers, asked aside: no event waits for a socket.
//!
//! [`Containers`] is asked for each event that comes from a container. The first time it asks the runtimes through the
//! resolver's thread and says [`Lookup::Waiting`]; the caller holds rows of that container back until the answer comes or
//! [`PATIENCE`] is over. A container that nobody knows is cached as such, and asked for again now and then.
//!
//! | module | what it holds |
//! |---|---|
//! | [`info`] | [`ContainerInfo`]: what is known of one |
//! | [`docker`] | answers of the Docker API, which Podman has too |
//! | [`cri`] | answers of the container runtime interface: containerd, CRI-O |
//! | [`resolver`] | the thread that asks |

pub mod cri;
pub mod docker;
pub mod info;
pub mod resolver;

use bodkin_schema::Clock;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use info::ContainerInfo;
pub use resolver::Resolver;

/// Longest time that rows of a container wait for what runtimes say.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Time after which a container that nobody knew is asked for again.
const RETRY: Duration = Duration::from_secs(30);

/// Containers that are remembered at most; about 4 KiB each.
const CONTAINERS_MAX: usize = 4096;

/// Sockets to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainersSection {
    /// Socket of the Docker API, in place of the usual ones of Docker and Podman.
    pub docker_socket: Option<PathBuf>,
    /// Socket of the container runtime interface, in place of the usual ones of containerd and CRI-O.
    pub cri_socket: Option<PathBuf>,
}

/// What can be said of a container now.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// This is known of it.
    Known(Arc<ContainerInfo>),
    /// No runtime knows it.
    Unknown,
    /// The runtimes are being asked.
    Waiting,
}

#[derive(Debug)]
enum State {
    Known(Arc<ContainerInfo>),
    Unknown { retry_at: Duration },
    Waiting { until: Duration },
}

/// Containers by short id.
#[derive(Debug)]
pub struct Containers {
    states: FxHashMap<Arc<str>, State>,
    /// Ids in the order in which they were first seen.
    order: VecDeque<Arc<str>>,
    resolver: Resolver,
    clock: Arc<dyn Clock>,
}

impl Containers {
    /// None yet; `resolver` answers for them.
    pub fn new(resolver: Resolver, clock: Arc<dyn Clock>) -> Self {
        Self { states: FxHashMap::default(), order: VecDeque::new(), resolver, clock }
    }

    /// What is known of the container `id`, whose processes are in `cgroup`.
    pub fn look_up(&mut self, id: &Arc<str>, cgroup: &str) -> Lookup {
        match self.states.get_mut(id) {
            Some(State::Known(info)) => return Lookup::Known(info.clone()),
            Some(State::Waiting { .. }) => return Lookup::Waiting,
            Some(State::Unknown { retry_at }) => {
                let now = self.clock.monotonic();
                if now >= *retry_at {
                    *retry_at = now + RETRY;
                    self.resolver.ask(id, cgroup);
                }
                return Lookup::Unknown;
            }
            None => {}
        }
        self.forget_oldest();
        self.order.push_back(id.clone());
        let now = self.clock.monotonic();
        if self.resolver.ask(id, cgroup) {
            self.states.insert(id.clone(), State::Waiting { until: now + PATIENCE });
            Lookup::Waiting
        } else {
            self.states.insert(id.clone(), State::Unknown { retry_at: now + RETRY });
            Lookup::Unknown
        }
    }

    /// What is known of a container without asking anybody.
    pub fn known(&self, id: &str) -> Option<&Arc<ContainerInfo>> {
        match self.states.get(id) {
            Some(State::Known(info)) => Some(info),
            _ => None,
        }
    }

    /// Takes answers in, and gives up on containers that waited too long; returns those that no longer wait.
    pub fn settled(&mut self) -> Vec<Arc<str>> {
        let mut settled = Vec::new();
        while let Some((id, info)) = self.resolver.answer() {
            let Some(state) = self.states.get_mut(&id) else { continue };
            let was_waiting = matches!(state, State::Waiting { .. });
            match info {
                Some(info) => *state = State::Known(Arc::new(info)),
                None if was_waiting => *state = State::Unknown { retry_at: self.clock.monotonic() + RETRY },
                None => continue,
            }
            if was_waiting {
                settled.push(id);
            }
        }
        let now = self.clock.monotonic();
        for (id, state) in &mut self.states {
            if matches!(state, State::Waiting { until } if *until <= now) {
                *state = State::Unknown { retry_at: now + RETRY };
                settled.push(id.clone());
            }
        }
        settled
    }

    /// Containers that runtimes are being asked about.
    pub fn waiting(&self) -> usize {
        self.states.values().filter(|state| matches!(state, State::Waiting { .. })).count()
    }

    fn forget_oldest(&mut self) {
        while self.states.len() >= CONTAINERS_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.states.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    #[test]
    fn a_container_is_asked_for_once_and_waits_for_the_answer() {
        let clock = Arc::new(ManualClock::default());
        let (resolver, mut other_end) = Resolver::detached();
        let mut containers = Containers::new(resolver, clock.clone());
        let (a, b): (Arc<str>, Arc<str>) = ("aaaaaaaaaaaa".into(), "bbbbbbbbbbbb".into());
        for _ in 0..3 {
            assert!(matches!(containers.look_up(&a, "/docker/a"), Lookup::Waiting));
        }
        assert!(matches!(containers.look_up(&b, "/docker/b"), Lookup::Waiting));
        assert_eq!((other_end.questions(), containers.waiting()), (vec![a.clone(), b.clone()], 2));
        other_end.answer(&a, Some(ContainerInfo { name: Some("web".into()), ..ContainerInfo::default() }));
        assert_eq!(containers.settled(), std::slice::from_ref(&a));
        let Lookup::Known(info) = containers.look_up(&a, "/docker/a") else { panic!("not known") };
        assert_eq!(info.name.as_deref(), Some("web"));

        clock.advance(5_000);
        assert_eq!(containers.settled(), std::slice::from_ref(&b), "patience is over");
        assert!(matches!(containers.look_up(&b, "/docker/b"), Lookup::Unknown));
        clock.advance(30_000);
        assert!(matches!(containers.look_up(&b, "/docker/b"), Lookup::Unknown), "asked again aside");
        assert_eq!(other_end.questions(), std::slice::from_ref(&b));
        other_end.answer(&b, Some(ContainerInfo::default()));
        assert_eq!(containers.settled(), Vec::<Arc<str>>::new(), "nobody waits for it");
        assert!(containers.known(&b).is_some());
    }

    #[test]
    fn hostile_numbers_of_containers_do_not_fill_memory() {
        let (resolver, _other_end) = Resolver::detached();
        let mut containers = Containers::new(resolver, Arc::new(ManualClock::default()));
        for number in 0..3 * CONTAINERS_MAX {
            containers.look_up(&format!("{number:012x}").into(), "/");
        }
        assert!(containers.states.len() <= CONTAINERS_MAX && containers.order.len() <= CONTAINERS_MAX);
    }
}
