//! Flight SQL over the query engine.
//!
//! [`SqlService`] answers Arrow Flight SQL clients (ADBC, JDBC) and the short form `{"query": "..."}` of plain Flight
//! clients. It keeps nothing between calls: a ticket holds the text of its query and no authority, so whoever brings it
//! sees the rows of its own tenant. It takes no rows: DoPut of streams is `bodkin-ingest`'s. A process that has both
//! implements `FlightService` once, gives every call but DoPut to [`SqlService`], and answers DoPut of a command
//! descriptor as unimplemented (the first message cannot be put back once it is read).
//!
//! ```no_run
//! # async fn example(engine: std::sync::Arc<bodkin_query::QueryEngine>) -> Result<(), Box<dyn std::error::Error>> {
//! use bodkin_flight::SqlService;
//! use bodkin_schema::Principal;
//! use std::sync::Arc;
//!
//! let service = SqlService::new(engine, Arc::new(|_metadata, _connection| Ok(Principal::default())));
//! tonic::transport::Server::builder().add_service(service.into_server()).serve("127.0.0.1:9471".parse()?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`service`] | [`SqlService`]: principal, short form, delegation |
//! | `statements` | the commands of Flight SQL |
//! | `metadata` | what clients ask about server and types |
//! | `encode` | answers as messages of bounded size |
//! | `status` | errors of queries as gRPC states |

mod encode;
mod metadata;
pub mod service;
mod statements;
mod status;

pub use service::{PrincipalHook, SqlService};
