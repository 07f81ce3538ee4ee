//! What the engine can be told.

use std::time::Duration;

use crate::control::Limits;

/// Settings of an engine. The default is Prometheus with its experimental features on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How far back an instant selector looks for a sample.
    pub lookback: Duration,
    /// The step of a subquery that names none.
    pub default_subquery_step: Duration,
    /// The most that a query may use.
    pub limits: Limits,
    /// What the language offers beyond its stable part.
    pub features: Features,
    /// Whose behavior counts where releases of Prometheus disagree.
    pub release: Release,
    /// Threads of one query.
    pub threads: usize,
}

/// A release of Prometheus. They differ in: custom histogram buckets with other bounds (refused with a warning, or
/// reduced to the common ones with an info), `sort` over a range (silent, or a warning), whether `__type__="histogram"`
/// is a counter, and NaN as the k of `topk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// 3.5, the long-term support release.
    #[default]
    V3_5,
    /// 3.14.
    V3_14,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            default_subquery_step: Duration::from_secs(60),
            limits: Limits::default(),
            features: Features::default(),
            release: Release::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Switches of what Prometheus hides behind `--enable-feature`; all on by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Experimental functions and aggregations (`promql-experimental-functions`).
    pub experimental_functions: bool,
    /// Arithmetic in durations (`promql-duration-expr`).
    pub duration_expressions: bool,
    /// `anchored` and `smoothed` (`promql-extended-range-selectors`).
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right` (`promql-binop-fill-modifiers`).
    pub fill_modifiers: bool,
    /// Names are dropped when the result is made (`promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// The label `__type__` says what is a counter, where a series has it (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// `rate` and its kin use start timestamps of counters, where the store has them (`use-start-timestamps`).
    pub start_timestamps: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            delayed_name_removal: true,
            type_and_unit_labels: true,
            start_timestamps: true,
        }
    }
}

/// Settings of one query.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Overrides the engine's.
    pub lookback: Option<Duration>,
    /// Overrides the engine's; the shorter counts.
    pub timeout: Option<Duration>,
    /// Stops the query from outside.
    pub cancel: crate::control::CancelToken,
    /// Counts samples for each step.
    pub per_step_stats: bool,
    /// Reads every sample, even where the store has summaries of windows.
    pub is_exact: bool,
    /// The most warnings, and the most infos, that a result lists; 0 for all. The HTTP API of Prometheus lists 10.
    pub annotations_max: usize,
}
