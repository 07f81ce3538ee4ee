//! Kernel events as rows of `events`.
//!
//! [`EventsBuilder`] takes an event and its process and appends to columns. The texts of a process are looked up once
//! per batch and process (`RowKeys`); a further row of the same process copies nine keys. What is left per row is
//! the path, if there is one: no allocation, one copy into the column.
//!
//! | module | what it holds |
//! |---|---|
//! | [`builder`] | [`EventsBuilder`] |
//! | `detail` | the columns that depend on the kind of event: paths, descriptors, flags, sockets |
//! | `text` | dictionary columns in the making |
//! | `flags` | flags by name |

pub mod builder;
mod detail;
mod flags;
mod text;

pub use builder::{EventsBuilder, Origin};

use text::Key;

/// Texts of a process that every one of its rows repeats.
pub(crate) const PROCESS_TEXTS: usize = 9;

/// Keys of a process's texts in the batch that is being built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowKeys {
    /// The batch that the keys are of; 0 for none.
    batch: u64,
    keys: [Key; PROCESS_TEXTS],
}

impl RowKeys {
    /// To be called when a text of the process has changed.
    pub(crate) fn forget(&mut self) {
        self.batch = 0;
    }
}
