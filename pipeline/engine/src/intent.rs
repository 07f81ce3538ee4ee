//! The decision of an epoch: one object per node and epoch, put if absent.
//!
//! `epochs/<node>/<20-digit epoch>.intent` holds JSON. Whoever puts it first has decided; a process that finds it
//! there with other contents has been replaced and stops.
//!
//! Intents are deleted when newer ones are complete, so the put alone does not tell a process that slept through
//! several epochs of its successor: its own number is free again. It learns that from the tables, which hold the number
//! already ([`Sink::committed`](crate::Sink::committed), read before the put), and from the newer intent that always
//! stays (looked for after the put).

use crate::runtime::{Cut, OperatorState, Recovered};
use crate::state::{EXTENSION as STATE_EXTENSION, Key, Place, StateStore};
use crate::watermark::WatermarkState;
use crate::{Error, KeyGroup, Result, SIDE_TOPIC, SideInput};
use bodkin_schema::{Epoch, EventTime, Incarnation, Lane, Position, Producer, Seq, Tenant};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of the JSON below. Format 1 had no state, 2 none of sinks.
const FORMAT: u32 = 3;
/// What the name of a sink's state begins with.
const SINK_TOPIC: &str = "sink/";
const EXTENSION: &str = ".intent";

/// The highest number that a lane has stored, and when it last sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    tenant: String,
    producer: String,
    incarnation: u64,
    stream: String,
    seq: u64,
    last_ingest_us: i64,
}

impl Mark {
    /// The mark of a tenant's `lane` at `seq`.
    pub fn new(tenant: &Tenant, lane: &Lane, seq: Seq, last_ingest: EventTime) -> Self {
        Self {
            tenant: tenant.to_string(),
            producer: lane.producer.to_string(),
            incarnation: lane.incarnation.0,
            stream: lane.stream.to_string(),
            seq: seq.0,
            last_ingest_us: last_ingest.0,
        }
    }

    /// Whose lane.
    pub fn tenant(&self) -> Tenant {
        Tenant(self.tenant.as_str().into())
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        Lane {
            producer: Producer::from(self.producer.as_str()),
            incarnation: Incarnation(self.incarnation),
            stream: self.stream.as_str().into(),
        }
    }

    /// The highest number stored.
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// When the lane last sent.
    pub fn last_ingest(&self) -> EventTime {
        EventTime(self.last_ingest_us)
    }
}

/// What an epoch has decided: how far the log was read, and what that became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    format: u32,
    node: String,
    epoch: u64,
    generation: u64,
    position: u64,
    marks: Vec<Mark>,
    #[serde(default)]
    watermarks: WatermarkState,
    #[serde(default)]
    side_inputs: Vec<SideRef>,
    #[serde(default)]
    states: Vec<StateRef>,
    prepared: BTreeMap<String, serde_json::Value>,
}

/// Where a side input lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SideRef {
    name: String,
    position: u64,
    #[serde(flatten)]
    place: Place,
}

/// Where the state of an operator in a key group, or a part of a sink's, lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StateRef {
    operator: String,
    group: u8,
    #[serde(flatten)]
    place: Place,
}

impl Intent {
    /// An intent of `node`'s process `generation` for the epoch that `cut` ends.
    pub(crate) fn new(
        node: &str,
        generation: Incarnation,
        cut: Cut,
        places: &BTreeMap<Key, Place>,
        prepared: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        let Cut { epoch, position, marks, watermarks, side_inputs } = cut;
        let side_ref = |input: SideInput| {
            let place = places.get(&side_key(&input.name))?.clone();
            Some(SideRef { name: input.name.to_string(), position: input.position.0, place })
        };
        let states = places.iter().filter(|((name, _), _)| !name.starts_with(SIDE_TOPIC));
        Self {
            format: FORMAT,
            node: node.to_owned(),
            epoch: epoch.0,
            generation: generation.0,
            position: position.0,
            marks,
            watermarks,
            side_inputs: side_inputs.into_iter().filter_map(side_ref).collect(),
            states: states
                .map(|((operator, group), place)| StateRef {
                    operator: operator.clone(),
                    group: *group,
                    place: place.clone(),
                })
                .collect(),
            prepared,
        }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// The process that decided it.
    pub fn generation(&self) -> Incarnation {
        Incarnation(self.generation)
    }

    /// Up to where the log is in the tables.
    pub fn position(&self) -> Position {
        Position(self.position)
    }

    /// Deduplication marks at that position.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What the sink called `name` needs to commit.
    pub fn prepared(&self, name: &str) -> Option<&serde_json::Value> {
        self.prepared.get(name)
    }

    /// Where its pieces of state lie.
    pub(crate) fn places(&self) -> BTreeMap<Key, Place> {
        let states = self.states.iter().map(|state| ((state.operator.clone(), state.group), state.place.clone()));
        let sides = self.side_inputs.iter().map(|side| (side_key(&side.name), side.place.clone()));
        states.chain(sides).collect()
    }
}

/// A part of the state of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkState {
    pub(crate) sink: String,
    pub(crate) part: String,
    pub(crate) state: Bytes,
}

impl SinkState {
    /// What a piece is a part of, if it is one of a sink.
    fn of(((name, _), state): (&Key, &Bytes)) -> Option<Self> {
        let (sink, part) = name.strip_prefix(SINK_TOPIC)?.split_once('/')?;
        Some(Self { sink: sink.to_owned(), part: part.to_owned(), state: state.clone() })
    }
}

/// The pieces of state that a cut, its shards and the sinks give.
pub(crate) fn pieces(cut: &Cut, states: &[OperatorState], sinks: Vec<SinkState>) -> Result<BTreeMap<Key, Bytes>> {
    let of_state = |state: &OperatorState| ((state.operator.clone(), state.group.number()), state.state.clone());
    let of_sink = |state: SinkState| ((format!("{SINK_TOPIC}{}/{}", state.sink, state.part), 0), state.state);
    let mut pieces: BTreeMap<Key, Bytes> = states.iter().map(of_state).chain(sinks.into_iter().map(of_sink)).collect();
    for input in &cut.side_inputs {
        let path = input.name.to_string();
        let json = serde_json::to_vec(input.value.as_ref()).map_err(|source| Error::Corrupt { path, source })?;
        pieces.insert(side_key(&input.name), json.into());
    }
    Ok(pieces)
}

fn side_key(name: &str) -> Key {
    (format!("{SIDE_TOPIC}{name}"), 0)
}

/// The intents of one node.
#[derive(Clone, Debug)]
pub struct IntentStore {
    store: Arc<dyn ObjectStore>,
    node: String,
}

impl IntentStore {
    /// Intents of `node` in `store`.
    pub fn new(store: Arc<dyn ObjectStore>, node: &str) -> Self {
        Self { store, node: node.to_owned() }
    }

    /// The node.
    pub fn node(&self) -> &str {
        &self.node
    }

    fn folder(&self) -> Path {
        Path::from_iter(["epochs", &self.node])
    }

    fn path(&self, epoch: Epoch) -> Path {
        self.folder().join(format!("{:020}{EXTENSION}", epoch.0))
    }

    pub(crate) fn states(&self) -> StateStore {
        StateStore::new(self.store.clone(), self.folder())
    }

    /// Decides the epoch. An answer that was lost is recognized by the contents: the same intent put twice is fine.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another process has decided it, or a later one.
    pub async fn decide(&self, intent: &Intent) -> Result<()> {
        let path = self.path(intent.epoch());
        let bytes = serde_json::to_vec(intent).map_err(|source| Error::Corrupt { path: path.to_string(), source })?;
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        let fenced = || Error::Fenced { node: self.node.clone(), epoch: intent.epoch() };
        match self.store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) if self.read(&path).await? == *intent => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Err(fenced()),
            Err(source) => return Err(Error::Intent { path: path.to_string(), source }),
        }
        match self.list(EXTENSION).await?.pop() {
            Some(newest) if newest > path => Err(fenced()),
            _ => Ok(()),
        }
    }

    /// The newest intent, if there is one.
    pub async fn newest(&self) -> Result<Option<Intent>> {
        match self.list(EXTENSION).await?.pop() {
            Some(path) => self.read(&path).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads what `intent` says of the log, of operators and of sinks.
    pub(crate) async fn recovered(&self, intent: &Intent) -> Result<(Recovered, Vec<SinkState>)> {
        let places = intent.places();
        let mut pieces = self.states().read(&places).await?;
        let mut side_inputs = Vec::new();
        for side in &intent.side_inputs {
            let Some(json) = pieces.remove(&side_key(&side.name)) else { continue };
            let path = side.place.object.clone();
            let value = serde_json::from_slice(&json).map_err(|source| Error::Corrupt { path, source })?;
            let position = Position(side.position);
            side_inputs.push(SideInput { name: side.name.as_str().into(), value: Arc::new(value), position });
        }
        let of_sinks: Vec<SinkState> = pieces.iter().filter_map(SinkState::of).collect();
        pieces.retain(|(name, _), _| !name.starts_with(SINK_TOPIC));
        let state = |((operator, group), state): (Key, Bytes)| {
            Some(OperatorState { operator, group: KeyGroup::new(group)?, state })
        };
        let recovered = Recovered {
            epoch: intent.epoch(),
            position: intent.position(),
            marks: intent.marks.clone(),
            watermarks: intent.watermarks.clone(),
            side_inputs,
            states: pieces.into_iter().filter_map(state).collect(),
        };
        Ok((recovered, of_sinks))
    }

    /// Deletes what `intent`, which is complete, has made superfluous: the intents before it, and the states of its
    /// epoch and earlier ones that it does not point at. Costs two listings.
    pub(crate) async fn forget_before(&self, intent: &Intent) -> Result<()> {
        let kept = self.path(intent.epoch());
        let intents = self.list(EXTENSION).await?.into_iter().take_while(|path| *path < kept);
        let places = intent.places();
        let end = self.folder().join(format!("{:020}", intent.epoch().next().0));
        let is_pointed_at =
            |path: &Path| path.filename().is_some_and(|name| places.values().any(|place| place.object == name));
        let states = self.list(STATE_EXTENSION).await?.into_iter().filter(|path| *path < end && !is_pointed_at(path));
        for path in intents.chain(states) {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::Intent { path: path.to_string(), source }),
            }
        }
        Ok(())
    }

    /// The objects of the node with this ending, in order of epochs.
    async fn list(&self, extension: &str) -> Result<Vec<Path>> {
        let folder = self.folder();
        let found: Vec<_> = self
            .store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|source| Error::Intent { path: folder.to_string(), source })?;
        let mut paths: Vec<_> =
            found.into_iter().map(|meta| meta.location).filter(|path| path.as_ref().ends_with(extension)).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    async fn read(&self, path: &Path) -> Result<Intent> {
        let at = |source| Error::Intent { path: path.to_string(), source };
        let bytes = self.store.get(path).await.map_err(at)?.bytes().await.map_err(at)?;
        let corrupt = |source| Error::Corrupt { path: path.to_string(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(corrupt)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default() as u32;
        if found > FORMAT {
            return Err(Error::Newer { path: path.to_string(), found, known: FORMAT });
        }
        let intent: Intent = serde_json::from_value(value).map_err(corrupt)?;
        match self.path(intent.epoch()) == *path {
            true => Ok(intent),
            false => Err(Error::Damaged { path: path.to_string(), what: format!("epoch {}", intent.epoch) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn intent(epoch: u64, generation: u64) -> Intent {
        let lane = Lane { producer: "a/security".into(), incarnation: Incarnation(7), stream: "events".into() };
        let marks = vec![Mark::new(&Tenant::default(), &lane, Seq(3), EventTime(5))];
        let (epoch, position) = (Epoch(epoch), Position(99));
        let cut = Cut { epoch, position, marks, watermarks: WatermarkState::default(), side_inputs: Vec::new() };
        Intent::new("n1", Incarnation(generation), cut, &BTreeMap::new(), BTreeMap::new())
    }

    #[tokio::test]
    async fn the_first_put_decides() {
        let intents = IntentStore::new(Arc::new(InMemory::new()), "n1");
        assert_eq!(intents.newest().await.unwrap(), None);
        intents.decide(&intent(1, 1)).await.unwrap();
        intents.decide(&intent(1, 1)).await.unwrap();
        assert!(matches!(intents.decide(&intent(1, 2)).await, Err(Error::Fenced { .. })));
        assert_eq!(intents.newest().await.unwrap(), Some(intent(1, 1)));
    }

    #[tokio::test]
    async fn the_newest_stays_and_tells_who_slept_that_it_was_replaced() {
        let intents = IntentStore::new(Arc::new(InMemory::new()), "n1");
        for epoch in [9, 10, 11] {
            intents.decide(&intent(epoch, 1)).await.unwrap();
        }
        intents.forget_before(&intent(11, 1)).await.unwrap();
        assert_eq!(intents.list(EXTENSION).await.unwrap().len(), 1);
        assert_eq!(intents.newest().await.unwrap().unwrap().epoch(), Epoch(11));
        let late = intents.decide(&intent(10, 0)).await;
        assert!(matches!(late, Err(Error::Fenced { .. })), "the put found its number free: {late:?}");
        assert_eq!(intents.newest().await.unwrap(), Some(intent(11, 1)));
    }

    #[tokio::test]
    async fn format_1_is_read() {
        let store = Arc::new(InMemory::new());
        let intents = IntentStore::new(store.clone(), "n1");
        let json = r#"{"format":1,"node":"n1","epoch":4,"generation":2,"position":7,"marks":[],"prepared":{}}"#;
        store.put(&intents.path(Epoch(4)), json.into()).await.unwrap();
        let newest = intents.newest().await.unwrap().unwrap();
        assert_eq!((newest.epoch(), newest.position(), newest.places().len()), (Epoch(4), Position(7), 0));
    }

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let store = Arc::new(InMemory::new());
        let intents = IntentStore::new(store.clone(), "n1");
        store.put(&intents.path(Epoch(1)), r#"{"format":4}"#.into()).await.unwrap();
        let error = intents.newest().await.unwrap_err().to_string();
        assert!(error.contains("format 4") && error.contains("run the newer version"), "{error}");
    }
}
