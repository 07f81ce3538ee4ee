//! Rollups, compaction, retention and vacuum of the tables, beside everything else.

use bodkin_engine::causes;
use bodkin_rollup::Ladder;
use bodkin_table::{Retention, Tables, UpkeepReport};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often is looked for windows that have ended.
const COMPACT_INTERVAL: Duration = Duration::from_secs(60);
/// Every how many of these days are let go and objects deleted.
const ROUNDS_PER_VACUUM: u64 = 60;

/// Looks after the tables of this process.
pub(crate) struct Upkeep {
    tables: Arc<Tables>,
    /// Of samples, and of flows.
    ladders: [Arc<Ladder>; 2],
    retention: RwLock<Retention>,
    /// Where files are merged.
    threads: Handle,
}

/// What is to be done with the files of the tables.
#[derive(Clone, Copy, Debug)]
struct Tidying {
    /// Windows that have not ended, too.
    is_compaction_forced: bool,
    /// Rows and objects are let go, objects after their time.
    with_vacuum: bool,
    /// Objects before it, too.
    is_vacuum_now: bool,
}

impl Upkeep {
    pub(crate) fn new(tables: Arc<Tables>, ladders: [Arc<Ladder>; 2], retention: Retention, threads: Handle) -> Self {
        let upkeep = Self { tables, ladders, retention: RwLock::new(retention.clone()), threads };
        upkeep.keep(retention);
        upkeep
    }

    /// Keeps rows as long as `retention` says from the next round on.
    pub(crate) fn keep(&self, retention: Retention) {
        self.ladders.iter().for_each(|ladder| ladder.keep(retention.clone()));
        *self.retention.write().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    fn retention(&self) -> Retention {
        self.retention.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the rollups of all samples and flows within `range` (microseconds of event time) that wait.
    pub(crate) async fn backfill(&self, range: Range<i64>) -> bodkin_rollup::Result<()> {
        for ladder in &self.ladders {
            ladder.backfill(range.clone()).await?;
        }
        Ok(())
    }

    /// What the rollups have made and have to make: of samples, and below `flows` of flows.
    pub(crate) fn rollups(&self) -> Value {
        let [samples, flows] = self.ladders.each_ref().map(|ladder| json!(ladder.progress()));
        let mut progress = samples;
        progress["flows"] = flows;
        progress
    }

    /// The rollups look at new rows before compaction may merge them.
    async fn roll_up(&self) {
        for ladder in &self.ladders {
            if let Err(error) = ladder.round().await {
                tracing::warn!(error = %causes(&error), "rollups are tried again");
            }
        }
    }

    /// Does what is due, again and again. What fails is tried again in the next round.
    pub(crate) async fn run(self: Arc<Self>, stopping: CancellationToken) {
        let mut ticks = tokio::time::interval(COMPACT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once: the start is for recovery.
        ticks.tick().await;
        for round in 1_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            let due = self.due(round.is_multiple_of(ROUNDS_PER_VACUUM));
            let done = tokio::select! {
                done = due => done,
                // A job that is given up leaves orphans and no trace in a table.
                () = stopping.cancelled() => return,
            };
            if let Err(error) = done {
                tracing::warn!(error = format!("{error:#}"), "upkeep is tried again");
            }
        }
    }

    async fn due(&self, with_vacuum: bool) -> anyhow::Result<()> {
        self.roll_up().await;
        let report = self.tidy(Tidying { is_compaction_forced: false, with_vacuum, is_vacuum_now: false }).await?;
        if report != UpkeepReport::default() {
            tracing::info!(
                jobs = report.jobs,
                files_merged = report.files_merged,
                files_made = report.files_made,
                files_expired = report.files_expired,
                objects_deleted = report.objects_deleted,
                "upkeep"
            );
        }
        Ok(())
    }

    /// Makes every partition one run; lets go of what has expired, and deletes what may go.
    pub(crate) async fn compact_all(&self, is_vacuum_now: bool) -> anyhow::Result<UpkeepReport> {
        self.roll_up().await;
        self.tidy(Tidying { is_compaction_forced: true, with_vacuum: true, is_vacuum_now }).await
    }

    /// Merges files, and lets go of others, on threads that give way. Dropping the future ends it.
    async fn tidy(&self, tidying: Tidying) -> anyhow::Result<UpkeepReport> {
        let (tables, retention) = (self.tables.clone(), self.retention());
        let work = async move {
            let mut report = tables.compact(tidying.is_compaction_forced).await?;
            if tidying.with_vacuum {
                report.files_expired = tables.expire(&retention).await?;
                tables.vacuum(tidying.is_vacuum_now, &mut report).await?;
            }
            Ok(report)
        };
        AbortOnDropHandle::new(self.threads.spawn(work)).await?
    }
}
