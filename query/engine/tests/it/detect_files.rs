//! RULE-1 over files as any writer may have made them: row groups and pages of a few rows, cut statistics or none, texts in
//! whatever form.

use crate::fixture::{DAY, Memory};
use arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use bodkin_query::{QueryOptions, Search};
use bodkin_rules::{EventRows, Matching, Options, RuleFile, RuleSet};
use bodkin_schema::{EventTime, Principal, Stream, events};
use bytes::Bytes;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// What rules are about: all rows, few of them by type or by a text, values that are missing, maps, lists, long texts.
const CONDITIONS: &[&str] = &[
    "evt.type = ptrace and not proc.name = gdb",
    "evt.type in (ptrace, setns) and container.id != host",
    "evt.type = openat and fd.name startswith /etc and proc.name in (cat, sh)",
    "evt.type in (openat, open) and evt.is_open_write = true and not fd.name startswith /var",
    "evt.type = connect and fd.sport = 443",
    "evt.type = execve and proc.args contains secret",
    "evt.type = execve and proc.aname in (sshd)",
    "evt.type = setuid and evt.arg.uid = root",
    "not user.name = root and proc.cmdline exists",
    "user.uid != 0 and evt.type != openat",
    "proc.pname = val(proc.name)",
    "fd.directory = /etc or proc.cwd = /root/",
    "evt.type in (userfaultfd, mkdir)",
];

fn rules(chosen: &[usize]) -> RuleSet {
    let rule = |index: &usize| {
        let condition = CONDITIONS[*index];
        format!(
            "- rule: r{index}\n  desc: d\n  condition: {condition}\n  output: '%proc.name %fd.name %proc.aname[2] \
             %evt.arg.uid'\n  priority: info\n  warn_evttypes: false\n"
        )
    };
    let content = chosen.iter().map(rule).collect();
    let (rules, report) = RuleSet::load(&[RuleFile { name: "r".to_owned(), content }], &Options::default());
    rules.unwrap_or_else(|| panic!("{report}"))
}

/// An event that `chance` says all of; most of them are of no rule's types.
fn event(ts: i64, chance: u64) -> Value {
    let pick = |shift: u32, of: &[Value]| of[(chance >> shift) as usize % of.len()].clone();
    let null = Value::Null;
    let types = ["openat", "read", "close", "openat", "connect", "execve", "stat", "read"].map(Value::from);
    let evt_type = match chance % 61 {
        0 => json!("ptrace"),
        1 => json!("setuid"),
        2 => json!("mkdir"),
        3 => json!("setns"),
        _ => pick(8, &types),
    };
    json!({
        "ts": DAY + ts, "evt_type": evt_type, "pid": chance % 5,
        "comm": pick(12, &[json!("cat"), json!("sh"), json!("gdb"), null.clone(), json!("a name")]),
        "pname": pick(16, &[json!("cat"), json!("sshd"), null.clone()]),
        "path": pick(20, &[json!("/etc/shadow"), json!("/etc/passwd"), json!("/var/log/x"), null.clone(), json!("/usr/lib/libc.so.6")]),
        "fd": 3, "result": 3, "fd_type": pick(24, &[json!("file"), json!("ipv4"), null.clone()]),
        "flags": pick(26, &[json!("O_RDONLY"), json!("O_WRONLY|O_CREAT"), null.clone()]),
        "user": pick(28, &[json!("root"), json!("app"), null.clone()]), "uid": pick(28, &[json!(0), json!(7), null.clone()]),
        "container_id": pick(31, &[json!("host"), json!("0123456789ab")]),
        "remote_port": pick(33, &[json!(443), json!(80), null.clone()]),
        "args": pick(35, &[json!("-x secret"), json!("--all"), null.clone()]),
        "cmdline": pick(35, &[json!("cat -x secret"), null.clone()]),
        "cwd": pick(37, &[json!("/root"), json!("/")]),
        "ancestor_names": pick(39, &[json!(["bash", "sshd"]), json!([]), null.clone(), json!(["sh"])]),
        "evt_args": pick(42, &[json!({"uid": "root"}), json!({"domain": "AF_INET", "uid": "app"}), null]),
    })
}

/// Rows of `events` as they come off the wire.
fn rows(events: &[Value]) -> RecordBatch {
    let given = EventRows::from_records(events, 0);
    assert!(given.rejected.is_empty(), "{:?}", given.rejected);
    let schema = events::schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let column = match given.records.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None if field.is_nullable() => new_null_array(field.data_type(), events.len()),
            None => cast(&arrow::array::StringArray::from(vec!["0"; events.len()]), field.data_type()).unwrap(),
        };
        cast(&column, field.data_type()).unwrap()
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// How a file is written.
#[derive(Clone, Debug)]
struct Layout {
    group_rows: usize,
    page_rows: usize,
    statistics: EnabledStatistics,
    cut_bytes: Option<usize>,
    has_dictionary: bool,
    has_blooms: bool,
    /// What the file says that its texts are.
    text: DataType,
}

fn layout() -> impl Strategy<Value = Layout> {
    let statistics = [EnabledStatistics::None, EnabledStatistics::Chunk, EnabledStatistics::Page];
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let texts = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, dictionary];
    let parts = (1usize..90, 1usize..40, prop::sample::select(statistics.to_vec()), prop::option::of(1usize..4));
    let flags = (any::<bool>(), any::<bool>(), prop::sample::select(texts.to_vec()));
    (parts, flags).prop_map(|((group_rows, page_rows, statistics, cut_bytes), (has_dictionary, has_blooms, text))| {
        Layout { group_rows, page_rows, statistics, cut_bytes, has_dictionary, has_blooms, text }
    })
}

impl Layout {
    fn write(&self, rows: &RecordBatch) -> Vec<u8> {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows)
            .set_statistics_enabled(self.statistics)
            .set_statistics_truncate_length(self.cut_bytes)
            .set_column_index_truncate_length(self.cut_bytes)
            .set_dictionary_enabled(self.has_dictionary)
            .set_bloom_filter_enabled(self.has_blooms)
            .build();
        let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
            let data_type = if field.data_type() == &DataType::Utf8 { &self.text } else { field.data_type() };
            let column = cast(column, data_type).unwrap();
            (Field::new(field.name(), data_type.clone(), field.is_nullable()), column)
        });
        let (fields, columns): (Vec<_>, Vec<_>) = columns.unzip();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        bytes
    }
}

/// Writes the files of `events` as other writers would, and opens the tables again.
async fn written_anew(memory: &Arc<Memory>, layouts: &[Layout]) -> Arc<Memory> {
    let store = memory.tables.store().clone();
    let objects: Vec<_> = store.list(Some(&"tables/events".into())).try_collect().await.unwrap();
    let (files, logs): (Vec<_>, Vec<_>) =
        objects.iter().partition(|object| object.location.as_ref().ends_with("parquet"));
    let mut sizes = Vec::new();
    for (file, layout) in files.iter().zip(layouts.iter().cycle()) {
        let bytes: Bytes = store.get(&file.location).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().with_batch_size(1 << 20).build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let bytes = layout.write(&arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap());
        let name = file.location.filename().unwrap().to_owned();
        sizes.push((name, format!("\"size\":{},", file.size), format!("\"size\":{},", bytes.len())));
        store.put(&file.location, bytes.into()).await.unwrap();
    }
    for log in logs.iter().filter(|log| log.location.as_ref().ends_with(".json")) {
        let bytes = store.get(&log.location).await.unwrap().bytes().await.unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines().map(|line| {
            match sizes.iter().find(|(name, ..)| line.contains(name)) {
                Some((_, before, after)) => {
                    assert!(line.contains(before), "{line}");
                    line.replace(before, after)
                }
                None => line.to_owned(),
            }
        });
        let lines: Vec<String> = lines.collect();
        store.put(&log.location, lines.join("\n").into()).await.unwrap();
    }
    Memory::open_on(store).await
}

/// Time, rule, output and its fields of findings, sorted.
fn shown(findings: &[RecordBatch], times: std::ops::Range<i64>) -> Vec<String> {
    let mut all = Vec::new();
    for batch in findings {
        let text = |name: &str| cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
        let columns = ["ts", "rule", "output", "output_fields"].map(text);
        let ts = cast(batch.column_by_name("ts").unwrap(), &DataType::Int64).unwrap();
        let ts = ts.as_primitive::<arrow::datatypes::Int64Type>();
        let inside = (0..batch.num_rows()).filter(|row| times.contains(&ts.value(*row)));
        all.extend(inside.map(|row| columns.each_ref().map(|column| column.as_string::<i32>().value(row)).join(" ")));
    }
    all.sort();
    all
}

/// What is compared is not nothing.
#[test]
fn every_condition_is_met() {
    let events: Vec<Value> =
        (1..4000).map(|ts| event(ts as i64, (ts as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8)).collect();
    let all = rules(&(0..CONDITIONS.len()).collect::<Vec<_>>());
    let found = shown(&[all.over(Stream::Events, &rows(&events), Matching::All).unwrap()], i64::MIN..i64::MAX);
    for (index, condition) in CONDITIONS.iter().enumerate() {
        assert!(found.iter().any(|found| found.contains(&format!(" r{index} "))), "{condition}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rule_1_holds_for_files_of_any_writer(
        flushes in prop::collection::vec(prop::collection::vec(any::<u64>(), 1..250), 1..4),
        layouts in prop::collection::vec(layout(), 1..3),
        chosen in prop::sample::subsequence((0..CONDITIONS.len()).collect::<Vec<_>>(), 1..CONDITIONS.len()),
        matching in prop::sample::select(vec![Matching::First, Matching::All]),
        since in prop::option::of(0i64..200), until in prop::option::of(100i64..600),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::open().await;
            let rules = Arc::new(rules(&chosen));
            let (mut live, mut ts) = (Vec::new(), 0);
            for chances in &flushes {
                let events: Vec<Value> = chances.iter().map(|chance| { ts += 1; event(ts, *chance) }).collect();
                let records = rows(&events);
                live.extend(rules.over(Stream::Events, &records, matching));
                memory.write(Stream::Events, records, "default", DAY);
                memory.flush().await;
            }
            let memory = written_anew(&memory, &layouts).await;
            let engine = memory.engine_with(QueryOptions::default());
            let at = |time: i64| EventTime(DAY + time);
            let search = Search { rules, matching, since: since.map(at), until: until.map(at) };
            let found = engine.detect(&Principal::default(), search).await.unwrap().collect().await.unwrap();
            let times = since.map_or(i64::MIN, |time| DAY + time)..until.map_or(i64::MAX, |time| DAY + time);
            assert_eq!(shown(&found, i64::MIN..i64::MAX), shown(&live, times));
        });
    }
}
