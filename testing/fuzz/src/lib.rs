//! What fuzzers and tests with mutants share, in every crate that reads foreign bytes.
//!
//! | | |
//! |---|---|
//! | [`Random`] | numbers that a seed repeats |
//! | [`mutated`] | an input with a few changes of the kind that break readers |
//! | [`Corpus`] | inputs that were taken as good, to be changed again |
//! | [`Target`], [`Arguments`], [`run`] | a reader of bytes, and the loop that throws mutants at it for as long as asked |

mod corpus;
mod mutate;
mod random;
mod run;

pub use corpus::Corpus;
pub use mutate::mutated;
pub use random::Random;
pub use run::{Arguments, Take, Target, resident_mib, run};
