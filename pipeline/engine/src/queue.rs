//! The queue in front of a shard, bounded in bytes.

use crate::Message;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A queue of messages. It holds at most its bound in bytes, or one message that is larger.
#[derive(Debug)]
pub struct Queue {
    bytes_max: usize,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    /// An empty queue for at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Appends a message; waits while there is no room. False where the queue is closed: the message is gone.
    pub fn push(&self, message: Message) -> bool {
        let bytes = message.bytes();
        let mut inner = self.lock();
        while !inner.is_closed && inner.bytes > 0 && inner.bytes + bytes > self.bytes_max {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.is_closed {
            return false;
        }
        inner.bytes += bytes;
        inner.messages.push_back(message);
        self.changed.notify_all();
        true
    }

    /// Takes the oldest message; waits while there is none. None where the queue is closed and empty.
    pub fn pop(&self) -> Option<Message> {
        let mut inner = self.lock();
        loop {
            if let Some(message) = inner.messages.pop_front() {
                inner.bytes -= message.bytes();
                self.changed.notify_all();
                return Some(message);
            }
            if inner.is_closed {
                return None;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses further messages; those inside can still be taken.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Bytes inside.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::Epoch;
    use std::sync::Arc;

    #[test]
    fn a_full_queue_makes_the_sender_wait() {
        let queue = Arc::new(Queue::new(128));
        for epoch in 0..2 {
            assert!(queue.push(Message::Barrier(Epoch(epoch))));
        }
        let sender = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(Message::Drain)
        });
        assert_eq!(queue.bytes(), 128, "the third message waits outside");
        assert!(matches!(queue.pop(), Some(Message::Barrier(Epoch(0)))));
        assert!(sender.join().unwrap());
        queue.close();
        assert!(!queue.push(Message::Drain));
        assert!(matches!(queue.pop(), Some(Message::Barrier(Epoch(1)))));
        assert!(matches!(queue.pop(), Some(Message::Drain)));
        assert!(queue.pop().is_none());
    }
}
