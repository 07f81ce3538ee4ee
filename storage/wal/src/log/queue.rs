//! The queue between appends and the writer thread, bounded in bytes.

use crate::frame::EncodedFrame;
use crate::{Error, Result};
use bodkin_schema::Position;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Permits count in this unit, since a semaphore takes at most `u32::MAX` at once.
const PERMIT_BYTES: usize = 1024;

/// Called by the writer thread when the outcome of an append is known: in log order, before the [`Ticket`] resolves.
/// Blocking it holds up the log, which is how a reader of the log sets its pace. It must not append to the same log.
pub type OnEnd = Box<dyn FnOnce(Result<Position>) + Send>;

pub(super) struct Job {
    pub(super) frame: EncodedFrame,
    on_end: Option<OnEnd>,
    done: oneshot::Sender<Result<Position>>,
    permit: OwnedSemaphorePermit,
}

impl Job {
    /// Tells the outcome and frees the room.
    pub(super) fn end(mut self, outcome: Result<Position>) {
        self.tell(&outcome);
        self.resolve(outcome);
    }

    /// Calls the closure.
    pub(super) fn tell(&mut self, outcome: &Result<Position>) {
        if let Some(on_end) = self.on_end.take() {
            on_end(outcome.clone());
        }
    }

    /// Frees the room and resolves the ticket.
    pub(super) fn resolve(self, outcome: Result<Position>) {
        let Self { frame, done, permit, .. } = self;
        drop((frame, permit));
        // Nobody may be waiting any more.
        done.send(outcome).ok();
    }
}

/// Room in the queue for one frame.
pub struct Slot {
    queue: Arc<Queue>,
    frame: EncodedFrame,
    permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("bytes", &self.frame.len()).finish_non_exhaustive()
    }
}

impl Slot {
    /// Takes the next place in the log. Does not block. If the log has failed meanwhile `on_end` is called at once.
    pub fn send(self, on_end: Option<OnEnd>) -> Ticket {
        self.try_send(on_end).unwrap_or_else(|unsent| {
            let (done, ticket) = oneshot::channel();
            if let Some(on_end) = unsent.on_end {
                on_end(Err(unsent.error.clone()));
            }
            done.send(Err(unsent.error)).ok();
            Ticket(ticket)
        })
    }

    /// As [`Slot::send`], for callers that hold a lock which `on_end` takes: it is never called from in here.
    ///
    /// # Errors
    /// The closure, not called, if the log takes nothing any more.
    pub fn try_send(self, on_end: Option<OnEnd>) -> Result<Ticket, Unsent> {
        let (done, ticket) = oneshot::channel();
        let mut state = self.queue.state();
        if let Some(error) = state.stopped.clone() {
            return Err(Unsent { error, on_end });
        }
        state.jobs.push_back(Job { frame: self.frame, on_end, done, permit: self.permit });
        drop(state);
        self.queue.work.notify_one();
        self.queue.work_task.notify_one();
        Ok(Ticket(ticket))
    }
}

/// What [`Slot::try_send`] gives back.
pub struct Unsent {
    /// Why the log takes nothing.
    pub error: Error,
    /// The closure.
    pub on_end: Option<OnEnd>,
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Resolves to the position after the frame once it is durable. Dropping it does not take the frame back.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Position>>);

impl Future for Ticket {
    type Output = Result<Position>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Where the segment may end and go: everything before it is in tables.
    renewal: Option<Position>,
    is_closing: bool,
    stopped: Option<Error>,
}

pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// The same for a writer that is a task.
    work_task: Notify,
    room: Arc<Semaphore>,
    permits: usize,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("free_bytes", &self.free_bytes()).finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(bytes: usize) -> Self {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, u32::MAX as usize);
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            work_task: Notify::new(),
            room: Arc::new(Semaphore::new(permits)),
            permits,
        }
    }

    /// No code of others runs under the lock, so a poisoned one holds a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) async fn slot(self: &Arc<Self>, frame: EncodedFrame) -> Result<Slot> {
        self.check()?;
        // A frame that is larger than the whole queue goes alone.
        let permits = frame.len().div_ceil(PERMIT_BYTES).min(self.permits) as u32;
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| Error::Closed)?;
        self.check()?;
        Ok(Slot { queue: self.clone(), frame, permit })
    }

    fn check(&self) -> Result<()> {
        self.state().stopped.clone().map_or(Ok(()), Err)
    }

    pub(super) fn free_bytes(&self) -> usize {
        self.room.available_permits() * PERMIT_BYTES
    }

    /// Asks the writer for a new segment, if the present one still ends at `position` when it gets to it.
    pub(super) fn renew(&self, position: Position) {
        self.state().renewal = Some(position);
        self.work.notify_one();
        self.work_task.notify_one();
    }

    /// What was asked for by [`Self::renew`].
    pub(super) fn take_renewal(&self) -> Option<Position> {
        self.state().renewal.take()
    }

    /// Waits for work; false when the queue is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        while state.jobs.is_empty() && state.renewal.is_none() {
            if state.is_closing {
                return false;
            }
            state = self.work.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        true
    }

    /// As [`Self::wait`], for a task.
    pub(super) async fn ready(&self) -> bool {
        loop {
            let notified = self.work_task.notified();
            {
                let state = self.state();
                let has_work = !state.jobs.is_empty() || state.renewal.is_some();
                if has_work || state.is_closing {
                    return has_work;
                }
            }
            notified.await;
        }
    }

    /// Takes at least one job, then as many as fit into `bytes_max`; nothing where nothing waits.
    pub(super) fn take(&self, bytes_max: usize) -> Vec<Job> {
        let mut state = self.state();
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(job) = state.jobs.front() {
            bytes += job.frame.len();
            if !group.is_empty() && bytes > bytes_max {
                break;
            }
            group.extend(state.jobs.pop_front());
        }
        group
    }

    /// Everything that waits.
    pub(super) fn drain(&self) -> Vec<Job> {
        self.state().jobs.drain(..).collect()
    }

    /// Lets the writer end after what is queued; what comes later is refused.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closing = true;
        state.stopped.get_or_insert(Error::Closed);
        drop(state);
        self.work.notify_all();
        self.work_task.notify_one();
    }

    /// Refuses everything from now on, with `error` if there is no earlier reason.
    pub(super) fn stop(&self, error: Error) {
        self.state().stopped.get_or_insert(error);
    }
}
