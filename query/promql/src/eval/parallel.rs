//! Work in pieces on several threads, taken in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// Makes `count` pieces, on several threads where that is more than one, and hands them over in order.
///
/// At most three pieces a thread wait to be handed over. Stops at the first error.
pub(crate) fn in_order<T: Send>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<T, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    if threads <= 1 || count <= 1 {
        return (0..count).try_for_each(|i| take(make(i)?));
    }
    let queue = Queue { count, window: 3 * threads, state: Mutex::default(), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(|| {
                let stop = StopOnDrop(&queue);
                while let Some(piece) = queue.claim(true) {
                    queue.put(piece, make(piece));
                }
                std::mem::forget(stop);
            });
        }
        let _stop = StopOnDrop(&queue);
        for wanted in 0..count {
            let made = loop {
                if let Some(made) = queue.pick_up(wanted) {
                    break made;
                }
                match queue.claim(false) {
                    Some(piece) => queue.put(piece, make(piece)),
                    None => queue.wait_for(wanted)?,
                }
            };
            take(made?)?;
        }
        Ok(())
    })
}

struct Queue<T> {
    count: usize,
    /// How far makers may be ahead of the taker.
    window: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    next: usize,
    taken: usize,
    made: BTreeMap<usize, Result<T, Error>>,
    is_stopped: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { next: 0, taken: 0, made: BTreeMap::new(), is_stopped: false }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece to make; waits for room if told so.
    fn claim(&self, waits: bool) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.is_stopped || state.next >= self.count {
                return None;
            }
            if state.next < state.taken + self.window {
                state.next += 1;
                return Some(state.next - 1);
            }
            if !waits {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, piece: usize, made: Result<T, Error>) {
        self.lock().made.insert(piece, made);
        self.changed.notify_all();
    }

    fn pick_up(&self, wanted: usize) -> Option<Result<T, Error>> {
        let mut state = self.lock();
        let made = state.made.remove(&wanted)?;
        state.taken = wanted + 1;
        drop(state);
        self.changed.notify_all();
        Some(made)
    }

    fn wait_for(&self, wanted: usize) -> Result<(), Error> {
        let mut state = self.lock();
        while !state.made.contains_key(&wanted) {
            if state.is_stopped {
                return Err(Error::Execution("a thread of the query ended early".to_owned()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

/// Ends the work when the taker leaves, or when a maker panics.
struct StopOnDrop<'a, T>(&'a Queue<T>);

impl<T> Drop for StopOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.lock().is_stopped = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_over_in_order() {
        for threads in [1, 2, 5] {
            let mut taken = Vec::new();
            let take = |v| {
                taken.push(v);
                Ok(())
            };
            in_order(100, threads, |i| Ok(i * i), take).unwrap();
            assert_eq!(taken, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn stops_at_the_first_error() {
        let error = || Error::Execution("no".to_owned());
        let mut taken = 0;
        let take = |_| {
            taken += 1;
            Ok(())
        };
        let failed = in_order(100, 4, |i| if i == 40 { Err(error()) } else { Ok(i) }, take);
        assert_eq!((failed, taken), (Err(error()), 40));
        assert_eq!(in_order(100, 4, Ok, |i| if i == 3 { Err(error()) } else { Ok(()) }), Err(error()));
    }
}
