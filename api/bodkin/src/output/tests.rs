//! Golden output of each format, and what a terminal changes.

use super::*;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use bodkin_http::{SqlError, SqlErrorKind, SqlStats};
use std::sync::Arc;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn rows() -> RecordBatch {
    let ts = TimestampMicrosecondArray::from(vec![1_795_305_600_000_001, 0, 1]).with_timezone("UTC");
    batch(vec![
        ("ts", Arc::new(ts)),
        ("comm", Arc::new(StringArray::from(vec![Some("bash"), None, Some("a\u{1b}[2J\n\u{202e}b")]))),
        ("result", Arc::new(Int64Array::from(vec![Some(-13), Some(1_000_000), None]))),
        ("path", Arc::new(StringArray::from(vec!["/etc/passwd", "", "/\u{4f60}\u{597d}"]))),
    ])
}

fn encode(format: OutputFormat, console: &Console, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = format.encoder(&batches[0].schema(), console).unwrap();
    encoder.begin(&mut out).unwrap();
    for batch in batches {
        encoder.batch(batch, &mut out).unwrap();
    }
    encoder.finish(&SqlStats::default(), &mut out).unwrap();
    out
}

fn text(format: OutputFormat, console: Console, batches: &[RecordBatch]) -> String {
    String::from_utf8(encode(format, &console, batches)).unwrap()
}

const PIPE: Console = Console { out_width: None, is_out_colored: false, is_err_terminal: false, is_err_colored: false };

#[test]
fn table_in_a_pipe_is_plain_and_whole() {
    let expected = "\
ts                           comm                    result  path
---------------------------  ---------------------  -------  -----------
2026-11-22T00:00:00.000001Z  bash                       -13  /etc/passwd
1970-01-01T00:00:00.000000Z  NULL                   1000000  \n\
1970-01-01T00:00:00.000001Z  a\\u{1b}[2J\\n\\u{202e}b     NULL  /\u{4f60}\u{597d}
";
    assert_eq!(text(OutputFormat::Table, PIPE, &[rows()]), expected);
}

#[test]
fn table_on_a_terminal_has_bold_names_and_dim_nulls() {
    let console = Console { out_width: Some(100), is_out_colored: true, ..PIPE };
    let rows = batch(vec![
        ("a", Arc::new(Int32Array::from(vec![Some(10), None])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec![None, Some("x")])) as ArrayRef),
    ]);
    let expected = "   \u{1b}[1ma\u{1b}[0m  \u{1b}[1mb\u{1b}[0m
----  ----
  10  \u{1b}[2mNULL\u{1b}[0m
\u{1b}[2mNULL\u{1b}[0m  x
";
    assert_eq!(text(OutputFormat::Table, console, &[rows]), expected);
}

#[test]
fn table_is_cut_to_the_terminal() {
    let long = "x".repeat(40);
    let wide = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        ("first", Arc::new(StringArray::from(vec![long.as_str()])) as ArrayRef),
        ("second", Arc::new(StringArray::from(vec!["\u{4f60}".repeat(20)])) as ArrayRef),
    ]);
    let at =
        |columns| text(OutputFormat::Table, Console { out_width: Some(columns), ..PIPE }, std::slice::from_ref(&wide));
    // 2 + 2 + 15 + 2 + 15: a wide character that does not fit leaves a blank.
    let expected = format!(
        "id  first            second\n--  {0}  {0}\n 1  {1}\u{2026}  {2}\u{2026}\n",
        "-".repeat(15),
        "x".repeat(14),
        "\u{4f60}".repeat(7)
    );
    assert_eq!(at(36), expected);
    let expected = format!("id  first\n--  {}\n 1  {}\u{2026}\nnot shown: second\n", "-".repeat(21), "x".repeat(20));
    assert_eq!(at(25), expected);
    assert!(at(3).starts_with("id\n--\n 1\nnot shown: first, second\n"));
}

#[test]
fn empty_table_has_its_header() {
    let expected = "ts  comm  result  path\n--  ----  ------  ----\n";
    assert_eq!(text(OutputFormat::Table, PIPE, &[rows().slice(0, 0)]), expected);
}

#[test]
fn long_tables_go_on_without_a_second_header() {
    let page = |value: &str| batch(vec![("v", Arc::new(StringArray::from(vec![value; 10_000])) as ArrayRef)]);
    let table = text(OutputFormat::Table, PIPE, &[page("a"), page("bbb"), page("cc").slice(0, 1)]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 20_003);
    assert_eq!((lines[0], lines[1], lines[10_002], lines[20_002]), ("v", "-", "bbb", "cc"));
}

#[test]
fn json_is_a_list_of_objects() {
    let expected = r#"[
{"ts":"2026-11-22T00:00:00.000001Z","comm":"bash","result":-13,"path":"/etc/passwd"},
{"ts":"1970-01-01T00:00:00.000000Z","comm":null,"result":1000000,"path":""}
]
"#;
    assert_eq!(text(OutputFormat::Json, PIPE, &[rows().slice(0, 1), rows().slice(1, 1)]), expected);
    assert_eq!(text(OutputFormat::Json, PIPE, &[rows().slice(0, 0)]), "[]\n");
}

#[test]
fn json_keeps_columns_of_the_same_name_apart() {
    let one = |name| (name, Arc::new(Int32Array::from(vec![1])) as ArrayRef);
    let rows = batch(vec![one("x"), one("x_2"), one("x"), one("x")]);
    assert_eq!(text(OutputFormat::Json, PIPE, &[rows]), "[\n{\"x\":1,\"x_2\":1,\"x_3\":1,\"x_4\":1}\n]\n");
}

#[test]
fn csv_has_a_header_and_raw_text() {
    let expected = "ts,comm,result,path\n2026-11-22T00:00:00.000001Z,bash,-13,/etc/passwd\n\
        1970-01-01T00:00:00.000000Z,,1000000,\"\"\n";
    assert_eq!(text(OutputFormat::Csv, PIPE, &[rows().slice(0, 2)]), expected);
}

#[test]
fn arrow_and_parquet_read_back() {
    let bytes = encode(OutputFormat::Arrow, &PIPE, &[rows(), rows()]);
    let reader = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), [rows(), rows()]);
    let bytes = encode(OutputFormat::Parquet, &PIPE, &[rows()]);
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
    assert_eq!(reader.unwrap().build().unwrap().map(Result::unwrap).collect::<Vec<_>>(), [rows()]);
}

#[test]
fn lists_and_maps_are_json_in_a_cell() {
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([Some(vec![Some(1), None])]);
    let rows = batch(vec![("pids", Arc::new(list))]);
    assert_eq!(rows.schema().field(0).data_type(), &DataType::new_list(DataType::Int32, true));
    assert_eq!(text(OutputFormat::Table, PIPE, &[rows]), "pids\n--------\n[1,null]\n");
}

fn error(line: Option<u64>, column: Option<u64>, hint: Option<&str>) -> SqlError {
    SqlError { line, column, hint: hint.map(str::to_owned), ..SqlError::new(SqlErrorKind::Plan, "no column comn") }
}

fn error_text(error: &SqlError, query: &str, console: Console) -> String {
    let mut out = Vec::new();
    write_error(error, query, &console, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_error_points_at_its_place() {
    let query = "SELECT ts,\n  \u{4f60}comn\nFROM events";
    let expected = "error: no column comn\n  2 |   \u{4f60}comn\n    |     ^\n  hint: did you mean comm?\n";
    assert_eq!(error_text(&error(Some(2), Some(4), Some("did you mean comm?")), query, PIPE), expected);
    let end = "error: no column comn\n  1 | ab\n    |   ^\n";
    assert_eq!(error_text(&error(Some(1), Some(3), None), "ab", PIPE), end);
    let colored = error_text(&error(Some(1), Some(1), None), "ab", Console { is_err_colored: true, ..PIPE });
    assert!(colored.starts_with("\u{1b}[1;31merror:\u{1b}[0m no column comn\n"), "{colored:?}");
}

#[test]
fn an_error_without_a_place_in_the_query_shows_none() {
    let places =
        [(None, None), (Some(1), None), (Some(0), Some(1)), (Some(2), Some(1)), (Some(1), Some(4)), (Some(1), Some(0))];
    for (line, column) in places {
        assert_eq!(
            error_text(&error(line, column, None), "ab", PIPE),
            "error: no column comn\n",
            "{line:?} {column:?}"
        );
    }
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let query = format!("{}X{}", "a".repeat(500), "b".repeat(500));
    let shown = error_text(&error(Some(1), Some(501), None), &query, PIPE);
    let expected = format!("  1 | {}X{}\n    | {}^\n", "a".repeat(60), "b".repeat(59), " ".repeat(60));
    assert_eq!(shown, format!("error: no column comn\n{expected}"));
}
