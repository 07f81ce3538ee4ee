//! A shard: one thread that runs the graph.

use crate::operator::{run_chain, run_watermark};
use crate::{Batch, Mark, Message, Operator, Queue, Sink};
use bodkin_schema::{Epoch, EventTime, Lane, Position, Seq, Tenant};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, watch};

/// Lanes that have sent nothing for this long are forgotten: 30 days, longer than any spool lives.
const LANE_IDLE_MAX_US: i64 = 30 * 86_400 * 1_000_000;

/// How far a shard has come in the log. A query that starts after an acknowledgement waits for it here (ACK-2).
#[derive(Clone, Debug)]
pub struct Progress(watch::Receiver<Position>);

impl Progress {
    /// The position up to which every row is in the sinks.
    pub fn position(&self) -> Position {
        *self.0.borrow()
    }

    /// Waits until every row up to `position` is in the sinks, or the shard has stopped. Safe to drop.
    pub async fn reached(&self, position: Position) {
        // An error says that the shard has ended: what it took is all there is.
        let _ = self.0.clone().wait_for(|now| *now >= position).await;
    }
}

/// What a shard says at a barrier.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// The position of its last row.
    pub position: Position,
    /// The deduplication marks there.
    pub marks: Vec<Mark>,
}

/// A running shard. Dropping it drains the queue and ends the thread.
#[derive(Debug)]
pub struct Shard {
    queue: Arc<Queue>,
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    /// Starts a shard that runs `chain` into `sinks`, from `position` and `marks` on. Its queue holds at most
    /// `queue_bytes_max`. What it says at barriers comes out of the receiver.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub fn start(
        chain: Vec<Box<dyn Operator>>,
        sinks: Vec<Arc<dyn Sink>>,
        position: Position,
        marks: &[Mark],
        queue_bytes_max: usize,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Sealed>)> {
        let queue = Arc::new(Queue::new(queue_bytes_max));
        let (progress_sender, progress) = watch::channel(position);
        let (sealed_sender, sealed) = mpsc::unbounded_channel();
        let state = State {
            chain,
            sinks,
            position,
            marks: marks.iter().map(|mark| ((mark.tenant(), mark.lane()), (mark.seq(), mark.last_ingest()))).collect(),
            progress: progress_sender,
            sealed: sealed_sender,
        };
        let thread = std::thread::Builder::new().name("shard-0".into()).spawn({
            let queue = queue.clone();
            move || state.run(&queue)
        })?;
        Ok((Self { queue, progress: Progress(progress), thread: Some(thread) }, sealed))
    }

    /// The queue in front.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    chain: Vec<Box<dyn Operator>>,
    sinks: Vec<Arc<dyn Sink>>,
    position: Position,
    marks: HashMap<(Tenant, Lane), (Seq, EventTime)>,
    progress: watch::Sender<Position>,
    sealed: mpsc::UnboundedSender<Sealed>,
}

impl State {
    fn run(mut self, queue: &Queue) {
        while let Some(message) = queue.pop() {
            match message {
                Message::Data(batch) => self.on_batch(batch),
                Message::Watermark(time) => {
                    run_watermark(&mut self.chain, time, &mut |made| write_all(&self.sinks, made));
                }
                Message::Barrier(epoch) => self.on_barrier(epoch),
                Message::Drain => break,
            }
        }
        queue.close();
    }

    fn on_batch(&mut self, batch: Batch) {
        let position = batch.position;
        if let Some(origin) = &batch.origin {
            let mark = self
                .marks
                .entry((batch.tenant.clone(), origin.lane.clone()))
                .or_insert((origin.seq, batch.ingest_time));
            *mark = (mark.0.max(origin.seq), mark.1.max(batch.ingest_time));
        }
        run_chain(&mut self.chain, batch, &mut |made| write_all(&self.sinks, made));
        self.position = self.position.max(position);
        self.progress.send_replace(self.position);
    }

    fn on_barrier(&mut self, epoch: Epoch) {
        for sink in &self.sinks {
            sink.seal(epoch);
        }
        let newest = self.marks.values().map(|(_, ingest)| *ingest).max().unwrap_or_default();
        self.marks.retain(|_, (_, ingest)| newest.0.saturating_sub(ingest.0) <= LANE_IDLE_MAX_US);
        let mut marks: Vec<_> =
            self.marks.iter().map(|((tenant, lane), (seq, ingest))| Mark::new(tenant, lane, *seq, *ingest)).collect();
        marks.sort_unstable_by_key(|mark| (mark.tenant(), mark.lane()));
        // Without a coordinator there is nobody to tell: the process is going down.
        let _ = self.sealed.send(Sealed { epoch, position: self.position, marks });
    }
}

fn write_all(sinks: &[Arc<dyn Sink>], batch: Batch) {
    if let Some((last, others)) = sinks.split_last() {
        for sink in others {
            sink.write(batch.clone());
        }
        last.write(batch);
    }
}
