//! What the cases of Prometheus do not cover.

use proptest::prelude::*;

use super::*;

#[test]
fn switches_hide_what_is_experimental() {
    let off = Features {
        experimental_functions: false,
        duration_expressions: false,
        extended_range_selectors: false,
        fill_modifiers: false,
        ..Features::default()
    };
    for (query, error) in [
        (
            "limitk(1, x)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("mad_over_time(x[5m])", "1:1: parse error: function \"mad_over_time\" is not enabled"),
        ("x[5m+1m]", "1:3: parse error: experimental duration expression is not enabled"),
        ("rate(x[5m] anchored)", "1:6: parse error: anchored modifier is experimental and not enabled"),
        ("a + fill(0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        assert_eq!(parse_with(query, &off).unwrap_err().to_string(), error);
        parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    }
}

#[test]
fn deep_and_long_input_is_refused_or_taken() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(parse(&deep).unwrap_err().to_string().contains("nested more than"));
    assert!(parse(&"-".repeat(1_000_000)).is_err());
    assert!(parse(&format!("x{}", " + x".repeat(1500))).is_ok());
    assert!(parse(&format!("x{}", " + x".repeat(100_000))).is_err());
    assert!(parse(&format!("x[{}5m]", "(".repeat(100_000))).is_err());
    let long = "a".repeat(10 << 20);
    assert!(parse(&format!("x{{l=\"{long}\"}}")).is_ok());
}

#[test]
fn operators_bind_as_in_mathematics() {
    let tree = |query: &str| parse(query).unwrap();
    assert_eq!(tree("-1 ^ 2").to_string(), "-1 ^ 2");
    assert!(matches!(tree("-1 ^ 2").kind, ExprKind::Unary(..)));
    assert!(matches!(tree("-1 * 2").kind, ExprKind::Binary(..)));
    assert_eq!(parse_selector("{a=\"b\",c!~\"d.*\"}").unwrap().len(), 2);
    assert!(parse_selector("sum(up)").is_err());
    assert!(parse_selector("{").is_err());
}

#[test]
fn durations_know_both_names_of_the_smaller_and_larger() {
    let same = |a: &str, b: &str| assert_eq!(parse(a).unwrap().to_string(), parse(b).unwrap().to_string());
    same("x[min(step(),1h)]", "x[min_of(step(),1h)]");
    same("x offset -max(3s, min(range(), 1s))", "x offset -max_of(3s, min_of(range(), 1s))");
    assert!(parse("x[min]").is_err());
}

/// Queries put together at random out of all kinds of pieces.
fn query() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-0x1F".to_owned()),
        Just("1e3".to_owned()),
        Just("5m".to_owned()),
        Just("up".to_owned()),
        Just("a:b{c=\"d\\n\",e!=`f`}".to_owned()),
        Just("{\"quoted.name\",g=~\"h|i\"}".to_owned()),
        Just("up offset -5m @ 1.5".to_owned()),
        Just("up @ end() smoothed offset 1w".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("sum by (x, \"y z\") (vector(scalar(({a}) + vector(0))))")),
            inner.clone().prop_map(|a| format!("max_over_time((({a}) * vector(1))[5m:step()+1s] offset (1m*2))")),
            pair.clone().prop_map(|(a, b)| format!("({a}) + on (a) group_left (c) (({b}) * vector(1))")),
            pair.clone().prop_map(|(a, b)| format!("clamp(vector(1) * ({a}), 1, scalar(vector(1) + ({b})))")),
            pair.prop_map(|(a, b)| format!("topk(2, vector(1) ^ ({a}) ^ ({b}))")),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(text in "[-+*/%^(){}\\[\\]:,.@<>=!~\"'`a-z0-9_ \\\\#\u{fc}\n]{0,60}") {
        let _ = parse(&text);
        let _ = parse_selector(&text);
    }

    #[test]
    fn printed_trees_read_back_the_same(text in query()) {
        if let Ok(tree) = parse(&text) {
            let printed = tree.to_string();
            let again = parse(&printed).map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?;
            prop_assert_eq!(&again.to_string(), &printed);
            let pretty = crate::format_query(&text, crate::Release::V3_14).unwrap_or_default();
            let again = parse(&pretty).map_err(|e| TestCaseError::fail(format!("{pretty}: {e}")))?;
            prop_assert_eq!(again.to_string(), printed);
        }
    }
}
