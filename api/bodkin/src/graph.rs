//! `bodkin graph` and `bodkin tap`: the graph of a running server, and live rows of its nodes.

use crate::sql::{DEFAULT_SERVER, ServerFile};
use anyhow::{Context, anyhow, bail};
use bodkin_engine::GraphStatus;
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io::Write;
use std::path::PathBuf;
use tokio::net::TcpStream;
use url::Url;

const GRAPH_BYTES_MAX: usize = 16 << 20;

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Server to ask
    #[arg(long, value_name = "URL", conflicts_with = "data_dir", default_value = DEFAULT_SERVER)]
    server: String,
    /// Data folder of the server to ask
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// How the graph is drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Picture {
    /// A table for the terminal
    Text,
    /// A flow chart for a page
    Mermaid,
    /// What the server answers
    Json,
}

/// Arguments of `bodkin graph`.
#[derive(Debug, clap::Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    which: Which,
    /// How to draw it
    #[arg(long, value_enum, default_value_t = Picture::Text)]
    format: Picture,
}

/// Arguments of `bodkin tap`.
#[derive(Debug, clap::Args)]
pub(crate) struct TapArgs {
    #[command(flatten)]
    which: Which,
    /// End after this many rows
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
    /// A stream, as it comes in, or an operator, as it emits
    #[arg(value_name = "OPERATOR")]
    node: String,
}

/// `bodkin graph`.
pub(crate) async fn graph(args: GraphArgs) -> anyhow::Result<()> {
    let answer = args.which.get("/api/v1/graph").await?;
    let body = Limited::new(answer.into_body(), GRAPH_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    let status: GraphStatus = serde_json::from_slice(&body).context("what answers is no Bodkin server")?;
    let text = match args.format {
        Picture::Text => status.to_text(),
        Picture::Mermaid => status.to_mermaid(),
        Picture::Json => serde_json::to_string_pretty(&status)? + "\n",
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// `bodkin tap`.
pub(crate) async fn tap(args: TapArgs) -> anyhow::Result<()> {
    let node: String = url::form_urlencoded::byte_serialize(args.node.as_bytes()).collect();
    let rows = args.rows.map(|rows| format!("?rows={rows}")).unwrap_or_default();
    let mut body = args.which.get(&format!("/api/v1/graph/{node}/tap{rows}")).await?.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(lines) = frame.context("the server broke off")?.into_data() else { continue };
        let mut out = std::io::stdout().lock();
        // Whoever reads us may have seen enough: bodkin tap events | head
        if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Which {
    /// The server's URL.
    pub(crate) fn server(&self) -> anyhow::Result<String> {
        Ok(match &self.data_dir {
            Some(folder) => ServerFile::read(folder)?.http,
            None => self.server.clone(),
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let server = self.server()?;
        let answer = get(&server, path).await.with_context(|| format!("no server answers at {server}"))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = Limited::new(answer.into_body(), GRAPH_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        match serde_json::from_slice::<bodkin_http::ErrorBody>(&body) {
            Ok(body) => bail!("{}", body.error.message),
            Err(_) => bail!("the server answered {status}"),
        }
    }
}

/// One request on a connection of its own.
async fn get(server: &str, path: &str) -> anyhow::Result<Response<Incoming>> {
    let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let url = Url::parse(&text)?;
    let (host, port) = (url.host_str().context("the URL names no host")?, url.port_or_known_default().unwrap_or(80));
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors come out of the response and its body as well.
    tokio::spawn(connection);
    let request = Request::get(format!("{}{path}", url.path().trim_end_matches('/')))
        .header(HOST, format!("{host}:{port}"))
        .body(Full::<Bytes>::default())?;
    Ok(sender.send_request(request).await?)
}
