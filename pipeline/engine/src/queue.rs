//! Queues between shards and in front of them, bounded in bytes.

use crate::{Message, Signal};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A queue of messages with one consumer. It holds its bound in bytes and one message more: whoever fills it asks for
/// room first. Messages without rows always pass, so that a full queue never holds up a barrier.
#[derive(Debug)]
pub struct Queue {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Told of every message.
    consumer: Arc<Signal>,
    /// Told when there is room again.
    producer: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    /// An empty queue for `bytes_max` bytes.
    pub fn new(bytes_max: usize, consumer: Arc<Signal>, producer: Arc<Signal>) -> Self {
        Self { bytes_max, inner: Mutex::default(), consumer, producer }
    }

    /// Appends a message. False where the queue is closed: the message is gone.
    pub fn push(&self, message: Message) -> bool {
        let mut inner = self.lock();
        if inner.is_closed {
            return false;
        }
        inner.bytes += message.bytes();
        inner.messages.push_back(message);
        drop(inner);
        self.consumer.notify();
        true
    }

    /// Whether the next message with rows may be appended.
    pub fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.is_closed || inner.bytes < self.bytes_max
    }

    /// Blocks until there is room.
    pub fn wait_for_room(&self) {
        loop {
            let seen = self.producer.seen();
            if self.has_room() {
                return;
            }
            self.producer.wait(seen);
        }
    }

    /// Takes the oldest message; none where there is none now.
    pub fn pop(&self) -> Option<Message> {
        let mut inner = self.lock();
        let had_room = inner.bytes < self.bytes_max;
        let message = inner.messages.pop_front()?;
        inner.bytes -= message.bytes();
        let gives_room = !had_room && inner.bytes < self.bytes_max;
        drop(inner);
        if gives_room {
            self.producer.notify();
        }
        Some(message)
    }

    /// Refuses further messages; those inside can still be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.consumer.notify();
        self.producer.notify();
    }

    /// Whether nothing is inside and nothing will come.
    pub fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.is_closed && inner.messages.is_empty()
    }

    /// Whether something is inside.
    pub fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Bytes inside.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells every queue the same; one that is closed belongs to a shard that has ended.
pub(crate) fn tell(queues: &[Arc<Queue>], message: &Message) {
    for queue in queues {
        queue.push(message.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use arrow::record_batch::RecordBatch;
    use bodkin_schema::{Epoch, Stream};

    #[test]
    fn a_full_queue_makes_the_sender_wait_and_lets_barriers_pass() {
        let queue = Arc::new(Queue::new(64, Arc::default(), Arc::default()));
        let rows = || Message::data(Batch::made("drops", RecordBatch::new_empty(Stream::Drops.schema())));
        assert!(queue.has_room() && queue.push(rows()));
        assert!(!queue.has_room());
        assert!(queue.push(Message::Barrier(Epoch(1))));
        let sender = std::thread::spawn({
            let queue = queue.clone();
            move || queue.wait_for_room()
        });
        assert!(matches!(queue.pop(), Some(Message::Data { .. })));
        sender.join().unwrap();
        queue.close();
        assert!(!queue.push(Message::Drain) && !queue.is_over());
        assert!(matches!(queue.pop(), Some(Message::Barrier(Epoch(1)))));
        assert!(queue.pop().is_none() && queue.is_over() && queue.bytes() == 0);
    }
}
