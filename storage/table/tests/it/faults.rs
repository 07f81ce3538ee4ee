//! Crashes and failures between the steps of an epoch.

use crate::flow::{end, open};
use crate::rows::{Still, drops, numbers, samples};
use async_trait::async_trait;
use bodkin_engine::Sink;
use bodkin_schema::{Epoch, Stream};
use bodkin_table::{CommitRequest, Committed, DeltaLog, Error, TableLog, Tables};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A store in memory that refuses puts to paths with a certain text, before or after they happened.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: InMemory,
    refused: Mutex<Option<(&'static str, bool)>>,
}

impl Faulty {
    pub(crate) fn refuse(&self, text: &'static str, happens: bool) {
        *self.refused.lock().unwrap() = Some((text, happens));
    }

    pub(crate) fn heal(&self) {
        *self.refused.lock().unwrap() = None;
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let refused = *self.refused.lock().unwrap();
        let error = || object_store::Error::Generic { store: "Faulty", source: "the line is dead".into() };
        match refused {
            Some((text, true)) if location.as_ref().contains(text) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(error())
            }
            Some((text, false)) if location.as_ref().contains(text) => Err(error()),
            _ => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn has_once(tables: &Tables, rows: i64) {
    let snapshot = tables.snapshot();
    let expected: Vec<i64> = (0..rows).collect();
    assert_eq!(numbers(tables, snapshot.table(Stream::Samples), "ts").await, expected);
    assert_eq!(numbers(tables, snapshot.table(Stream::Drops), "count").await, expected);
}

fn write(tables: &Tables, rows: Range<i64>) {
    tables.write(samples(rows.clone()));
    tables.write(drops(rows, "a"));
}

#[tokio::test]
async fn once_1_a_crash_before_the_commit_is_rolled_forward() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..10);
    tables.seal(Epoch(1));
    let prepared = tables.prepare(Epoch(1)).await.unwrap();
    drop(tables);
    let tables = open(store.clone()).await;
    has_once(&tables, 0).await;
    tables.commit(Epoch(1), &prepared).await.unwrap();
    has_once(&tables, 10).await;
    tables.commit(Epoch(1), &prepared).await.unwrap();
    has_once(&tables, 10).await;
    assert_eq!(tables.snapshot().table(Stream::Samples).version, Some(0), "the second time was no commit");
}

#[tokio::test]
async fn once_2_a_failure_between_two_tables_shows_neither() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..5);
    end(&tables, 1).await;
    write(&tables, 5..10);
    tables.seal(Epoch(2));
    let prepared = tables.prepare(Epoch(2)).await.unwrap();
    store.refuse("samples/_delta_log", false);
    assert!(tables.commit(Epoch(2), &prepared).await.is_err());
    let seen = tables.snapshot();
    let files = |stream: Stream| seen.table(stream).files.len();
    assert_eq!((files(Stream::Drops), files(Stream::Samples)), (1, 1), "half an epoch is not shown");
    has_once(&tables, 10).await;
    write(&tables, 10..12);
    has_once(&tables, 12).await;

    let restarted = {
        store.heal();
        open(store.clone()).await
    };
    restarted.commit(Epoch(2), &prepared).await.unwrap();
    has_once(&restarted, 10).await;
    tables.commit(Epoch(2), &prepared).await.unwrap();
    has_once(&tables, 12).await;
    let seen = tables.snapshot();
    assert_eq!(seen.table(Stream::Drops).version, Some(1), "committed once by two attempts");
}

#[tokio::test]
async fn once_1_an_answer_that_was_lost_is_recognized() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..10);
    tables.seal(Epoch(1));
    let prepared = tables.prepare(Epoch(1)).await.unwrap();
    store.refuse("_delta_log", true);
    assert!(tables.commit(Epoch(1), &prepared).await.is_err());
    store.heal();
    tables.commit(Epoch(1), &prepared).await.unwrap();
    has_once(&tables, 10).await;
    assert_eq!(tables.snapshot().table(Stream::Samples).version, Some(0));
}

#[tokio::test]
async fn a_prepare_that_failed_starts_over() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..10);
    tables.seal(Epoch(1));
    store.refuse("samples/tenant=default", false);
    let error = tables.prepare(Epoch(1)).await.unwrap_err().to_string();
    assert!(error.contains("tables/samples/tenant=default"), "{error}");
    store.heal();
    let prepared = tables.prepare(Epoch(1)).await.unwrap();
    assert_eq!(prepared, tables.prepare(Epoch(1)).await.unwrap());
    tables.commit(Epoch(1), &prepared).await.unwrap();
    has_once(&tables, 10).await;
    let objects: Vec<_> = store.list(Some(&"tables/samples".into())).try_collect().await.unwrap();
    assert_eq!(objects.len(), 2, "one file and one log entry: {objects:?}");
}

async fn log(store: &Arc<Faulty>, node: &str) -> DeltaLog {
    DeltaLog::open(store.clone(), Stream::Samples, node, Arc::new(Still)).await.unwrap()
}

#[tokio::test]
async fn two_nodes_commit_to_one_table() {
    let store = Arc::new(Faulty::default());
    let (one, two) = (log(&store, "one").await, log(&store, "two").await);
    let epoch = |number| CommitRequest { epoch: Some(Epoch(number)), ..Default::default() };
    assert_eq!(one.commit(&epoch(1)).await.unwrap(), Committed::At(0));
    assert_eq!(two.commit(&epoch(1)).await.unwrap(), Committed::At(1), "made by the other in the meantime");
    assert_eq!(two.commit(&epoch(2)).await.unwrap(), Committed::At(2));
    assert_eq!(one.commit(&epoch(2)).await.unwrap(), Committed::At(3), "their epochs are their own");
    assert_eq!(one.commit(&epoch(2)).await.unwrap(), Committed::AlreadyThere);
    assert_eq!(one.commit(&epoch(1)).await.unwrap(), Committed::AlreadyThere);
    assert_eq!(two.refresh().await.unwrap().version, Some(3));
    let zombie = log(&store, "one").await;
    assert_eq!(one.commit(&epoch(3)).await.unwrap(), Committed::At(4));
    assert_eq!(zombie.commit(&epoch(3)).await.unwrap(), Committed::AlreadyThere, "its own node was faster");
}

#[tokio::test]
async fn a_rewrite_of_files_that_are_gone_conflicts() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..10);
    end(&tables, 1).await;
    let (one, two) = (log(&store, "one").await, log(&store, "two").await);
    let file = one.state().files[0].clone();
    let remove = CommitRequest { removes: vec![file], ..Default::default() };
    assert_eq!(one.commit(&remove).await.unwrap(), Committed::At(1));
    assert!(one.state().files.is_empty());
    let error = two.commit(&CommitRequest { is_rewrite: true, ..remove }).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn a_checkpoint_keeps_all_that_the_log_says() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    for epoch in 1..=102 {
        write(&tables, epoch as i64 - 1..epoch as i64);
        end(&tables, epoch).await;
    }
    let stats = tables.stats();
    assert_eq!(stats.checkpoints.load(std::sync::atomic::Ordering::Relaxed), 2, "one per table");
    // Readers must get along with the checkpoint alone.
    for version in 0..99 {
        let path = format!("tables/samples/_delta_log/{version:020}.json");
        object_store::ObjectStoreExt::delete(store.as_ref(), &path.as_str().into()).await.unwrap();
    }
    let again = open(store.clone()).await;
    let (known, loaded) = (tables.snapshot(), again.snapshot());
    let by_path = |files: &[Arc<bodkin_table::TableFile>]| {
        let mut files: Vec<_> = files.iter().map(|file| file.as_ref().clone()).collect();
        files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        files
    };
    assert_eq!(by_path(&known.table(Stream::Samples).files), by_path(&loaded.table(Stream::Samples).files));
    has_once(&again, 102).await;
    let log = log(&store, crate::rows::NODE).await;
    assert_eq!(log.state().epoch, Some(Epoch(102)), "transactions are in the checkpoint");
}

#[tokio::test]
async fn a_table_with_features_of_others_is_refused() {
    let store = Arc::new(Faulty::default());
    let tables = open(store.clone()).await;
    write(&tables, 0..1);
    end(&tables, 1).await;
    let protocol = r#"{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}"#;
    let path = Path::from("tables/samples/_delta_log/00000000000000000001.json");
    object_store::ObjectStoreExt::put(store.as_ref(), &path, protocol.into()).await.unwrap();
    let error = DeltaLog::open(store.clone(), Stream::Samples, "n", Arc::new(Still)).await.unwrap_err();
    assert!(matches!(error, Error::Newer { .. }), "{error}");
}
