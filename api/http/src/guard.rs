//! On a loopback listener without credentials, the browser of the same user is the way in for other sites: by DNS
//! rebinding (their name points to 127.0.0.1) or by plain cross-site requests. Both announce themselves in headers
//! that a page cannot set, and are refused here.

use crate::error::ApiError;
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

/// Middleware that refuses what a local program did not mean to send; lets all pass on other listeners.
pub(crate) async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    if state.is_loopback
        && let Err(error) = check(request.uri().authority(), request.headers())
    {
        state.counters.refused.fetch_add(1, Ordering::Relaxed);
        return Err(error);
    }
    Ok(next.run(request).await)
}

fn check(authority: Option<&Authority>, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |message: String, hint: &str| {
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden_host", message).hint(hint.to_owned()))
    };
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let host = authority.map(|authority| authority.as_str().into()).or_else(|| text(header::HOST));
    // HTTP/1.0 has no Host; every browser sends one.
    if let Some(host) = host
        && !is_loopback(&host)
    {
        return refused(
            format!("host {host:?} is not a name of this loopback listener"),
            "use http://127.0.0.1:PORT or http://localhost:PORT; to serve other names, listen on another address with TLS and tokens",
        );
    }
    if let Some(origin) = text(header::ORIGIN) {
        let is_ours = origin.split_once("://").is_some_and(|(_, host)| is_loopback(host));
        if !is_ours {
            return refused(
                format!("origin {origin:?} may not use this loopback listener"),
                "ask from a local page or program",
            );
        }
    }
    let fetch = |name: &str| headers.get(name).map(|value| value.as_bytes());
    // A link that the user follows is a cross-site request too, but one without a say in what is done with the answer.
    if fetch("sec-fetch-site") == Some(b"cross-site") && fetch("sec-fetch-mode") != Some(b"navigate") {
        return refused(
            "a page of another site may not use this loopback listener".to_owned(),
            "ask from a local page or program",
        );
    }
    Ok(())
}

/// Whether `host[:port]` can only mean this machine.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    // user@host is no Host header of ours.
    if authority.as_str().contains('@') {
        return false;
    }
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_others() {
        for host in
            ["localhost", "LOCALHOST:9470", "localhost.", "a.localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:9470"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "a@localhost",
            "notlocalhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
