//! OpenTelemetry's names as Prometheus's: underscores for what it does not allow, units and `_total` at the end.

/// Units that are spelled out.
const UNITS: [(&str, &str); 29] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("B", "bytes"),
    ("KB", "kilobytes"),
    ("MB", "megabytes"),
    ("GB", "gigabytes"),
    ("TB", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];
/// Units after "per".
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// What a metric is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Counter,
    Gauge,
    Other,
}

/// The name of a metric.
pub(crate) fn metric(name: &str, unit: &str, kind: NameKind) -> String {
    let is_split = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    let mut tokens: Vec<String> = name.split(is_split).filter(|token| !token.is_empty()).map(str::to_owned).collect();
    for suffix in unit_suffixes(unit) {
        if !tokens.contains(&suffix) {
            tokens.push(suffix);
        }
    }
    let mut last = |token: &str| {
        tokens.retain(|known| known != token);
        tokens.push(token.to_owned());
    };
    match kind {
        NameKind::Counter => last("total"),
        NameKind::Gauge if unit == "1" => last("ratio"),
        _ => {}
    }
    let mut joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        joined.insert(0, '_');
    }
    joined
}

/// The words that a unit adds: `By/s` is `bytes`, `per_second`.
fn unit_suffixes(unit: &str) -> Vec<String> {
    let spelled = |table: &[(&str, &str)], unit: &str| {
        let known = table.iter().find(|(short, _)| *short == unit).map(|(_, long)| *long);
        let text = known.unwrap_or(unit);
        let tokens = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|token| !token.is_empty());
        tokens.collect::<Vec<_>>().join("_")
    };
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let mut suffixes = Vec::new();
    if !main.is_empty() && main != "1" && !main.contains(['{', '}']) {
        suffixes.push(if main == "%" { "percent".to_owned() } else { spelled(&UNITS, main) });
    }
    if !per.is_empty() && !per.contains(['{', '}']) {
        suffixes.push("per".to_owned());
        suffixes.push(spelled(&PER_UNITS, per));
    }
    suffixes.retain(|suffix| !suffix.is_empty());
    suffixes
}

/// The name of a label.
pub(crate) fn label(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, "key_");
    } else if out.starts_with('_') && !out.starts_with("__") {
        out.insert_str(0, "key");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics() {
        assert_eq!(metric("http.server.duration", "ms", NameKind::Other), "http_server_duration_milliseconds");
        assert_eq!(metric("system.io", "By", NameKind::Counter), "system_io_bytes_total");
        assert_eq!(metric("requests_total", "1", NameKind::Counter), "requests_total");
        assert_eq!(metric("cpu.utilization", "1", NameKind::Gauge), "cpu_utilization_ratio");
        assert_eq!(metric("net.rate", "By/s", NameKind::Gauge), "net_rate_bytes_per_second");
        assert_eq!(metric("queue.size", "{items}", NameKind::Gauge), "queue_size");
        assert_eq!(metric("2xx", "", NameKind::Other), "_2xx");
        assert_eq!(metric("load", "%", NameKind::Gauge), "load_percent");
    }

    #[test]
    fn labels() {
        assert_eq!(
            (label("http.status_code"), label("1st"), label("_x"), label("__x")),
            ("http_status_code".into(), "key_1st".into(), "key_x".into(), "__x".into())
        );
    }
}
