//! SAFE-1: whatever is done to an intent or to a state object, the node starts or says what is wrong.

use async_trait::async_trait;
use bodkin_engine::{Coordinator, EpochOptions, IntentStore, SinkError, Source, Time, TokioTimer};
use bodkin_schema::{Position, SystemClock};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const INTENT: &str = "epochs/n1/00000000000000000007.intent";
const STATE: &str = "epochs/n1/00000000000000000007-9.state";

struct Log;

#[async_trait]
impl Source for Log {
    async fn ack(&self, _: Position) -> Result<(), SinkError> {
        Ok(())
    }
}

/// An intent with everything that one can have, and the object that it points into.
fn whole() -> (Vec<u8>, Vec<u8>) {
    let (piece, side) = (b"{\"a\":1}", b"[1]");
    let state = [b"BKSTATE1".as_slice(), piece, side].concat();
    let object = STATE.rsplit('/').next().unwrap();
    let intent = serde_json::json!({
        "format": 2, "node": "n1", "epoch": 7, "generation": 9, "position": 1234,
        "marks": [{"tenant": "default", "producer": "a/security", "incarnation": 3, "stream": "events", "seq": 5, "last_ingest_us": 11}],
        "side_inputs": [{"name": "rules", "position": 12, "object": object, "offset": 15, "bytes": 3, "hash": xxh3_64(side)}],
        "states": [{"operator": "window", "group": 3, "object": object, "offset": 8, "bytes": 7, "hash": xxh3_64(piece)}],
        "prepared": {"tables": {"files": []}},
    });
    (serde_json::to_vec(&intent).unwrap(), state)
}

async fn start(intent: Vec<u8>, state: Vec<u8>) -> Result<usize, String> {
    let store = Arc::new(InMemory::new());
    store.put(&Path::from(INTENT), intent.into()).await.unwrap();
    store.put(&Path::from(STATE), state.into()).await.unwrap();
    let store: Arc<dyn ObjectStore> = store;
    let time = Time { clock: Arc::new(SystemClock::default()), timer: Arc::new(TokioTimer) };
    let intents = IntentStore::new(store, "n1");
    match Coordinator::recover(intents, Vec::new(), Arc::new(Log), EpochOptions::default(), time).await {
        Ok((_, recovered)) => Ok(recovered.states.len() + recovered.side_inputs.len()),
        Err(error) => Err(error.to_string()),
    }
}

fn run(intent: Vec<u8>, state: Vec<u8>) -> Result<usize, String> {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(start(intent, state))
}

#[test]
fn a_whole_intent_is_taken() {
    let (intent, state) = whole();
    assert_eq!(run(intent, state), Ok(2));
}

/// Bytes that replace others, where the text is cut, numbers that replace numbers.
fn change(bytes: &[u8], places: &[(usize, u8)], cut: Option<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, byte) in places {
        let at = place % bytes.len();
        bytes[at] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut % bytes.len());
    }
    bytes
}

fn with_number(intent: &[u8], which: usize, number: u64) -> Vec<u8> {
    let text = String::from_utf8(intent.to_vec()).unwrap();
    let is_number =
        |at: &usize| text[..*at].ends_with(':') && text[*at..].starts_with(|next: char| next.is_ascii_digit());
    let starts: Vec<_> = (1..text.len()).filter(is_number).collect();
    let start = starts[which % starts.len()];
    let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{number}{}", &text[..start], &text[start + digits..]).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn mutants_are_refused_or_taken(
        places in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in proptest::option::weighted(0.2, any::<usize>()),
        of_state in any::<bool>(),
        number in proptest::option::of((any::<usize>(), prop_oneof![Just(u64::MAX), Just(u64::MAX - 7), Just(i64::MAX as u64), Just(0), Just(1 << 40), any::<u64>()])),
    ) {
        let (intent, state) = whole();
        let intent = number.map_or(intent.clone(), |(which, number)| with_number(&intent, which, number));
        let (intent, state) = match of_state {
            true => (intent, change(&state, &places, cut)),
            false => (change(&intent, &places, cut), state),
        };
        if let Err(message) = run(intent, state) {
            prop_assert!(message.contains("epochs/n1") || message.contains("n1"), "{message}");
        }
    }
}
