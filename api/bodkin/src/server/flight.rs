//! The Flight listener's service: DoPut is ingest's, DoExchange gives live rows, actions of agents are their
//! configuration's, everything else is Flight SQL's.

use super::agents::AgentConfigs;
use super::subscribe::subscribe;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo, SchemaResult, Ticket,
};
use bodkin_engine::Engine;
use bodkin_flight::{PrincipalHook, SqlService};
use bodkin_ingest::{IngestService, PutStream};
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// All of them on one port.
pub(super) struct FlightRouter {
    pub(super) sql: SqlService,
    pub(super) ingest: Arc<IngestService>,
    pub(super) engine: Arc<Engine>,
    pub(super) agents: Arc<AgentConfigs>,
    pub(super) principal: PrincipalHook,
}

#[tonic::async_trait]
impl FlightService for FlightRouter {
    type HandshakeStream = <SqlService as FlightService>::HandshakeStream;
    type ListFlightsStream = <SqlService as FlightService>::ListFlightsStream;
    type DoGetStream = <SqlService as FlightService>::DoGetStream;
    type DoPutStream = PutStream;
    type DoActionStream = <SqlService as FlightService>::DoActionStream;
    type ListActionsStream = <SqlService as FlightService>::ListActionsStream;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<PutStream>, Status> {
        let principal = (self.principal)(request.metadata(), request.extensions())?;
        Ok(bodkin_ingest::flight_put(&self.ingest, principal, request))
    }

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.sql.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.sql.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.sql.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.sql.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.sql.get_schema(request).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.sql.do_get(request).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let principal = (self.principal)(request.metadata(), request.extensions())?;
        subscribe(&self.engine, principal.tenant, request.into_inner()).await.map(Response::new)
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        if request.get_ref().r#type.starts_with("bodkin.agent.") {
            (self.principal)(request.metadata(), request.extensions())?;
            if let Some(answers) = self.agents.answer(request.get_ref()).await {
                return answers.map(Response::new);
            }
        }
        self.sql.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.sql.list_actions(request).await
    }
}
