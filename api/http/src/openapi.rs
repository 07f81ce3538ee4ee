//! `/api/v1/openapi.json`, made from the handlers' own types.

use axum::Json;
use utoipa::OpenApi;

/// The document of this surface.
#[derive(OpenApi)]
#[openapi(
    info(title = "Bodkin", description = "SQL, health and administration of a Bodkin node."),
    paths(
        crate::sql::sql,
        crate::detection::detect,
        crate::detection::list,
        crate::detection::reload,
        crate::detection::findings,
        crate::detection::live,
        crate::detection::k8s_audit,
        crate::detection::cloudtrail,
        crate::alerting::alerts,
        crate::alerting::rules,
        crate::alerting::silences,
        crate::alerting::silence,
        crate::alerting::expire,
        crate::alerting::test,
        crate::health::healthz,
        crate::health::readyz,
        crate::health::status,
        crate::health::flush,
        crate::health::compact,
        crate::rollup::rollups,
        crate::rollup::make,
        crate::graph::graph,
        crate::graph::tap,
        crate::metrics::metrics,
        openapi,
    ),
    tags(
        (name = "query", description = "Asking"),
        (name = "detection", description = "Rules and what they find"),
        (name = "alerts", description = "Alerts, silences and channels"),
        (name = "operation", description = "Watching the node"),
        (name = "administration", description = "Telling the node what to do"),
    ),
)]
pub(crate) struct Document;

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "operation", responses(
    (status = 200, description = "OpenAPI document of this surface", content_type = "application/json", body = Object),
))]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
