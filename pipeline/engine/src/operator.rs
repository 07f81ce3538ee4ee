//! Operators: pure, synchronous state machines over batches, chained by plain nested calls.

use crate::{Batch, KeyGroup, SideInput};
use bodkin_schema::{Epoch, EventTime};
use bytes::Bytes;

/// One step of the graph. It has no clock, no network and no await, so that it can be tested from literals and
/// replayed over history (DET-1).
///
/// Each shard has an instance of its own. State is kept per key group: an operator with a key sees the rows of a group
/// on one shard at a time, one without a key sees the lanes of a group there ([`Batch::key_group`]).
pub trait Operator: Send {
    /// What it is, for errors; its name in the graph is its node's.
    fn name(&self) -> &str;

    /// Takes rows and emits what follows from them. Rows that are not emitted end here.
    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>);

    /// No row with an earlier event time is expected.
    fn on_watermark(&mut self, _time: EventTime, _out: &mut Output<'_>) {}

    /// A side input that the operator's node asked for has this value from here on.
    fn on_side_input(&mut self, _input: &SideInput, _out: &mut Output<'_>) {}

    /// Gives the whole state at the end of an epoch, by key group; a group without state is left out. What does not
    /// change between epochs is stored once.
    fn on_barrier(&mut self, _epoch: Epoch) -> Vec<(KeyGroup, Bytes)> {
        Vec::new()
    }

    /// Takes back what `on_barrier` gave for a group, before any row of it.
    ///
    /// # Errors
    /// Where the bytes are not such a state: the process does not start.
    fn restore(&mut self, _group: KeyGroup, _state: Bytes) -> Result<(), RestoreError> {
        Err("the operator keeps no state".into())
    }

    /// Bytes of the state.
    fn state_bytes(&self) -> usize {
        0
    }
}

/// Why a state is none.
pub type RestoreError = Box<dyn std::error::Error + Send + Sync>;

/// Where an operator's rows go.
pub struct Output<'a>(&'a mut dyn FnMut(Batch));

impl<'a> Output<'a> {
    /// An output that hands everything to `end`.
    pub fn new(end: &'a mut dyn FnMut(Batch)) -> Self {
        Self(end)
    }

    /// Hands rows on.
    pub fn emit(&mut self, batch: Batch) {
        (self.0)(batch);
    }
}

/// Runs one batch through `chain`, each operator feeding the next; what comes out goes to `end`.
pub fn run_chain(chain: &mut [Box<dyn Operator>], batch: Batch, end: &mut dyn FnMut(Batch)) {
    match chain.split_first_mut() {
        Some((operator, next)) => operator.on_batch(batch, &mut Output::new(&mut |made| run_chain(next, made, end))),
        None => end(batch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::record_batch::RecordBatch;
    use bodkin_schema::Stream;

    /// Emits every batch twice.
    struct Twice;

    impl Operator for Twice {
        fn name(&self) -> &str {
            "twice"
        }

        fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
            out.emit(batch.clone());
            out.emit(batch);
        }
    }

    #[test]
    fn a_chain_is_nested_calls() {
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(Twice), Box::new(Twice)];
        let mut seen = 0;
        run_chain(&mut chain, Batch::made("drops", RecordBatch::new_empty(Stream::Drops.schema())), &mut |_| seen += 1);
        assert_eq!(seen, 4);
    }

    #[test]
    fn state_for_an_operator_without_state_is_refused() {
        assert!(Twice.restore(KeyGroup::default(), Bytes::new()).is_err());
    }
}
