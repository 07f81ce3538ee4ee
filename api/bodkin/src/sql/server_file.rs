//! `<data-dir>/server.json`: where the server that holds the folder listens.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

const NAME: &str = "server.json";

/// The listeners of a running server. The file outlives a killed server: only the folder's lock says that it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// URL of the HTTP listener.
    pub(crate) http: String,
    /// URL of the Flight listener.
    pub(crate) flight: String,
}

impl ServerFile {
    /// Reads the file of a data folder.
    pub(crate) fn read(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(NAME);
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} does not name a server", path.display()))
    }

    /// Writes the file in one step, so that no reader sees half of it.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        let path = data_dir.join(NAME);
        let part = data_dir.join(".server.json.part");
        let text = serde_json::to_vec(self).context("server.json")?;
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = ServerFile { http: "http://127.0.0.1:1".into(), flight: "grpc://127.0.0.1:2".into() };
        file.write(folder.path()).unwrap();
        assert_eq!(ServerFile::read(folder.path()).unwrap(), file);
        std::fs::write(folder.path().join(NAME), "{}").unwrap();
        let error = ServerFile::read(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("server.json does not name a server"), "{error}");
    }
}
