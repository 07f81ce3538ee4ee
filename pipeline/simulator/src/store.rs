//! An object store behind a network: slow, failing, down, and with answers that get lost.
//!
//! A request that was sent is on its way whatever becomes of its sender: it may take effect after the process is dead.

use crate::executor::{Life, Sim, lock};
use crate::mutation::Mutation;
use crate::scenario::Failure;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::Value;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// What goes wrong between a process and the store, in thousandths of all requests.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// The request does not arrive.
    pub(crate) refused: AtomicU64,
    /// The answer does not arrive.
    pub(crate) unanswered: AtomicU64,
    /// Microseconds that a request takes at most.
    pub(crate) slow_us: AtomicU64,
    /// Nothing arrives at all.
    pub(crate) is_down: AtomicBool,
}

/// The store itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) weather: Arc<Weather>,
    /// Position that the mutation [`Mutation::PositionIsAhead`] writes into intents.
    pub(crate) ahead: Arc<Mutex<Option<u64>>>,
    /// Requests so far, over all lives.
    pub(crate) requests: Arc<AtomicU64>,
    /// The one request that fails.
    pub(crate) failure: Option<Failure>,
}

/// The store as one process sees it.
#[derive(Clone, Debug)]
pub(crate) struct SimStore {
    cloud: Cloud,
    sim: Sim,
    is_dead: Arc<AtomicBool>,
    has_slept: Arc<AtomicBool>,
    mutation: Option<Mutation>,
}

impl Cloud {
    pub(crate) fn handle(
        &self,
        sim: &Sim,
        is_dead: Arc<AtomicBool>,
        has_slept: Arc<AtomicBool>,
        mutation: Option<Mutation>,
    ) -> SimStore {
        SimStore { cloud: self.clone(), sim: sim.clone(), is_dead, has_slept, mutation }
    }

    /// What a mutation does: no intent is left.
    pub(crate) async fn delete_intents(&self) {
        let found: Vec<_> = self.objects.list(Some(&Path::from("epochs"))).try_collect().await.unwrap_or_default();
        for meta in found.iter().filter(|meta| meta.location.as_ref().ends_with(".intent")) {
            // What is gone already is gone.
            let _ = self.objects.delete(&meta.location).await;
        }
    }
}

fn lost(what: &'static str) -> Error {
    Error::Generic { store: "simulated", source: what.into() }
}

impl SimStore {
    async fn request<T: Send + 'static>(
        &self,
        effect: impl FnOnce(Arc<InMemory>) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let Self { cloud, sim, is_dead, .. } = self.clone();
        let slow_us = cloud.weather.slow_us.load(Ordering::Relaxed).max(2);
        let number = cloud.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let fails = |of: Failure| cloud.failure == Some(of);
        let is_refused = fails(Failure::Refused(number))
            || cloud.weather.is_down.load(Ordering::Relaxed)
            || sim.chance(cloud.weather.refused.load(Ordering::Relaxed));
        let is_unanswered =
            fails(Failure::Unanswered(number)) || sim.chance(cloud.weather.unanswered.load(Ordering::Relaxed));
        // What was sent before a death arrives after it, or does not.
        let outlives = sim.chance(500);
        self.sim.spawn(Life::WORLD, async move {
            sim.pause(slow_us / 2).await;
            // Nobody waits any more: the sender has gone. Where its process lives it has merely given up.
            let result = match is_refused || (is_dead.load(Ordering::Relaxed) && !outlives) {
                true => Err(lost("the request did not arrive")),
                false => effect(cloud.objects.clone()).await,
            };
            sim.pause(slow_us / 2).await;
            let _ = answer.send(if is_unanswered { Err(lost("the answer did not arrive")) } else { result });
        });
        answered.await.unwrap_or_else(|_| Err(lost("the connection is gone")))
    }

    /// What the mutations make of a put.
    fn mutated(&self, location: &Path, payload: PutPayload, options: &mut PutOptions) -> PutPayload {
        let is_intent = location.as_ref().ends_with(".intent");
        if !is_intent {
            return payload;
        }
        if self.mutation == Some(Mutation::IntentIsReplaced) {
            options.mode = PutMode::Overwrite;
        }
        let key = match self.mutation {
            Some(Mutation::MarksAreForgotten) => "marks",
            Some(Mutation::PositionIsAhead) => "position",
            _ => return payload,
        };
        let bytes = payload.iter().flat_map(|chunk| chunk.to_vec()).collect::<Vec<u8>>();
        let Ok(mut intent) = serde_json::from_slice::<Value>(&bytes) else { return payload };
        let ahead = *lock(&self.cloud.ahead);
        match (intent.get_mut(key), ahead) {
            (Some(marks @ Value::Array(_)), _) => *marks = Value::Array(Vec::new()),
            (Some(position), Some(ahead)) => *position = ahead.into(),
            _ => {}
        }
        intent.to_string().into()
    }
}

impl std::fmt::Display for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulated store")
    }
}

fn unused<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.to_owned(), implementer: "simulated store".to_owned() })
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let payload = self.mutated(location, payload, &mut options);
        let location = location.clone();
        let put =
            move |objects: Arc<InMemory>| async move { objects.put_opts(&location, payload, options).await }.boxed();
        self.request(put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unused("put_multipart_opts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        let get = move |objects: Arc<InMemory>| async move { objects.get_opts(&location, options).await }.boxed();
        self.request(get).await
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        unused("get_ranges")
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let path = location.clone();
                let delete = move |objects: Arc<InMemory>| async move { objects.delete(&path).await }.boxed();
                store.request(delete).await.map(|()| location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            let list = move |objects: Arc<InMemory>| {
                async move { objects.list(prefix.as_ref()).try_collect::<Vec<_>>().await }.boxed()
            };
            let mut found = store.request(list).await?;
            if store.mutation == Some(Mutation::SleeperIsNotStopped) && store.has_slept.load(Ordering::Relaxed) {
                found.retain(|meta| !meta.location.as_ref().ends_with(".intent"));
            }
            Ok::<_, Error>(futures::stream::iter(found.into_iter().map(Ok)))
        };
        futures::stream::once(listing).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unused("list_with_delimiter")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unused("copy_opts")
    }
}
