//! What is taken, what is refused, and what is taken once.

use crate::harness::{Server, connect, drops, messages, metadata, put, samples, samples_put, texts};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::{FlightData, FlightDescriptor};
use bodkin_ingest::IngestLimits;
use bodkin_schema::Stream;
use bodkin_wal::{Compression, Limits};
use futures::StreamExt;
use std::sync::Arc;
use tonic::Code;

#[tokio::test]
async fn rows_arrive_as_they_were_sent_with_every_compression() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for (seq, compression) in [(1, Compression::None), (2, Compression::Lz4), (3, Compression::Zstd)] {
        // Two batches with other dictionaries under the same ids: the second must not read the first one's.
        let (first, second) = (drops(100, "first"), drops(3000, "second"));
        let batches = [(2 * seq, first.clone()), (2 * seq + 1, second.clone())];
        let answers = server.put(messages("drops", &batches, compression)).await;
        answers.assert_acked(&[2 * seq, 2 * seq + 1]);
        assert!(answers.acks.iter().all(|ack| ack.credit_bytes > 0));
        let stored = server.collected.batches();
        for (sent, stored) in [first, second].iter().zip(stored.iter().rev().take(2).rev()) {
            assert_eq!(texts(&stored.records, "reason"), texts(sent, "reason"));
            assert_eq!(stored.records.column(4), sent.column(4));
        }
    }
    assert_eq!(server.collected.seqs(), [2, 3, 4, 5, 6, 7]);
    let batches = server.collected.batches();
    assert!(batches.is_sorted_by(|a, b| a.position < b.position), "handed over in log order");
    assert_eq!(batches[0].lane.to_string(), "host/metrics@7/drops");
    let stats = server.service.stats();
    assert_eq!((stats.batches, stats.rows, stats.duplicates, stats.gaps), (6, 9300, 0, 0));
}

#[tokio::test]
async fn once_1_duplicates_are_acked_and_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    // On one stream, after a reconnect, and beside new ones.
    for sent in [&[1, 2, 2, 1, 3][..], &[1, 2, 3], &[2, 3, 4, 7]] {
        server.put(samples_put(sent.iter().copied())).await.assert_acked(sent);
    }
    assert_eq!(server.collected.seqs(), [1, 2, 3, 4, 7]);
    let stats = server.service.stats();
    assert_eq!((stats.duplicates, stats.gaps), (7, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_1_streams_that_send_the_same_at_once_store_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let puts = (0..4).map(|_| tokio::spawn(put(server.client.clone(), samples_put(1..=40))));
    for put in puts.collect::<Vec<_>>() {
        let answers = put.await.unwrap();
        answers.assert_acked(&(1..=40).collect::<Vec<_>>());
    }
    assert_eq!(server.collected.seqs(), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sender_that_vanishes_loses_nothing_that_was_acked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    // A runtime of its own: when it goes, so does the connection, in the middle of a put.
    let sender = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = server.address.clone();
    let first_ack = sender.spawn(async move {
        let mut client = connect(address).await;
        let messages = futures::stream::iter(samples_put([1, 2])).chain(futures::stream::pending());
        let mut results = client.do_put(messages).await.unwrap().into_inner();
        let first = results.message().await.unwrap();
        (first.is_some(), client, results)
    });
    let (is_acked, ..) = first_ack.await.unwrap();
    assert!(is_acked);
    sender.shutdown_background();
    // The reconnect sends both again.
    assert_eq!(server.put(samples_put([1, 2, 3])).await.acked().last(), Some(&3));
    assert_eq!(server.collected.seqs(), [1, 2, 3]);
    server.stop().await;
}

#[tokio::test]
async fn wrong_descriptors_are_refused_with_the_known_streams() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let with = |descriptor: Option<FlightDescriptor>| {
        let mut messages = samples_put([1]);
        messages[0].flight_descriptor = descriptor;
        messages
    };
    let path = |path: &[&str]| Some(FlightDescriptor::new_path(path.iter().map(|s| (*s).to_owned()).collect()));
    for (messages, code, expected) in [
        (with(None), Code::InvalidArgument, "it has none"),
        (with(path(&[])), Code::InvalidArgument, "not exactly one element"),
        (with(path(&["samples", "x"])), Code::InvalidArgument, "not exactly one element"),
        (with(Some(FlightDescriptor::new_cmd("samples"))), Code::InvalidArgument, "it is a command"),
        (
            with(path(&["nothing"])),
            Code::NotFound,
            "\"nothing\" is not known; there are events, series, samples, drops,",
        ),
    ] {
        let answers = server.put(messages).await;
        let (found, message) = answers.refusal();
        assert_eq!(found, code, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let stats = server.service.stats();
    assert_eq!((stats.refused["descriptor"], stats.refused["unknown_stream"]), (4, 1));
    assert_eq!(server.put(samples_put([1])).await.acked(), [1]);
}

#[tokio::test]
async fn safe_1_nobody_else_writes_what_the_server_makes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let made = [
        "findings",
        "queries",
        "windows",
        "evaluations",
        "alerts",
        "deliveries",
        "rollup_1m",
        "rollup_10m",
        "rollup_1h",
        "rollup_1d",
        "flows_1m",
        "flows_10m",
        "flows_1h",
        "flows_1d",
    ];
    assert_eq!(Stream::ALL.into_iter().filter(|stream| stream.is_made()).map(Stream::name).collect::<Vec<_>>(), made);
    for name in made {
        // The schema is right: a row like this would end a delivery.
        let rows = RecordBatch::new_empty(Stream::from_name(name).unwrap().schema());
        let answers = server.put(messages(name, &[(1, rows)], Compression::None)).await;
        let (code, message) = answers.refusal();
        assert_eq!(code, Code::PermissionDenied, "{message}");
        assert!(message.starts_with(&format!("stream {name} is made by the server itself")), "{message}");
        assert!(
            message.ends_with("send to one of events, series, samples, drops, histograms, audit, flows"),
            "{message}"
        );
    }
    assert_eq!(server.service.stats().refused["made_here"], made.len() as u64);
    assert!(server.collected.batches().is_empty());
}

#[tokio::test]
async fn wrong_schemas_are_refused_with_the_column() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let wrong = samples(3, 0).project(&[0, 1, 2]).unwrap();
    let answers = server.put(messages("samples", &[(1, wrong)], Compression::None)).await;
    assert_eq!(
        answers.refusal(),
        (Code::InvalidArgument, "schema of stream samples: required column \"value\" is missing")
    );
    let answers = server.put(messages("samples", &[(1, drops(3, "x"))], Compression::None)).await;
    assert_eq!(answers.refusal().1, "schema of stream samples: unknown column \"producer\"");

    // A nullable foreign column passes as a schema, but its nulls do not.
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    let rows = samples(2, 0);
    for (field, column) in Stream::Samples.schema().fields().iter().zip(rows.columns()) {
        columns.push((["series_id", "metric_id", "ts", "value"][columns.len()], column.clone()));
        assert_eq!(columns.last().unwrap().0, field.name());
    }
    columns[1].1 = Arc::new(Int64Array::from(vec![Some(1), None]));
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let answers = server.put(messages("samples", &[(1, rows)], Compression::None)).await;
    assert_eq!(
        answers.refusal(),
        (Code::InvalidArgument, "stream samples, column \"metric_id\": 1 nulls in a column that has none")
    );
    assert!(server.collected.seqs().is_empty());
}

#[tokio::test]
async fn what_was_acked_before_a_refusal_stays_acked() {
    let dir = tempfile::tempdir().unwrap();
    let limits =
        IngestLimits { ipc: Limits { body_bytes_max: 10_000, ..Limits::default() }, ..IngestLimits::default() };
    let server = Server::start_with(dir.path(), limits).await;
    let large = messages("samples", &[(3, samples(1000, 0))], Compression::None).pop().unwrap();
    let mut puts = samples_put([1, 2]);
    puts.push(large.clone());
    puts.extend(samples_put([4]).pop());
    let answers = server.put(puts).await;
    assert_eq!(answers.acks.len(), 2, "{answers:?}");
    assert_eq!(
        answers.refusal(),
        (Code::InvalidArgument, &*format!("body of {} bytes exceeds the limit of 10000", large.data_body.len()))
    );
    assert_eq!(server.collected.seqs(), [1, 2]);
    assert_eq!(server.put(samples_put([4])).await.acked(), [4]);
}

#[tokio::test]
async fn nonsense_between_the_lines_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    type Spoil = fn(&mut Vec<FlightData>);
    let cases: [(&str, Spoil); 6] = [
        ("the first message of a put must be the schema", |m| m[0].data_header = m[1].data_header.clone()),
        ("a put has one schema", |m| m.insert(1, m[0].clone())),
        ("it is missing", |m| m[1].app_metadata = Default::default()),
        ("must be JSON", |m| m[1].app_metadata = "no".into()),
        ("seq counts from 1", |m| m[1].app_metadata = metadata(0)),
        ("IPC header", |m| m[1].data_header = Default::default()),
    ];
    for (expected, spoil) in cases {
        let mut messages = samples_put([1]);
        spoil(&mut messages);
        let answers = server.put(messages).await;
        let (code, message) = answers.refusal();
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let answers = server.put(samples_put([5, 9, 7])).await;
    // 7 comes after 9: refused while 9 is in flight, covered by its mark once it is durable.
    assert!(answers.error.is_none_or(|status| status.message().contains("ascend")), "{:?}", answers.acks);
    assert_eq!(server.put(Vec::new()).await.acks.len(), 0, "an empty put is no error");
    assert_eq!(server.put(samples_put([20])).await.acked(), [20]);
}

#[tokio::test]
async fn more_than_the_credit_may_be_sent_and_is_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let limits = IngestLimits { credit_bytes: 2048, batch_memory_bytes: 2048, ..IngestLimits::default() };
    let server = Server::start_with(dir.path(), limits).await;
    let answers = server.put(samples_put(1..=100)).await;
    assert_eq!(answers.acks.len(), 100, "{:?}", answers.error);
    assert!(answers.acks.iter().all(|ack| ack.credit_bytes <= 2048));
}
