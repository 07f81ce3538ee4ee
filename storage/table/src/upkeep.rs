//! What keeps tables small and fast beside the epochs: compaction, retention, vacuum.

use crate::compact::rewrite;
use crate::file::table_path;
use crate::lease::Leases;
use crate::log::CommitRequest;
use crate::plan::{Job, expired, plan_compaction};
use crate::snapshot::slot;
use crate::vacuum::{Found, Named, deletable};
use crate::{Committed, Error, Result, TableFile, Tables};
use bodkin_engine::IntentStore;
use bodkin_schema::{Epoch, Stream};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many days of ingestion each table keeps.
#[derive(Clone, Debug)]
pub struct Retention {
    days: HashMap<Stream, u32>,
}

/// Days that rows are kept unless told otherwise: what is sampled often 15, tiers as long as the ladder reads them and
/// never less than samples, everything else 30.
fn days_by_default(stream: Stream) -> u32 {
    match stream {
        Stream::Samples | Stream::Histograms | Stream::Rollup1m | Stream::Rollup10m => 15,
        Stream::Rollup1h | Stream::Flows1h => 92,
        Stream::Rollup1d | Stream::Flows1d => 366,
        _ => 30,
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: Stream::ALL.into_iter().map(|stream| (stream, days_by_default(stream))).collect() }
    }
}

impl Retention {
    /// The same with `days` for the table of `stream`.
    pub fn with(mut self, stream: Stream, days: u32) -> Self {
        self.days.insert(stream, days);
        self
    }

    /// Days that the table of `stream` keeps.
    pub fn days(&self, stream: Stream) -> u32 {
        self.days.get(&stream).copied().unwrap_or_else(|| days_by_default(stream))
    }
}

/// What an upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpkeepReport {
    /// Compaction jobs done.
    pub jobs: u64,
    /// Files that they replaced.
    pub files_merged: u64,
    /// Files that they made.
    pub files_made: u64,
    /// Jobs that were left to another node, or overtaken by one.
    pub jobs_skipped: u64,
    /// Files that retention removed.
    pub files_expired: u64,
    /// Objects that vacuum deleted.
    pub objects_deleted: u64,
    /// Bytes of those objects.
    pub bytes_deleted: u64,
}

impl Tables {
    /// Does the compaction that is due in all tables: of every partition where `is_forced`. Rows stay the same, save
    /// equal samples. Jobs of other nodes are left alone. Safe to drop between commits.
    ///
    /// # Errors
    /// The first job that failed; those before it are done.
    pub async fn compact(&self, is_forced: bool) -> Result<UpkeepReport> {
        let mut report = UpkeepReport::default();
        for stream in Stream::ALL {
            let _upkeep = self.upkeep.lock().await;
            // What one round made is merged with the rest in the next, until nothing is left to do.
            loop {
                let (files, before) = (self.log(stream).refresh().await?.files, report.jobs);
                let files = self.not_held(stream, &files);
                for job in plan_compaction(&files, self.clock.now(), is_forced) {
                    self.compact_job(stream, &job, &mut report).await?;
                }
                if report.jobs == before {
                    break;
                }
            }
        }
        Ok(report)
    }

    async fn compact_job(&self, stream: Stream, job: &Job, report: &mut UpkeepReport) -> Result<()> {
        let writer = &self.writers[slot(stream)];
        let leases = Leases { store: self.store.clone(), node: writer.node.clone(), clock: self.clock.clone() };
        let window = format!("{}-c{:?}-{}", job.date, job.level, job.window_ms);
        let folder = Path::from_iter(["leases", stream.name(), job.tenant.0.as_ref(), &window]);
        let Some(lease) = leases.take(&folder).await? else {
            report.jobs_skipped += 1;
            return Ok(());
        };
        let adds = rewrite(writer, &self.log(stream).state().suffixed, job).await;
        let result = match adds {
            Ok(adds) => self.swap(stream, job, adds, report).await,
            Err(error) => Err(error),
        };
        lease.give_back().await;
        result
    }

    async fn swap(
        &self,
        stream: Stream,
        job: &Job,
        adds: Vec<crate::PreparedFile>,
        report: &mut UpkeepReport,
    ) -> Result<()> {
        let removes: Vec<Arc<TableFile>> = job.runs.iter().flat_map(|run| run.files.iter().cloned()).collect();
        let (made, merged) = (adds.len() as u64, removes.len() as u64);
        let bytes: u64 = adds.iter().map(|file| file.size).sum();
        let request = CommitRequest { adds, removes, is_rewrite: true, ..CommitRequest::default() };
        match self.commit_and_publish(stream, &request).await {
            Ok(_) => {
                report.jobs += 1;
                report.files_merged += merged;
                report.files_made += made;
                self.stats.files_compacted.fetch_add(merged, Ordering::Relaxed);
                self.stats.compacted_bytes_written.fetch_add(bytes, Ordering::Relaxed);
                let (level, runs) = (job.level, job.runs.len());
                tracing::debug!(table = %stream, ?level, runs, files = merged, made, bytes, "compacted");
                Ok(())
            }
            // Another node was faster; our files are orphans.
            Err(Error::Conflict { .. }) => {
                report.jobs_skipped += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the files whose days are over from all tables. Returns their number.
    ///
    /// # Errors
    /// Where a log cannot be read or written.
    pub async fn expire(&self, retention: &Retention) -> Result<u64> {
        let mut count = 0;
        for stream in Stream::ALL {
            let _upkeep = self.upkeep.lock().await;
            let files = self.log(stream).refresh().await?.files;
            let removes = expired(&files, self.clock.now(), retention.days(stream));
            if removes.is_empty() {
                continue;
            }
            let request = CommitRequest { removes, ..CommitRequest::default() };
            match self.commit_and_publish(stream, &request).await {
                Ok(_) => count += request.removes.len() as u64,
                // Another node did it, or compacts them: the next upkeep looks again.
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Deletes the files that the logs have removed and no snapshot uses, once their grace is over (at once where
    /// `is_now`), and old files that no log and no intent names. Adds what it did to `report`.
    ///
    /// # Errors
    /// Where the store cannot be listed, or a log or an intent cannot be read: then nothing is deleted.
    pub async fn vacuum(&self, is_now: bool, report: &mut UpkeepReport) -> Result<()> {
        for stream in Stream::ALL {
            let _upkeep = self.upkeep.lock().await;
            let found = self.list_table(stream).await?;
            if found.is_empty() {
                continue;
            }
            let mut named = self.decided(stream).await?;
            let log = self.log(stream).refresh().await?;
            if let Some((epoch, files)) = named.prepared.remove(self.writers[slot(stream)].node.as_ref())
                && log.epoch < Some(epoch)
            {
                // The epoch is not in the log yet, and will be.
                named.in_use.extend(files);
            }
            named.in_use.extend(named.prepared.drain().flat_map(|(_, (_, files))| files));
            named.removed = self.log(stream).removed().await?;
            let in_log = log.files.iter().map(|file| file.path.clone());
            named.in_use.extend(in_log.chain(self.paths_in_use(stream)));
            for file in deletable(found, &named, self.clock.now(), is_now) {
                let path = Path::from(format!("{}/{}", table_path(stream), file.path));
                match self.store.delete(&path).await {
                    Ok(()) => {
                        report.objects_deleted += 1;
                        report.bytes_deleted += file.size;
                        self.stats.objects_deleted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(source) => return Err(Error::Store { path: path.to_string(), source }),
                }
            }
        }
        Ok(())
    }

    async fn list_table(&self, stream: Stream) -> Result<Vec<Found>> {
        let root = table_path(stream);
        let objects = self.store.list(Some(&root)).try_collect::<Vec<_>>().await;
        let objects = match objects {
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            objects => objects.map_err(|source| Error::Store { path: root.to_string(), source })?,
        };
        let found = objects.into_iter().filter_map(|object| {
            let path = object.location.as_ref().strip_prefix(root.as_ref())?.trim_start_matches('/').to_owned();
            Some(Found { path, modified_ms: object.last_modified.timestamp_millis(), size: object.size })
        });
        Ok(found.collect())
    }

    /// What the newest intent of each node says of the table.
    async fn decided(&self, stream: Stream) -> Result<Named> {
        let failed = |source| Error::Store { path: "epochs".to_owned(), source };
        let nodes = self.store.list_with_delimiter(Some(&Path::from("epochs"))).await.map_err(failed)?;
        let mut named = Named::default();
        for folder in nodes.common_prefixes {
            let Some(node) = folder.filename() else { continue };
            let newest = IntentStore::new(self.store.clone(), node).newest().await;
            let newest =
                newest.map_err(|error| Error::Corrupt { path: folder.to_string(), reason: error.to_string() })?;
            let Some(intent) = newest else { continue };
            named.decided.insert(node.to_owned(), intent.epoch());
            if let Some(prepared) = intent.prepared(bodkin_engine::Sink::name(self)) {
                let files = prepared_paths(stream, intent.epoch(), prepared)?;
                named.prepared.insert(node.to_owned(), (intent.epoch(), files));
            }
        }
        Ok(named)
    }

    /// Commits a change that is no epoch, and shows it (ONCE-2: not in between an epoch's commit and its snapshot).
    pub(crate) async fn commit_and_publish(&self, stream: Stream, request: &CommitRequest) -> Result<Committed> {
        let _committing = self.committing.lock().await;
        if self.is_epoch_open.load(Ordering::Relaxed) {
            let reason = "an epoch is not in all tables yet".to_owned();
            return Err(Error::Conflict { table: stream, reason });
        }
        let committed = self.log(stream).commit(request).await?;
        self.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.publish_log(stream);
        Ok(committed)
    }
}

fn prepared_paths(stream: Stream, epoch: Epoch, prepared: &serde_json::Value) -> Result<Vec<String>> {
    let tables = crate::tables::parse(epoch, prepared)?;
    let own = tables.into_iter().filter(|(table, _)| *table == stream);
    Ok(own.flat_map(|(_, files)| files).map(|file| file.path).collect())
}
