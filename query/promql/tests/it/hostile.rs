//! What is meant to break the evaluator does not.
