//! The loop of a channel: the oldest goes first, failures wait and are tried again, ends are written down.

use super::{ChannelError, Delivery, EndLog, Ended, Outbox};
use crate::Timer;
use futures::future::select;
use std::sync::atomic::Ordering;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Attempts of a delivery after which a receiver alone says when to come again.
const WISHES_MAX: u32 = 3;

impl Outbox {
    /// Sends what is pending to one channel, in order, for ever. Safe to drop.
    pub async fn run(&self, channel: &str, log: &dyn EndLog, timer: &dyn Timer) {
        let mut attempts = 0;
        // Deliveries that go alone, because one of them spoils the run.
        let mut alone = 0_usize;
        loop {
            let (seen, replaced) = (self.changed.seen(), self.replaced.seen());
            let given_up = self.lock().given_up(channel);
            self.end(given_up, log, timer).await;
            let own = self.channel(channel);
            let run_max = own.as_ref().map_or(1, |own| own.run_max().max(1));
            // After an error one delivery tries whether the receiver is back.
            let run = self.lock().oldest(channel, if attempts > 0 || alone > 0 { 1 } else { run_max });
            let Some(first) = run.first() else {
                self.changed.changed(seen).await;
                continue;
            };
            let outcome = match own {
                Some(own) => own.send(&run).await,
                None => Err(ChannelError {
                    reason: "there is no such channel any more".to_owned(),
                    is_final: true,
                    retry_after: None,
                }),
            };
            attempts += 1;
            let dead = match outcome {
                Ok(()) => None,
                Err(error) if error.is_final && run.len() > 1 => {
                    (alone, attempts) = (run.len(), 0);
                    continue;
                }
                Err(error) if error.is_final || attempts >= self.options.attempts_max => Some(error.reason),
                Err(error) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    let wait = self.wait_for(&error, &first.key, attempts);
                    tracing::warn!(channel, key = first.key, attempts, %error, "delivery waits and is tried again");
                    // Whoever mends a channel does not wait for it.
                    let replaced = std::pin::pin!(self.replaced.changed(replaced));
                    select(timer.sleep(wait), replaced).await;
                    continue;
                }
            };
            let ended = |delivery: &Delivery| Ended {
                channel: channel.to_owned(),
                key: delivery.key.clone(),
                attempts,
                dead: dead.clone(),
            };
            self.end(run.iter().map(ended).collect(), log, timer).await;
            attempts = 0;
            alone = alone.saturating_sub(run.len());
        }
    }

    /// Writes down how deliveries ended; only then they are forgotten.
    async fn end(&self, ended: Vec<Ended>, log: &dyn EndLog, timer: &dyn Timer) {
        if ended.is_empty() {
            return;
        }
        for one in &ended {
            let counter = if one.dead.is_some() { &self.stats.dead } else { &self.stats.sent };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(reason) = &one.dead {
                tracing::error!(channel = one.channel, key = one.key, reason, "delivery is given up");
            }
        }
        while let Err(error) = log.ended(&ended).await {
            tracing::warn!(%error, "the end of deliveries cannot be written down");
            timer.sleep(self.options.retry_min).await;
        }
        let mut state = self.lock();
        ended.iter().for_each(|one| state.remove(&one.channel, &one.key));
    }

    /// As long as the receiver wants; one that has said so a few times and was still busy waits at least as long as one that
    /// says nothing, or all attempts would be over in a moment.
    fn wait_for(&self, error: &ChannelError, key: &str, attempts: u32) -> Duration {
        match error.retry_after {
            Some(wish) if attempts <= WISHES_MAX => wish,
            Some(wish) => wish.max(self.wait(key, attempts - WISHES_MAX)),
            None => self.wait(key, attempts),
        }
    }

    /// Doubles with each attempt; up to half of it is left off, so that many do not come back at one moment.
    pub(super) fn wait(&self, key: &str, attempts: u32) -> Duration {
        let doubled = self.options.retry_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let share = (xxh3_64(format!("{key}{attempts}").as_bytes()) % 512) as f64 / 1024.0;
        doubled.min(self.options.retry_max).mul_f64(1.0 - share)
    }
}
