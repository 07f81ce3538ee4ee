//! Routes and inhibition as an Alertmanager's configuration, for tools that ask one for it: `amtool config routes test`.

use crate::config::{AlertsConfig, Route};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where alerts go that no route takes: an Alertmanager's first route takes all.
const NOWHERE: &str = "nowhere";

impl AlertsConfig {
    /// As an Alertmanager's configuration; none where nothing is routed.
    pub fn as_alertmanager(&self) -> Option<Value> {
        let own = self.route.as_ref()?;
        let mut receivers: Vec<Value> = own.channels().into_iter().map(|name| json!({"name": name})).collect();
        let route = if own.matches.is_empty() {
            route(own)
        } else {
            receivers.push(json!({"name": NOWHERE}));
            json!({"receiver": NOWHERE, "routes": [route(own)]})
        };
        let inhibit: Vec<Value> = self
            .inhibit
            .iter()
            .map(|one| {
                json!({"source_matchers": matchers(&one.source), "target_matchers": matchers(&one.target), "equal": one.equal})
            })
            .collect();
        Some(json!({"route": route, "receivers": receivers, "inhibit_rules": inhibit}))
    }
}

fn route(own: &Route) -> Value {
    let mut made = Map::new();
    made.insert("receiver".to_owned(), own.channel.as_str().into());
    made.insert("group_by".to_owned(), json!(own.group_by));
    made.insert("group_wait".to_owned(), duration(own.group_wait).into());
    // An Alertmanager knows no interval of nothing.
    for (name, interval) in [("group_interval", own.group_interval), ("repeat_interval", own.repeat)] {
        if !interval.is_zero() {
            made.insert(name.to_owned(), duration(interval).into());
        }
    }
    if !own.matches.is_empty() {
        made.insert("matchers".to_owned(), json!(matchers(&own.matches)));
    }
    if own.goes_on {
        made.insert("continue".to_owned(), true.into());
    }
    if !own.routes.is_empty() {
        made.insert("routes".to_owned(), own.routes.iter().map(route).collect());
    }
    Value::Object(made)
}

fn matchers(texts: &BTreeMap<String, String>) -> Vec<String> {
    let matcher = |(name, value): (&String, &String)| match value.strip_prefix('~') {
        Some(pattern) => format!("{name}=~{}", Value::from(pattern)),
        None => format!("{name}={}", Value::from(value.as_str())),
    };
    texts.iter().map(matcher).collect()
}

fn duration(of: Duration) -> String {
    match of.subsec_millis() {
        0 => format!("{}s", of.as_secs()),
        _ => format!("{}ms", of.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(text: &str) -> Option<Value> {
        serde_json::from_str::<AlertsConfig>(text).unwrap().as_alertmanager()
    }

    #[test]
    fn routes_and_inhibition() {
        assert_eq!(exported("{}"), None);
        let made = exported(
            r#"{"route": {"channel": "ops", "group_interval": "0s", "repeat": "1500ms",
                "routes": [{"channel": "pager", "match": {"host": "~web\\d", "severity": "critical"}, "continue": true}]},
                "inhibit": [{"source": {"a": "b"}, "target": {"c": "~d"}, "equal": ["host"]}]}"#,
        );
        let expected = json!({
            "route": {"receiver": "ops", "group_by": ["alertname"], "group_wait": "0s", "repeat_interval": "1500ms", "routes": [
                {"receiver": "pager", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "10s",
                    "repeat_interval": "14400s", "matchers": ["host=~\"web\\\\d\"", "severity=\"critical\""], "continue": true}]},
            "receivers": [{"name": "ops"}, {"name": "pager"}],
            "inhibit_rules": [{"source_matchers": ["a=\"b\""], "target_matchers": ["c=~\"d\""], "equal": ["host"]}],
        });
        assert_eq!(made, Some(expected));
    }

    #[test]
    fn a_first_route_that_does_not_take_all_lies_below_one_that_does() {
        let made = exported(r#"{"route": {"channel": "ops", "match": {"team": "a"}}}"#).unwrap();
        assert_eq!(
            (&made["route"]["receiver"], &made["route"]["routes"][0]["receiver"]),
            (&json!("nowhere"), &json!("ops"))
        );
        assert_eq!(made["receivers"], json!([{"name": "ops"}, {"name": "nowhere"}]));
    }
}
