//! Kernel events as rows of `events`.
//!
//! [`EventsBuilder`] appends an event to columns. What rows say of their process is appended once per batch, process and
//! state ([`ProcessColumns`]); a row then only names that place, and the columns are repeated over all rows at the end.
//! What is left per row is the path, if there is one: no allocation, one copy into the column.
//!
//! | module | what it holds |
//! |---|---|
//! | [`builder`] | [`EventsBuilder`] |
//! | [`process_columns`] | [`ProcessColumns`] |
//! | `container_columns` | what is said of containers |
//! | [`sockets`] | [`SocketTable`]: who accepted a connection, which peer came last |
//! | `detail`, `paths`, `endpoint`, `arguments` | the columns that depend on the kind of event |
//! | `flags`, `names` | values by name |
//! | `text`, `sparse` | columns in the making: dictionaries, and such as are null in most rows |
//! | `repeat` | values of processes repeated over rows |

mod arguments;
pub mod builder;
mod container_columns;
mod detail;
mod endpoint;
mod flags;
mod names;
mod paths;
pub mod process_columns;
mod repeat;
pub mod sockets;
mod sparse;
pub(crate) mod text;

pub use builder::{EventsBuilder, Origin};
pub use process_columns::ProcessColumns;
pub use sockets::SocketTable;
