//! Leases: that two nodes do not do the same work. A courtesy and no lock: whoever commits second meets a conflict.
//!
//! `leases/<table>/<what>/<n>.lease` holds JSON. A lease is taken by putting the next number *if absent*; a bucket
//! needs no conditional update for it, and a local folder has none. It ends when it is deleted or its time is over.

use crate::{Error, Result};
use bodkin_schema::Clock;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long a lease holds: longer than a job takes, short enough to wait for after a crash.
const LEASE_MS: i64 = 30 * 60 * 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Held {
    node: String,
    until_ms: i64,
}

/// Takes leases on behalf of one node.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) node: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A lease that is held, until it is given back or its time is over.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl Leases {
    /// Takes the lease of `folder`; none where another node holds it. What this node's last process held is taken
    /// over: there is one process per node.
    pub(crate) async fn take(&self, folder: &Path) -> Result<Option<Lease>> {
        let failed = |path: &Path, source| Error::Store { path: path.to_string(), source };
        let now_ms = self.clock.now().micros().div_euclid(1000);
        let found = self.store.list(Some(folder)).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await;
        let mut found = found.map_err(|source| failed(folder, source))?;
        found.sort_unstable();
        let mut number = 1;
        if let Some(newest) = found.last() {
            number = newest.filename().and_then(number_of).unwrap_or_default() + 1;
            let held = match self.store.get(newest).await {
                Ok(object) => {
                    let bytes = object.bytes().await.map_err(|source| failed(newest, source))?;
                    serde_json::from_slice::<Held>(&bytes).ok()
                }
                // Given back in between.
                Err(object_store::Error::NotFound { .. }) => None,
                Err(source) => return Err(failed(newest, source)),
            };
            if held.is_some_and(|held| held.node != *self.node && held.until_ms > now_ms) {
                return Ok(None);
            }
        }
        let path = folder.clone().join(format!("{number:020}.lease"));
        let held = Held { node: self.node.to_string(), until_ms: now_ms + LEASE_MS };
        let bytes = serde_json::to_vec(&held)
            .map_err(|error| Error::Corrupt { path: path.to_string(), reason: error.to_string() })?;
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(None),
            Err(source) => return Err(failed(&path, source)),
        }
        for older in found {
            // What stays is older than ours and counts for nothing.
            let _ = self.store.delete(&older).await;
        }
        Ok(Some(Lease { store: self.store.clone(), path }))
    }
}

impl Lease {
    /// Gives it back.
    pub(crate) async fn give_back(self) {
        // Where that fails, its time ends it.
        let _ = self.store.delete(&self.path).await;
    }
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".lease")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::EventTime;
    use object_store::memory::InMemory;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    #[derive(Debug, Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now(&self) -> EventTime {
            EventTime(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[tokio::test]
    async fn one_node_at_a_time() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let clock = Arc::new(Hand::default());
        let leases = |node: &str| Leases { store: store.clone(), node: node.into(), clock: clock.clone() };
        let (one, other) = (leases("one"), leases("other"));
        let folder = Path::from("leases/events/default-20513-c1-0");
        let lease = one.take(&folder).await.unwrap().unwrap();
        assert!(other.take(&folder).await.unwrap().is_none());
        assert!(other.take(&Path::from("leases/events/another")).await.unwrap().is_some());
        lease.give_back().await;
        let _crashed = other.take(&folder).await.unwrap().unwrap();
        assert!(one.take(&folder).await.unwrap().is_none());
        assert!(other.take(&folder).await.unwrap().is_some(), "its own, after a restart");
        clock.0.store(LEASE_MS * 1000 + 1, Ordering::Relaxed);
        assert!(one.take(&folder).await.unwrap().is_some(), "its time is over");
        assert_eq!(store.list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    }
}
