//! Stretches of event time: read in the table's order, and replaced in one commit.
//!
//! What is made of other rows (a tier of rollups) is made again where they change. Then the rows of a stretch leave
//! the files that hold them and new ones enter, so that every reader of the log sees each row once and never half.

use crate::compact::{Rows, Texts, merged, read_run, read_times, rows_within, write_run};
use crate::gather::Picked;
use crate::log::CommitRequest;
use crate::merge::PickedStream;
use crate::run::{FileName, Level, Run, runs};
use crate::snapshot::slot;
use crate::{Error, Result, StatValue, TableFile, TableSnapshot, Tables, TailPart};
use arrow::array::RecordBatch;
use bodkin_schema::{Epoch, Stream, Tenant};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// Who made a file, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Node and life of a process, in an epoch.
    Epoch(&'a str, Epoch),
    /// Compaction, or a replaced stretch.
    Made,
    /// Another tool.
    Foreign,
}

/// Who made the file at `path`.
pub fn origin(path: &str) -> Origin<'_> {
    match FileName::parse(path) {
        Some(FileName { epoch: Some((process, epoch)), .. }) => Origin::Epoch(process, epoch),
        Some(_) => Origin::Made,
        None => Origin::Foreign,
    }
}

/// The first and the last event time that a file may hold, in microseconds.
pub fn time_bounds(stream: Stream, file: &TableFile) -> (i64, i64) {
    let index = stream.time_column().and_then(|name| stream.schema().index_of(name).ok());
    let Some(stats) = index.map(|index| file.stats.column(index)) else { return (i64::MIN, i64::MAX) };
    let bound = |value: Option<&StatValue>, unknown| match value {
        Some(StatValue::Int(ts_us)) => *ts_us,
        _ => unknown,
    };
    (bound(stats.min, i64::MIN), bound(stats.max, i64::MAX))
}

/// Files that compaction has to leave as they are for now.
pub trait Hold: Send + Sync + fmt::Debug {
    /// Whether somebody still has to look at `file` by itself.
    fn is_held(&self, stream: Stream, file: &TableFile) -> bool;
}

impl Tables {
    /// Compaction asks `hold`, too, from now on.
    pub fn add_hold(&self, hold: Arc<dyn Hold>) {
        self.holds.write().unwrap_or_else(PoisonError::into_inner).push(hold);
    }

    /// The files of `stream` that compaction may merge.
    pub(crate) fn not_held(&self, stream: Stream, files: &[Arc<TableFile>]) -> Vec<Arc<TableFile>> {
        let holds = self.holds.read().unwrap_or_else(PoisonError::into_inner);
        let is_held = |file: &Arc<TableFile>| holds.iter().any(|hold| hold.is_held(stream, file));
        files.iter().filter(|file| !is_held(file)).cloned().collect()
    }

    /// The rows of a tenant in the files of `table` whose event time (microseconds) lies in `stretch`, in the table's
    /// order; of equal samples the first. Files of other tools are left out. Memory: one row group per run.
    ///
    /// # Errors
    /// Where the table's sort columns cannot be compared; later errors come in the stream.
    pub fn read_stretch(
        &self,
        table: &TableSnapshot,
        tenant: &Tenant,
        stretch: Range<i64>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let files = within(table.stream, &table.files, tenant, &stretch);
        let (by_partition, _) = runs(&files);
        let runs: Vec<Run> = by_partition.into_values().flatten().collect();
        let stream = table.stream;
        let schema = table.suffixed.row_schema(stream);
        let rows = merged(&self.writers[slot(stream)], &table.suffixed, &runs, Rows::Within(stretch))?;
        let batch = move |picked: Picked| picked.batch(&schema).map_err(|source| Error::Rows { table: stream, source });
        Ok(rows.map(move |picked| picked.and_then(&batch)).boxed())
    }

    /// The rows of a tenant in `table` whose event time (microseconds) lies in `stretch`, in no order: those of the tail
    /// and of other tools' files among them. Memory: one batch.
    pub fn read_rows(
        &self,
        table: &TableSnapshot,
        tenant: &Tenant,
        stretch: Range<i64>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (stream, schema) = (table.stream, table.suffixed.row_schema(table.stream));
        let in_time = |part: &&Arc<TailPart>| {
            part.event_time.is_none_or(|time| time.min.0 < stretch.end && time.max.0 >= stretch.start)
        };
        let parts: Vec<Arc<TailPart>> =
            table.tail.iter().filter(|part| part.tenant == *tenant).filter(in_time).cloned().collect();
        let files = within(stream, &table.files, tenant, &stretch);
        let read = read_run(
            self.store.clone(),
            (stream, schema.clone()),
            files,
            (Rows::Within(stretch.clone()), Texts::Plain),
        );
        let tail = futures::stream::iter(parts).map(move |part| {
            let rows = rows_within(stream, &schema, &part.records, &stretch);
            rows.map_err(|source| Error::Rows { table: stream, source })
        });
        read.chain(tail).boxed()
    }

    /// Calls `each` with the event time (microseconds) of every row of a file. Reads that column alone.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn event_times(&self, stream: Stream, file: &Arc<TableFile>, each: impl FnMut(i64)) -> Result<()> {
        read_times(self.store.clone(), stream, file.clone(), each).await
    }

    /// Puts `rows`, which are in the table's order, in place of those of the tenant whose event time lies in
    /// `stretch`: in one commit, shown at once. Safe to drop: nothing has happened then.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] where files were compacted meanwhile: nothing has happened, and it may be tried again.
    pub async fn replace_stretch(
        &self,
        stream: Stream,
        tenant: &Tenant,
        stretch: Range<i64>,
        rows: BoxStream<'static, Result<RecordBatch>>,
    ) -> Result<()> {
        let writer = &self.writers[slot(stream)];
        let log = self.log(stream).refresh().await?;
        let removes = within(stream, &log.files, tenant, &stretch);
        let (by_partition, foreign) = runs(&removes);
        let removes: Vec<_> = removes.into_iter().filter(|file| !foreign.contains(file)).collect();
        let mut adds = Vec::new();
        for ((tenant, date), runs) in by_partition {
            for run in runs {
                let level = run.level.max(Level::Quarter);
                let window = (level, run.since_ms.div_euclid(level.window_ms()) * level.window_ms());
                let kept: PickedStream =
                    merged(writer, &log.suffixed, std::slice::from_ref(&run), Rows::Without(stretch.clone()))?;
                adds.extend(write_run(writer, (&tenant, date), window, kept).await?);
            }
        }
        let now = self.clock.now();
        let quarter_ms = Level::Quarter.window_ms();
        let window = (Level::Quarter, now.micros().div_euclid(1000 * quarter_ms) * quarter_ms);
        adds.extend(write_run(writer, (tenant, now.day()), window, rows.map_ok(Picked::from).boxed()).await?);
        if !adds.is_empty() || !removes.is_empty() {
            self.commit_and_publish(stream, &CommitRequest { adds, removes, ..CommitRequest::default() }).await?;
        }
        Ok(())
    }
}

fn within(stream: Stream, files: &[Arc<TableFile>], tenant: &Tenant, stretch: &Range<i64>) -> Vec<Arc<TableFile>> {
    let may_hold = |file: &&Arc<TableFile>| {
        let (min, max) = time_bounds(stream, file);
        file.tenant == *tenant && min < stretch.end && max >= stretch.start
    };
    files.iter().filter(may_hold).cloned().collect()
}
