//! Metrics of other protocols to rows of `series`, `samples` and `histograms`.
//!
//! A body is read where it lies, its samples become columns, the columns go through the log, and the sender is answered
//! when they are durable and visible. What the answer looks like on the wire is the listener's matter (`bodkin-http`);
//! who holds recent samples is behind [`Memory`].
//!
//! ```no_run
//! # async fn example(ingest: std::sync::Arc<bodkin_ingest::IngestService>, memory: std::sync::Arc<dyn bodkin_gateway::Memory>,
//! #     body: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//! use bodkin_gateway::{Encoding, Gateway, GatewayLimits, Version};
//! use bodkin_ingest::LocalProducer;
//! use bodkin_schema::Tenant;
//!
//! let producer = LocalProducer::new(ingest, "node-1/metrics")?;
//! let gateway = std::sync::Arc::new(Gateway::new(producer, memory, GatewayLimits::default()));
//! let written = gateway.remote_write(&Tenant::default(), Version::V1, Encoding::Snappy, body).await?;
//! println!("{} samples", written.samples);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`gateway`] | [`Gateway`]: bodies in, answers when they are durable |
//! | `remote_write` | Prometheus remote write v1 and v2 |
//! | `otlp`, `delta` | OTLP metrics; changes added up to totals |
//! | [`statsd`] | StatsD and DogStatsD, added up |
//! | [`page`], `text`, `families` | pages of exporters: Prometheus's text format, OpenMetrics, protocol buffers |
//! | `wire`, `decompress` | protocol buffers and compressed bodies from outside (SAFE-1) |
//! | `series` | series by the bytes of their labels |
//! | `intake`, `rows`, `histogram` | a request as columns |
//! | `bodies` | bodies that are sent again |
//! | [`own`] | samples that this process makes itself |
//! | [`memory`] | [`Memory`]: who holds recent samples, exemplars and metadata |
//! | [`limits`] | [`TenantLimits`]: limits by tenant, and what they refused |
//! | `tenants` | what is kept of each tenant |

mod bodies;
mod decompress;
mod delta;
mod families;
pub mod gateway;
mod histogram;
mod intake;
pub mod limits;
pub mod memory;
mod otlp;
pub mod own;
pub mod page;
mod remote_write;
mod rows;
mod series;
pub mod statsd;
mod tenants;
mod text;
mod wire;

pub use decompress::{DecompressError, Encoding};
pub use gateway::{Gateway, GatewayStats, TenantUse, WriteError};
pub use histogram::{Buckets, Histogram};
pub use intake::{Problems, Written};
pub use limits::{GatewayLimits, Limit, Refusals, TenantLimits};
pub use memory::{Exemplar, Memory, Metadata, Suspect, SuspectValue, Verdict};
pub use own::{OwnExemplar, OwnLabels, OwnSample, OwnValue};
pub use page::{Histograms, PageFormat, PageSample, read_page};
pub use remote_write::Version;
pub use series::SeriesError;
pub use text::TextFormat;
pub use wire::WireError;
