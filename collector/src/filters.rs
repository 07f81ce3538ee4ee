//! What is not told at all: files under some folders, and processes by their program or cgroup.
//!
//! The kernel programs leave most of it out themselves, as far as they know of it; what they send all the same (a relative
//! name, a process that has just started) is left out here. What is left out is wanted by nobody, so it is no loss: it is
//! counted as filtered.

use crate::path;
use crate::process::Process;
use bodkin_ebpf::event::{Body, Event};
use bodkin_ebpf::layout::PREFIX_MAX_BYTES;
use serde::{Deserialize, Serialize};

/// Most folders: each costs a place in the kernel.
const PATHS_MAX: usize = 64;

/// The section `agent.exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExcludeSection {
    /// Folders (absolute): calls that name files under them are not told.
    pub paths: Vec<String>,
    /// Executables, or folders of them: their processes are not told.
    pub programs: Vec<String>,
    /// Cgroups by their path: processes in them and below are not told.
    pub cgroups: Vec<String>,
}

impl ExcludeSection {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, list) in [("paths", &self.paths), ("programs", &self.programs), ("cgroups", &self.cgroups)] {
            if let Some(bad) = list.iter().find(|path| !path.starts_with('/') || path.trim_end_matches('/').is_empty())
            {
                return Err(format!("agent.exclude.{key}: {bad:?} is not an absolute path below the root"));
            }
        }
        if let Some(long) = self.paths.iter().find(|path| path.len() >= PREFIX_MAX_BYTES) {
            return Err(format!("agent.exclude.paths: {long:?} is longer than {} bytes", PREFIX_MAX_BYTES - 1));
        }
        if self.paths.len() > PATHS_MAX {
            return Err(format!("agent.exclude.paths: at most {PATHS_MAX}"));
        }
        Ok(())
    }
}

/// Why a process is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// Its program.
    Program,
    /// It is in this cgroup, or below.
    Cgroup(&'a str),
}

/// The section, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    paths: Vec<String>,
    programs: Vec<String>,
    cgroups: Vec<String>,
    scratch: String,
}

impl Filters {
    /// The filters of a section.
    pub fn new(section: &ExcludeSection) -> Self {
        let folder = |path: &String| path.trim_end_matches('/').to_owned();
        let folders = |paths: &[String]| paths.iter().map(folder).collect();
        Self {
            paths: folders(&section.paths),
            programs: folders(&section.programs),
            cgroups: folders(&section.cgroups),
            scratch: String::new(),
        }
    }

    /// Whether everything is told.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.programs.is_empty() && self.cgroups.is_empty()
    }

    /// Beginnings of names of files that are not told.
    pub fn path_prefixes(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(|path| format!("{path}/"))
    }

    /// Cgroups whose processes are not told.
    pub fn cgroups(&self) -> &[String] {
        &self.cgroups
    }

    /// Why a process is left out, if it is.
    pub fn excludes(&self, process: &Process) -> Option<Why<'_>> {
        let over = |paths: &'_ [String], path: &str| paths.iter().position(|folder| is_in(path, folder));
        if process.exe.as_deref().is_some_and(|exe| over(&self.programs, exe).is_some()) {
            return Some(Why::Program);
        }
        self.cgroups.get(over(&self.cgroups, &process.cgroup)?).map(|cgroup| Why::Cgroup(cgroup))
    }

    /// Whether an event is left out because of the one file that it names.
    pub fn excludes_path(&mut self, event: &Event<'_>) -> bool {
        let name = match &event.body {
            Body::Open(open) => &open.name,
            Body::Paths(paths) if paths.name2.is_none() => &paths.name,
            _ => return false,
        };
        !self.paths.is_empty()
            && path::write_name(name, &mut self.scratch)
            && self.paths.iter().any(|folder| is_in(&self.scratch, folder))
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_ebpf::decode;
    use bodkin_ebpf::event::{Components, Head, Name, Open};

    fn section(paths: &[&str], programs: &[&str], cgroups: &[&str]) -> ExcludeSection {
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        ExcludeSection { paths: list(paths), programs: list(programs), cgroups: list(cgroups) }
    }

    fn open(raw: &'static [u8], base: Option<&'static [u8]>) -> Event<'static> {
        // Any head will do.
        let mut bytes = [0; 72];
        bytes[40..42].copy_from_slice(&(3_u16 << 11 | 7).to_ne_bytes());
        bytes[42..44].copy_from_slice(&72_u16.to_ne_bytes());
        bytes[47] = 1;
        let head: Head = decode(&bytes).unwrap().head;
        let base = base.map(|bytes| Components { bytes, truncated: false });
        Event { head, name: "openat", body: Body::Open(Open { name: Name { raw, base }, ..Open::default() }) }
    }

    #[test]
    fn folders_hide_what_is_in_them_and_nothing_else() {
        let mut filters = Filters::new(&section(&["/proc/", "/var/lib/x"], &[], &[]));
        let mut hides = |raw, base| filters.excludes_path(&open(raw, base));
        assert!(hides(b"/proc/1/stat", None) && hides(b"/var/lib/x", None));
        assert!(!hides(b"/process", None) && !hides(b"/proc/../etc/shadow", None) && !hides(b"x", None));
        assert!(hides(b"lib/x/y", Some(b"var\0")) && !hides(b"../y", Some(b"x\0lib\0var\0")));
        assert_eq!(filters.path_prefixes().collect::<Vec<_>>(), ["/proc/", "/var/lib/x/"]);
    }

    #[test]
    fn processes_are_hidden_by_program_and_cgroup() {
        let filters = Filters::new(&section(&[], &["/usr/bin/exporter", "/opt/agents"], &["/system.slice"]));
        let why = |exe: &str, cgroup: &str| {
            let mut process = Process::unknown(1);
            (process.exe, process.cgroup) = (Some(exe.into()), cgroup.into());
            filters.excludes(&process)
        };
        assert_eq!(
            (why("/usr/bin/exporter", "/"), why("/opt/agents/a", "/")),
            (Some(Why::Program), Some(Why::Program))
        );
        assert_eq!((why("/usr/bin/exporter2", "/"), why("/bin/sh", "/user.slice")), (None, None));
        assert_eq!(why("/bin/sh", "/system.slice/cron.service"), Some(Why::Cgroup("/system.slice")));
        assert!(!filters.is_empty());
        assert!(Filters::new(&ExcludeSection::default()).is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(section(&["/proc"], &["/a"], &["/b/c"]).check(), Ok(()));
        assert!(section(&["proc"], &[], &[]).check().unwrap_err().contains("agent.exclude.paths"));
        assert!(section(&[], &[], &["/"]).check().unwrap_err().contains("agent.exclude.cgroups"));
        let long = format!("/{}", "x".repeat(200));
        assert!(section(&[&long], &[], &[]).check().unwrap_err().contains("127 bytes"));
    }
}
