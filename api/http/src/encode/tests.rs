//! Golden texts of every type, for whole, sliced, empty and all-null columns; binary formats read back.

use super::*;
use ::arrow::array::*;
use ::arrow::buffer::{NullBuffer, OffsetBuffer};
use ::arrow::compute::concat_batches;
use ::arrow::datatypes::*;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn encode(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = format.encoder(&batches[0].schema()).unwrap();
    encoder.begin(&mut out).unwrap();
    for batch in batches {
        encoder.batch(batch, &mut out).unwrap();
    }
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    encoder.finish(&SqlStats { rows, ..SqlStats::default() }, &mut out).unwrap();
    out
}

fn json(batches: &[RecordBatch]) -> serde_json::Value {
    serde_json::from_slice(&encode(Format::Json, batches)).unwrap()
}

fn csv(batches: &[RecordBatch]) -> String {
    String::from_utf8(encode(Format::Csv, batches)).unwrap()
}

fn labels() -> MapArray {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for labels in [Some(vec![("job", Some("n\"1"))]), None, Some(vec![]), Some(vec![("a", Some("1")), ("b", None)])] {
        if let Some(labels) = &labels {
            for (name, value) in labels {
                builder.keys().append_value(name);
                builder.values().append_option(*value);
            }
        }
        builder.append(labels.is_some()).unwrap();
    }
    builder.finish()
}

fn pids() -> ListArray {
    ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None, Some(i64::MAX)]),
        None,
        Some(vec![]),
        Some(vec![Some(-7)]),
    ])
}

/// Four rows of the types that our tables have.
fn rows() -> RecordBatch {
    let ts = TimestampMicrosecondArray::from(vec![Some(1_795_305_600_000_001), None, Some(0), Some(-1)]);
    let values = Float64Array::from(vec![Some(f64::NAN), None, Some(f64::NEG_INFINITY), Some(0.1)]);
    let classes: DictionaryArray<Int32Type> =
        vec![Some("exec"), None, Some("open"), Some("exec")].into_iter().collect();
    batch(vec![
        ("ts", Arc::new(ts.with_timezone("UTC"))),
        ("pid", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(0), Some(7)]))),
        ("result", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX), Some(-2)]))),
        ("comm", Arc::new(StringArray::from(vec![Some("a,\"b\"\n\u{1}"), None, Some(""), Some("\u{e9}")]))),
        ("truncated", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("value", Arc::new(values)),
        ("class", Arc::new(classes)),
        ("date", Arc::new(Date32Array::from(vec![Some(0), None, Some(-1), Some(20_000)]))),
        ("labels", Arc::new(labels())),
        ("pids", Arc::new(pids())),
    ])
}

const ROWS: [&str; 4] = [
    r#"["2026-11-22T00:00:00.000001Z",-2147483648,-9223372036854775808,"a,\"b\"\n\u0001",true,"NaN","exec","1970-01-01",{"job":"n\"1"},[1,null,9223372036854775807]]"#,
    "[null,null,null,null,null,null,null,null,null,null]",
    r#"["1970-01-01T00:00:00.000000Z",0,9223372036854775807,"",false,"-Infinity","open","1969-12-31",{},[]]"#,
    concat!(
        r#"["1969-12-31T23:59:59.999999Z",7,-2,""#,
        "\u{e9}",
        r#"",true,0.1,"exec","2024-10-04",{"a":"1","b":null},[-7]]"#
    ),
];

#[test]
fn json_of_the_types_of_our_tables() {
    let text = String::from_utf8(encode(Format::Json, &[rows()])).unwrap();
    let expected = format!(
        concat!(
            r#"{{"columns":[{{"name":"ts","type":"Timestamp(us, UTC)"}},{{"name":"pid","type":"Int32"}},"#,
            r#"{{"name":"result","type":"Int64"}},{{"name":"comm","type":"Utf8"}},{{"name":"truncated","type":"Boolean"}},"#,
            r#"{{"name":"value","type":"Float64"}},{{"name":"class","type":"Utf8"}},{{"name":"date","type":"Date32"}},"#,
            r#"{{"name":"labels","type":"Map(Utf8, Utf8)"}},{{"name":"pids","type":"List(Int64)"}}],"rows":["#,
            "\n{}\n",
            r#"],"stats":{{"rows":4,"elapsed_ms":0.0,"bytes_scanned":0,"files_scanned":0,"files_pruned":0}}}}"#,
            "\n",
        ),
        ROWS.join(",\n")
    );
    assert_eq!(text, expected);
}

#[test]
fn slices_write_their_own_rows() {
    let rows = rows();
    for (offset, length) in [(0, 4), (1, 3), (2, 1), (3, 1), (1, 0), (4, 0)] {
        let expected: Vec<serde_json::Value> =
            ROWS[offset..offset + length].iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(json(&[rows.slice(offset, length)])["rows"], serde_json::Value::from(expected), "{offset} {length}");
    }
}

#[test]
fn batches_are_joined_and_empty_ones_leave_no_trace() {
    let rows = rows();
    let parts = [rows.slice(0, 0), rows.slice(0, 1), rows.slice(1, 0), rows.slice(1, 3), rows.slice(0, 0)];
    assert_eq!(json(&parts), json(&[rows]));
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    let expected = concat!(
        "ts,pid,result,comm,truncated,value,class,date,labels,pids\n",
        "2026-11-22T00:00:00.000001Z,-2147483648,-9223372036854775808,\"a,\"\"b\"\"\n\u{1}\",true,NaN,exec,1970-01-01,",
        "\"{\"\"job\"\":\"\"n\\\"\"1\"\"}\",\"[1,null,9223372036854775807]\"\n",
        ",,,,,,,,,\n",
        "1970-01-01T00:00:00.000000Z,0,9223372036854775807,\"\",false,-Infinity,open,1969-12-31,{},[]\n",
        "1969-12-31T23:59:59.999999Z,7,-2,\u{e9},true,0.1,exec,2024-10-04,\"{\"\"a\"\":\"\"1\"\",\"\"b\"\":null}\",[-7]\n",
    );
    assert_eq!(csv(&[rows()]), expected);
}

/// One row of each remaining type.
fn rare() -> RecordBatch {
    let fields: Fields = vec![Field::new("a b", DataType::Int8, true), Field::new("b", DataType::Utf8, true)].into();
    let structs = StructArray::new(
        fields,
        vec![Arc::new(Int8Array::from(vec![None])), Arc::new(StringArray::from(vec![Some("x")]))],
        None,
    );
    let item = Arc::new(Field::new("item", DataType::Date32, true));
    let fixed = FixedSizeListArray::new(item.clone(), 2, Arc::new(Date32Array::from(vec![Some(1), None])), None);
    let large = LargeListArray::new(item, OffsetBuffer::from_lengths([1]), Arc::new(Date32Array::from(vec![1])), None);
    let keys = Int64Array::from(vec![5]);
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("key", DataType::Int64, false)), Arc::new(keys) as ArrayRef),
        (Arc::new(Field::new("value", DataType::Float32, true)), Arc::new(Float32Array::from(vec![0.1])) as ArrayRef),
    ]);
    let entries_field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let by_number = MapArray::new(entries_field, OffsetBuffer::from_lengths([1]), entries, None, false);
    batch(vec![
        ("null", Arc::new(NullArray::new(1))),
        ("i8", Arc::new(Int8Array::from(vec![-8]))),
        ("i16", Arc::new(Int16Array::from(vec![-16]))),
        ("u8", Arc::new(UInt8Array::from(vec![8]))),
        ("u16", Arc::new(UInt16Array::from(vec![16]))),
        ("u32", Arc::new(UInt32Array::from(vec![32]))),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("f32", Arc::new(Float32Array::from(vec![f32::INFINITY]))),
        ("f64", Arc::new(Float64Array::from(vec![1e300]))),
        ("large", Arc::new(LargeStringArray::from(vec!["l"]))),
        ("view", Arc::new(StringViewArray::from(vec!["v"]))),
        ("bin", Arc::new(BinaryArray::from(vec![b"\x00\xffA".as_slice()]))),
        ("bin_view", Arc::new(BinaryViewArray::from(vec![b"\x01".as_slice()]))),
        ("ts_s", Arc::new(TimestampSecondArray::from(vec![1]))),
        ("ts_ns", Arc::new(TimestampNanosecondArray::from(vec![1]).with_timezone("+02:00"))),
        ("date64", Arc::new(Date64Array::from(vec![-1]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![-12345]).with_precision_and_scale(38, 3).unwrap())),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![3_600_000_001]))),
        ("struct", Arc::new(structs)),
        ("fixed", Arc::new(fixed)),
        ("large_list", Arc::new(large)),
        ("by_number", Arc::new(by_number)),
    ])
}

#[test]
fn json_of_other_types() {
    let row = serde_json::json!([
        null, -8, -16, 8, 16, 32, u64::MAX, "Infinity", 1e300, "l", "v", "00ff41", "01", "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:00.000000001Z", "1969-12-31", "-12.345", "01:00:00.000001", {"a b": null, "b": "x"},
        ["1970-01-02", null], ["1970-01-02"], {"5": 0.1}
    ]);
    assert_eq!(json(&[rare()])["rows"], serde_json::json!([row]));
    let types: Vec<String> = rare().schema().fields().iter().map(|field| type_name(field.data_type())).collect();
    let expected = "Null Int8 Int16 UInt8 UInt16 UInt32 UInt64 Float32 Float64 Utf8 Utf8 Binary Binary Timestamp(s) \
        Timestamp(ns, UTC) Date64 Decimal128(38, 3) Time(us) Struct(a b Int8, b Utf8) List(Date32) List(Date32) \
        Map(Int64, Float32)";
    assert_eq!(types.join(" "), expected);
}

#[test]
fn dictionaries_whose_values_are_null_or_missing() {
    let keys = Int32Array::from(vec![Some(0), Some(1), None]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
    let nulls_inside: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    let none: ArrayRef = Arc::new(DictionaryArray::new(Int8Array::new_null(3), Arc::new(StringArray::new_null(0))));
    let rows = batch(vec![("a", nulls_inside), ("b", none)]);
    assert_eq!(json(std::slice::from_ref(&rows))["rows"], serde_json::json!([[null, null], ["x", null], [null, null]]));
    assert_eq!(csv(&[rows]), "a,b\n,\nx,\n,\n");
}

#[test]
fn lists_of_null_rows_with_bytes_below_them() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let list = ListArray::new(
        item,
        OffsetBuffer::from_lengths([2, 1]),
        Arc::new(Int32Array::from(vec![1, 2, 3])),
        Some(NullBuffer::from(vec![false, true])),
    );
    assert_eq!(json(&[batch(vec![("l", Arc::new(list))])])["rows"], serde_json::json!([[null], [[3]]]));
}

#[test]
fn no_columns_still_have_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(2));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    assert_eq!(json(std::slice::from_ref(&rows))["rows"], serde_json::json!([[], []]));
    assert_eq!(Format::Json.rows_at_once(&rows), 8192);
}

#[test]
fn arrow_and_parquet_read_back_with_plain_types() {
    let expected = rows();
    let view: ArrayRef =
        Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a view longer than 12 bytes"), None]));
    let mut columns: Vec<(&str, ArrayRef)> = vec![("view", view)];
    let schema = expected.schema();
    columns.extend(schema.fields().iter().zip(expected.columns()).map(|(f, a)| (f.name().as_str(), a.clone())));
    let rows = batch(columns);
    let parts = [rows.slice(0, 1), rows.slice(1, 3)];

    let bytes = encode(Format::ArrowStream, &parts);
    let reader = ::arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    let schema = reader.schema();
    let read: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let read = concat_batches(&schema, &read).unwrap();
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    assert_eq!(schema.field_with_name("class").unwrap().data_type(), &DataType::Utf8);
    assert_eq!(json(&[read]), json(std::slice::from_ref(&rows)));

    let bytes = bytes::Bytes::from(encode(Format::Parquet, &parts));
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    assert!(builder.schema().fields().iter().all(|field| plain_type(field.data_type()).is_none()));
    let read: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    assert_eq!(json(&read), json(&[rows]));
}

#[test]
fn empty_answers_have_a_schema_in_every_format() {
    let empty = rows().slice(0, 0);
    assert_eq!(json(std::slice::from_ref(&empty))["rows"], serde_json::json!([]));
    assert_eq!(csv(std::slice::from_ref(&empty)), "ts,pid,result,comm,truncated,value,class,date,labels,pids\n");
    let bytes = encode(Format::ArrowStream, std::slice::from_ref(&empty));
    let reader = ::arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
    assert_eq!(reader.schema().fields().len(), 10);
    let bytes = bytes::Bytes::from(encode(Format::Parquet, &[empty]));
    assert_eq!(ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().schema().fields().len(), 10);
}

#[test]
fn wide_rows_are_encoded_few_at_a_time() {
    let long = "x".repeat(100_000);
    let wide = batch(vec![("s", Arc::new(StringArray::from(vec![long.as_str(); 10])))]);
    assert_eq!(Format::Json.rows_at_once(&wide), 1);
    assert_eq!(Format::Parquet.rows_at_once(&wide), 10);
    // A slice counts its own bytes, not those of the buffer below.
    let numbers = batch(vec![("n", Arc::new(Int64Array::from(vec![1; 1_000_000])))]).slice(0, 100);
    assert_eq!(Format::Csv.rows_at_once(&numbers), 8192);
}
