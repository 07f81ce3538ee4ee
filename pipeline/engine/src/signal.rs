//! Wakes whoever waits for something to change, be it a thread or a task.

use std::future::poll_fn;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A counter of changes that can be waited for.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    changes: u64,
    wakers: Vec<Waker>,
}

impl Signal {
    /// Notes a change.
    pub fn notify(&self) {
        let mut state = self.lock();
        state.changes = state.changes.wrapping_add(1);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The number of changes so far. Read it before looking at what may change.
    pub fn seen(&self) -> u64 {
        self.lock().changes
    }

    /// Blocks until there was a change since `seen`.
    pub fn wait(&self, seen: u64) {
        let mut state = self.lock();
        while state.changes == seen {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`Self::wait`], but not longer than `timeout`.
    pub fn wait_for(&self, seen: u64, timeout: Duration) {
        let state = self.lock();
        // Whoever called looks again, whatever woke it.
        drop(self.changed.wait_timeout_while(state, timeout, |state| state.changes == seen));
    }

    /// Resolves when there was a change since `seen`. Safe to drop.
    pub async fn changed(&self, seen: u64) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.changes != seen {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                state.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
