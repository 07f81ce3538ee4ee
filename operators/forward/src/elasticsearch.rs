//! Elasticsearch and OpenSearch. Contract: the bulk API,
//! <https://www.elastic.co/guide/en/elasticsearch/reference/current/docs-bulk.html> and
//! <https://docs.opensearch.org/latest/api-reference/document-apis/bulk/>: lines of JSON, an action and a document by turns;
//! the answer has a status for each. Documents are created under the key of their row: what comes again is there already,
//! says 409, and is stored once. An action `create` with `@timestamp` is what data streams take, too.

use crate::config::{Common, ConfigError, Secret, url};
use crate::http::{Http, dead, is_final, retry, send_within};
use crate::message::{Message, row_key};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Deliveries that one run takes: requests of some MiB are what such a cluster likes best.
const RUN_MAX: usize = 4;
/// Bytes of an answer: a status for each row, and what is wrong with it.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// It is there already.
const CONFLICT: u16 = 409;
const TIMESTAMP: &str = "@timestamp";

/// The section `elasticsearch`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ElasticsearchSection {
    /// `https://host:9200`; `/_bulk` is added.
    url: String,
    /// An index, an alias, or a data stream.
    index: String,
    /// As the cluster gives it, in base64.
    api_key: Option<Secret>,
    user: Option<String>,
    password: Option<Secret>,
}

#[derive(Debug)]
pub(crate) struct Elasticsearch {
    common: Common,
    http: Http,
    url: String,
    index: String,
    login: Login,
}

/// Who we say we are.
enum Login {
    None,
    Key(String),
    Password(String, String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

impl Elasticsearch {
    pub(crate) fn new(common: Common, section: &ElasticsearchSection, http: Http) -> Result<Self, ConfigError> {
        let login = match (&section.api_key, &section.user, &section.password) {
            (None, None, None) => Login::None,
            (Some(key), None, None) => Login::Key(key.read("api_key")?),
            (None, Some(user), Some(password)) => Login::Password(user.clone(), password.read("password")?),
            _ => return Err(ConfigError::new("api_key", "write api_key, or user and password, or none of them")),
        };
        if section.index.is_empty() {
            return Err(ConfigError::new("index", "is empty: name an index, an alias or a data stream"));
        }
        let url = format!("{}/_bulk", url("url", &section.url)?.as_str().trim_end_matches('/'));
        Ok(Self { common, http, url, index: section.index.clone(), login })
    }

    /// Action and document of each row.
    fn body(&self, run: &[Delivery]) -> Result<String, ChannelError> {
        let now = jiff::Timestamp::from_microsecond(self.common.clock.now().micros()).unwrap_or_default().to_string();
        let mut body = String::new();
        for delivery in run {
            let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
            for (at, row) in rows.into_iter().enumerate() {
                let action = json!({"create": {"_index": self.index, "_id": row_key(delivery, at)}});
                body.push_str(&format!("{action}\n{}\n", Value::Object(document(row, &now))));
            }
        }
        Ok(body)
    }
}

/// A row with the column that a data stream wants; it has the row's own time where that has one.
fn document(mut row: Map<String, Value>, now: &str) -> Map<String, Value> {
    if !row.contains_key(TIMESTAMP) {
        let own = row.get("ts").filter(|ts| ts.is_string()).cloned();
        row.insert(TIMESTAMP.to_owned(), own.unwrap_or_else(|| now.into()));
    }
    row
}

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// What became of the rows. One that may get better has all of the run come again; those that are there say so then.
fn judge(answer: &str) -> Result<(), ChannelError> {
    let answer: Answer =
        serde_json::from_str(answer).map_err(|error| retry(format!("no answer to a bulk: {error}")))?;
    if !answer.errors {
        return Ok(());
    }
    let items = answer.items.iter().flat_map(BTreeMap::values);
    let (hopeless, busy): (Vec<&Item>, Vec<&Item>) = items
        .filter(|item| !(200..300).contains(&item.status) && item.status != CONFLICT)
        .partition(|item| is_final(item.status));
    let said = |item: &Item| {
        let text = |name: &str| item.error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {}: {}", item.status, text("type"), text("reason"))
    };
    match (busy.first(), hopeless.first()) {
        (Some(item), _) => Err(retry(said(item))),
        (None, Some(item)) => {
            Err(dead(format!("{} of {} rows are refused: {}", hopeless.len(), answer.items.len(), said(item))))
        }
        (None, None) => Ok(()),
    }
}

#[async_trait]
impl Channel for Elasticsearch {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn run_max(&self) -> usize {
        RUN_MAX
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let request = self.http.post(&self.url).header("content-type", "application/x-ndjson").body(self.body(run)?);
        let request = match &self.login {
            Login::None => request,
            Login::Key(key) => request.header("authorization", format!("ApiKey {key}")),
            Login::Password(user, password) => request.basic_auth(user, Some(password)),
        };
        judge(&send_within(request, ANSWER_BYTES_MAX).await?)?;
        self.common.pace().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(statuses: &[u16]) -> String {
        let item =
            |status: &u16| json!({"create": {"_id": "k", "status": status, "error": {"type": "t", "reason": "why"}}});
        let items: Vec<Value> = statuses.iter().map(item).collect();
        json!({"took": 1, "errors": statuses.iter().any(|status| *status > 299), "items": items}).to_string()
    }

    #[test]
    fn each_row_has_a_status() {
        assert!(judge(&answer(&[201, 201])).is_ok());
        assert!(judge(&answer(&[201, 409])).is_ok(), "it is there already");
        let error = judge(&answer(&[201, 429, 400])).unwrap_err();
        assert_eq!((error.is_final, error.reason.as_str()), (false, "429 t: why"));
        let error = judge(&answer(&[201, 400, 409, 400])).unwrap_err();
        assert_eq!((error.is_final, error.reason.as_str()), (true, "2 of 4 rows are refused: 400 t: why"));
        // What stands before a cluster may say anything.
        for text in ["", "<html>", "{}", r#"{"errors": true, "items": [7]}"#] {
            assert!(!judge(text).unwrap_err().is_final, "{text}");
        }
    }

    #[test]
    fn a_document_has_a_time() {
        let row = |value: Value| document(value.as_object().cloned().unwrap_or_default(), "now");
        assert_eq!(row(json!({"ts": "then"}))[TIMESTAMP], "then");
        assert_eq!(row(json!({"ts": 7}))[TIMESTAMP], "now");
        assert_eq!(row(json!({"ts": "then", "@timestamp": "own"}))[TIMESTAMP], "own");
    }
}
