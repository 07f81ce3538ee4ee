//! The same events in every form give the same chunks.

use super::*;
use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use bodkin_rules::{Options, RuleFile};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use std::io::Write;
use std::sync::Arc;

const AUDIT: &str = r#"{"kind":"Event","auditID":"a","stageTimestamp":"2026-01-02T03:04:05Z","verb":"get"}"#;

fn rules() -> RuleSet {
    let content = "- rule: r\n  desc: d\n  condition: evt.type = execve\n  output: '%proc.name'\n  priority: info\n";
    let file = RuleFile { name: "f".to_owned(), content: content.to_owned() };
    RuleSet::load(&[file], &Options::default()).0.unwrap()
}

/// Rows, documents, and messages of a file with these bytes; or the error.
fn read(bytes: &[u8], source: Source) -> Result<(usize, usize, Vec<String>), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let (mut rows, mut documents, mut rejected) = (0, 0, Vec::new());
    let read = Reader::new(file.path(), source, &rules()).read(&mut |chunk| {
        match chunk {
            Chunk::Rows(batch) => rows += batch.num_rows(),
            Chunk::Documents(all) => documents += all.len(),
            Chunk::Rejected(messages) => rejected.extend(messages),
        }
        Ok(())
    });
    read.map(|()| (rows, documents, rejected)).map_err(|error| format!("{error:#}"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn events() -> RecordBatch {
    let names: ArrayRef = Arc::new(vec!["sh", "sh", "cat"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("evt_type", Arc::new(StringArray::from(vec!["execve", "open", "execve"]))),
        ("comm", names),
        ("result", Arc::new(Int64Array::from(vec![0, 1, 2]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn every_form_of_json() {
    let two = (0, 2, Vec::new());
    for text in [
        format!("[{AUDIT},{AUDIT}]"),
        format!("{AUDIT}\n{AUDIT}\n"),
        format!("\n\u{feff}{AUDIT}\n\n{AUDIT}"),
        format!("{AUDIT}{AUDIT}"),
        format!("{{\"kind\":\"EventList\",\n \"items\": [{AUDIT},\n{AUDIT}]}}"),
    ] {
        assert_eq!(read(text.as_bytes(), Source::K8sAudit).as_ref(), Ok(&two), "{text}");
        assert_eq!(read(&gzip(text.as_bytes()), Source::K8sAudit).as_ref(), Ok(&two), "{text} as gzip");
    }
    assert_eq!(read(b"", Source::K8sAudit), Ok((0, 0, Vec::new())));
    let sql = br#"{"columns":[{"name":"evt_type","type":"Utf8"},{"name":"pid"}],"rows":[["execve",1],["open",2]],"stats":{}}"#;
    assert_eq!(read(sql, Source::Syscall), Ok((2, 0, Vec::new())));
    assert_eq!(read(b"{\"evt_type\":\"execve\"}\n{\"evt_type\":\"open\"}\n", Source::Syscall), Ok((2, 0, Vec::new())));
}

#[test]
fn bad_records_are_said_and_skipped() {
    let (_, documents, rejected) =
        read(format!("{AUDIT}\n{{}}\nnot json\n{AUDIT}\n").as_bytes(), Source::K8sAudit).unwrap();
    assert_eq!(documents, 2);
    assert_eq!(rejected[0], "record 2: no stageTimestamp");
    assert!(rejected[1].starts_with("record 3: its line is not JSON"), "{rejected:?}");
    let (rows, _, rejected) = read(b"{\"evt_type\":\"execve\"}\n{]\n{\"x\":1}\n5\n", Source::Syscall).unwrap();
    assert_eq!((rows, rejected.len()), (1, 3));
    assert!(rejected[0].starts_with("record 2: "), "{rejected:?}");
}

#[test]
fn what_cannot_be_parsed_is_an_error() {
    let whole = format!("{{\"kind\":\"EventList\",\n\"items\":[{AUDIT},\n{AUDIT}]}}");
    let cut = &whole[..whole.len() - 5];
    for bytes in [&b"hello"[..], cut.as_bytes(), b"[1, 2", b"\0\0\0\0", &gzip(b"hello"), &gzip(AUDIT.as_bytes())[..20]]
    {
        let error = read(bytes, Source::K8sAudit).unwrap_err();
        assert!(error.starts_with("input "), "{error}");
    }
}

#[test]
fn columns_of_parquet_and_arrow() {
    let mut parquet = ArrowWriter::try_new(Vec::new(), events().schema(), None).unwrap();
    parquet.write(&events()).unwrap();
    let parquet = parquet.into_inner().unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &events().schema()).unwrap();
    file.write(&events()).unwrap();
    let file = file.into_inner().unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &events().schema()).unwrap();
    stream.write(&events()).unwrap();
    stream.write(&events()).unwrap();
    let stream = stream.into_inner().unwrap();
    for (bytes, rows) in [(&parquet, 3), (&file, 3), (&stream, 6)] {
        assert_eq!(read(bytes, Source::Syscall), Ok((rows, 0, Vec::new())));
        for cut in [9, bytes.len() / 2] {
            assert!(read(&bytes[..cut], Source::Syscall).is_err(), "{cut} of {} bytes", bytes.len());
        }
    }
    assert_eq!(read(&parquet, Source::Json), Ok((0, 3, Vec::new())), "rows of any file are JSON objects");
    let raw: ArrayRef = Arc::new(StringArray::from(vec![AUDIT, "{}", AUDIT]));
    let source: ArrayRef = Arc::new(StringArray::from(vec!["k8s_audit", "k8s_audit", "aws_cloudtrail"]));
    let audit = RecordBatch::try_from_iter([("source", source), ("raw", raw)]).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), audit.schema(), None).unwrap();
    parquet.write(&audit).unwrap();
    let (_, documents, rejected) = read(&parquet.into_inner().unwrap(), Source::K8sAudit).unwrap();
    assert_eq!((documents, rejected.len()), (1, 1));
}

/// SAFE-1: damaged files are errors, whatever is damaged.
#[test]
fn damaged_columns_never_panic() {
    let mut parquet = ArrowWriter::try_new(Vec::new(), events().schema(), None).unwrap();
    parquet.write(&events()).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &events().schema()).unwrap();
    file.write(&events()).unwrap();
    let mut seed = 7_u64;
    for good in [parquet.into_inner().unwrap(), file.into_inner().unwrap()] {
        for _ in 0..300 {
            let mut bad = good.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (seed >> 33) as usize % bad.len();
                bad[at] ^= 1 << (seed >> 60 & 7);
            }
            // Either outcome is right; that there is one is the test.
            let _ = read(&bad, Source::Syscall);
        }
    }
}
