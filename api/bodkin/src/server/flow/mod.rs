//! Alerts, channels and forwarders of a server: from the configuration to nodes of the graph, and what runs beside it.
//!
//! ```text
//!  rows of a node ---> alert.<node> --+                +--> table alerts
//!  queries --> evaluations ----------+--> alerting ---+--> deliver/<channel> --> outbox --> channel
//!  rows of a node ---> forward.<name> ---------------------^
//! ```

mod alerting;
mod deliveries;
mod ends;
mod nodes;
mod scheduler;
mod section;
mod windows;

pub(crate) use alerting::FlowAlerts;
pub(crate) use deliveries::Deliveries;
pub(crate) use ends::DeliveryEnds;
pub(crate) use scheduler::Scheduler;
pub(crate) use section::{FlowConfig, ForwardSection};
pub(crate) use windows::Windows;

use arc_swap::ArcSwap;
use bodkin_alert::{AlertsConfig, Board};
use bodkin_engine::Channel;
use bodkin_schema::Clock;
use std::path::PathBuf;
use std::sync::Arc;

/// Alerts and forwarders of one server.
pub(crate) struct Flow {
    config: FlowConfig,
    alerts: Arc<AlertsConfig>,
    /// The rules that run: shared by all that come one after the other.
    in_force: Arc<ArcSwap<AlertsConfig>>,
    board: Arc<Board>,
    windows: Arc<Windows>,
}

impl Flow {
    /// Those of a configuration; windows use the folder `scratch`.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub(crate) fn new(config: &FlowConfig, scratch: PathBuf) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        let alerts = Arc::new(config.alerts.clone().with_shipped());
        let in_force = Arc::new(ArcSwap::new(alerts.clone()));
        let windows = Arc::new(Windows::new(scratch));
        Ok(Arc::new(Self { config: config.clone(), alerts, in_force, board: Arc::default(), windows }))
    }

    /// The same with another configuration; who looks at the board goes on to see it.
    pub(crate) fn again(&self, config: &FlowConfig) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        let alerts = Arc::new(config.alerts.clone().with_shipped());
        let (in_force, board, windows) = (self.in_force.clone(), self.board.clone(), self.windows.clone());
        Ok(Arc::new(Self { config: config.clone(), alerts, in_force, board, windows }))
    }

    /// From now on its rules are asked.
    pub(crate) fn come_into_force(&self) {
        self.in_force.store(self.alerts.clone());
    }

    /// The channels.
    ///
    /// # Errors
    /// What is wrong with one, with its key.
    pub(crate) fn channels(&self, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
        self.config.channels(clock)
    }

    /// The window operators that run.
    pub(crate) fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }

    /// The rules that run.
    pub(crate) fn in_force(&self) -> &Arc<ArcSwap<AlertsConfig>> {
        &self.in_force
    }
}
