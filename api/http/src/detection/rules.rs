//! `GET` and `POST /api/v1/rules`.

use crate::error::{ApiError, ErrorBody};
use crate::parameters::Parameters;
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bodkin_rules::{Diagnostic, Matching, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// What to tell of rules.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParameters {
    /// The text of the rule files as well.
    #[serde(default)]
    files: bool,
}

/// Lists the rules that run, and those that are disabled.
#[utoipa::path(get, path = "/api/v1/rules", tag = "detection", params(ListParameters), responses(
    (status = 200, description = "The rules in the order of definition", body = Object),
))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Json<Value> {
    let running = state.detection.rules();
    let rules: Vec<Value> = running.rules.rules().iter().map(rule).collect();
    let matching = if running.matching == Matching::All { "all" } else { "first" };
    let files = running.files.iter().map(|file| match parameters.files {
        true => json!({"name": file.name, "content": file.content}),
        false => json!({"name": file.name, "bytes": file.content.len()}),
    });
    let files: Vec<Value> = files.collect();
    Json(json!({"matching": matching, "rules": rules, "files": files}))
}

fn rule(rule: &Rule) -> Value {
    json!({
        "rule": rule.name,
        "description": rule.description,
        "priority": rule.priority.name(),
        "source": rule.source.name(),
        "tags": rule.tags,
        "techniques": rule.techniques,
        "enabled": rule.is_enabled,
    })
}

/// What came of reading rule files again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadResponse {
    /// The files are in force.
    pub ok: bool,
    /// What is wrong with them; any keeps the rules that ran before.
    pub errors: Vec<RuleMessage>,
    /// What may not be as meant.
    pub warnings: Vec<RuleMessage>,
}

/// A message about a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleMessage {
    /// Falco's code for this kind of message.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// File.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u64>,
    /// Column in that line, from 1.
    pub column: Option<u64>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&Diagnostic> for RuleMessage {
    fn from(diagnostic: &Diagnostic) -> Self {
        let place = diagnostic.place.as_ref();
        Self {
            code: diagnostic.code.to_owned(),
            message: diagnostic.message.clone(),
            file: place.map(|place| place.file.clone()),
            line: place.map(|place| place.line as u64),
            column: place.map(|place| place.column as u64),
            hint: diagnostic.hint.clone(),
        }
    }
}

/// Reads the configured rule files again.
///
/// Where they have an error, the rules that ran before go on.
#[utoipa::path(post, path = "/api/v1/rules", tag = "detection", responses(
    (status = 200, description = "The files are in force from the next event on", body = ReloadResponse),
    (status = 422, description = "The files have errors", body = ReloadResponse),
    (status = 500, description = "They could not be put into force", body = ErrorBody),
))]
pub(crate) async fn reload(State(state): State<AppState>) -> Result<(StatusCode, Json<ReloadResponse>), ApiError> {
    let report = state.detection.reload().await?;
    let status = if report.is_ok() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let messages = |all: &[Diagnostic]| all.iter().map(RuleMessage::from).collect();
    let (errors, warnings) = (messages(&report.errors), messages(&report.warnings));
    Ok((status, Json(ReloadResponse { ok: report.is_ok(), errors, warnings })))
}
