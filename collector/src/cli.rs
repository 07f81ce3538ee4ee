//! The command line of `bodkin-agent`, which is that of `bodkin agent` too.

use crate::agent::{Agent, AgentConfig, AgentStatus, EbpfMode, Output};
use crate::client::{Server, TlsFiles};
use crate::config::{AgentSection, ConfigFile};
use crate::{Error, Result};
use bodkin_schema::{Clock, SystemClock};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Folder where none is named.
const DATA_DIR: &str = "bodkin-agent-data";

/// Where batches go, if not to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputKind {
    /// Nowhere: to measure the agent.
    Null,
}

/// Arguments of the agent.
#[derive(Clone, Debug, Default, Args)]
pub struct AgentArgs {
    /// Server to send to: grpc://HOST:PORT or grpc+tls://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Folder for what cannot be sent yet [default: ./bodkin-agent-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Configuration (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Do not load kernel programs, look at /proc instead
    #[arg(long, conflicts_with = "require_ebpf")]
    pub no_ebpf: bool,
    /// Fail if kernel programs cannot be loaded
    #[arg(long)]
    pub require_ebpf: bool,
    /// Discard batches instead of sending them
    #[arg(long, value_name = "KIND")]
    pub output: Option<OutputKind>,
    /// File with the token for the server
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates that the server's must be signed by (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate of this agent (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl AgentArgs {
    /// What the arguments and the configuration file ask for; arguments come first.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Io`].
    pub fn resolve(&self) -> Result<AgentConfig> {
        let file = self.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let output = match (self.output, self.server.as_ref().or(file.server.as_ref())) {
            (Some(OutputKind::Null), _) => Output::Null,
            (None, None) => return Err(Error::Invalid("no server: give --server URL or --output null".into())),
            (None, Some(url)) => {
                let tls = TlsFiles { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() };
                let server = Server::new(url, &tls)?;
                Output::Server(match &self.token_file {
                    Some(file) => server.with_token_file(file)?,
                    None => server,
                })
            }
        };
        let data_dir = self.data_dir.clone().or(file.data_dir).unwrap_or_else(|| DATA_DIR.into());
        let ebpf = match (self.no_ebpf, self.require_ebpf) {
            (true, _) => EbpfMode::Off,
            (_, true) => EbpfMode::Require,
            _ => EbpfMode::Auto,
        };
        Ok(AgentConfig { ebpf, section: file.agent, containers: file.containers, ..AgentConfig::new(output, data_dir) })
    }

    /// Starts the agent that the arguments ask for.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve) and [`Agent::start`].
    pub fn start(&self) -> Result<Agent> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        Agent::start(self.resolve()?, clock)
    }
}

/// The configuration file, looked at again whenever it changes.
#[derive(Debug)]
pub struct ConfigWatch {
    file: PathBuf,
    modified: Option<SystemTime>,
    section: AgentSection,
}

impl ConfigWatch {
    /// Time between two looks.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// Watches `file`, which has been read already.
    pub fn new(file: PathBuf) -> Self {
        let section = ConfigFile::read(&file).map(|config| config.agent).unwrap_or_default();
        Self { modified: modified(&file), file, section }
    }

    /// Applies the file to `agent` if it has changed. What is wrong is said, and what was valid before stays.
    pub fn look(&mut self, agent: &Agent) {
        let now = modified(&self.file);
        if now == self.modified {
            return;
        }
        self.modified = now;
        let read = ConfigFile::read(&self.file).map(|config| config.agent);
        let section = match read.and_then(|section| agent.reconfigure(&section).map(|()| section)) {
            Ok(section) => section,
            Err(error) => return tracing::error!(%error, "the configuration stays as it was"),
        };
        let kept = |section: &AgentSection| (section.ring_mib, section.spool_mib, section.syscall_stats, section.flows);
        if kept(&section) != kept(&self.section) {
            tracing::warn!("agent.ring_mib, spool_mib, syscall_stats and flows count from the next start on");
        }
        tracing::info!(file = %self.file.display(), "the configuration has changed");
        self.section = section;
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

/// The first line on standard output.
pub fn ready_line(status: &AgentStatus) -> String {
    serde_json::json!({
        "ready": true,
        "ebpf": status.ebpf,
        "programs": status.programs,
        "events": status.events,
        "unseen": status.unseen,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: AgentArgs,
    }

    fn resolve(args: &[&str]) -> Result<AgentConfig> {
        let cli =
            Cli::try_parse_from(["bodkin-agent"].iter().chain(args)).map_err(|e| Error::Invalid(e.to_string()))?;
        cli.args.resolve()
    }

    #[test]
    fn arguments_come_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.yaml");
        std::fs::write(&file, "server: grpc://file:1\ndata_dir: /from/file\nagent: {ring_mib: 4}\n").unwrap();
        let config = resolve(&["--config", file.to_str().unwrap(), "--server", "grpc://arg:1", "--no-ebpf"]).unwrap();
        let Output::Server(server) = &config.output else { panic!("no server") };
        assert_eq!((server.url(), config.section.ring_mib, config.ebpf), ("grpc://arg:1", 4, EbpfMode::Off));
        assert_eq!(config.data_dir, PathBuf::from("/from/file"));
        let config = resolve(&["--output", "null", "--require-ebpf"]).unwrap();
        assert!(matches!(config.output, Output::Null));
        assert_eq!((config.ebpf, config.data_dir), (EbpfMode::Require, PathBuf::from(DATA_DIR)));
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(resolve(&[]).unwrap_err().to_string().contains("give --server URL"));
        assert!(resolve(&["--output", "null", "--no-ebpf", "--require-ebpf"]).is_err());
        assert!(resolve(&["--server", "x"]).unwrap_err().to_string().contains("grpc://"));
    }
}
