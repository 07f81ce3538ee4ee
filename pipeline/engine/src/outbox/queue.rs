//! What waits, by channel and arrival, within bounds.

use super::{BODY_COLUMN, DELIVER_STREAM, Delivery, Ended, KEY_COLUMN};
use crate::Batch;
use arrow::array::{Array, AsArray, StringArray};
use bodkin_schema::dataflow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Given up deliveries of one channel whose row is not written yet; beyond, they are only counted.
const GIVEN_UP_MAX: usize = 10_000;

/// Everything that waits.
#[derive(Default)]
pub(super) struct State {
    queues: BTreeMap<String, Waiting>,
    /// Channel and key of what rows of a replay say has ended, before it is offered again.
    done: BTreeSet<(String, String)>,
    next: u64,
    /// Of all queues.
    bytes: usize,
    is_open: bool,
}

/// What waits for one channel.
#[derive(Default)]
struct Waiting {
    /// By arrival.
    pending: BTreeMap<u64, Delivery>,
    keys: HashMap<String, u64>,
    bytes: usize,
    given_up: Vec<Ended>,
}

impl State {
    /// Takes deliveries. Of a channel for which more than `bytes_max` wait the oldest are given up; where more than
    /// `all_bytes_max` wait for all of them, the oldest of the channel with most. Returns how many of those get no row that
    /// says so.
    pub(super) fn offer(
        &mut self,
        deliveries: impl IntoIterator<Item = Delivery>,
        bytes_max: usize,
        all_bytes_max: usize,
    ) -> u64 {
        let mut untold = 0;
        for delivery in deliveries {
            let channel = delivery.channel.clone();
            self.add(delivery);
            while self.queues.get(&channel).is_some_and(|waiting| waiting.bytes > bytes_max) {
                untold += self.give_up(&channel, "too much waits for the channel");
            }
            while self.bytes > all_bytes_max
                && let Some(most) = self.queues.iter().max_by_key(|(_, waiting)| waiting.bytes)
            {
                let channel = most.0.clone();
                untold += self.give_up(&channel, "too much waits for all channels, and most for this one");
            }
        }
        untold
    }

    /// Gives up the oldest delivery of a channel. Returns 1 where no row says so.
    fn give_up(&mut self, channel: &str, reason: &str) -> u64 {
        let Some(waiting) = self.queues.get_mut(channel) else { return 0 };
        let Some((_, oldest)) = waiting.pending.pop_first() else { return 0 };
        waiting.keys.remove(&oldest.key);
        waiting.bytes -= oldest.bytes();
        self.bytes -= oldest.bytes();
        if waiting.given_up.len() >= GIVEN_UP_MAX {
            return 1;
        }
        let (channel, dead) = (channel.to_owned(), Some(reason.to_owned()));
        waiting.given_up.push(Ended { channel, key: oldest.key, attempts: 0, dead });
        0
    }

    /// Says that rows of a replay are over.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// Whether that was said.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The barrier has passed every level: nothing of a replay is under way any more.
    pub(super) fn end_replay(&mut self) {
        if self.is_open {
            self.done.clear();
        }
    }

    /// Names of channels for which something waits, or did.
    pub(super) fn channels(&self) -> impl Iterator<Item = &String> {
        self.queues.keys()
    }

    /// All that waits, by channel and arrival.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Delivery> {
        self.queues.values().flat_map(|waiting| waiting.pending.values())
    }

    /// The oldest deliveries of a channel; none before it is open.
    pub(super) fn oldest(&self, channel: &str, count: usize) -> Vec<Delivery> {
        let waiting = self.queues.get(channel).filter(|_| self.is_open);
        waiting.map_or_else(Vec::new, |waiting| waiting.pending.values().take(count).cloned().collect())
    }

    /// Takes the deliveries of a channel that were given up and have no row yet.
    pub(super) fn given_up(&mut self, channel: &str) -> Vec<Ended> {
        self.queues.get_mut(channel).map(|waiting| std::mem::take(&mut waiting.given_up)).unwrap_or_default()
    }

    fn add(&mut self, delivery: Delivery) {
        if self.done.contains(&(delivery.channel.clone(), delivery.key.clone())) {
            return;
        }
        let waiting = self.queues.entry(delivery.channel.clone()).or_default();
        if waiting.keys.contains_key(&delivery.key) {
            return;
        }
        self.next += 1;
        waiting.bytes += delivery.bytes();
        self.bytes += delivery.bytes();
        waiting.keys.insert(delivery.key.clone(), self.next);
        waiting.pending.insert(self.next, delivery);
    }

    /// Forgets a delivery: its end is written down.
    pub(super) fn remove(&mut self, channel: &str, key: &str) {
        let Some(waiting) = self.queues.get_mut(channel) else { return };
        if let Some(delivery) = waiting.keys.remove(key).and_then(|number| waiting.pending.remove(&number)) {
            waiting.bytes -= delivery.bytes();
            self.bytes -= delivery.bytes();
        }
    }

    /// Takes rows of table `deliveries`: what they say has ended.
    pub(super) fn ended(&mut self, batch: &Batch) {
        let (Some(channels), Some(keys)) = (text(batch, dataflow::CHANNEL), text(batch, dataflow::KEY)) else { return };
        for (channel, key) in channels.iter().zip(keys).filter_map(|(channel, key)| Some((channel?, key?))) {
            self.remove(channel, key);
            if !self.is_open {
                // Kept until the first epoch that ends after the replay.
                self.done.insert((channel.to_owned(), key.to_owned()));
            }
        }
    }
}

fn text<'a>(batch: &'a Batch, name: &str) -> Option<&'a StringArray> {
    batch.records.column_by_name(name).and_then(|column| column.as_string_opt::<i32>())
}

/// The rows of a batch of deliveries; one without a key or a body is none.
pub(super) fn deliveries(batch: &Batch) -> Vec<Delivery> {
    let channel = batch.stream.strip_prefix(DELIVER_STREAM).unwrap_or_default();
    let (Some(keys), Some(bodies)) = (text(batch, KEY_COLUMN), text(batch, BODY_COLUMN)) else { return Vec::new() };
    let delivery = |row: usize| Delivery {
        channel: channel.to_owned(),
        key: keys.value(row).to_owned(),
        body: bodies.value(row).to_owned(),
        epoch: batch.epoch.0,
    };
    (0..batch.records.num_rows()).filter(|row| keys.is_valid(*row) && bodies.is_valid(*row)).map(delivery).collect()
}
