//! Alerts, channels and forwarders of a server: from the configuration to nodes of the graph, and what runs beside it.
//!
//! ```text
//!  rows of a node ---> alert.<node> --+                +--> table alerts
//!  queries --> evaluations ----------+--> alerting ---+--> deliver/<channel> --> outbox --> channel
//!  rows of a node ---> forward.<name> ---------------------^
//! ```

mod alerting;
mod ends;
mod nodes;
mod scheduler;
mod section;

pub(crate) use alerting::FlowAlerts;
pub(crate) use ends::DeliveryEnds;
pub(crate) use scheduler::Scheduler;
pub(crate) use section::{FlowConfig, ForwardSection};

use arc_swap::ArcSwap;
use bodkin_alert::{AlertsConfig, Board};
use bodkin_engine::Channel;
use bodkin_query::WindowCatalog;
use bodkin_schema::Clock;
use bodkin_window::WindowPlan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Alerts and forwarders of one server.
pub(crate) struct Flow {
    config: FlowConfig,
    alerts: Arc<AlertsConfig>,
    board: Arc<Board>,
    windows: Arc<Windows>,
}

/// The window operators that run.
#[derive(Debug, Default)]
pub(crate) struct Windows(ArcSwap<BTreeMap<String, Arc<WindowPlan>>>);

impl WindowCatalog for Windows {
    fn window(&self, name: &str) -> Option<Arc<WindowPlan>> {
        self.0.load().get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.load().keys().cloned().collect()
    }
}

impl Flow {
    /// Those of a configuration.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub(crate) fn new(config: &FlowConfig) -> anyhow::Result<Arc<Self>> {
        Self::sharing(config, Arc::default(), Arc::default())
    }

    /// The same with another configuration; who looks at the board goes on to see it.
    pub(crate) fn again(&self, config: &FlowConfig) -> anyhow::Result<Arc<Self>> {
        Self::sharing(config, self.board.clone(), self.windows.clone())
    }

    fn sharing(config: &FlowConfig, board: Arc<Board>, windows: Arc<Windows>) -> anyhow::Result<Arc<Self>> {
        config.check()?;
        let alerts = Arc::new(config.alerts.clone().with_shipped());
        Ok(Arc::new(Self { config: config.clone(), alerts, board, windows }))
    }

    /// The channels.
    ///
    /// # Errors
    /// What is wrong with one, with its key.
    pub(crate) fn channels(&self, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
        self.config.channels(clock)
    }

    /// The window operators, for queries.
    pub(crate) fn windows(&self) -> Arc<Windows> {
        self.windows.clone()
    }

    /// Those of the graph that comes into force.
    pub(crate) fn set_windows(&self, windows: BTreeMap<String, Arc<WindowPlan>>) {
        self.windows.0.store(Arc::new(windows));
    }

    /// The rules.
    pub(crate) fn alerts(&self) -> &Arc<AlertsConfig> {
        &self.alerts
    }
}
