//! Tail parts to files in the store.

use crate::encode::{Cut, encode};
use crate::file::{format_date, table_path};
use crate::file_writer::Encoded;
use crate::run::epoch_file;
use crate::tail::TailPart;
use crate::{DATE, Error, PreparedFile, Result, TENANT};
use bodkin_schema::{Clock, Epoch, Stream, Tenant};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(crate) const FILE_BYTES_TARGET: usize = 128 << 20;
const FILES_PER_COMMIT_MAX: usize = 16;
/// Rows that are sorted together; keeps the text of one column within 32-bit offsets.
const SORT_BYTES_MAX: usize = 1 << 30;

/// Writes the files of one table.
#[derive(Clone, Debug)]
pub(crate) struct TableWriter {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) stream: Stream,
    pub(crate) node: Arc<str>,
    /// Node and life of the process, with which the names of its files begin.
    pub(crate) prefix: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl TableWriter {
    /// Writes all rows of `parts`. Names depend on the process, the epoch and the number alone: a second attempt of the
    /// same process replaces the files of the first.
    pub(crate) async fn write(&self, epoch: Epoch, parts: Vec<Arc<TailPart>>) -> Result<Vec<PreparedFile>> {
        let groups = group(parts);
        let files_max = (FILES_PER_COMMIT_MAX / groups.len().max(1)).max(1);
        let mut files = Vec::new();
        for ((tenant, date), parts) in groups {
            self.write_partition(epoch, &tenant, date, parts, files_max, &mut files).await?;
        }
        Ok(files)
    }

    /// A file is uploaded while the next one is encoded.
    async fn write_partition(
        &self,
        epoch: Epoch,
        tenant: &Tenant,
        date: i32,
        parts: Vec<Arc<TailPart>>,
        files_max: usize,
        files: &mut Vec<PreparedFile>,
    ) -> Result<()> {
        let stream = self.stream;
        let (sender, mut receiver) = mpsc::channel(1);
        let encoder = tokio::task::spawn_blocking(move || {
            for (sort, parts) in cut(&parts).enumerate() {
                let emit = |file| sender.blocking_send((sort, file)).is_ok();
                encode(stream, parts, Cut::new(FILE_BYTES_TARGET, files_max), emit)?;
            }
            Ok(())
        });
        while let Some((sort, encoded)) = receiver.recv().await {
            let name = epoch_file(&self.prefix, epoch, sort, files.len());
            files.push(self.upload(tenant, date, &name, encoded).await?);
        }
        match encoder.await {
            Ok(result) => result.map_err(|source| Error::Parquet { path: table_path(stream).to_string(), source }),
            Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
            Err(_) => Err(Error::Stopped { table: stream }),
        }
    }

    /// Puts a file called `name` into its partition. It is part of the table once it is committed.
    pub(crate) async fn upload(
        &self,
        tenant: &Tenant,
        date: i32,
        name: &str,
        encoded: Encoded,
    ) -> Result<PreparedFile> {
        let date = format_date(date);
        let path = format!("{TENANT}={}/{DATE}={date}/{name}", folder_name(&tenant.0));
        let size = encoded.bytes.content_length() as u64;
        let location = Path::from(format!("{}/{path}", table_path(self.stream)));
        self.store
            .put(&location, encoded.bytes)
            .await
            .map_err(|source| Error::Store { path: location.to_string(), source })?;
        Ok(PreparedFile {
            path,
            size,
            rows: encoded.rows,
            tenant: tenant.to_string(),
            date,
            modified_ms: self.clock.now().micros().div_euclid(1000),
            stats: encoded.stats,
            suffixed: encoded.suffixed,
        })
    }
}

fn group(parts: Vec<Arc<TailPart>>) -> BTreeMap<(Tenant, i32), Vec<Arc<TailPart>>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for part in parts {
        groups.entry((part.tenant.clone(), part.date)).or_default().push(part);
    }
    groups
}

/// Runs of parts that can be sorted in memory.
fn cut(parts: &[Arc<TailPart>]) -> impl Iterator<Item = &[Arc<TailPart>]> {
    let mut rest = parts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |part: &&Arc<TailPart>| {
            bytes += part.bytes;
            bytes <= SORT_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (run, remaining) = rest.split_at(count);
        rest = remaining;
        (!run.is_empty()).then_some(run)
    })
}

/// The folder is for people; the log says whose rows a file holds.
fn folder_name(tenant: &str) -> String {
    tenant.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}
