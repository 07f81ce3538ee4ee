//! Operators: pure, synchronous state machines over batches, chained by plain nested calls.

use crate::Batch;
use bodkin_schema::{Epoch, EventTime};
use bytes::Bytes;

/// One step of the graph. It has no clock, no network and no await, so that it can be tested from literals and
/// replayed over history (DET-1).
pub trait Operator: Send {
    /// Name in configuration, metrics and pictures.
    fn name(&self) -> &str;

    /// Takes rows and emits what follows from them.
    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>);

    /// No row with an earlier event time is expected.
    fn on_watermark(&mut self, _time: EventTime, _out: &mut Output<'_>) {}

    /// Gives the state at the end of an epoch; none where the operator keeps none.
    fn on_barrier(&mut self, _epoch: Epoch) -> Option<Bytes> {
        None
    }

    /// Takes back the state that `on_barrier` gave.
    fn restore(&mut self, _state: Bytes) {}
}

/// Where an operator's rows go: the next operators, then the end of the chain.
pub struct Output<'a> {
    next: &'a mut [Box<dyn Operator>],
    end: &'a mut dyn FnMut(Batch),
}

impl Output<'_> {
    /// Hands rows on.
    pub fn emit(&mut self, batch: Batch) {
        match self.next.split_first_mut() {
            Some((operator, next)) => operator.on_batch(batch, &mut Output { next, end: self.end }),
            None => (self.end)(batch),
        }
    }
}

/// Runs one batch through `chain`; what comes out goes to `end`.
pub fn run_chain(chain: &mut [Box<dyn Operator>], batch: Batch, end: &mut dyn FnMut(Batch)) {
    Output { next: chain, end }.emit(batch);
}

/// Tells every operator of `chain`, in order, of a watermark.
pub fn run_watermark(chain: &mut [Box<dyn Operator>], time: EventTime, end: &mut dyn FnMut(Batch)) {
    for index in 0..chain.len() {
        let (head, next) = chain.split_at_mut(index + 1);
        head[index].on_watermark(time, &mut Output { next, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::record_batch::RecordBatch;
    use bodkin_schema::Stream;

    /// Emits every batch twice, and one more at a watermark.
    struct Twice;

    impl Operator for Twice {
        fn name(&self) -> &str {
            "twice"
        }

        fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
            out.emit(batch.clone());
            out.emit(batch);
        }

        fn on_watermark(&mut self, _time: EventTime, out: &mut Output<'_>) {
            out.emit(empty());
        }
    }

    fn empty() -> Batch {
        Batch::made("drops", RecordBatch::new_empty(Stream::Drops.schema()))
    }

    #[test]
    fn a_chain_is_nested_calls() {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(Twice), Box::new(Twice)];
        let mut seen = 0;
        run_chain(&mut chain, empty(), &mut |_| seen += 1);
        assert_eq!(seen, 4);
        run_watermark(&mut chain, EventTime(0), &mut |_| seen += 1);
        assert_eq!(seen, 4 + 2 + 1);
    }
}
