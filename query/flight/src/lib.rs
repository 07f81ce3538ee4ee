//! Flight SQL over the query engine.
