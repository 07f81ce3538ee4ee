//! Columns whose values came with another type: TAIL-1 for them, wherever the rows are.

use crate::fixture::{DAY, Memory, rows};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use bodkin_schema::{Kind, Stream};
use proptest::prelude::*;
use std::sync::Arc;

/// Losses numbered from `first` in `reason`, whose `count` came as values of `kind`; as registered where there is none.
pub(crate) fn losses(first: usize, rows: usize, kind: Option<Kind>) -> RecordBatch {
    let numbers = || (first..first + rows).map(|n| n as i64);
    let text = |of: &dyn Fn(i64) -> String| -> ArrayRef {
        let plain = StringArray::from_iter_values(numbers().map(of));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        // In one batch a dictionary, in the next plain.
        if first.is_multiple_of(2) { cast(&plain, &dictionary).unwrap() } else { Arc::new(plain) }
    };
    let count = |n: i64| if kind.is_some() { 0 } else { n };
    let mut columns: Vec<(Field, ArrayRef)> = vec![
        (
            Stream::Drops.schema().field(0).clone(),
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers().map(|n| DAY + n % 5)).with_timezone("UTC")),
        ),
        (Field::new("producer", DataType::Utf8, false), text(&|n| format!("p{}", n % 3))),
        (Field::new("class", DataType::Utf8, false), text(&|_| "security".to_owned())),
        (Field::new("reason", DataType::Utf8, false), text(&|n| n.to_string())),
        (Field::new("count", DataType::Int64, false), Arc::new(Int64Array::from_iter_values(numbers().map(count)))),
    ];
    if let Some(kind) = kind {
        let values: ArrayRef = match kind {
            Kind::Float => Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64 / 2.0))),
            Kind::Text => text(&|n| format!("about {n}")),
            _ => Arc::new(BooleanArray::from_iter(numbers().map(|n| Some(n % 2 == 1)))),
        };
        columns.push((kind.column(Stream::Drops.schema().field(4)), values));
    }
    let (fields, columns): (Vec<_>, Vec<_>) =
        columns.into_iter().map(|(field, column)| (field.with_data_type(column.data_type().clone()), column)).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// What SQL says of the row.
fn expected(number: usize, kind: Option<Kind>) -> String {
    match kind {
        None => format!("{number} {number}"),
        Some(Kind::Float) => format!("{number} {:?}", number as f64 / 2.0),
        Some(Kind::Text) => format!("{number} about {number}"),
        Some(_) => format!("{number} {}", number % 2 == 1),
    }
}

const KINDS: [Option<Kind>; 4] = [None, Some(Kind::Float), Some(Kind::Text), Some(Kind::Bool)];

#[derive(Clone, Debug)]
enum Step {
    Write { kind: usize, rows: usize },
    Flush,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..KINDS.len(), 1usize..40).prop_map(|(kind, rows)| Step::Write { kind, rows }),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tail_1_values_of_any_type_are_found_wherever_they_are(steps in prop::collection::vec(step(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::open().await;
            // Every column is known from the start, and most parts and files lack most of them.
            let mut sent: Vec<(usize, Option<Kind>)> = Vec::new();
            for kind in KINDS {
                memory.write(Stream::Drops, losses(sent.len(), 1, kind), "default", DAY);
                sent.push((sent.len(), kind));
            }
            for step in steps {
                match step {
                    Step::Write { kind, rows } => {
                        let (first, kind) = (sent.len(), KINDS[kind]);
                        memory.write(Stream::Drops, losses(first, rows, kind), "default", DAY);
                        sent.extend((first..first + rows).map(|number| (number, kind)));
                    }
                    Step::Flush => memory.flush().await,
                    Step::Compact => drop(memory.tables.compact(true).await.unwrap()),
                }
            }
            let found = rows(
                &memory.engine(),
                "SELECT reason, coalesce(count_text, CAST(count_float AS VARCHAR), CAST(count_bool AS VARCHAR), \
                 CAST(count AS VARCHAR)) FROM drops ORDER BY CAST(reason AS BIGINT)",
            )
            .await;
            let expected: Vec<_> = sent.into_iter().map(|(number, kind)| expected(number, kind)).collect();
            assert_eq!(found, expected);
        });
    }
}

#[tokio::test]
async fn the_schema_and_older_versions_know_the_column() {
    let memory = Memory::open().await;
    memory.write(Stream::Drops, losses(0, 3, None), "default", DAY);
    memory.flush().await;
    memory.write(Stream::Drops, losses(3, 2, Some(Kind::Text)), "default", DAY);
    let engine = memory.engine();
    for _ in 0..2 {
        // In the tail, then in a file.
        let sum = "SELECT count(*), count(count_text), sum(count) FROM drops WHERE count_text IS NULL OR count_text LIKE 'about%'";
        assert_eq!(rows(&engine, sum).await, ["5 2 3"]);
        assert_eq!(rows(&engine, "SELECT reason FROM drops WHERE count_text = 'about 4'").await, ["4"]);
        assert_eq!(
            rows(&engine, "SELECT count_text FROM drops WHERE reason = '3' ORDER BY producer, ts").await,
            ["about 3"]
        );
        let comment =
            "SELECT data_type, comment FROM column_comments WHERE table_name = 'drops' AND column_name = 'count_text'";
        assert_eq!(rows(&engine, comment).await, ["Utf8 count where it was sent as text"]);
        memory.flush().await;
    }
    assert_eq!(rows(&engine, "SELECT count(*), count(count_text) FROM snapshot('drops', 0)").await, ["3 0"]);
    assert_eq!(rows(&engine, "SELECT count(*), count(count_text) FROM snapshot('drops', 1)").await, ["5 2"]);
    let error = crate::fixture::table(&engine, "SELECT count_float FROM drops").await.unwrap_err();
    assert!(error.to_string().contains("count_float"), "{error}");
}
