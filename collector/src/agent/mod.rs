//! The agent as a whole: threads, and what connects them.
//!
//! ```text
//!  bodkin-events     rings (or /proc) -> process table -> builder --+
//!  bodkin-metrics    /proc, /sys      -> registry -----------------+--> Spool --> bodkin-sender --> server
//!                                                       Losses ----+
//! ```
//! Each source is a thread of its own: a mounted file system that hangs delays metrics and nothing else. The sender
//! is a single-threaded tokio runtime.
//!
//! | module | what it holds |
//! |---|---|
//! | `capture` | the thread of events |
//! | [`Control`] | what is wanted, and by whom |
//! | `exclusions` | what nobody wants, as the kernel side is told |
//! | `flows` | conversations on their way to rows |
//! | `metrics` | the thread of host metrics |
//! | `sender` | the thread that sends, and looks after the spool |
//! | `waiting` | rows that wait until their container is known |
//! | [`status`] | [`AgentStatus`] |

mod capture;
mod control;
mod exclusions;
mod flows;
mod metrics;
mod sender;
pub mod status;
mod waiting;

use crate::client::remote_config::Asker;
use crate::client::{Client, Server};
use crate::config::AgentSection;
use crate::containers::{Containers, ContainersSection, Resolver};
use crate::data_dir::DataDir;
use crate::error::chain;
use crate::events::Origin;
use crate::fallback::BLIND_SPOTS;
use crate::host_names::HostNames;
use crate::losses::Losses;
use crate::probe::{Probe, ProbeConfig, ProbeError};
use crate::spool::{Spool, SpoolConfig};
use crate::{Error, Result};
use bodkin_schema::{Class, Clock};
use capture::Source;
use status::{LossCount, Shared};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use control::{Control, Pushed};
pub use status::AgentStatus;

/// Longest time for threads to end, the sender's last sending not counted.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Longest time for sending what is left at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether kernel events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EbpfMode {
    /// If they can be had.
    #[default]
    Auto,
    /// No.
    Off,
    /// Yes, or the agent does not start.
    Require,
}

/// Where batches go.
#[derive(Clone, Debug)]
pub enum Output {
    /// To a server.
    Server(Server),
    /// Nowhere: to measure the agent.
    Null,
}

/// Everything that an agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Where batches go.
    pub output: Output,
    /// Folder of the agent.
    pub data_dir: PathBuf,
    /// Whether kernel events are wanted.
    pub ebpf: EbpfMode,
    /// Section `agent` of the configuration.
    pub section: AgentSection,
    /// Section `containers` of the configuration.
    pub containers: ContainersSection,
    /// Time between two rounds of host metrics; None for no host metrics.
    pub metrics_interval: Option<Duration>,
}

impl AgentConfig {
    /// The defaults for an output and a folder.
    pub fn new(output: Output, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            output,
            data_dir: data_dir.into(),
            ebpf: EbpfMode::Auto,
            section: AgentSection::default(),
            containers: ContainersSection::default(),
            metrics_interval: Some(Duration::from_secs(10)),
        }
    }
}

/// A running agent. Dropping it without [`stop`](Self::stop) is like a kill: threads end, and what was gathered in the
/// last second is lost.
#[derive(Debug)]
pub struct Agent {
    shared: Arc<Shared>,
    control: Arc<Control>,
    spool: Arc<Spool>,
    losses: Arc<Losses>,
    client: Option<Arc<Client>>,
    clock: Arc<dyn Clock>,
    host_id: Arc<str>,
    events: Option<capture::Handle>,
    metrics: Option<metrics::Handle>,
    sender: Option<sender::Handle>,
    _data_dir: DataDir,
}

impl Agent {
    /// Starts the agent: kernel programs are attached when this returns, the server need not be there.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NoEbpf`] where kernel events are required, [`Error::Locked`], [`Error::Io`].
    pub fn start(config: AgentConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        config.section.check().map_err(Error::Invalid)?;
        let data_dir = DataDir::open(&config.data_dir)?;
        let (host_id, incarnation) = (data_dir.host_id()?, data_dir.begin(clock.as_ref())?);
        let host: Arc<str> = rustix::system::uname().nodename().to_string_lossy().into();
        let losses = Arc::new(Losses::default());
        let mut spool_config = SpoolConfig::new(data_dir.path().join("spool"));
        spool_config.disk_bytes_max = config.section.spool_mib << 20;
        let spool = Spool::open(spool_config, &host_id, incarnation, losses.clone(), clock.clone())?;
        let spool = Arc::new(spool);
        let (source, shared) = source(&config)?;
        let shared = Arc::new(shared);
        let origin = Origin { host: host.clone(), host_id: host_id.clone(), incarnation };
        let client = match config.output {
            Output::Server(server) => Some(Arc::new(Client::new(spool.clone(), server))),
            Output::Null => None,
        };
        let names = HostNames::start()?;
        let control = Arc::new(Control::new(config.section.clone(), shared.clone(), names.clone()));
        let context = capture::Context {
            spool: spool.clone(),
            losses: losses.clone(),
            shared: shared.clone(),
            clock: clock.clone(),
            names: names.clone(),
        };
        let metrics = config.metrics_interval.map(|every| {
            let known = Containers::new(Resolver::start(&config.containers)?, clock.clone());
            metrics::start(&host, every, known, &context)
        });
        let metrics = metrics.transpose()?;
        let asker = Asker { host: host.to_string(), host_id: host_id.to_string() };
        let sender = sender::start(client.clone(), spool.clone(), asker, control.clone())?;
        let containers = Containers::new(Resolver::start(&config.containers)?, clock.clone());
        let events = capture::start(source, origin, containers, context)?;
        Ok(Self {
            shared,
            control,
            spool,
            losses,
            client,
            clock,
            host_id,
            events: Some(events),
            metrics,
            sender: Some(sender),
            _data_dir: data_dir,
        })
    }

    /// Takes over what can change while the agent runs: the events, what is left out, and names of hosts. The rest of the section counts
    /// from the next start on.
    ///
    /// # Errors
    /// [`Error::Invalid`]; then nothing changes.
    pub fn reconfigure(&self, section: &AgentSection) -> Result<()> {
        self.control.reconfigure(section)
    }

    /// Tells events that the loaded rules are asked about, in addition to those of the configuration, messages on streams
    /// among them where `streams` says so, and resolves the host names that they compare addresses with.
    pub fn set_rules(
        &self,
        events: impl IntoIterator<Item = String>,
        streams: bool,
        host_names: impl IntoIterator<Item = String>,
    ) {
        let is_known = |name: &String| bodkin_ebpf::syscall::is_exportable(name);
        self.control.set_rules(
            events.into_iter().filter(is_known).collect(),
            streams,
            host_names.into_iter().collect(),
        );
    }

    /// What the agent does and how it fares.
    pub fn status(&self) -> AgentStatus {
        let losses = self.losses.total().into_iter();
        let loss =
            |((class, reason), rows): ((Class, &'static str), u64)| LossCount { class: class.name(), reason, rows };
        AgentStatus {
            ebpf: self.shared.ebpf,
            programs: self.shared.programs.clone(),
            events: self.shared.events(),
            unseen: self.shared.unseen.clone(),
            connected: self.spool.is_connected(),
            rows_per_second: self.shared.rows_per_second(),
            spool: self.spool.stats(),
            client: self.client.as_ref().map(|client| client.stats()).unwrap_or_default(),
            processes: self.shared.processes(),
            filtered: self.shared.filtered(),
            pushed: self.control.pushed(),
            losses: losses.map(loss).collect(),
            kernel_losses: self.shared.kernel_losses(),
        }
    }

    /// Takes what the kernel still has, sends or spools everything and ends. Takes at most 5 s.
    ///
    /// # Errors
    /// The disk's, if something could not be spooled.
    pub fn stop(mut self) -> Result<()> {
        let threads =
            [self.events.take().and_then(capture::Handle::stop), self.metrics.take().map(metrics::Handle::stop)];
        for thread in threads.into_iter().flatten() {
            join(thread, self.clock.as_ref());
        }
        if let Some(sender) = self.sender.take() {
            let timeout =
                if self.spool.is_connected() || self.client.is_none() { DRAIN_TIMEOUT } else { Duration::ZERO };
            sender.stop(timeout);
        }
        // What was refused or shed meanwhile.
        self.spool.tell_losses(&self.host_id);
        let outcome = self.spool.close();
        self.say_figures();
        outcome
    }
}

impl Agent {
    /// What was done in this life, for the log.
    fn say_figures(&self) {
        for loss in self.shared.kernel_losses() {
            tracing::info!(class = loss.class, reason = loss.reason, count = loss.rows, "lost in the kernel");
        }
        let stats = self.spool.stats();
        tracing::info!(rows = stats.rows, batches = stats.batches, "the agent ends");
    }
}

/// Waits for a thread, not for ever: one may hang in a file system that is gone.
fn join(thread: JoinHandle<()>, clock: &dyn Clock) {
    let until = clock.monotonic() + JOIN_TIMEOUT;
    while !thread.is_finished() && clock.monotonic() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    if !thread.is_finished() {
        tracing::warn!(thread = thread.thread().name(), "thread does not end, it is left behind");
        return;
    }
    if thread.join().is_err() {
        tracing::error!("a thread of the agent has panicked");
    }
}

/// Attaches in a thread of its own: where that ends, the allocator gives back what reading the kernel's types took.
fn attach(config: &ProbeConfig) -> Result<Probe, ProbeError> {
    let attached = std::thread::scope(|scope| scope.spawn(|| Probe::attach(config)).join());
    attached.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Where events come from, and what the status says about it.
fn source(config: &AgentConfig) -> Result<(Source, Shared)> {
    let probe_config = ProbeConfig::of(&config.section);
    let why = if config.ebpf == EbpfMode::Off {
        "switched off by configuration".to_owned()
    } else {
        match attach(&probe_config) {
            Ok(probe) => {
                let (programs, events) = probe.programs();
                let programs = programs.into_iter().map(str::to_owned).collect();
                let unseen = probe.missing().to_vec();
                let shared = Shared::new(true, programs, events.iter().cloned().collect(), unseen);
                return Ok((Source::Kernel(Box::new(probe)), shared));
            }
            Err(error) => chain(&error),
        }
    };
    if config.ebpf == EbpfMode::Require {
        return Err(Error::NoEbpf(why));
    }
    tracing::warn!(why, "{BLIND_SPOTS}");
    let unseen = vec![format!("{BLIND_SPOTS} ({why})")];
    Ok((Source::poll(), Shared::new(false, Vec::new(), vec!["execve".into(), "procexit".into()], unseen)))
}
