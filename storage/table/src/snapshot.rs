//! What a query sees: one immutable state of all tables, files and tail together (TAIL-1).

use crate::file::{TableFile, table_schema};
use crate::suffixed::Suffixed;
use crate::tail::TailPart;
use arrow::datatypes::SchemaRef;
use bodkin_schema::Stream;
use std::sync::Arc;

/// One state of all tables. A query takes one and reads every table from it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tables: Vec<Arc<TableSnapshot>>,
}

/// One state of a table.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    /// The stream whose rows it holds.
    pub stream: Stream,
    /// The stream's columns, those of `suffixed`, then the partition columns `tenant` (Utf8) and `date` (Date32).
    pub schema: SchemaRef,
    /// Columns for values of another type than the registered one, of files and tail.
    pub suffixed: Suffixed,
    /// Version of the log; none where nothing was committed yet.
    pub version: Option<u64>,
    /// Files, each sorted by the stream's sort columns.
    pub files: Arc<Vec<Arc<TableFile>>>,
    /// Rows that are in no file, in order of arrival.
    pub tail: Arc<Vec<Arc<TailPart>>>,
}

impl TableSnapshot {
    pub(crate) fn empty(stream: Stream) -> Self {
        let suffixed = Suffixed::default();
        let schema = table_schema(stream, &suffixed);
        Self { stream, schema, suffixed, version: None, files: Arc::default(), tail: Arc::default() }
    }

    /// The same with the columns of `suffixed`, too. Free where it has them.
    pub(crate) fn with_columns(self, suffixed: &Suffixed) -> Self {
        let all = self.suffixed.with(suffixed);
        if all == self.suffixed {
            return self;
        }
        Self { schema: table_schema(self.stream, &all), suffixed: all, ..self }
    }

    /// Number of rows in files and tail. Costs one pass over both lists.
    pub fn rows(&self) -> u64 {
        let in_files: u64 = self.files.iter().map(|file| file.rows).sum();
        in_files + self.tail.iter().map(|part| part.records.num_rows() as u64).sum::<u64>()
    }
}

impl Snapshot {
    pub(crate) fn new(tables: Vec<TableSnapshot>) -> Self {
        debug_assert!(tables.iter().map(|table| table.stream).eq(Stream::ALL), "one table per stream, in order");
        Self { tables: tables.into_iter().map(Arc::new).collect() }
    }

    /// The table of `stream`.
    pub fn table(&self, stream: Stream) -> &Arc<TableSnapshot> {
        &self.tables[slot(stream)]
    }

    /// Every table, in the order of [`Stream::ALL`].
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableSnapshot>> {
        self.tables.iter()
    }

    /// The same with one table changed. Costs one reference per table.
    pub(crate) fn with(&self, table: TableSnapshot) -> Self {
        let (mut tables, slot) = (self.tables.clone(), slot(table.stream));
        tables[slot] = Arc::new(table);
        Self { tables }
    }
}

/// Place of the stream in [`Stream::ALL`].
pub(crate) fn slot(stream: Stream) -> usize {
    Stream::ALL.iter().position(|other| *other == stream).expect("every stream is in Stream::ALL")
}
