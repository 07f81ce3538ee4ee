//! Which server, and how it and the agent know each other.

use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection over which nothing comes back for the sum of these is dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Files for TLS, PEM each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that the server's must be signed by; needed for `grpc+tls://`.
    pub ca: Option<PathBuf>,
    /// The agent's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A server to send to.
#[derive(Clone)]
pub struct Server {
    url: String,
    endpoint: Box<Endpoint>,
    token: Option<MetadataValue<Ascii>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).field("has_token", &self.token.is_some()).finish()
    }
}

impl Server {
    /// The server at `url`, `grpc://host:port` or `grpc+tls://host:port`. Does not connect.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is neither or TLS lacks its files, [`Error::Io`] if one cannot be read.
    pub fn new(url: &str, tls: &TlsFiles) -> Result<Self> {
        let invalid = |why: String| Error::Invalid(format!("server {url:?}: {why}"));
        let (scheme, address) =
            url.split_once("://").ok_or_else(|| invalid("it must start with grpc:// or grpc+tls://".into()))?;
        let http = match scheme {
            "grpc" | "grpc+tcp" => "http",
            "grpc+tls" => "https",
            _ => return Err(invalid(format!("scheme {scheme:?} is not grpc or grpc+tls"))),
        };
        let endpoint =
            Endpoint::from_shared(format!("{http}://{address}")).map_err(|error| invalid(error.to_string()))?;
        let mut endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if http == "https" {
            endpoint = endpoint.tls_config(tls_config(tls)?).map_err(|error| invalid(error.to_string()))?;
        }
        Ok(Self { url: url.to_owned(), endpoint: Box::new(endpoint), token: None })
    }

    /// Sends the token in `file` with every put.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Invalid`] if it holds what a header cannot.
    pub fn with_token_file(mut self, file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(Error::io(file, "read token"))?;
        let token = format!("Bearer {}", text.trim()).parse();
        let mut token: MetadataValue<Ascii> =
            token.map_err(|_| Error::Invalid(format!("token file {}: not plain ASCII", file.display())))?;
        token.set_sensitive(true);
        self.token = Some(token);
        Ok(self)
    }

    /// The URL as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A channel that connects when it is used, and again after each failure.
    pub(super) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig> {
    let read = |file: &Path| fs::read(file).map_err(Error::io(file, "read certificate or key"));
    let ca = files.ca.as_deref().ok_or_else(|| Error::Invalid("grpc+tls:// needs a file of CA certificates".into()))?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(config),
        _ => Err(Error::Invalid("a client certificate needs its key, and a key its certificate".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let error = |url: &str| Server::new(url, &TlsFiles::default()).map(drop).unwrap_err().to_string();
        assert!(Server::new("grpc://127.0.0.1:9471", &TlsFiles::default()).is_ok());
        assert!(error("127.0.0.1:9471").contains("grpc:// or grpc+tls://"));
        assert!(error("http://127.0.0.1").contains("scheme \"http\""));
        assert!(error("grpc+tls://127.0.0.1:1").contains("needs a file of CA certificates"));
        let half = TlsFiles { ca: Some("Cargo.toml".into()), cert: Some("x".into()), key: None };
        assert!(tls_config(&half).unwrap_err().to_string().contains("needs its key"));
    }

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "s3cret\n").unwrap();
        let server = Server::new("grpc://h:1", &TlsFiles::default()).unwrap().with_token_file(&file).unwrap();
        assert_eq!(server.request(()).metadata().get("authorization").unwrap(), "Bearer s3cret");
        assert!(!format!("{server:?}").contains("s3cret"));
    }
}
