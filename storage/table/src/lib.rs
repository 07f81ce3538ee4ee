//! Delta tables: sorted writer, log, snapshots.
