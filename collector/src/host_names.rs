//! Addresses of the host names that rules compare with: `fd.sip.name = kubernetes.default.svc.cluster.local`.
//!
//! The names are few and known, so they are resolved ahead, again every few seconds, by the system's resolver (the hosts
//! file included). A row whose address is one of theirs says the name; nothing is looked up backwards.

use crate::{Error, Result};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Time between two rounds.
const INTERVAL: Duration = Duration::from_secs(4);

/// Longest time for one name; what takes longer keeps the addresses that it had.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Names that are resolved at most, and addresses of one.
const NAMES_MAX: usize = 256;
const ADDRESSES_MAX: usize = 64;

/// Names by address.
pub type NamesByAddress = FxHashMap<IpAddr, Arc<str>>;

/// The names and what they resolve to. Clones share it; the thread ends with the last.
#[derive(Clone, Debug)]
pub struct HostNames {
    names: watch::Sender<BTreeSet<String>>,
    addresses: Arc<Mutex<Arc<NamesByAddress>>>,
}

impl HostNames {
    /// Starts the thread, which sleeps while there are no names.
    ///
    /// # Errors
    /// [`Error::Io`] if a thread cannot be started.
    pub fn start() -> Result<Self> {
        let (names, changes) = watch::channel(BTreeSet::new());
        let addresses = Arc::new(Mutex::new(Arc::new(NamesByAddress::default())));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io(Path::new("bodkin-names"), "start runtime"))?;
        let published = addresses.clone();
        let spawned = std::thread::Builder::new().name("bodkin-names".into());
        let spawned = spawned.spawn(move || {
            runtime.block_on(run(changes, &published));
            // A look-up that hangs is left behind.
            runtime.shutdown_background();
        });
        spawned.map_err(Error::io(Path::new("bodkin-names"), "start thread"))?;
        Ok(Self { names, addresses })
    }

    /// Resolves these names from now on, at most 256.
    pub fn set(&self, names: impl IntoIterator<Item = String>) {
        let names: BTreeSet<String> = names.into_iter().take(NAMES_MAX).collect();
        self.names.send_if_modified(|current| {
            let is_new = *current != names;
            *current = names;
            is_new
        });
    }

    /// What the names resolve to now.
    pub fn addresses(&self) -> Arc<NamesByAddress> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn run(mut changes: watch::Receiver<BTreeSet<String>>, published: &Mutex<Arc<NamesByAddress>>) {
    let mut known: FxHashMap<String, Vec<IpAddr>> = FxHashMap::default();
    loop {
        let next = Instant::now() + INTERVAL;
        let names = changes.borrow_and_update().clone();
        known.retain(|name, _| names.contains(name));
        let mut running = JoinSet::new();
        for name in &names {
            let name = name.clone();
            running.spawn(async move {
                let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0))).await;
                let found = found.ok().map(|found| found.map(|all| all.map(|a| a.ip()).take(ADDRESSES_MAX).collect()));
                (name, found)
            });
        }
        while let Some(Ok((name, found))) = running.join_next().await {
            match found {
                Some(Ok(addresses)) => drop(known.insert(name, addresses)),
                // There is no such name any more.
                Some(Err(_)) => drop(known.remove(&name)),
                None => {}
            }
        }
        let all = known.iter().flat_map(|(name, addresses)| {
            let name: Arc<str> = name.as_str().into();
            addresses.iter().map(move |address| (address.to_canonical(), name.clone()))
        });
        *published.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(all.collect());
        let is_over = if names.is_empty() {
            changes.changed().await.is_err()
        } else {
            tokio::select! {
                () = sleep_until(next) => false,
                changed = changes.changed() => changed.is_err(),
            }
        };
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hosts_file_are_known_by_address() {
        let names = HostNames::start().unwrap();
        assert!(names.addresses().is_empty());
        names.set(["localhost".to_owned(), "no-such-name.invalid".to_owned()]);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..1_000 {
            if names.addresses().contains_key(&loopback) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(names.addresses().get(&loopback).map(AsRef::as_ref), Some("localhost"));
        names.set([]);
        for _ in 0..1_000 {
            if names.addresses().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("a name that nobody wants is forgotten");
    }
}
