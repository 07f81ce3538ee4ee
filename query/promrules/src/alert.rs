//! The states of the alerts of one rule: a pure function of results and time.

use crate::template::Template;
use bodkin_promql::Labels;
use std::collections::BTreeMap;

/// A resolved alert is told of for this long.
const RESOLVED_KEPT_MS: i64 = 15 * 60_000;
/// How often a firing alert is sent again.
pub(crate) const RESEND_MS: i64 = 60_000;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It has ended.
    Inactive,
    /// There is a result, and it has to last.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// The word of the API and of the label `alertstate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert {
    pub(crate) state: AlertState,
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) value: f64,
    pub(crate) active_at_ms: i64,
    pub(crate) fired_at_ms: i64,
    pub(crate) resolved_at_ms: Option<i64>,
    pub(crate) last_sent_ms: Option<i64>,
    pub(crate) keep_firing_since_ms: Option<i64>,
}

/// An alert as the API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    /// Its labels, the name of the rule among them.
    pub labels: Labels,
    /// Its texts.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: AlertState,
    /// Since when there is a result, in milliseconds.
    pub active_at_ms: i64,
    /// Since when it fires without a result, in milliseconds.
    pub keep_firing_since_ms: Option<i64>,
    /// The value of the last result.
    pub value: f64,
}

/// What a rule says of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) hold_ms: i64,
    pub(crate) keep_firing_ms: i64,
}

/// A result, with the alert that it makes.
#[derive(Clone, Debug)]
pub(crate) struct Result1 {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The alerts of a rule, by labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alerts {
    pub(crate) active: BTreeMap<Labels, Alert>,
}

impl Alerts {
    /// Takes the results of one evaluation.
    pub(crate) fn step(&mut self, results: Vec<Result1>, at_ms: i64, timing: Timing) {
        let mut found: BTreeMap<Labels, Result1> =
            results.into_iter().map(|result| (result.labels.clone(), result)).collect();
        self.active.retain(|labels, alert| match found.remove(labels) {
            Some(result) if alert.state != AlertState::Inactive => {
                alert.value = result.value;
                alert.annotations = result.annotations;
                alert.keep_firing_since_ms = None;
                alert.advance(at_ms, timing);
                true
            }
            Some(result) => {
                // It ended and is back: a new one.
                let last_sent_ms = alert.last_sent_ms;
                *alert = Alert { last_sent_ms, ..Alert::new(result, at_ms) };
                alert.advance(at_ms, timing);
                true
            }
            None => alert.go_on_without(at_ms, timing),
        });
        for (labels, result) in found {
            let mut alert = Alert::new(result, at_ms);
            alert.advance(at_ms, timing);
            self.active.insert(labels, alert);
        }
    }

    /// The alerts that the Alertmanager has to be told of now; they count as told.
    pub(crate) fn due(&mut self, at_ms: i64) -> Vec<Alert> {
        let mut due = Vec::new();
        for alert in self.active.values_mut().filter(|alert| alert.is_due(at_ms)) {
            alert.last_sent_ms = Some(at_ms);
            due.push(alert.clone());
        }
        due
    }

    /// The most urgent state of all.
    pub(crate) fn state(&self) -> AlertState {
        let states = || self.active.values().map(|alert| alert.state);
        [AlertState::Firing, AlertState::Pending]
            .into_iter()
            .find(|state| states().any(|s| s == *state))
            .unwrap_or(AlertState::Inactive)
    }

    pub(crate) fn views(&self) -> Vec<AlertView> {
        let live = self.active.values().filter(|alert| alert.state != AlertState::Inactive);
        live.map(|alert| AlertView {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: alert.state,
            active_at_ms: alert.active_at_ms,
            keep_firing_since_ms: alert.keep_firing_since_ms,
            value: alert.value,
        })
        .collect()
    }
}

impl Alert {
    fn new(result: Result1, at_ms: i64) -> Self {
        Self {
            state: AlertState::Pending,
            labels: result.labels,
            annotations: result.annotations,
            value: result.value,
            active_at_ms: at_ms,
            fired_at_ms: 0,
            resolved_at_ms: None,
            last_sent_ms: None,
            keep_firing_since_ms: None,
        }
    }

    /// Fires where the result has lasted.
    fn advance(&mut self, at_ms: i64, timing: Timing) {
        if self.state == AlertState::Pending && at_ms - self.active_at_ms >= timing.hold_ms {
            self.state = AlertState::Firing;
            self.fired_at_ms = at_ms;
        }
    }

    /// There is no result any more. Says whether the alert is still to be known.
    fn go_on_without(&mut self, at_ms: i64, timing: Timing) -> bool {
        match self.state {
            AlertState::Pending => false,
            AlertState::Inactive => self.resolved_at_ms.is_some_and(|resolved| at_ms - resolved <= RESOLVED_KEPT_MS),
            AlertState::Firing => {
                if timing.keep_firing_ms > 0 {
                    let since = *self.keep_firing_since_ms.get_or_insert(at_ms);
                    if at_ms - since < timing.keep_firing_ms {
                        return true;
                    }
                }
                self.state = AlertState::Inactive;
                self.resolved_at_ms = Some(at_ms);
                true
            }
        }
    }

    fn is_due(&self, at_ms: i64) -> bool {
        match (self.state, self.resolved_at_ms, self.last_sent_ms) {
            (AlertState::Pending, ..) => false,
            (_, _, None) => true,
            (_, Some(resolved), Some(sent)) if resolved > sent => true,
            (_, _, Some(sent)) => at_ms - sent > RESEND_MS,
        }
    }
}

/// Texts of templates; one that fails says so in its place, as in Prometheus.
pub(crate) fn expand(
    templates: &[(String, Template)],
    context: &crate::template::Context<'_>,
) -> BTreeMap<String, String> {
    let text = |template: &Template| {
        template.expand(context).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    };
    templates.iter().map(|(name, template)| (name.clone(), text(template))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(job: &str, value: f64) -> Result1 {
        Result1 { labels: Labels::from_pairs([("job", job)]), annotations: BTreeMap::new(), value }
    }

    fn states(alerts: &Alerts) -> Vec<&'static str> {
        alerts.active.values().map(|alert| alert.state.as_str()).collect()
    }

    const MINUTE: i64 = 60_000;

    #[test]
    fn pending_until_it_has_lasted() {
        let timing = Timing { hold_ms: 2 * MINUTE, keep_firing_ms: 0 };
        let mut alerts = Alerts::default();
        alerts.step(vec![result("a", 1.0)], 0, timing);
        assert_eq!((states(&alerts), alerts.due(0).len()), (vec!["pending"], 0));
        alerts.step(vec![], MINUTE, timing);
        assert!(alerts.active.is_empty(), "a pending one leaves no trace");
        for minute in 2..=4 {
            alerts.step(vec![result("a", minute as f64)], minute * MINUTE, timing);
        }
        assert_eq!((states(&alerts), alerts.state()), (vec!["firing"], AlertState::Firing));
        let due = alerts.due(4 * MINUTE);
        assert_eq!(
            (due.len(), due[0].fired_at_ms, due[0].active_at_ms, due[0].value),
            (1, 4 * MINUTE, 2 * MINUTE, 4.0)
        );
        alerts.step(vec![result("a", 9.0)], 5 * MINUTE, timing);
        assert!(alerts.due(5 * MINUTE).is_empty(), "sent a minute ago");
        alerts.step(vec![], 6 * MINUTE, timing);
        assert_eq!(states(&alerts), ["inactive"]);
        assert_eq!(alerts.due(6 * MINUTE)[0].resolved_at_ms, Some(6 * MINUTE));
        assert!(alerts.due(6 * MINUTE + 1).is_empty());
        assert_eq!(alerts.due(8 * MINUTE).len(), 1, "told again");
        alerts.step(vec![], 22 * MINUTE, timing);
        assert!(alerts.active.is_empty());
    }

    #[test]
    fn keeps_firing() {
        let timing = Timing { hold_ms: 0, keep_firing_ms: 3 * MINUTE };
        let mut alerts = Alerts::default();
        alerts.step(vec![result("a", 1.0)], 0, timing);
        alerts.step(vec![], MINUTE, timing);
        assert_eq!(alerts.views()[0].keep_firing_since_ms, Some(MINUTE));
        alerts.step(vec![result("a", 1.0)], 2 * MINUTE, timing);
        assert_eq!(alerts.views()[0].keep_firing_since_ms, None);
        alerts.step(vec![], 3 * MINUTE, timing);
        alerts.step(vec![], 5 * MINUTE, timing);
        assert_eq!(states(&alerts), ["firing"]);
        alerts.step(vec![], 6 * MINUTE, timing);
        assert_eq!(states(&alerts), ["inactive"]);
        alerts.step(vec![result("a", 1.0)], 7 * MINUTE, timing);
        assert_eq!((states(&alerts), alerts.views()[0].active_at_ms), (vec!["firing"], 7 * MINUTE));
    }
}
