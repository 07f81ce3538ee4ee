//! Cases of Prometheus's prettier, which lays out for lines of ten characters.

use super::pretty::Layout;
use crate::options::Release;

#[test]
fn lays_trees_out_as_prometheus_does() {
    let data = include_str!("../../tests/data/parser/print.json");
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    for case in data["pretty"].as_array().unwrap() {
        let (query, wanted) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        let expr = crate::parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(Layout { line_max: 10 }.at(&expr, 0), wanted, "{query}");
    }
}

#[test]
fn formats_queries() {
    let long = "sum(rate(foo[5m]))by(job)/ignoring(a)group_left(b)bar>bool 1";
    let wanted = "sum by (job) (rate(foo[5m])) / ignoring (a) group_left (b) bar > bool 1";
    assert_eq!(super::format_query(long, Release::V3_5).unwrap(), wanted);
}

#[test]
fn gives_the_tree_of_the_api() {
    let tree = super::parse_query("rate(up{job=\"a\"}[5m] offset 1m)", Release::V3_14).unwrap();
    assert_eq!(tree["func"]["argTypes"], serde_json::json!(["matrix"]));
    let selector = &tree["args"][0];
    assert_eq!((selector["range"].as_i64(), selector["offset"].as_i64()), (Some(300_000), Some(60_000)));
    assert_eq!(selector["matchers"][0], serde_json::json!({ "name": "job", "value": "a", "type": "=" }));
    assert!(selector["timestamp"].is_null());
}

#[test]
fn the_tree_of_3_5_has_no_later_fields() {
    let of = |query: &str| super::parse_query(query, Release::V3_5).unwrap().to_string();
    let plain = of("rate(a[5m]) + on (b) group_left () c offset (1m)");
    for later in ["anchored", "smoothed", "Expr\"", "fillValues"] {
        assert!(!plain.replace("binaryExpr", "").contains(later), "{plain}");
    }
    assert!(of("rate(a[5m] smoothed)").contains("\"smoothed\":true"));
}
