//! The agent: kernel events and host metrics as Arrow batches, sent over Flight.
