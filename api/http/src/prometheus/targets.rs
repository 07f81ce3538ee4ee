//! Targets of scraping as Prometheus shows them.

use super::answer::{ApiFailure, data};
use super::api;
use super::params::Params;
use super::rules::time;
use crate::state::AppState;
use axum::extract::State;
use axum::response::Response;
use bodkin_scrape::{PoolView, TargetView};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn all(state: &AppState) -> Result<Vec<PoolView>, ApiFailure> {
    Ok(api(state)?.scraper.as_ref().map(|scraper| scraper.pools()).unwrap_or_default())
}

pub(super) async fn targets(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let (wanted, pool) = (params.get("state").to_lowercase(), params.get("scrapePool"));
    let shows = |kind: &str| wanted.is_empty() || wanted == "any" || wanted == kind;
    let mut pools = all(&state)?;
    pools.retain(|view| pool.is_empty() || view.job == pool);
    pools.sort_by(|left, right| left.job.cmp(&right.job));
    let active =
        pools.iter().filter(|_| shows("active")).flat_map(|view| view.active.iter().map(|t| target(&view.job, t)));
    let dropped = pools
        .iter()
        .filter(|_| shows("dropped"))
        .flat_map(|view| view.dropped.iter().map(|labels| json!({"discoveredLabels": labels, "scrapePool": view.job})));
    let counts: Map<String, Value> = match shows("dropped") {
        true => pools.iter().map(|view| (view.job.clone(), json!(view.dropped_count))).collect(),
        false => Map::new(),
    };
    data(&json!({
        "activeTargets": active.collect::<Vec<_>>(),
        "droppedTargets": dropped.collect::<Vec<_>>(),
        "droppedTargetCounts": counts,
    }))
}

fn target(pool: &str, view: &TargetView) -> Value {
    let known = |name: &str| view.target.discovered.get(name).cloned().unwrap_or_default();
    json!({
        "discoveredLabels": view.target.discovered,
        "labels": view.target.labels,
        "scrapePool": pool,
        "scrapeUrl": view.target.url.as_str(),
        "globalUrl": view.target.url.as_str(),
        "lastError": view.error.as_deref().unwrap_or_default(),
        "lastScrape": view.scraped_at_ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        "lastScrapeDuration": view.seconds,
        "health": view.health.as_str(),
        "scrapeInterval": known("__scrape_interval__"),
        "scrapeTimeout": known("__scrape_timeout__"),
    })
}

pub(super) async fn pools(State(state): State<AppState>) -> Result<Response, ApiFailure> {
    let mut names: Vec<String> = all(&state)?.into_iter().map(|view| view.job).collect();
    names.sort();
    data(&json!({"scrapePools": names}))
}

/// What the targets say of their metrics: of those that `match_target` fits, of `metric` alone where it is given.
pub(super) async fn metadata(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let (limit, wanted, selector) = (params.limit()?, params.get("metric"), params.get("match_target"));
    let matchers = match selector {
        "" => Vec::new(),
        selector => bodkin_promql::parse_selector(selector).map_err(ApiFailure::from)?,
    };
    let fits = |labels: &BTreeMap<String, String>| {
        matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).map_or("", String::as_str)))
    };
    let mut found = Vec::new();
    for view in all(&state)?.iter().flat_map(|pool| &pool.active).filter(|view| fits(&view.target.labels)) {
        for said in view.metadata.iter().filter(|said| wanted.is_empty() || said.name == wanted) {
            if found.len() >= limit {
                return data(&found);
            }
            let mut shown =
                json!({"target": view.target.labels, "type": said.kind, "help": said.help, "unit": said.unit});
            if wanted.is_empty() {
                shown["metric"] = json!(said.name);
            }
            found.push(shown);
        }
    }
    data(&found)
}
