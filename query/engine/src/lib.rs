//! SQL over the tail and the tables.
