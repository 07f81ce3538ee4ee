//! What is wanted of the agent, and by whom: its own file, the server, the loaded rules.
//!
//! What the server says counts in place of the file for as long as it says something. Rules only add: the events that
//! they are asked about, and the names of hosts that they compare addresses with.

use super::status::{Shared, Wanted};
use crate::config::AgentSection;
use crate::host_names::HostNames;
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Configuration that a server has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Its version as the server names it; empty before the first.
    pub version: String,
    /// Why it was not taken over.
    pub error: Option<String>,
}

/// Everybody's wishes, and where they are taken to.
#[derive(Debug)]
pub struct Control {
    wishes: Mutex<Wishes>,
    shared: Arc<Shared>,
    names: HostNames,
}

#[derive(Debug, Default)]
struct Wishes {
    local: AgentSection,
    pushed: Option<AgentSection>,
    rule_events: BTreeSet<String>,
    rule_streams: bool,
    rule_names: BTreeSet<String>,
    last: Pushed,
}

impl Control {
    pub(super) fn new(local: AgentSection, shared: Arc<Shared>, names: HostNames) -> Self {
        let control = Self { wishes: Mutex::new(Wishes { local, ..Wishes::default() }), shared, names };
        control.apply(&control.lock());
        control
    }

    /// Takes over what the agent's own file says now.
    pub(super) fn reconfigure(&self, section: &AgentSection) -> Result<()> {
        section.check().map_err(Error::Invalid)?;
        let mut wishes = self.lock();
        wishes.local = section.clone();
        self.apply(&wishes);
        Ok(())
    }

    /// Takes over what the server says, None if it says nothing. What is wrong changes nothing and is told back.
    pub(crate) fn push(&self, version: &str, section: std::result::Result<Option<AgentSection>, String>) -> Pushed {
        let checked = section.and_then(|section| {
            section.iter().try_for_each(AgentSection::check)?;
            Ok(section)
        });
        let mut wishes = self.lock();
        wishes.last = Pushed { version: version.to_owned(), error: checked.as_ref().err().cloned() };
        if let Ok(section) = checked {
            tracing::info!(version, is_any = section.is_some(), "the server has sent a configuration");
            wishes.pushed = section;
            self.apply(&wishes);
        }
        wishes.last.clone()
    }

    /// Takes over what the loaded rules need.
    pub(super) fn set_rules(&self, events: BTreeSet<String>, streams: bool, names: BTreeSet<String>) {
        let mut wishes = self.lock();
        (wishes.rule_events, wishes.rule_streams, wishes.rule_names) = (events, streams, names);
        self.apply(&wishes);
    }

    /// What the server said last.
    pub(crate) fn pushed(&self) -> Pushed {
        self.lock().last.clone()
    }

    fn apply(&self, wishes: &Wishes) {
        let wanted = wishes.wanted();
        self.names.set(wanted.section.host_names.iter().cloned());
        self.shared.set_wanted(wanted);
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        // Wishes are consistent between any two statements that can panic.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wishes {
    fn wanted(&self) -> Wanted {
        let mut section = self.pushed.as_ref().unwrap_or(&self.local).clone();
        section.host_names.extend(self.rule_names.iter().cloned());
        Wanted { section, rule_events: self.rule_events.clone(), rule_streams: self.rule_streams }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(events: &[&str], host_names: &[&str]) -> AgentSection {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        AgentSection { events: Some(list(events)), host_names: list(host_names), ..AgentSection::default() }
    }

    #[test]
    fn the_server_comes_before_the_file_and_rules_add() {
        let shared = Arc::new(Shared::new(true, Vec::new(), Vec::new(), Vec::new()));
        let control = Control::new(section(&["openat"], &["a"]), shared.clone(), HostNames::start().unwrap());
        let wanted = || shared.take_wanted().map(|wanted| (wanted.section.events, wanted.section.host_names));
        let some = |events: &[&str], names: &[&str]| {
            let section = section(events, names);
            Some((section.events, section.host_names))
        };
        assert_eq!(wanted(), some(&["openat"], &["a"]));
        control.set_rules(BTreeSet::from(["kill".to_owned()]), true, BTreeSet::from(["r".to_owned()]));
        let told = shared.take_wanted().unwrap();
        assert_eq!((told.rule_events, told.rule_streams), (BTreeSet::from(["kill".to_owned()]), true));
        assert_eq!(control.push("1", Ok(Some(section(&["connect"], &[])))).error, None);
        assert_eq!(wanted(), some(&["connect"], &["r"]));
        control.reconfigure(&section(&["unlink"], &[])).unwrap();
        assert_eq!(wanted(), some(&["connect"], &["r"]), "the file waits");
        let bad = control.push("2", Ok(Some(section(&["nonsense"], &[]))));
        assert!(bad.error.unwrap().contains("nonsense") && wanted().is_none(), "what is wrong changes nothing");
        assert_eq!(control.push("3", Err("no".into())), Pushed { version: "3".into(), error: Some("no".into()) });
        assert_eq!(control.push("4", Ok(None)), Pushed { version: "4".into(), error: None });
        assert_eq!(wanted(), some(&["unlink"], &["r"]), "the file counts again");
        assert_eq!(control.pushed().version, "4");
    }
}
