//! The service: who asks, and the short form of a query, in front of Flight SQL.

use crate::statements::Statements;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use bodkin_query::QueryEngine;
use bodkin_schema::Principal;
use bytes::Bytes;
use futures::stream::BoxStream;
use prost::Message;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

/// Says on whose behalf a call runs, from its metadata and what the connection is known by (peer, certificate).
pub type PrincipalHook = Arc<dyn Fn(&MetadataMap, &Extensions) -> Result<Principal, Status> + Send + Sync>;

/// A query without Flight SQL: `{"query": "SELECT ..."}` as a descriptor's command or as a ticket.
#[derive(Deserialize)]
struct ShortForm {
    query: String,
}

/// Flight SQL over a [`QueryEngine`], and the short form of a query. Stateless: clones are the same service.
#[derive(Clone)]
pub struct SqlService {
    statements: Statements,
    principal: PrincipalHook,
}

impl fmt::Debug for SqlService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlService").finish_non_exhaustive()
    }
}

impl SqlService {
    /// Answers with `engine` on behalf of whom `principal` names for each call.
    pub fn new(engine: Arc<QueryEngine>, principal: PrincipalHook) -> Self {
        Self { statements: Statements { engine }, principal }
    }

    /// The service alone on a listener.
    pub fn into_server(self) -> FlightServiceServer<Self> {
        FlightServiceServer::new(self)
    }

    /// Puts the principal on the request, or refuses it. What a caller put there is overwritten.
    fn admit<T>(&self, mut request: Request<T>) -> Result<Request<T>, Status> {
        let principal = (self.principal)(request.metadata(), request.extensions())?;
        request.extensions_mut().insert(principal);
        Ok(request)
    }
}

/// The query of a short form; none where the bytes are a Flight SQL message, which never begins with a brace.
fn short_form(bytes: &Bytes) -> Result<Option<String>, Status> {
    if bytes.first() != Some(&b'{') {
        return Ok(None);
    }
    let parsed: Result<ShortForm, _> = serde_json::from_slice(bytes);
    let wrong = |error| Status::invalid_argument(format!("the command is not {{\"query\": \"SELECT ...\"}}: {error}"));
    parsed.map(|short| Some(short.query)).map_err(wrong)
}

#[tonic::async_trait]
impl FlightService for SqlService {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.statements.handshake(self.admit(request)?).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.statements.list_flights(self.admit(request)?).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let mut request = self.admit(request)?;
        let asked = request.get_ref().clone();
        if let Some(query) = short_form(&asked.cmd)? {
            let command = CommandStatementQuery { query, transaction_id: None };
            request.get_mut().cmd = command.as_any().encode_to_vec().into();
        }
        let mut info = self.statements.get_flight_info(request).await?;
        info.get_mut().flight_descriptor = Some(asked);
        Ok(info)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.statements.poll_flight_info(self.admit(request)?).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let mut request = self.admit(request)?;
        if let Some(query) = short_form(&request.get_ref().ticket)? {
            let ticket = TicketStatementQuery { statement_handle: query.into() };
            request.get_mut().ticket = ticket.as_any().encode_to_vec().into();
        }
        self.statements.do_get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.statements.do_put(self.admit(request)?).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.statements.do_exchange(self.admit(request)?).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.statements.do_action(self.admit(request)?).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.statements.list_actions(self.admit(request)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_brace_begins_a_short_form() {
        let parse = |text: &'static str| short_form(&Bytes::from_static(text.as_bytes()));
        assert_eq!(parse(r#"{"query": "SELECT 1", "more": 1}"#).unwrap(), Some("SELECT 1".to_owned()));
        assert_eq!(parse("\nJtype.googleapis.com").unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        assert!(parse("{\"sql\": 1}").unwrap_err().message().contains("missing field `query`"));
    }
}
