//! SAFE-1: mutated puts over the wire; the server refuses or stores them, and goes on answering.

use crate::harness::{Server, drops, messages, metadata, put, samples, samples_put};
use arrow_flight::FlightData;
use bodkin_fuzz::Random;
use bodkin_wal::Compression;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::BTreeSet;

const MUTANTS: u64 = 2000;

fn mutate(bytes: &mut Bytes, random: &mut Random) {
    let mut changed = bytes.to_vec();
    if changed.is_empty() {
        return;
    }
    if random.below(10) == 0 {
        changed.truncate(random.below(changed.len()));
    }
    for _ in 0..=random.below(4) {
        let at = random.below(changed.len());
        if let Some(byte) = changed.get_mut(at) {
            *byte = random.below(256) as u8;
        }
    }
    *bytes = changed.into();
}

fn mutant(seed: &[FlightData], seq: u64, random: &mut Random) -> Vec<FlightData> {
    let mut messages = seed.to_vec();
    // Each has a lane number of its own, so that what is stored can be told.
    messages.last_mut().unwrap().app_metadata = metadata(seq);
    let at = random.below(messages.len());
    let message = &mut messages[at];
    match random.below(8) {
        0 => mutate(&mut message.app_metadata, random),
        1 | 2 => mutate(&mut message.data_body, random),
        _ => mutate(&mut message.data_header, random),
    }
    messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_survives_mutants_and_keeps_what_it_acked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let seeds = [
        messages("drops", &[(1, drops(20, "x"))], Compression::None),
        messages("drops", &[(1, drops(20, "x"))], Compression::Zstd),
        messages("drops", &[(1, drops(20, "x"))], Compression::Lz4),
        messages("samples", &[(1, samples(20, 0))], Compression::None),
    ];
    let mut random = Random::new(2000);
    let puts: Vec<_> = (1..=MUTANTS)
        .map(|seq| (seq, mutant(&seeds[seq as usize % seeds.len()], seq, &mut random)))
        .map(|(seq, messages)| (seq, put(server.client.clone(), messages)))
        .collect();
    let mut refused = 0;
    let mut answered = stream::iter(puts).map(|(seq, put)| async move { (seq, put.await) }).buffer_unordered(8);
    while let Some((seq, answers)) = answered.next().await {
        let is_refused = answers.error.is_some();
        assert_eq!(answers.acks.len(), usize::from(!is_refused), "mutant {seq}: {answers:?}");
        refused += usize::from(is_refused);
        if let Some(status) = answers.error {
            let is_told = !matches!(status.code(), tonic::Code::Unknown | tonic::Code::Internal);
            assert!(is_told && !status.message().is_empty(), "mutant {seq}: {status:?}");
        }
        if seq % 200 == 0 {
            let sound = server.put(samples_put([MUTANTS + seq])).await;
            assert!(sound.error.is_none(), "the server still answers: {sound:?}");
        }
    }
    drop(answered);
    assert!(refused > 800 && refused < 1990, "{refused} refused");
    let stored = stored(&server);
    assert!(!stored.is_empty());
    server.stop().await;

    let server = Server::start(dir.path()).await;
    assert_eq!(server.report.quarantined_count, 0, "nothing that cannot be read back was logged");
    assert_eq!(self::stored(&server), stored);
    server.stop().await;
}

fn stored(server: &Server) -> BTreeSet<(String, u64, usize)> {
    let batches = server.collected.batches();
    for batch in &batches {
        for column in batch.records.columns() {
            column.to_data().validate_full().unwrap();
        }
    }
    batches.into_iter().map(|batch| (batch.lane.to_string(), batch.seq.0, batch.records.num_rows())).collect()
}
