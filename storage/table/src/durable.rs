//! An object store over a local folder in which a finished call is on disk.
//!
//! `LocalFileSystem` of object_store 0.13 never calls fsync: after a power loss an object that was put may be empty
//! or gone, and an acknowledged epoch with it (ACK-1). [`DurableLocal`] writes aside, syncs the file, moves it into
//! place and syncs the folder; reads and listings are `LocalFileSystem`'s. There is no conditional update
//! ([`PutMode::Update`]): nothing in the file system offers one.

use crate::folder::{Folder, Publish};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

const STORE: &str = "DurableLocal";

/// An [`ObjectStore`] over a local folder that syncs what it writes.
#[derive(Clone, Debug)]
pub struct DurableLocal {
    local: LocalFileSystem,
    /// None where the folder must not change.
    folder: Option<Arc<Folder>>,
}

/// What an operation on a file failed with, and which file.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DurableLocal {
    /// The store in `root`, a folder that is made where it does not exist.
    ///
    /// # Errors
    /// Where the folder cannot be made or read; the error names it.
    pub fn open(root: impl AsRef<std::path::Path>) -> Result<Self> {
        let root = root.as_ref();
        let folder = Folder::open(root).map_err(|source| failed("make folder", root.to_owned(), source))?;
        Ok(Self { local: LocalFileSystem::new_with_prefix(root)?, folder: Some(Arc::new(folder)) })
    }

    /// The store in the existing folder `root`. Every call that would change it is refused.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn read_only(root: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(Self { local: LocalFileSystem::new_with_prefix(root)?, folder: None })
    }

    fn writable(&self, location: &Path) -> Result<Arc<Folder>> {
        self.folder.clone().ok_or_else(|| Error::PermissionDenied {
            path: location.to_string(),
            source: "the folder is open for reading only".into(),
        })
    }
}

fn failed(action: &'static str, path: PathBuf, source: io::Error) -> Error {
    let name = path.display().to_string();
    let kind = source.kind();
    let error = Box::new(FileError { action, path, source });
    match kind {
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: name, source: error },
        ErrorKind::NotFound => Error::NotFound { path: name, source: error },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path: name, source: error },
        _ => Error::Generic { store: STORE, source: error },
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE}({})", self.local)
    }
}

/// Attributes have no place in a file; who relies on them must hear it.
fn refuse_attributes(attributes: &object_store::Attributes) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    Err(Error::NotImplemented { operation: "attributes".into(), implementer: STORE.into() })
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        refuse_attributes(&options.attributes)?;
        let publish = match options.mode {
            PutMode::Overwrite => Publish::Replace,
            PutMode::Create => Publish::Create,
            PutMode::Update(_) => {
                let operation = "`put_opts` with mode `PutMode::Update`".into();
                return Err(Error::NotImplemented { operation, implementer: STORE.into() });
            }
        };
        let folder = self.writable(location)?;
        let path = self.local.path_to_filesystem(location)?;
        blocking(move || {
            let chunks = payload.iter().map(Bytes::as_ref);
            folder.write(&path, chunks, publish).map_err(|source| failed("put", path, source))?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        refuse_attributes(&options.attributes)?;
        let folder = self.writable(location)?;
        let path = self.local.path_to_filesystem(location)?;
        blocking(move || {
            let (file, temporary) =
                folder.temporary(&path).map_err(|source| failed("start upload", path.clone(), source))?;
            let parts = Parts { folder, file, temporary, path };
            Ok(Box::new(Upload { parts: Some(Arc::new(parts)), offset: 0 }) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.local.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.local.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let folder = store.writable(&location)?;
                    let path = store.local.path_to_filesystem(&location)?;
                    blocking(move || {
                        std::fs::remove_file(&path)
                            .and_then(|()| folder.sync_parent(&path))
                            .map_err(|source| failed("delete", path, source))?;
                        Ok(location)
                    })
                    .await
                }
            })
            .buffered(8)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.local.list(prefix)
    }

    // Sorted by name, as buckets answer it and `deltalake-core` expects it of everything but `file:` URLs.
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let unsorted = self.local.list_with_offset(prefix, offset);
        let sorted = async move {
            let mut found: Vec<_> = unsorted.try_collect().await?;
            found.sort_unstable_by(|left: &ObjectMeta, right| left.location.cmp(&right.location));
            Ok(futures::stream::iter(found.into_iter().map(Ok)))
        };
        sorted.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.local.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let folder = self.writable(to)?;
        let (source, target) = (self.local.path_to_filesystem(from)?, self.local.path_to_filesystem(to)?);
        let publish = match options.mode {
            CopyMode::Overwrite => Publish::Replace,
            CopyMode::Create => Publish::Create,
        };
        // A copy, not a second name: an object that is replaced must not change its copies.
        blocking(move || {
            let mut reader = File::open(&source).map_err(|error| failed("copy from", source, error))?;
            let (mut file, temporary) =
                folder.temporary(&target).map_err(|error| failed("copy to", target.clone(), error))?;
            let copied = io::copy(&mut reader, &mut file).map(|_| &file);
            folder.finish(copied, &temporary, &target, publish).map_err(|error| failed("copy to", target, error))
        })
        .await
    }
}

/// The file that an upload's parts are written to.
#[derive(Debug)]
struct Parts {
    folder: Arc<Folder>,
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

#[derive(Debug)]
struct Upload {
    parts: Option<Arc<Parts>>,
    offset: u64,
}

impl Upload {
    fn take(&mut self) -> Result<Arc<Parts>> {
        self.parts.take().ok_or_else(|| Error::Generic { store: STORE, source: "the upload has ended".into() })
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let start = self.offset;
        self.offset += data.content_length() as u64;
        let parts = self.parts.clone();
        async move {
            let parts = parts.ok_or_else(|| Error::Generic { store: STORE, source: "the upload has ended".into() })?;
            blocking(move || {
                let mut at = start;
                for chunk in data.iter() {
                    let written = parts.file.write_all_at(chunk, at);
                    written.map_err(|source| failed("write part of", parts.path.clone(), source))?;
                    at += chunk.len() as u64;
                }
                Ok(())
            })
            .await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = self.take()?;
        blocking(move || {
            let Parts { folder, file, temporary, path } = parts.as_ref();
            folder
                .finish(Ok(file), temporary, path, Publish::Replace)
                .map_err(|source| failed("complete", path.clone(), source))?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let parts = self.take()?;
        blocking(move || {
            std::fs::remove_file(&parts.temporary).map_err(|source| failed("abort", parts.path.clone(), source))
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            // Nobody will complete it; a left-over takes space and nothing else.
            let _ = std::fs::remove_file(&parts.temporary);
        }
    }
}
