//! The task of each channel.

use super::DeliveryEnds;
use crate::server::feed::Notes;
use bodkin_engine::{Channel, Outbox, TokioTimer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// Sends what is pending, each channel by itself.
pub(crate) struct Deliveries {
    outbox: Arc<Outbox>,
    ends: Arc<DeliveryEnds>,
    /// By name of the channel; that of a channel that is gone has nothing to do.
    tasks: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

impl Deliveries {
    /// Starts to send when the graph has taken all of the log: every row that says how a delivery ended is known by then,
    /// and every delivery that a replay offers again was offered.
    pub(crate) async fn start(outbox: &Arc<Outbox>, notes: &Notes, ends: Arc<DeliveryEnds>) -> Arc<Self> {
        notes.inlet.progress().caught_up().await;
        outbox.open();
        let this = Arc::new(Self { outbox: outbox.clone(), ends, tasks: Mutex::default() });
        this.run_all();
        this
    }

    /// Goes on with these channels; what is pending goes to the one that has its name.
    pub(crate) fn set_channels(&self, channels: Vec<Arc<dyn Channel>>) {
        self.outbox.set_channels(channels);
        self.run_all();
    }

    /// Has these channels, too, until it is told which there are.
    pub(crate) fn add_channels(&self, channels: &[Arc<dyn Channel>]) {
        let is_new = |name: &String| channels.iter().all(|channel| channel.name() != name);
        let old = self.outbox.channels().into_iter().filter(is_new).filter_map(|name| self.outbox.channel(&name));
        self.set_channels(old.chain(channels.iter().cloned()).collect());
    }

    fn run_all(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in self.outbox.channels() {
            tasks.entry(channel).or_insert_with_key(|channel| {
                let (outbox, ends, channel) = (self.outbox.clone(), self.ends.clone(), channel.clone());
                tokio::spawn(async move { outbox.run(&channel, ends.as_ref(), &TokioTimer).await })
            });
        }
    }

    /// Sends nothing any more.
    pub(crate) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(JoinHandle::abort);
    }
}
