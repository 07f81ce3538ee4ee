//! Segment log of Arrow IPC frames.
