//! Flight SQL commands. Nothing is kept between calls: tickets and prepared statements hold the text of the query,
//! and whoever brings one sees what its own principal may see (ISO-1).

use crate::encode::{answer_messages, batch_messages};
use crate::metadata::{CATALOG, SCHEMA, TABLE_TYPES, schema_bytes, sql_info, type_info};
use crate::status::status;
use arrow::array::AsArray;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandStatementQuery, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket};
use bodkin_query::QueryEngine;
use bodkin_schema::Principal;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use prost::Message;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

type DoGet = Result<Response<<Statements as FlightService>::DoGetStream>, Status>;

/// Flight SQL over an engine. Every request carries its [`Principal`] as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    pub(crate) engine: Arc<QueryEngine>,
}

impl Statements {
    async fn info(&self, text: &str, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let schema = self.engine.describe(principal(&request)?, text).await.map_err(|error| status(&error))?;
        let ticket = TicketStatementQuery { statement_handle: Bytes::copy_from_slice(text.as_bytes()) };
        info(&ticket, &schema, request.into_inner())
    }

    async fn rows(&self, text: &str, principal: &Principal) -> DoGet {
        let answer = self.engine.sql(principal, text).await.map_err(|error| status(&error))?;
        Ok(Response::new(answer_messages(answer)))
    }

    /// Names and types of all tables.
    async fn tables(&self, principal: &Principal) -> Result<Vec<RecordBatch>, Status> {
        let text =
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
        let answer = self.engine.sql(principal, text).await.map_err(|error| status(&error))?;
        answer.collect().await.map_err(|error| status(&error))
    }
}

/// The principal that the service has put on the request.
fn principal<T>(request: &Request<T>) -> Result<&Principal, Status> {
    request.extensions().get::<Principal>().ok_or_else(|| Status::unauthenticated("the request has no principal"))
}

fn info(
    ticket: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(internal)?
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

fn one_batch(batch: Result<RecordBatch, impl std::fmt::Display>) -> DoGet {
    Ok(Response::new(batch_messages(batch.map_err(internal)?)))
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn text(handle: &Bytes) -> Result<&str, Status> {
    std::str::from_utf8(handle).map_err(|_| Status::invalid_argument("the ticket holds no query"))
}

#[tonic::async_trait]
impl FlightSqlService for Statements {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, Status> {
        Ok(Response::new(stream::iter([Ok(HandshakeResponse::default())]).boxed()))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(&query.query, request).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.info(text(&query.prepared_statement_handle)?, request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.clone().into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.into_builder().schema(), request.into_inner())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.clone().into_builder(sql_info()).schema(), request.into_inner())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query, &query.into_builder(type_info()).schema(), request.into_inner())
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> DoGet {
        self.rows(text(&ticket.statement_handle)?, principal(&request)?).await
    }

    async fn do_get_prepared_statement(&self, query: CommandPreparedStatementQuery, request: Request<Ticket>) -> DoGet {
        self.rows(text(&query.prepared_statement_handle)?, principal(&request)?).await
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> DoGet {
        let mut catalogs = query.into_builder();
        catalogs.append(CATALOG);
        one_batch(catalogs.build())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _request: Request<Ticket>) -> DoGet {
        let mut schemas = query.into_builder();
        schemas.append(CATALOG, SCHEMA);
        one_batch(schemas.build())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> DoGet {
        let principal = principal(&request)?;
        let is_schema_wanted = query.include_schema;
        let mut tables = query.into_builder();
        for batch in self.tables(principal).await? {
            let (names, types) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            for (name, table_type) in names.iter().flatten().zip(types.iter().flatten()) {
                let schema = if is_schema_wanted {
                    let text = format!("SELECT * FROM {SCHEMA}.{name}");
                    self.engine.describe(principal, &text).await.map_err(|error| status(&error))?
                } else {
                    Arc::new(Schema::empty())
                };
                tables.append(CATALOG, SCHEMA, name, table_type, &schema).map_err(internal)?;
            }
        }
        one_batch(tables.build())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> DoGet {
        let mut types = query.into_builder();
        TABLE_TYPES.into_iter().for_each(|table_type| types.append(table_type));
        one_batch(types.build())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> DoGet {
        one_batch(query.into_builder(sql_info()).build())
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _request: Request<Ticket>) -> DoGet {
        one_batch(query.into_builder(type_info()).build())
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let schema = self.engine.describe(principal(&request)?, &query.query).await.map_err(|error| status(&error))?;
        let dataset_schema = schema_bytes(&schema).map_err(|error: ArrowError| internal(error))?;
        let prepared_statement_handle = query.query.into();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle,
            dataset_schema,
            parameter_schema: Bytes::new(),
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}
