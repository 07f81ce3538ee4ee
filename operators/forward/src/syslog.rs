//! Syslog, RFC 5424: over UDP (RFC 5426), TCP and TLS with octet counting (RFC 6587, RFC 5425).
//!
//! Syslog has no acknowledgement: over TCP and TLS a run counts as sent when it is handed to the receiver's connection
//! and the receiver has not closed it; over UDP when it has left.

use crate::config::{Common, ConfigError};
use crate::format::{Format, syslog};
use crate::http::{dead, retry};
use crate::message::{Message, row_key};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Deliveries that one run takes.
const RUN_MAX: usize = 64;

/// The section `syslog`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyslogSection {
    /// `udp://host:514`, `tcp://host:514`, `tls://host:6514`.
    address: String,
    #[serde(default)]
    format: Format,
    /// Certificates that the receiver's may be signed by; the system's by default.
    ca: Option<PathBuf>,
    /// The host that rows without one are from.
    hostname: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Syslog {
    common: Common,
    scheme: Scheme,
    address: String,
    format: Format,
    hostname: String,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

enum Scheme {
    Udp,
    Tcp,
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

impl std::fmt::Debug for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "Udp",
            Self::Tcp => "Tcp",
            Self::Tls(..) => "Tls",
        })
    }
}

#[derive(Debug)]
enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Syslog {
    pub(crate) fn new(common: Common, section: &SyslogSection) -> Result<Self, ConfigError> {
        let wrong = || {
            let text = format!("{:?}: write udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT", section.address);
            ConfigError::new("address", text)
        };
        let (scheme, address) = section.address.split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        let scheme = match scheme {
            "udp" => Scheme::Udp,
            "tcp" => Scheme::Tcp,
            "tls" => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
                Scheme::Tls(tls(section.ca.as_ref())?, name.map_err(|error| ConfigError::new("address", error))?)
            }
            _ => return Err(wrong()),
        };
        let hostname = section.hostname.clone().unwrap_or_else(|| "-".to_owned());
        let (address, format) = (address.to_owned(), section.format);
        Ok(Self { common, scheme, address, format, hostname, connection: tokio::sync::Mutex::default() })
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        if matches!(self.scheme, Scheme::Udp) {
            let any = if self.address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(&self.address).await?;
            return Ok(Connection::Udp(socket));
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.scheme {
            Scheme::Tls(config, name) => {
                let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await?;
                Ok(Connection::Tls(Box::new(stream)))
            }
            _ => Ok(Connection::Tcp(stream)),
        }
    }

    /// The messages of a run.
    fn lines(&self, run: &[Delivery]) -> Result<Vec<String>, ChannelError> {
        let now = jiff::Timestamp::from_microsecond(self.common.clock.now().micros()).unwrap_or_default().to_string();
        let mut lines = Vec::new();
        for delivery in run {
            let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
            let rows = rows.iter().enumerate();
            lines.extend(rows.map(|(at, row)| syslog(row, &row_key(delivery, at), self.format, &self.hostname, &now)));
        }
        Ok(lines)
    }
}

fn tls(ca: Option<&PathBuf>) -> Result<Arc<ClientConfig>, ConfigError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| ConfigError::new("ca", format!("{}: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| ConfigError::new("address", error))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl Connection {
    async fn write(&mut self, lines: &[String]) -> std::io::Result<()> {
        let framed = || lines.iter().map(|line| format!("{} {line}", line.len())).collect::<String>();
        match self {
            Self::Udp(socket) => {
                for line in lines {
                    socket.send(line.as_bytes()).await?;
                }
                Ok(())
            }
            Self::Tcp(stream) => {
                stream.write_all(framed().as_bytes()).await?;
                is_open(stream.try_read(&mut [0; 64]))
            }
            Self::Tls(stream) => {
                stream.write_all(framed().as_bytes()).await?;
                stream.flush().await?;
                // What the receiver sends, an alert among them, is read without waiting for it.
                let mut answer = [0; 64];
                let read = std::future::poll_fn(|context| {
                    let mut read = std::pin::pin!(stream.read(&mut answer));
                    std::task::Poll::Ready(match read.as_mut().poll(context) {
                        std::task::Poll::Ready(read) => read,
                        std::task::Poll::Pending => Err(std::io::ErrorKind::WouldBlock.into()),
                    })
                });
                is_open(read.await)
            }
        }
    }
}

/// A receiver that has closed takes nothing more.
fn is_open(read: std::io::Result<usize>) -> std::io::Result<()> {
    match read {
        Ok(0) => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Channel for Syslog {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn run_max(&self) -> usize {
        RUN_MAX
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let lines = self.lines(run)?;
        let mut connection = self.connection.lock().await;
        // Taken out: an error or a drop half-way leaves no connection that is half written to.
        let open = connection.take();
        let sending = async {
            let mut open = match open {
                Some(open) => open,
                None => self.connect().await?,
            };
            open.write(&lines).await?;
            Ok::<_, std::io::Error>(open)
        };
        match tokio::time::timeout(self.common.timeout, sending).await {
            Ok(Ok(open)) => *connection = Some(open),
            Ok(Err(error)) => return Err(retry(format!("{}: {error}", self.address))),
            Err(_) => return Err(retry(format!("{}: no room in time", self.address))),
        }
        self.common.pace().await;
        Ok(())
    }
}
