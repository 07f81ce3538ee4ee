//! Where the tables of a data folder are: in the folder itself, or in a bucket that the folder names.
//!
//! `<data-dir>/store` holds the URL of the bucket. A folder stays with its store: its log says which rows are in it.

use anyhow::{Context, anyhow, bail};
use bodkin_table::DurableLocal;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as StorePath;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Longest answer that is waited for; a file of 128 MiB takes it at 2 MiB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one request is tried again. What fails for longer is tried again as a whole by who asked: an epoch waits.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// The store of the tables, and what others call its root.
pub(crate) struct TableStore {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Url,
}

impl TableStore {
    /// The store of the folder `path`, which is `store` from now on where it is new.
    pub(crate) fn open(path: &Path, store: Option<&str>) -> anyhow::Result<Self> {
        let known = read(path)?;
        match (store, known) {
            (Some(asked), Some(known)) if asked.trim_end_matches('/') != known => {
                bail!(
                    "{} keeps its tables in {known}, not in {asked}: use --store {known}, or another --data-dir",
                    path.display()
                )
            }
            (Some(asked), None) if path.join("tables").is_dir() => {
                bail!(
                    "{} holds tables already, so --store {asked} cannot hold them: use another --data-dir",
                    path.display()
                )
            }
            (Some(asked), known) => {
                let opened = bucket(asked)?;
                if known.is_none() {
                    let file = path.join("store");
                    std::fs::write(&file, format!("{}\n", asked.trim_end_matches('/')))
                        .with_context(|| file.display().to_string())?;
                }
                Ok(opened)
            }
            (None, Some(known)) => bucket(&known),
            (None, None) => Ok(Self { store: Arc::new(DurableLocal::open(path)?), root: folder_url(path)? }),
        }
    }

    /// The same, for looking at a folder.
    pub(crate) fn read_only(path: &Path) -> anyhow::Result<Self> {
        match read(path)? {
            Some(known) => bucket(&known),
            None => Ok(Self { store: Arc::new(DurableLocal::read_only(path)?), root: folder_url(path)? }),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let file = path.join("store");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// A bucket by its URL, `s3://BUCKET/PREFIX`; everything else that S3 needs is in the AWS_* variables, as its own tools read them.
pub(crate) fn bucket(text: &str) -> anyhow::Result<TableStore> {
    let url = Url::parse(text).with_context(|| format!("--store {text}"))?;
    let Some(name) = url.host_str().filter(|_| url.scheme() == "s3") else {
        bail!("--store {text} is no bucket: s3://BUCKET/PREFIX");
    };
    let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, max_retries: 6, ..RetryConfig::default() };
    let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(Duration::from_secs(5));
    let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
    // An endpoint in the clear is a choice of who set the variable.
    let is_plain = std::env::var("AWS_ENDPOINT_URL").is_ok_and(|endpoint| endpoint.starts_with("http://"));
    let store = builder.with_client_options(client.with_allow_http(is_plain)).build();
    let store = store.with_context(|| format!("--store {text}"))?;
    let prefix = StorePath::parse(url.path().trim_matches('/')).with_context(|| format!("--store {text}"))?;
    let mut root = url.clone();
    root.set_path(&format!("{}/", url.path().trim_end_matches('/')));
    let store: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, prefix)),
    };
    Ok(TableStore { store, root })
}

/// The folder as a URL with its absolute path.
fn folder_url(path: &Path) -> anyhow::Result<Url> {
    let absolute = std::path::absolute(path)?;
    Url::from_directory_path(&absolute).map_err(|()| anyhow!("{} has no absolute path", absolute.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stays_with_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let open = |store| TableStore::open(folder.path(), store);
        assert_eq!(open(Some("s3://bucket/a/b/")).unwrap().root.as_str(), "s3://bucket/a/b/");
        assert_eq!(open(None).unwrap().root.as_str(), "s3://bucket/a/b/");
        assert_eq!(TableStore::read_only(folder.path()).unwrap().root.as_str(), "s3://bucket/a/b/");
        assert!(open(Some("s3://bucket/a/b")).is_ok());
        let error = open(Some("s3://other")).err().unwrap().to_string();
        assert!(error.contains("s3://bucket/a/b") && error.contains("--data-dir"), "{error}");
    }

    #[test]
    fn local_tables_and_other_stores_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = TableStore::open(folder.path(), Some("gs://bucket")).err().unwrap().to_string();
        assert!(error.contains("s3://BUCKET/PREFIX"), "{error}");
        std::fs::create_dir(folder.path().join("tables")).unwrap();
        let error = TableStore::open(folder.path(), Some("s3://bucket")).err().unwrap().to_string();
        assert!(error.contains("holds tables already"), "{error}");
        assert!(TableStore::open(folder.path(), None).unwrap().root.as_str().starts_with("file:///"));
    }
}
