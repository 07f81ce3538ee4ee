//! Prometheus's own cases of its parser and printers: what is accepted, which error comes where, how trees
//! are written.

use bodkin_promql::{Error, parse};
use serde_json::Value;

fn cases(file: &str, key: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parser").join(file);
    let data: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    data[key].as_array().unwrap().clone()
}

fn failures(found: Vec<String>) {
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}

#[test]
fn accepts_what_prometheus_accepts() {
    let refused = cases("parse.json", "accepted").into_iter().filter_map(|case| {
        let query = case.as_str().unwrap().to_owned();
        parse(&query).err().map(|error| format!("{query}\n    {error}"))
    });
    failures(refused.collect());
}

#[test]
fn names_errors_as_prometheus_does() {
    let wrong = cases("parse.json", "errors").into_iter().filter_map(|case| {
        let (query, start, text) = (case[0].as_str().unwrap(), case[1].as_i64().unwrap(), case[3].as_str().unwrap());
        match parse(query) {
            Ok(_) => Some(format!("{query}\n    wanted {text}, was accepted")),
            // The case does not say which error.
            Err(_) if start < 0 => None,
            Err(Error::Parse(error)) if error.message == text && error.span.start as i64 == start => None,
            Err(Error::Parse(error)) => {
                Some(format!("{query}\n    wanted {start}: {text}\n    got    {}: {}", error.span.start, error.message))
            }
            Err(other) => Some(format!("{query}\n    {other}")),
        }
    });
    failures(wrong.collect());
}

#[test]
fn writes_trees_as_prometheus_does() {
    let wrong = cases("print.json", "printed").into_iter().filter_map(|case| {
        let (query, wanted) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        let got = parse(query).map(|expr| expr.to_string()).unwrap_or_else(|e| e.to_string());
        (got != wanted).then(|| format!("{query}\n    wanted {wanted}\n    got    {got}"))
    });
    failures(wrong.collect());
}
