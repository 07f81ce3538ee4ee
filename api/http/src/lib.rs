//! REST surface: SQL, health, metrics, administration.
