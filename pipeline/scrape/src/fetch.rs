//! A page by HTTP, under bounds.

use crate::config::HttpClientConfig;
use flate2::bufread::MultiGzDecoder;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use reqwest::{Certificate, Client, Identity, redirect};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// A page as it came, without its compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// A client for a job.
pub(crate) fn client(config: &HttpClientConfig) -> Result<Client, String> {
    let mut builder = Client::builder();
    if config.follow_redirects == Some(false) {
        builder = builder.redirect(redirect::Policy::none());
    }
    if config.enable_http2 == Some(false) {
        builder = builder.http1_only();
    }
    let tls = &config.tls_config;
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    if let Some(path) = &tls.ca_file {
        let certificates =
            Certificate::from_pem_bundle(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut pem = read(cert)?;
        pem.push(b'\n');
        pem.extend(read(key)?);
        builder = builder.identity(Identity::from_pem(&pem).map_err(|error| format!("{}: {error}", cert.display()))?);
    }
    if tls.insecure_skip_verify {
        builder = builder.danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| error.to_string())
}

fn secret(text: Option<&str>, file: Option<&Path>) -> Result<String, String> {
    match (text, file) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(text.trim().to_owned())
        }
        (None, None) => Ok(String::new()),
    }
}

/// Gets a page of at most `bytes_max`, before and after decompression.
pub(crate) async fn get(
    client: &Client,
    config: &HttpClientConfig,
    url: &Url,
    accept: &str,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Page, String> {
    let mut request = client
        .get(url.clone())
        .timeout(timeout)
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, "gzip")
        .header(USER_AGENT, concat!("bodkin/", env!("CARGO_PKG_VERSION")))
        .header("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_secs_f64().to_string());
    if let Some(auth) = &config.basic_auth {
        let password = secret(auth.password.as_ref().map(|text| text.0.as_str()), auth.password_file.as_deref())?;
        request = request.basic_auth(&auth.username.0, Some(password));
    }
    if let Some(auth) = &config.authorization {
        let credentials =
            secret(auth.credentials.as_ref().map(|text| text.0.as_str()), auth.credentials_file.as_deref())?;
        request =
            request.header(AUTHORIZATION, format!("{} {credentials}", auth.r#type.as_deref().unwrap_or("Bearer")));
    } else if config.bearer_token.is_some() || config.bearer_token_file.is_some() {
        let token =
            secret(config.bearer_token.as_ref().map(|text| text.0.as_str()), config.bearer_token_file.as_deref())?;
        request = request.bearer_auth(token);
    }
    let mut response = request.send().await.map_err(describe)?;
    if !response.status().is_success() {
        return Err(format!("server returned HTTP status {}", response.status()));
    }
    let header =
        |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (content_type, encoding) = (header(CONTENT_TYPE), header(CONTENT_ENCODING));
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(format!("the body exceeds the limit of {bytes_max} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    match encoding.as_str() {
        "" | "identity" => {}
        "gzip" => bytes = gunzip(&bytes, bytes_max)?,
        other => return Err(format!("content encoding {other:?} was not asked for")),
    }
    Ok(Page { content_type, bytes })
}

fn gunzip(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| format!("gzip: {error}"))?;
    if out.len() > bytes_max { Err(format!("the body exceeds the limit of {bytes_max} bytes")) } else { Ok(out) }
}

/// The causes of an error of HTTP, the last of which says most.
fn describe(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
