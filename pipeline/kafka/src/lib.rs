//! Topics of Kafka as sources of rows.
//!
//! ```text
//!  partition  --messages--> decode --rows--> lane kafka/<source>/<topic>/<partition> --> our log --> graph
//!      ^                                       number of a row = its offset + 1
//!      |                                                |
//!      +---- start at the lane's mark <---- intent, log-+
//! ```
//! What is durable of a lane says where its partition goes on: a message is stored once whatever dies (ONCE-1), and the
//! broker's own offsets are only told for those who watch the lag, and for the node that takes a partition over. A node
//! that takes over from one that was killed may read again what the other had not told the broker: at least once.
//!
//! A message that cannot be read becomes a row of `drops`, reason `malformed`; messages that the broker has deleted
//! before they were read become one with reason `expired` (DROP-1).
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | [`KafkaOptions`]: brokers, topics, group |
//! | [`decode`] | [`Decode`]: messages to rows; [`JsonRows`]: an object per message |
//! | `assignment` | where a partition starts when the group gives it to us |
//! | `partition` | the lanes of one partition |
//! | [`source`] | [`KafkaSource`]: reads, stores, goes on |

mod assignment;
pub mod decode;
pub mod options;
mod partition;
pub mod source;

pub use decode::{Decode, Decoded, JsonRows};
pub use options::{From, KafkaOptions};
pub use source::{KafkaError, KafkaSource, KafkaStats};
