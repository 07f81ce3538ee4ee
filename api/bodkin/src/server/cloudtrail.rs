//! CloudTrail's files in a bucket, read as they appear.
//!
//! A bucket is listed every so often; a file that is not yet done is fetched, unpacked and stored, oldest first. What is
//! done stands in `<data-dir>/cloudtrail.json`, written after a file's records are durable: after a crash a file may be
//! read again, and its records are known by their identity ([`super::audit`]).

use super::audit::AuditIntake;
use crate::config::BucketSection;
use crate::store::bucket;
use anyhow::{Context, bail};
use bodkin_http::{Family, MetricsSource};
use bodkin_rules::{Documents, Source};
use bodkin_schema::Principal;
use flate2::read::MultiGzDecoder;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Largest file as it lies in the bucket; those of CloudTrail have at most some MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Largest file when it is unpacked.
const TEXT_BYTES_MAX: u64 = 512 << 20;
/// A file that is older than the newest by more than this was seen before: it is not remembered by its name any more.
const REMEMBERED_MS: i64 = 86_400_000;

/// What was read of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// When the newest file that is done was written, in milliseconds since 1970.
    newest_ms: i64,
    /// Files that are done, but for those that are older than [`REMEMBERED_MS`] before it.
    done: BTreeSet<String>,
}

impl Progress {
    fn is_done(&self, file: &ObjectMeta) -> bool {
        millis(file) < self.newest_ms.saturating_sub(REMEMBERED_MS) || self.done.contains(file.location.as_ref())
    }

    fn finish(&mut self, file: &ObjectMeta) {
        self.newest_ms = self.newest_ms.max(millis(file));
        self.done.insert(file.location.to_string());
    }

    /// Forgets names that age tells by itself. `present` are the files that the bucket holds.
    fn prune(&mut self, present: &[ObjectMeta]) {
        let oldest = self.newest_ms.saturating_sub(REMEMBERED_MS);
        let young = present.iter().filter(|file| millis(file) >= oldest).map(|file| file.location.as_ref());
        let young: BTreeSet<&str> = young.collect();
        self.done.retain(|name| young.contains(name.as_str()));
    }
}

fn millis(file: &ObjectMeta) -> i64 {
    file.last_modified.timestamp_millis()
}

/// The files to read, oldest first.
fn plan(files: &[ObjectMeta], progress: &Progress) -> Vec<ObjectMeta> {
    let is_trail = |file: &&ObjectMeta| {
        let name = file.location.filename().unwrap_or_default();
        (name.ends_with(".json") || name.ends_with(".json.gz")) && !file.location.as_ref().contains("CloudTrail-Digest")
    };
    let mut open: Vec<_> = files.iter().filter(is_trail).filter(|file| !progress.is_done(file)).cloned().collect();
    open.sort_by_key(|file| (millis(file), file.location.to_string()));
    open
}

/// Reads buckets for as long as the server runs.
#[derive(Debug, Default)]
pub(crate) struct CloudtrailReader {
    files: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

/// One bucket under way.
struct Poll {
    url: String,
    store: Arc<dyn ObjectStore>,
    intake: Arc<AuditIntake>,
    state: Arc<StateFile>,
    counters: Arc<CloudtrailReader>,
}

impl CloudtrailReader {
    /// Starts to read `buckets`.
    ///
    /// # Errors
    /// A URL that is none of a bucket, or a file of progress that cannot be read.
    pub(crate) fn start(
        self: &Arc<Self>,
        buckets: &[BucketSection],
        data_dir: &Path,
        intake: &Arc<AuditIntake>,
        stopping: &CancellationToken,
    ) -> anyhow::Result<()> {
        let state = Arc::new(StateFile::open(data_dir.join("cloudtrail.json"))?);
        for section in buckets {
            let store = bucket(&section.url).with_context(|| format!("cloudtrail.buckets: {}", section.url))?.store;
            let (intake, state, counters) = (intake.clone(), state.clone(), self.clone());
            let poll = Poll { url: section.url.clone(), store, intake, state, counters };
            let (mut ticks, stopping) = (tokio::time::interval(section.every()?), stopping.clone());
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        _ = ticks.tick() => {}
                    }
                    if let Err(error) = poll.round(&stopping).await {
                        poll.counters.failed.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(bucket = poll.url, "CloudTrail's files are tried again later: {error:#}");
                    }
                }
            });
        }
        Ok(())
    }
}

impl Poll {
    /// Reads what is new.
    async fn round(&self, stopping: &CancellationToken) -> anyhow::Result<()> {
        let files: Vec<ObjectMeta> = self.store.list(None).try_collect().await.context("the list of files")?;
        for file in plan(&files, &self.state.of(&self.url).await) {
            if stopping.is_cancelled() {
                return Ok(());
            }
            let read = self.read(&file).await.with_context(|| file.location.to_string())?;
            match read {
                Ok(documents) => {
                    let principal = Principal::default();
                    self.intake.store(&principal, Source::AwsCloudtrail, documents).await?;
                    self.counters.files.fetch_add(1, Ordering::Relaxed);
                }
                // It will not be another file next time.
                Err(error) => {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(bucket = self.url, file = %file.location, "a file is left out: {error:#}");
                }
            }
            self.state.change(&self.url, |progress| progress.finish(&file)).await?;
        }
        self.state.change(&self.url, |progress| progress.prune(&files)).await
    }

    /// The records of a file; within, why it holds none.
    async fn read(&self, file: &ObjectMeta) -> anyhow::Result<anyhow::Result<Vec<bodkin_rules::Document>>> {
        if file.size > FILE_BYTES_MAX {
            return Ok(Err(anyhow::anyhow!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let bytes = self.store.get(&file.location).await?.bytes().await?;
        Ok(tokio::task::spawn_blocking(move || documents(&bytes)).await?)
    }
}

fn documents(bytes: &[u8]) -> anyhow::Result<Vec<bodkin_rules::Document>> {
    let mut text = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes).take(TEXT_BYTES_MAX + 1).read_to_end(&mut text).context("broken gzip")?;
    } else {
        text.extend_from_slice(bytes);
    }
    if text.len() as u64 > TEXT_BYTES_MAX {
        bail!("it is larger than {TEXT_BYTES_MAX} bytes when it is unpacked");
    }
    let read = Documents::parse(Source::AwsCloudtrail, &text).context("it is not JSON")?;
    if read.documents.is_empty() && !read.rejected.is_empty() {
        bail!("{}", read.rejected[0]);
    }
    if !read.rejected.is_empty() {
        tracing::warn!(rejected = read.rejected.len(), first = read.rejected[0], "records are no events");
    }
    Ok(read.documents)
}

/// Progress by bucket, in a file.
struct StateFile {
    path: PathBuf,
    progress: tokio::sync::Mutex<BTreeMap<String, Progress>>,
}

impl StateFile {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let progress = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok(Self { path, progress: tokio::sync::Mutex::new(progress) })
    }

    async fn of(&self, url: &str) -> Progress {
        self.progress.lock().await.get(url).cloned().unwrap_or_default()
    }

    /// Changes the progress of a bucket; durable when this returns.
    async fn change(&self, url: &str, change: impl FnOnce(&mut Progress)) -> anyhow::Result<()> {
        let mut progress = self.progress.lock().await;
        let mut next = progress.clone();
        change(next.entry(url.to_owned()).or_default());
        if next == *progress {
            return Ok(());
        }
        let (path, bytes) = (self.path.clone(), serde_json::to_vec_pretty(&next)?);
        let write = move || -> std::io::Result<()> {
            let part = path.with_extension("json.part");
            let mut file = std::fs::File::create(&part)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)
        };
        tokio::task::spawn_blocking(write).await?.with_context(|| self.path.display().to_string())?;
        *progress = next;
        Ok(())
    }
}

impl MetricsSource for CloudtrailReader {
    fn families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Family::counter(
                "bodkin_cloudtrail_files_read_total",
                "Files of buckets that were stored.",
                read(&self.files),
            ),
            Family::counter(
                "bodkin_cloudtrail_files_refused_total",
                "Files of buckets that hold no records.",
                read(&self.refused),
            ),
            Family::counter(
                "bodkin_cloudtrail_polls_failed_total",
                "Times that a bucket could not be read to its end.",
                read(&self.failed),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, seconds: i64) -> ObjectMeta {
        let last_modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64);
        ObjectMeta { location: name.into(), last_modified: last_modified.into(), size: 1, e_tag: None, version: None }
    }

    #[test]
    fn files_are_read_once_and_in_order() {
        let day = 86_400;
        let files = [
            file("b.json.gz", 20 * day),
            file("a.json", 10 * day),
            file("notes.txt", 10 * day),
            file("CloudTrail-Digest/x.json.gz", 10 * day),
        ];
        let mut progress = Progress::default();
        let names = |progress: &Progress| {
            plan(&files, progress).iter().map(|file| file.location.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&progress), ["a.json", "b.json.gz"]);
        progress.finish(&files[1]);
        assert_eq!(names(&progress), ["b.json.gz"]);
        progress.finish(&files[0]);
        progress.prune(&files);
        assert_eq!(progress.done.iter().collect::<Vec<_>>(), ["b.json.gz"], "age tells of the other");
        assert!(names(&progress).is_empty());
    }

    #[tokio::test]
    async fn progress_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloudtrail.json");
        let state = StateFile::open(path.clone()).unwrap();
        state.change("s3://a", |progress| progress.finish(&file("x.json", 5))).await.unwrap();
        let again = StateFile::open(path.clone()).unwrap();
        assert_eq!(again.of("s3://a").await, state.of("s3://a").await);
        assert_eq!(again.of("s3://b").await, Progress::default());
        std::fs::write(&path, "{").unwrap();
        assert!(StateFile::open(path).is_err());
    }

    #[test]
    fn texts_and_gzip() {
        let record = br#"{"Records": [{"eventTime": "2026-01-02T03:04:05Z", "eventID": "a"}]}"#;
        assert_eq!(documents(record).unwrap().len(), 1);
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(record).unwrap();
        assert_eq!(documents(&zip.finish().unwrap()).unwrap().len(), 1);
        assert!(
            documents(b"{").is_err() && documents(b"{\"Records\": [1]}").is_err() && documents(b"\x1f\x8bx").is_err()
        );
    }
}
