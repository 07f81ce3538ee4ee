//! The window operators that run: for queries, for `/metrics`, and where they may keep what memory has no room for.

use arc_swap::ArcSwap;
use bodkin_http::{Family, MetricKind, MetricsSource, Sample};
use bodkin_query::WindowCatalog;
use bodkin_window::{Room, WindowPlan, WindowStats};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The window operators of the graph in force.
#[derive(Debug)]
pub(crate) struct Windows {
    plans: ArcSwap<BTreeMap<String, Arc<WindowPlan>>>,
    scratch: PathBuf,
}

impl Windows {
    /// None yet. What an earlier process left in `scratch` goes.
    pub(crate) fn new(scratch: PathBuf) -> Self {
        if let Err(error) = std::fs::remove_dir_all(&scratch)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %scratch.display(), %error, "files of windows stay behind");
        }
        Self { plans: ArcSwap::default(), scratch }
    }

    /// What each shard of a window may use.
    pub(crate) fn room(&self) -> Room {
        Room { scratch: Some(self.scratch.clone()), ..Room::default() }
    }

    /// Those of the graph that comes into force.
    pub(crate) fn set(&self, plans: BTreeMap<String, Arc<WindowPlan>>) {
        self.plans.store(Arc::new(plans));
    }
}

impl WindowCatalog for Windows {
    fn window(&self, name: &str) -> Option<Arc<WindowPlan>> {
        self.plans.load().get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.plans.load().keys().cloned().collect()
    }
}

impl MetricsSource for Windows {
    fn families(&self) -> Vec<Family> {
        type Read = fn(&WindowStats) -> &AtomicU64;
        let families: [(&'static str, &'static str, Read); 4] = [
            ("bodkin_window_rows_failed_total", "Rows that are in no window: they could not be evaluated.", |stats| {
                &stats.rows_failed
            }),
            (
                "bodkin_window_panes_early_total",
                "Open panes that went to the table because memory was short.",
                |stats| &stats.panes_early,
            ),
            ("bodkin_window_bytes_spilled_total", "Bytes of open panes that went to disk.", |stats| {
                &stats.bytes_spilled
            }),
            (
                "bodkin_window_windows_untold_total",
                "Parts of windows that the table has and operators behind were not told of.",
                |stats| &stats.windows_untold,
            ),
        ];
        let plans = self.plans.load();
        let family = |(name, help, read): (&'static str, &'static str, Read)| {
            let sample = |(window, plan): (&String, &Arc<WindowPlan>)| Sample {
                labels: vec![("window".into(), window.clone())],
                value: read(plan.stats()).load(Ordering::Relaxed) as f64,
                ..Sample::default()
            };
            let samples = plans.iter().map(sample).collect();
            Family { name: name.into(), help: help.into(), kind: MetricKind::Counter, samples }
        };
        families.into_iter().map(family).collect()
    }
}
