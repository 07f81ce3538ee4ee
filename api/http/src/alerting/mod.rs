//! Alerts: the rules, the alerts as they are now, silences and channels. Under `/api/v1` in our own shapes, and under
//! `/alertmanager/api/v2` in Alertmanager's, so that `amtool --alertmanager.url=http://host:9470/alertmanager` works.

mod filter;
mod native;
mod v2;

pub(crate) use native::{
    __path_alerts, __path_expire, __path_rules, __path_silence, __path_silences, __path_test, alerts, expire, rules,
    silence, silences, test,
};
pub(crate) use v2::routes;

use async_trait::async_trait;
use bodkin_alert::{ActiveAlert, PostedAlert, Silence};
use bodkin_schema::Principal;
use std::time::Duration;

/// Where Alertmanager's API is.
pub(crate) const PREFIX: &str = "/alertmanager";

/// Alerts of the process that serves.
#[async_trait]
pub trait Alerting: Send + Sync {
    /// The rules, as they stand in the configuration.
    fn rules(&self) -> serde_json::Value;

    /// Alerts that are pending or fire.
    fn alerts(&self, principal: &Principal) -> Vec<ActiveAlert>;

    /// Takes alerts of others, checked ones; resolves when they are durable.
    ///
    /// # Errors
    /// Why not, as a message for the caller.
    async fn post_alerts(&self, principal: &Principal, alerts: Vec<PostedAlert>) -> Result<(), String>;

    /// Silences, ended ones included.
    fn silences(&self) -> Vec<Silence>;

    /// Puts a silence into force, or changes the one with its id; resolves when it is durable.
    ///
    /// # Errors
    /// Why not, as a message for the caller.
    async fn put_silence(&self, silence: Silence) -> Result<(), String>;

    /// The time, in microseconds since 1970.
    fn now(&self) -> i64;

    /// An identity for a new silence.
    fn new_id(&self) -> String;

    /// Routes as an Alertmanager's configuration, or nothing.
    fn routes(&self) -> Option<serde_json::Value>;

    /// Names of the channels.
    fn channels(&self) -> Vec<String>;

    /// Since when the process runs.
    fn uptime(&self) -> Duration;

    /// Sends a test message to a channel, at once and once.
    ///
    /// # Errors
    /// What the channel said.
    async fn test(&self, channel: &str) -> Result<(), String>;
}
