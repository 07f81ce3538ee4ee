//! Flight DoPut server: verify, deduplicate, log, acknowledge.
