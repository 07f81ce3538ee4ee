//! What the evaluator asks of a store.
