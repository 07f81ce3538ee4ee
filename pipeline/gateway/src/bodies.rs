//! Bodies that were stored, by hash: a sender that lost an answer sends the same bytes again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a body is remembered.
const REMEMBERED_US: i64 = 600_000_000;
/// Bodies that are remembered at most: 24 bytes each.
const BODIES_MAX: usize = 1 << 20;

/// Hashes of bodies and when they were stored.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stored: HashMap<u128, i64>,
    order: VecDeque<(i64, u128)>,
}

impl Bodies {
    /// Whether the body was stored within the last ten minutes.
    pub(crate) fn is_stored(&self, hash: u128, now_us: i64) -> bool {
        self.state().stored.get(&hash).is_some_and(|at| now_us.saturating_sub(*at) < REMEMBERED_US)
    }

    /// The body is durable, all of it.
    pub(crate) fn store(&self, hash: u128, now_us: i64) {
        let mut state = self.state();
        state.stored.insert(hash, now_us);
        state.order.push_back((now_us, hash));
        while let Some((at, oldest)) = state.order.front().copied() {
            if state.order.len() <= BODIES_MAX && now_us.saturating_sub(at) < REMEMBERED_US {
                break;
            }
            state.order.pop_front();
            // It may have been stored again since.
            if state.stored.get(&oldest) == Some(&at) {
                state.stored.remove(&oldest);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_after_ten_minutes() {
        let bodies = Bodies::default();
        bodies.store(1, 0);
        bodies.store(2, 1);
        assert!(bodies.is_stored(1, REMEMBERED_US - 1) && !bodies.is_stored(1, REMEMBERED_US));
        bodies.store(1, 5);
        bodies.store(3, REMEMBERED_US + 2);
        let state = bodies.state();
        assert_eq!((state.stored.len(), state.order.len()), (2, 2));
    }
}
