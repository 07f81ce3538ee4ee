//! Configuration from the server: it is pushed whenever it changes, and what came of it is told back.
//!
//! ```text
//! DoAction "bodkin.agent.config" {host, host_id}                     -> {version, agent: {...} or null} | ...
//! DoAction "bodkin.agent.report" {host, host_id, version, error}     -> nothing
//! ```
//! The first stays open. A server that does not know it is asked again after a minute.

use super::Server;
use crate::agent::{Control, Pushed};
use crate::config::AgentSection;
use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The action whose answers are configurations.
pub const CONFIG_ACTION: &str = "bodkin.agent.config";
/// The action that tells what came of one.
pub const REPORT_ACTION: &str = "bodkin.agent.report";

/// Time before a server that knows no configurations is asked again, and one that is away.
const RETRY_UNKNOWN: Duration = Duration::from_secs(60);
const RETRY_AWAY: Duration = Duration::from_secs(2);

/// Largest configuration.
const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Who asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asker {
    /// Host name.
    pub host: String,
    /// Stable identity of the host.
    pub host_id: String,
}

/// What came of a configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who says so.
    #[serde(flatten)]
    pub asker: Asker,
    /// The configuration.
    pub version: String,
    /// Why it was not taken over.
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    /// Read by itself, so that a version that is wrong is told back.
    agent: serde_json::Value,
}

/// Takes configurations over for as long as it runs. Dropping the future is safe.
pub(super) async fn run(server: &Server, channel: Channel, asker: Asker, control: Arc<Control>) {
    loop {
        let rest = match follow(server, &channel, &asker, &control).await {
            Err(status) if status.code() == Code::Unimplemented => RETRY_UNKNOWN,
            Err(status) => {
                tracing::debug!(%status, "no configurations from the server for now");
                RETRY_AWAY
            }
            Ok(()) => RETRY_AWAY,
        };
        sleep(rest).await;
    }
}

async fn follow(server: &Server, channel: &Channel, asker: &Asker, control: &Control) -> Result<(), Status> {
    let mut service = FlightServiceClient::new(channel.clone()).max_decoding_message_size(CONFIG_BYTES_MAX);
    let question = action(CONFIG_ACTION, asker)?;
    let mut answers = service.do_action(server.request(question)).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        let answer: Answer = serde_json::from_slice(&answer.body)
            .map_err(|error| Status::invalid_argument(format!("the server's configuration: {error}")))?;
        let known = control.pushed();
        let outcome = match known.version == answer.version && known.error.is_none() {
            true => known, // the connection was lost, nothing else
            false => control.push(&answer.version, section(answer.agent)),
        };
        report(server, &mut service, asker, outcome).await?;
    }
    Ok(())
}

fn section(json: serde_json::Value) -> Result<Option<AgentSection>, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

async fn report(
    server: &Server,
    service: &mut FlightServiceClient<Channel>,
    asker: &Asker,
    Pushed { version, error }: Pushed,
) -> Result<(), Status> {
    let report = action(REPORT_ACTION, &Report { asker: asker.clone(), version, error })?;
    let mut answers = service.do_action(server.request(report)).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

fn action(kind: &str, body: &impl Serialize) -> Result<Action, Status> {
    let body = serde_json::to_vec(body).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Action { r#type: kind.to_owned(), body: body.into() })
}
