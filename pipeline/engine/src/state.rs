//! States of operators and side inputs as objects that intents point into.
//!
//! ```text
//!  epochs/<node>/<20-digit epoch>-<generation>.state
//!  +----------+---------+---------+ - - -
//!  | BKSTATE1 | piece   | piece   |         an intent says of each piece: object, offset, bytes, hash
//!  +----------+---------+---------+ - - -
//! ```
//! An object holds what changed in its epoch; what did not is pointed at where it lies. When pieces are strewn over too
//! many objects all are written anew. An object is never replaced: two lives of a node can have the same generation where
//! the clock was set back, and a request of one that is gone can come late. Whoever finds a name taken by other contents
//! takes the next, `<epoch>-<generation>-1.state` and so on.

use crate::{Error, Result};
use bodkin_schema::{Epoch, Incarnation};
use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 7] = b"BKSTATE";
const VERSION: u8 = b'1';
/// Objects that an intent points into before everything is written anew.
const OBJECTS_MAX: usize = 8;

/// File name ending of state objects.
pub(crate) const EXTENSION: &str = ".state";

/// Where a piece lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) object: String,
    offset: u64,
    bytes: u64,
    hash: u64,
}

/// A piece: whose it is, and which part.
pub(crate) type Key = (String, u8);

/// Reads and writes the state objects of a node.
#[derive(Clone, Debug)]
pub(crate) struct StateStore {
    store: Arc<dyn ObjectStore>,
    folder: Path,
}

impl StateStore {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: Path) -> Self {
        Self { store, folder }
    }

    /// Stores `pieces`, of which `known` are there already. May be called again after an error.
    pub(crate) async fn write(
        &self,
        epoch: Epoch,
        generation: Incarnation,
        pieces: &BTreeMap<Key, Bytes>,
        known: &BTreeMap<Key, Place>,
    ) -> Result<BTreeMap<Key, Place>> {
        let is_same = |key: &Key, piece: &Bytes| {
            known.get(key).filter(|place| place.bytes == piece.len() as u64 && place.hash == xxh3_64(piece))
        };
        let kept: BTreeMap<&Key, &Place> =
            pieces.iter().filter_map(|(key, piece)| Some((key, is_same(key, piece)?))).collect();
        let objects: BTreeSet<&str> = kept.values().map(|place| place.object.as_str()).collect();
        let kept = if objects.len() >= OBJECTS_MAX { BTreeMap::new() } else { kept };

        let mut content = BytesMut::from(&MAGIC[..]);
        content.extend_from_slice(&[VERSION]);
        let mut places: BTreeMap<Key, Place> =
            kept.into_iter().map(|(key, place)| (key.clone(), place.clone())).collect();
        let mut written = Vec::new();
        for (key, piece) in pieces.iter().filter(|(key, _)| !places.contains_key(*key)) {
            written.push((key, content.len() as u64, piece));
            content.extend_from_slice(piece);
        }
        if !written.is_empty() {
            let object = self.put(epoch, generation, content.freeze()).await?;
            places.extend(written.into_iter().map(|(key, offset, piece)| {
                let (bytes, hash) = (piece.len() as u64, xxh3_64(piece));
                (key.clone(), Place { object: object.clone(), offset, bytes, hash })
            }));
        }
        Ok(places)
    }

    /// Stores an object under a name that is free; the name. An object whose answer was lost is known by its contents.
    async fn put(&self, epoch: Epoch, generation: Incarnation, content: Bytes) -> Result<String> {
        let mut name = format!("{:020}-{}{EXTENSION}", epoch.0, generation.0);
        for number in 1_u64.. {
            let path = self.folder.clone().join(name.as_str());
            let options = PutOptions { mode: PutMode::Create, ..Default::default() };
            match self.store.put_opts(&path, content.clone().into(), options).await {
                Ok(_) => break,
                Err(object_store::Error::AlreadyExists { .. }) if self.bytes(&path).await? == content => break,
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(source) => return Err(Error::Intent { path: path.to_string(), source }),
            }
            name = format!("{:020}-{}-{number}{EXTENSION}", epoch.0, generation.0);
        }
        Ok(name)
    }

    /// Reads pieces back.
    pub(crate) async fn read(&self, places: &BTreeMap<Key, Place>) -> Result<BTreeMap<Key, Bytes>> {
        let mut objects: BTreeMap<&str, Bytes> = BTreeMap::new();
        let mut pieces = BTreeMap::new();
        for (key, place) in places {
            let path = self.folder.clone().join(place.object.as_str());
            let object = match objects.get(place.object.as_str()) {
                Some(object) => object,
                None => objects.entry(&place.object).or_insert(self.object(&path).await?),
            };
            let end = place.offset.checked_add(place.bytes).and_then(|end| usize::try_from(end).ok());
            let range = usize::try_from(place.offset).ok().zip(end).filter(|(_, end)| *end <= object.len());
            let piece = range.map(|(start, end)| object.slice(start..end));
            let piece = piece.filter(|piece| xxh3_64(piece) == place.hash);
            let damaged = || Error::Damaged { path: path.to_string(), what: format!("{} {}", key.0, key.1) };
            pieces.insert(key.clone(), piece.ok_or_else(damaged)?);
        }
        Ok(pieces)
    }

    async fn bytes(&self, path: &Path) -> Result<Bytes> {
        let at = |source| Error::Intent { path: path.to_string(), source };
        self.store.get(path).await.map_err(at)?.bytes().await.map_err(at)
    }

    async fn object(&self, path: &Path) -> Result<Bytes> {
        let object = self.bytes(path).await?;
        match object.strip_prefix(MAGIC).and_then(|rest| rest.first()) {
            Some(version) if *version <= VERSION => Ok(object),
            Some(version) => Err(Error::Newer {
                path: path.to_string(),
                found: u32::from(version.wrapping_sub(b'0')),
                known: u32::from(VERSION - b'0'),
            }),
            None => Err(Error::Damaged { path: path.to_string(), what: "header".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn pieces(values: &[(&str, &str)]) -> BTreeMap<Key, Bytes> {
        values.iter().map(|(name, value)| ((name.to_string(), 0), Bytes::from(value.to_string()))).collect()
    }

    #[tokio::test]
    async fn what_did_not_change_is_pointed_at() {
        let store = StateStore::new(Arc::new(InMemory::new()), Path::from("epochs/n"));
        let write = |epoch, pieces, known| {
            let store = store.clone();
            async move { store.write(Epoch(epoch), Incarnation(7), &pieces, &known).await.unwrap() }
        };
        let first = write(1, pieces(&[("a", "one"), ("b", "two")]), BTreeMap::new()).await;
        let second = write(2, pieces(&[("a", "one"), ("b", "three")]), first.clone()).await;
        assert_eq!(first[&("a".to_owned(), 0)], second[&("a".to_owned(), 0)]);
        assert_eq!(store.read(&second).await.unwrap(), pieces(&[("a", "one"), ("b", "three")]));
        assert_eq!(store.read(&first).await.unwrap(), pieces(&[("a", "one"), ("b", "two")]));
    }

    #[tokio::test]
    async fn lives_of_one_generation_do_not_replace_each_other() {
        let store = StateStore::new(Arc::new(InMemory::new()), Path::from("epochs/n"));
        let mut all = Vec::new();
        for value in ["one", "two", "six", "one"] {
            let value = pieces(&[("a", value)]);
            all.push((store.write(Epoch(1), Incarnation(7), &value, &BTreeMap::new()).await.unwrap(), value));
        }
        for (places, value) in &all {
            assert_eq!(store.read(places).await.unwrap(), *value);
        }
        assert_eq!(all[0].0, all[3].0, "an answer that was lost");
    }

    #[tokio::test]
    async fn objects_do_not_gather() {
        let store = StateStore::new(Arc::new(InMemory::new()), Path::from("epochs/n"));
        let mut known = BTreeMap::new();
        for epoch in 1..100_u64 {
            let all: BTreeMap<Key, Bytes> = (0..20)
                .map(|piece| (("a".into(), piece), Bytes::from((epoch / 20).max(u64::from(piece) % epoch).to_string())))
                .collect();
            known = store.write(Epoch(epoch), Incarnation(7), &all, &known).await.unwrap();
            assert_eq!(store.read(&known).await.unwrap(), all);
            assert!(known.values().map(|place| &place.object).collect::<BTreeSet<_>>().len() <= OBJECTS_MAX);
        }
    }

    #[tokio::test]
    async fn damage_is_named() {
        let memory = Arc::new(InMemory::new());
        let store = StateStore::new(memory.clone(), Path::from("epochs/n"));
        let places = store.write(Epoch(1), Incarnation(7), &pieces(&[("a", "one")]), &BTreeMap::new()).await.unwrap();
        let path = Path::from(format!("epochs/n/{:020}-7.state", 1));
        memory.put(&path, "BKSTATE1onE".into()).await.unwrap();
        assert!(store.read(&places).await.unwrap_err().to_string().contains("a 0"));
        memory.put(&path, "BKSTATE2one".into()).await.unwrap();
        assert!(store.read(&places).await.unwrap_err().to_string().contains("run the newer version"));
        memory.put(&path, "BKSTATE1".into()).await.unwrap();
        assert!(matches!(store.read(&places).await, Err(Error::Damaged { .. })));
    }
}
