//! From alerts that fire to notifications: routes, groups, silences, inhibition, repeats.

use crate::config::{AlertsConfig, Route, micros};
use crate::matcher::{Matcher, Silence, matchers};
use bodkin_forward::message::NEVER;
use bodkin_forward::{Alert, Message, Notification, Status};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_128;

/// Alerts of one notification; those that are new or over come first.
const ALERTS_MAX: usize = 1000;

/// An alert as the notifier sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Firing {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) starts_at: i64,
    /// Where somebody else has it from.
    #[serde(default)]
    pub(crate) generator_url: String,
    /// When it was resolved.
    pub(crate) ends_at: Option<i64>,
}

/// Alerts that are notified together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Group {
    /// Where they are notified; empty where an older version wrote it.
    #[serde(default)]
    channel: String,
    /// Keys of its alerts.
    alerts: BTreeSet<String>,
    /// When it may be notified next.
    due: i64,
    /// When it was notified last.
    sent_at: Option<i64>,
    /// Key and start of the alerts that fired then.
    sent: BTreeMap<String, i64>,
    /// How often nothing was sent but what had been sent before.
    repeats: u64,
}

/// Groups of alerts, by number of the route and labels of the group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Notifier {
    /// As a list: a key of JSON is a text.
    #[serde(with = "pairs")]
    groups: BTreeMap<(usize, BTreeMap<String, String>), Group>,
    /// Alerts that fire, and those that were resolved and are not notified yet, by key.
    pub(crate) alerts: BTreeMap<String, Firing>,
}

/// A notification, ready to be delivered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    pub(crate) channel: String,
    pub(crate) key: String,
    pub(crate) body: String,
}

impl Notifier {
    /// An alert fires.
    pub(crate) fn fires(&mut self, config: &AlertsConfig, key: &str, alert: Firing, now: i64) {
        self.join(config, key, &alert, now);
        self.alerts.insert(key.to_owned(), alert);
    }

    /// Puts an alert into the groups of its routes.
    fn join(&mut self, config: &AlertsConfig, key: &str, alert: &Firing, now: i64) {
        for (number, route) in config.route.iter().flat_map(|route| route.takers(&alert.labels)) {
            let place = (number, group_labels(route, &alert.labels));
            let group = self.groups.entry(place).or_insert_with(|| Group {
                channel: route.channel.clone(),
                due: now.saturating_add(micros(route.group_wait)),
                ..Group::default()
            });
            group.alerts.insert(key.to_owned());
        }
    }

    /// The routes may be others now: groups that none of them makes go, and alerts that fire join those that are made.
    pub(crate) fn rerouted(&mut self, config: &AlertsConfig, now: i64) {
        let routes = config.route.iter().flat_map(all_routes).collect::<Vec<_>>();
        let alerts = &self.alerts;
        self.groups.retain(|(number, labels), group| {
            let Some(route) = routes.get(*number) else { return false };
            let is_taken = |alert: &Firing| {
                let takers = config.route.iter().flat_map(|route| route.takers(&alert.labels));
                takers.into_iter().any(|(taker, _)| taker == *number) && group_labels(route, &alert.labels) == *labels
            };
            group.alerts.retain(|key| alerts.get(key).is_some_and(is_taken));
            !group.alerts.is_empty() && [route.channel.as_str(), ""].contains(&group.channel.as_str())
        });
        let firing = self.alerts.iter().filter(|(_, alert)| alert.ends_at.is_none());
        for (key, alert) in firing.map(|(key, alert)| (key.clone(), alert.clone())).collect::<Vec<_>>() {
            self.join(config, &key, &alert, now);
        }
    }

    /// The clock was moved by `by` microseconds: what is measured from moves along.
    pub(crate) fn shift(&mut self, by: i64) {
        for group in self.groups.values_mut() {
            group.due = group.due.saturating_add(by);
            group.sent_at = group.sent_at.map(|at| at.saturating_add(by));
        }
    }

    /// An alert no longer fires.
    pub(crate) fn resolves(&mut self, key: &str, now: i64) {
        if let Some(alert) = self.alerts.get_mut(key) {
            alert.ends_at = Some(now);
        }
    }

    /// The notifications that are due at `now`.
    pub(crate) fn flush(&mut self, config: &AlertsConfig, silences: &[Silence], now: i64) -> Vec<Notice> {
        let Some(root) = &config.route else {
            self.alerts.retain(|_, alert| alert.ends_at.is_none());
            return Vec::new();
        };
        let routes = all_routes(root);
        let mut notices = Vec::new();
        let alerts = &self.alerts;
        let is_muted = |key: &str, alert: &Firing| {
            silences.iter().any(|silence| silence.mutes(&alert.labels, now))
                || !inhibited_by(config, alerts, key, alert).is_empty()
        };
        for ((number, labels), group) in &mut self.groups {
            let Some(route) = routes.get(*number) else { continue };
            if now < group.due {
                continue;
            }
            let open = |key: &&String| alerts.get(*key).is_some_and(|alert| !is_muted(key, alert));
            let firing: BTreeMap<String, i64> = group
                .alerts
                .iter()
                .filter(open)
                .filter_map(|key| {
                    Some((key.clone(), alerts.get(key).filter(|alert| alert.ends_at.is_none())?.starts_at))
                })
                .collect();
            let resolved: BTreeSet<String> = group
                .alerts
                .iter()
                .filter(|key| {
                    group.sent.contains_key(*key) && alerts.get(*key).is_some_and(|alert| alert.ends_at.is_some())
                })
                .cloned()
                .collect();
            let has_new = firing.iter().any(|(key, start)| group.sent.get(key) != Some(start));
            let repeat = micros(route.repeat);
            let is_repeat = !firing.is_empty() && group.sent_at.is_some_and(|sent| now.saturating_sub(sent) >= repeat);
            if has_new || !resolved.is_empty() || is_repeat {
                let is_same = !has_new && resolved.is_empty();
                group.repeats += u64::from(is_same);
                let is_known = |key: &&String| group.sent.get(*key) == firing.get(*key);
                let (known, new): (Vec<&String>, Vec<&String>) = firing.keys().partition(is_known);
                let shown: Vec<String> = new.into_iter().chain(&resolved).chain(known).cloned().collect();
                notices.push(notice(route, labels, alerts, &shown, group.repeats));
                group.sent_at = Some(now);
                group.due = now.saturating_add(micros(route.group_interval));
                // What was told and is muted now was told all the same: its end is told, too.
                group.sent.retain(|key, _| alerts.get(key).is_some_and(|alert| alert.ends_at.is_none()));
                group.sent.extend(firing);
            }
            // What was resolved is told once, or never where nobody heard of it.
            group.alerts.retain(|key| alerts.get(key).is_some_and(|alert| alert.ends_at.is_none()));
        }
        self.groups.retain(|_, group| !group.alerts.is_empty());
        let groups = &self.groups;
        self.alerts
            .retain(|key, alert| alert.ends_at.is_none() || groups.values().any(|group| group.alerts.contains(key)));
        notices
    }
}

/// Every route, as they are numbered.
fn all_routes(route: &Route) -> Vec<&Route> {
    let mut routes = vec![route];
    routes.extend(route.routes.iter().flat_map(all_routes));
    routes
}

fn group_labels(route: &Route, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    if route.group_by.iter().any(|name| name == "...") {
        return labels.clone();
    }
    let label = |name: &String| Some((name.clone(), labels.get(name)?.clone()));
    route.group_by.iter().filter_map(label).collect()
}

/// Keys of firing alerts that mute this one.
pub(crate) fn inhibited_by(
    config: &AlertsConfig,
    alerts: &BTreeMap<String, Firing>,
    key: &str,
    alert: &Firing,
) -> Vec<String> {
    let mut by = Vec::new();
    for inhibit in &config.inhibit {
        let (Ok(source), Ok(target)) = (matchers(&inhibit.source), matchers(&inhibit.target)) else { continue };
        if !Matcher::all_match(&target, &alert.labels) {
            continue;
        }
        let is_equal = |other: &Firing| {
            inhibit
                .equal
                .iter()
                .all(|name| other.labels.get(name).map_or("", |v| v) == alert.labels.get(name).map_or("", |v| v))
        };
        let mutes = |(other, firing): &(&String, &Firing)| {
            *other != key && firing.ends_at.is_none() && Matcher::all_match(&source, &firing.labels) && is_equal(firing)
                // An alert that both conditions are about does not mute its like.
                && !(Matcher::all_match(&target, &firing.labels) && Matcher::all_match(&source, &alert.labels))
        };
        by.extend(alerts.iter().filter(mutes).map(|(other, _)| other.clone()));
    }
    by
}

fn notice(
    route: &Route,
    labels: &BTreeMap<String, String>,
    alerts: &BTreeMap<String, Firing>,
    shown: &[String],
    repeats: u64,
) -> Notice {
    let pick = shown.iter().filter_map(|key| Some((key, alerts.get(key)?)));
    let all: Vec<(&String, &Firing)> = pick.collect();
    let common = |of: fn(&Firing) -> &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let Some((_, first)) = all.first() else { return BTreeMap::new() };
        let is_common =
            |(name, value): &(&String, &String)| all.iter().all(|(_, alert)| of(alert).get(*name) == Some(value));
        of(first).iter().filter(is_common).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let is_firing = all.iter().any(|(_, alert)| alert.ends_at.is_none());
    let group_key =
        format!("{{}}:{}", serde_json::to_string(labels).expect("invariant: a map of texts always serializes"));
    let notification = Notification {
        version: "4".to_owned(),
        group_key: group_key.clone(),
        status: if is_firing { Status::Firing } else { Status::Resolved },
        receiver: route.channel.clone(),
        group_labels: labels.clone(),
        common_labels: common(|alert| &alert.labels),
        common_annotations: common(|alert| &alert.annotations),
        external_url: String::new(),
        truncated_alerts: all.len().saturating_sub(ALERTS_MAX) as u64,
        alerts: all.iter().take(ALERTS_MAX).map(|(key, alert)| shape(key, alert)).collect(),
    };
    // Not the time of sending: a replay may come to it at another moment.
    let mut states: Vec<String> = all
        .iter()
        .map(|(key, alert)| format!("{key}@{}{}", alert.starts_at, if alert.ends_at.is_some() { "-" } else { "+" }))
        .collect();
    states.sort_unstable();
    let identity = format!("{}\n{group_key}\n{}\n{repeats}", route.channel, states.join("\n"));
    let body = serde_json::to_string(&Message::Notification(notification)).expect("invariant: texts always serialize");
    Notice { channel: route.channel.clone(), key: format!("alert-{:032x}", xxh3_128(identity.as_bytes())), body }
}

fn shape(key: &str, alert: &Firing) -> Alert {
    Alert {
        status: if alert.ends_at.is_none() { Status::Firing } else { Status::Resolved },
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        starts_at: rfc3339(alert.starts_at),
        ends_at: alert.ends_at.map_or_else(|| NEVER.to_owned(), rfc3339),
        generator_url: alert.generator_url.clone(),
        fingerprint: key.to_owned(),
    }
}

/// A time as text.
pub(crate) fn rfc3339(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

/// A map as a list of pairs.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer, K: Serialize, V: Serialize>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, K: Deserialize<'de> + Ord, V: Deserialize<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}
