//! Lines that SIEMs read: RFC 5424 around a text, JSON, CEF or LEEF.
//!
//! Contracts: RFC 5424 sections 6 and 8; CEF: "Micro Focus Security ArcSight Common Event Format", version 0 (ArcSight
//! Common Event Format Implementation Standard); LEEF 2.0: IBM QRadar DSM guide, "LEEF event components".

use crate::message::{plain, text_of};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write;

/// What a message carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// The row's text.
    #[default]
    Text,
    /// The row as JSON.
    Json,
    /// ArcSight Common Event Format.
    Cef,
    /// QRadar Log Event Extended Format.
    Leef,
}

/// Facility `local0`.
const FACILITY: u8 = 16;
/// Bytes of one message: what receivers take by default (rsyslog: 8 KiB).
const MESSAGE_BYTES_MAX: usize = 8192;

/// The element of the structured data with the key of the row. 32473 is the enterprise number for examples (RFC 5612):
/// there is none of our own.
const KEY_ELEMENT: &str = "bodkin@32473";

/// One row as an RFC 5424 message without a frame. `key` tells a receiver what comes again.
pub(crate) fn syslog(row: &Map<String, Value>, key: &str, format: Format, host: &str, now: &str) -> String {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = level(row);
    let time = if is_time(text("ts")) { text("ts") } else { now };
    let host = if text("host").is_empty() { host } else { text("host") };
    let process = ["pid"].iter().find_map(|name| row.get(*name)).map_or("-".to_owned(), |pid| token(&plain(pid), 128));
    let kind = ["rule", "alertname", "evt_type"].iter().find_map(|name| row.get(*name)).map(plain).unwrap_or_default();
    let body = match format {
        Format::Text => text_of(row).replace(['\r', '\n'], " "),
        Format::Json => Value::Object(row.clone()).to_string(),
        Format::Cef => cef(row),
        Format::Leef => leef(row),
    };
    let mut line = format!(
        "<{}>1 {time} {} bodkin {process} {} [{KEY_ELEMENT} key=\"{}\"] {body}",
        FACILITY * 8 + level,
        token(host, 255),
        token(&kind, 32),
        parameter(key)
    );
    line.truncate(line.floor_char_boundary(MESSAGE_BYTES_MAX));
    line
}

/// Syslog's severity of a row.
fn level(row: &Map<String, Value>) -> u8 {
    let severity = ["severity", "priority"].iter().find_map(|name| row.get(*name)?.as_str()).unwrap_or("notice");
    match severity.to_ascii_lowercase().as_str() {
        "emergency" => 0,
        "alert" => 1,
        "critical" | "page" => 2,
        "error" | "high" => 3,
        "warning" | "medium" => 4,
        "info" | "informational" | "low" => 6,
        "debug" => 7,
        _ => 5,
    }
}

/// Printable ASCII without blanks, `-` for nothing.
fn token(text: &str, chars_max: usize) -> String {
    let made: String = text.chars().take(chars_max).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if made.is_empty() { "-".to_owned() } else { made }
}

/// A value of the structured data, RFC 5424 section 6.3.3.
fn parameter(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]").replace(['\r', '\n'], " ")
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

/// `CEF:0|vendor|product|version|class|name|severity|extension`
fn cef(row: &Map<String, Value>) -> String {
    let header = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\r', '\n'], " ");
    let class = ["rule", "alertname", "evt_type"].iter().find_map(|name| row.get(*name)).map(plain).unwrap_or_default();
    // CEF counts from 0, harmless, to 10; syslog from 7 to 0.
    let severity = [10, 9, 8, 7, 6, 5, 3, 1][usize::from(level(row).min(7))];
    let mut line = format!(
        "CEF:0|Bodkin|bodkin|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        header(&class),
        header(&text_of(row))
    );
    let mut is_first = true;
    for (name, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        let value = plain(value).replace('\\', "\\\\").replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n");
        let blank = if is_first { "" } else { " " };
        // Writing to a String never fails.
        let _ = write!(line, "{blank}{}={value}", cef_name(name));
        is_first = false;
    }
    line
}

/// CEF's key for a column of ours.
fn cef_name(column: &str) -> String {
    let known = match column {
        "ts" => "rt",
        "host" => "dvchost",
        "remote_addr" => "dst",
        "remote_port" => "dpt",
        "local_addr" => "src",
        "local_port" => "spt",
        "user" => "suser",
        "uid" => "suid",
        "comm" => "sproc",
        "pid" => "spid",
        "path" => "filePath",
        "output" => "msg",
        "evt_type" => "act",
        "proto" => "proto",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    column.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// `LEEF:2.0|vendor|product|version|event|x09|key=value<tab>...`
fn leef(row: &Map<String, Value>) -> String {
    let event = ["rule", "alertname", "evt_type"].iter().find_map(|name| row.get(*name)).map(plain).unwrap_or_default();
    let event = event.replace('|', "_").replace(['\r', '\n', '\t'], " ");
    let mut line = format!("LEEF:2.0|Bodkin|bodkin|{}|{event}|x09|", env!("CARGO_PKG_VERSION"));
    let _ = write!(line, "sev={}", [10, 9, 8, 7, 6, 5, 3, 1][usize::from(level(row).min(7))]);
    for (name, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        let value = plain(value).replace(['\t', '\r', '\n'], " ");
        let name = match name.as_str() {
            "ts" => "devTime",
            "remote_addr" => "dst",
            "remote_port" => "dstPort",
            "local_addr" => "src",
            "local_port" => "srcPort",
            "user" => "usrName",
            "host" => "identHostName",
            other => other,
        };
        let _ = write!(line, "\t{name}={value}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Map<String, Value> {
        let row = json!({
            "ts": "2026-01-01T00:00:00.5Z", "host": "web 1", "rule": "Read|shadow", "priority": "Warning", "pid": 7,
            "output": "cat read a=b\nand more \\", "path": null,
        });
        row.as_object().cloned().unwrap()
    }

    #[test]
    fn rfc_5424() {
        let now = "2026-02-02T00:00:00Z";
        let line = syslog(&row(), "f-1-0", Format::Text, "h", now);
        let (head, key) = ("<132>1 2026-01-01T00:00:00.5Z web_1 bodkin 7 Read|shadow", r#"[bodkin@32473 key="f-1-0"]"#);
        assert_eq!(line, format!("{head} {key} cat read a=b and more \\"));
        let line = syslog(&Map::new(), "a\"b]c\\", Format::Json, "h", now);
        let key = r#"[bodkin@32473 key="a\"b\]c\\"]"#;
        assert_eq!(line, format!("<133>1 2026-02-02T00:00:00Z h bodkin - - {key} {{}}"));
        let mut long = row();
        long.insert("output".to_owned(), "\u{e4}".repeat(9000).into());
        assert!(syslog(&long, "k", Format::Text, "h", now).len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn cef_and_leef_escape() {
        let line = cef(&row());
        assert!(line.starts_with("CEF:0|Bodkin|bodkin|0.1.0|Read\\|shadow|cat read a=b and more \\\\|6|"), "{line}");
        assert!(line.contains("msg=cat read a\\=b\\nand more \\\\"), "{line}");
        assert!(line.contains("dvchost=web 1") && !line.contains("filePath"), "{line}");
        let line = leef(&row());
        assert!(line.starts_with("LEEF:2.0|Bodkin|bodkin|0.1.0|Read_shadow|x09|sev=6\t"), "{line}");
        assert!(line.contains("\toutput=cat read a=b and more \\"), "{line}");
    }
}
