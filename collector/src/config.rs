//! The agent's part of the configuration file.

use crate::containers::ContainersSection;
use crate::filters::ExcludeSection;
use crate::{Error, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Counting of system calls in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyscallStats {
    /// None.
    #[default]
    Off,
    /// Calls and errors by program and container.
    Count,
    /// The times of calls, too. Costs twice as much.
    Latency,
}

/// The section `agent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Names of the calls that become events; the security set where it is missing. exec, fork and exit always do.
    pub events: Option<Vec<String>>,
    /// Counting of system calls.
    pub syscall_stats: SyscallStats,
    /// What is not told at all.
    pub exclude: ExcludeSection,
    /// Network conversations become rows of `flows`.
    pub flows: bool,
    /// MiB of all ring buffers together.
    pub ring_mib: usize,
    /// MiB that the spool may take on disk.
    pub spool_mib: u64,
    /// Host names that rules compare with `fd.sip.name` and the like.
    pub host_names: Vec<String>,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            events: None,
            syscall_stats: SyscallStats::Off,
            exclude: ExcludeSection::default(),
            flows: true,
            ring_mib: 16,
            spool_mib: 1024,
            host_names: Vec::new(),
        }
    }
}

/// A configuration file of `bodkin-agent`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// What to watch.
    pub agent: AgentSection,
    /// URL of the server; the command line comes first.
    pub server: Option<String>,
    /// Folder of the agent; the command line comes first.
    pub data_dir: Option<PathBuf>,
    /// Where runtimes are asked about containers.
    pub containers: ContainersSection,
    /// Of other roles: one file may configure them all.
    agents: IgnoredAny,
    alerts: IgnoredAny,
    channels: IgnoredAny,
    cloudtrail: IgnoredAny,
    forward: IgnoredAny,
    graph: IgnoredAny,
    kafka: IgnoredAny,
    prometheus: IgnoredAny,
    rules: IgnoredAny,
    statsd: IgnoredAny,
    tables: IgnoredAny,
}

impl ConfigFile {
    /// Reads a file. An empty one is all defaults.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Invalid`] that names the key and its line.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(Error::io(file, "read configuration"))?;
        Self::parse(&text).map_err(|why| Error::Invalid(format!("{}: {why}", file.display())))
    }

    /// Reads a text. An empty one is all defaults.
    ///
    /// # Errors
    /// What is wrong, with the key and its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_empty) {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        config.agent.check()?;
        Ok(config)
    }
}

impl AgentSection {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=256).contains(&self.ring_mib) {
            return Err(format!("agent.ring_mib: {} is not between 1 and 256", self.ring_mib));
        }
        self.exclude.check()?;
        match self.events.iter().flatten().find(|name| !bodkin_ebpf::syscall::is_exportable(name)) {
            Some(name) => Err(format!(
                "agent.events: {name:?} is not known; names are those of system calls, and {}, signaldeliver, oomkill",
                "clone, execve, procexit"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_values() {
        assert_eq!(ConfigFile::parse("# nothing\n").unwrap(), ConfigFile::default());
        let config =
            ConfigFile::parse("agent: {events: [openat, connect], syscall_stats: off, ring_mib: 4}\n").unwrap();
        assert_eq!(config.agent.events.as_deref(), Some(&["openat".to_owned(), "connect".to_owned()][..]));
        assert_eq!(config.agent.ring_mib, 4);
        let config = ConfigFile::parse("rules: {files: [x]}\ncontainers: {docker_socket: /x}\n").unwrap();
        assert_eq!(config.containers.docker_socket.as_deref(), Some(Path::new("/x")));
        let rest = ConfigFile { containers: ContainersSection::default(), ..config };
        assert_eq!(rest, ConfigFile::default(), "sections of other roles");
        let config = ConfigFile::parse("alerts: {}\nprometheus: {}\nforward: {}\n").unwrap();
        assert_eq!(config, ConfigFile::default(), "sections of the server");
        let config = ConfigFile::parse("server: grpc://h:1\ndata_dir: /d\n").unwrap();
        assert_eq!((config.server.as_deref(), config.agent), (Some("grpc://h:1"), AgentSection::default()));
    }

    #[test]
    fn errors_name_the_key_and_its_line() {
        let error = ConfigFile::parse("agent:\n  ring_mib: 8\n  evnts: []\n").unwrap_err();
        assert!(error.contains("evnts") && error.contains('3'), "{error}");
        let error = ConfigFile::parse("agent:\n  ring_mib: many\n").unwrap_err();
        assert!(error.contains('2'), "{error}");
        let error = ConfigFile::parse("agent: {ring_mib: 0}\n").unwrap_err();
        assert!(error.contains("agent.ring_mib"), "{error}");
        let error = ConfigFile::parse("agent: {exclude: {paths: [proc]}}\n").unwrap_err();
        assert!(error.contains("agent.exclude.paths"), "{error}");
        let error = ConfigFile::parse("agent: {events: [openat, opnat]}\n").unwrap_err();
        assert!(error.contains("\"opnat\"") && error.contains("system calls"), "{error}");
        assert!(ConfigFile::parse("agent: {syscall_stats: all}\n").is_err(), "said, not ignored");
    }
}
