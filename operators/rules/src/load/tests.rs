//! Rule files in, trees and messages out.

use super::*;

fn load_text(content: &str) -> Loaded<'static> {
    let file = RuleFile { name: "rules.yaml".to_owned(), content: content.to_owned() };
    load(Box::leak(Box::new([file])))
}

fn rule(condition: &str) -> String {
    format!("- rule: r\n  condition: {condition}\n  output: o\n  desc: d\n  priority: info\n")
}

/// Each rule with its condition.
fn conditions(content: &str) -> Vec<String> {
    let loaded = load_text(content);
    assert!(loaded.report.is_ok(), "{}", loaded.report);
    loaded.rules.iter().map(|rule| rule.condition.to_string()).collect()
}

/// The first error as `line:column+width message`.
fn error(content: &str) -> String {
    let report = load_text(content).report;
    let Some(error) = report.errors.first() else { return "no error".to_owned() };
    let at = error.place.as_ref().map_or("-".to_owned(), |at| format!("{}:{}+{}", at.line, at.column, at.width));
    format!("{at} {}", error.message)
}

#[test]
fn lists_and_macros_are_resolved() {
    let content = "
- list: a
  items: [x, 1]
- list: b
  items: [a, 'y z']
- macro: m
  condition: (p.n in (b))
- macro: n
  condition: m and not p.e exists
- rule: r
  condition: >
    n or
    p.n in (a, q)
  output: o
  desc: d
  priority: WARNING
";
    assert_eq!(conditions(content), ["((p.n in (x, 1, \"y z\") and not p.e exists) or p.n in (x, 1, q))"]);
}

#[test]
fn append_and_override_change_what_was_defined() {
    let base = rule("a.b = 1") + "- macro: m\n  condition: c.d = 2\n- list: l\n  items: [x]\n";
    let all = base
        + "- macro: m\n  condition: or c.d = 3\n  append: true\n"
        + "- list: l\n  items: [y]\n  override: {items: append}\n"
        + "- rule: r\n  condition: and (m) and e.f in (l)\n  output: more\n  tags: [t]\n  priority: alert\n  enabled: false\n  \
           override: {condition: append, output: append, tags: append, priority: replace, enabled: replace}\n";
    let loaded = load_text(&all);
    assert!(loaded.report.is_ok(), "{}", loaded.report);
    let rule = &loaded.rules[0];
    assert_eq!(rule.condition.to_string(), "(a.b = 1 and (c.d = 2 or c.d = 3) and e.f in (x, y))");
    assert_eq!((rule.output.as_str(), rule.priority, rule.is_enabled), ("o more", Priority::Alert, false));
    assert!(rule.tags.contains("t"));
    assert!(loaded.report.warnings.iter().any(|w| w.code == "LOAD_DEPRECATED_ITEM"));
}

#[test]
fn a_redefined_rule_keeps_its_place_and_a_switch_flips_it() {
    let other = rule("o.o = 1").replace("rule: r", "rule: s");
    let loaded = load_text(&(rule("a.b = 1") + &other + &rule("a.b = 2") + "- rule: s\n  enabled: no\n"));
    assert!(loaded.report.is_ok(), "{}", loaded.report);
    let all: Vec<_> = loaded.rules.iter().map(|r| (r.name.as_str(), r.condition.to_string(), r.is_enabled)).collect();
    assert_eq!(all, [("r", "a.b = 2".to_owned(), true), ("s", "o.o = 1".to_owned(), false)]);
}

#[test]
fn exceptions_become_conditions() {
    let exceptions = "  exceptions:
    - name: one
      fields: p.n
      values: [a, 'b c']
    - name: starts
      fields: p.n
      comps: startswith oneof
      values: [x]
    - name: many
      fields: [p.n, f.n]
      comps: [=, startswith]
      values:
        - [a, /b]
        - [c, /d e]
    - name: sets
      fields: [p.n, f.n]
      comps: [in, pmatch]
      values:
        - [[a, b], /c]
    - name: none
      fields: [p.n]
";
    let expected = "(a.b = 1 and not p.n in (a, \"b c\") and not p.n startswith oneof (x) \
                    and not ((p.n = a and f.n startswith /b) or (p.n = c and f.n startswith \"/d e\")) \
                    and not (p.n in (a, b) and f.n pmatch (/c)))";
    assert_eq!(conditions(&(rule("a.b = 1") + exceptions)), [expected]);
    let appended = "- rule: r\n  exceptions:\n    - name: one\n      values: [z]\n  override: {exceptions: append}\n";
    let base = rule("a.b = 1") + "  exceptions:\n    - name: one\n      fields: p.n\n";
    assert_eq!(conditions(&(base + appended)), ["(a.b = 1 and not p.n in (z))"]);
}

#[test]
fn errors_point_at_what_is_wrong() {
    for (content, expected) in [
        (rule("a.b = 1 and\n    c.d is 2"), "3:9+2 expected an operator, found 'is'"),
        (rule("a.b = 1 and mm"), "2:26+2 there is no macro 'mm'"),
        ("- list: l\n  items: [x, ')']\n".to_owned() + &rule("a.b in (l)"), "2:15+1 expected a value, found ')'"),
        ("- list: l\n".to_owned(), "1:3+1 a list needs 'items'"),
        ("- list: l\n  items: x\n".to_owned(), "2:10+1 'items' must be a list"),
        (
            "- macro: m\n  condition: m2\n- macro: m2\n  condition: a.b = 1\n".to_owned(),
            "2:14+2 there is no macro 'm2'",
        ),
        (
            "- macro: m\n  condition: a.b = 1\n- macro: m\n  condition: or m\n  append: true\n".to_owned(),
            "4:17+1 macro 'm' refers to itself",
        ),
        ("- rule: r\n  condition: a.b = 1\n".to_owned(), "1:3+1 'output' is missing"),
        ("- rule: r\n  enabled: true\n".to_owned(), "1:9+1 there is no earlier rule 'r' to change"),
        (rule("a.b = 1").replace("info", "urgent"), "5:13+6 'urgent' is no priority"),
        (rule("a.b = 1") + "  enabled: maybe\n", "6:12+5 'enabled' must be true or false"),
        (
            rule("a.b = 1") + "  append: true\n  override: {condition: append}\n",
            "1:3+1 'override' and 'append: true' cannot be used together",
        ),
        (rule("a.b = 1") + "  override: {source: replace}\n", "6:14+6 'source' cannot be overridden by 'replace'"),
        (
            rule("a.b = 1") + "  exceptions: [{name: x, fields: [a.b], values: [[1, 2]]}]\n",
            "6:16+1 exception 'x': fields and values differ in length",
        ),
        (
            rule("a.b = 1") + "  exceptions: [{name: x, fields: a.b, comps: startswith, values: [1]}]\n",
            "6:16+1 exception 'x': 'startswith' takes no list",
        ),
        ("- required_engine_version: 9.0.0\n".to_owned(), "1:28+5 the rules need engine version 9.0.0, this is 0.63.0"),
        (
            "- required_plugin_versions: [{name: okta, version: 1.0.0}]\n".to_owned(),
            "1:30+1 the rules need a plugin whose fields are not built in: okta 1.0.0",
        ),
        ("- just text\n".to_owned(), "1:3+9 an object is a mapping of keys to values"),
    ] {
        assert_eq!(error(&content), expected, "{content}");
    }
}

#[test]
fn hints_say_what_to_do() {
    let hint = |content: &str| load_text(content).report.errors[0].hint.clone().unwrap_or_default();
    let defined = "- macro: spawned\n  condition: a.b = 1\n";
    assert_eq!(hint(&(defined.to_owned() + &rule("spawnd"))), "did you mean spawned?");
    let later = "- macro: m\n  condition: n\n- macro: n\n  condition: a.b = 1\n";
    assert!(hint(later).contains("defined later, at rules.yaml:3"));
}

#[test]
fn warnings_do_not_refuse() {
    let content = "- unknown: 1\n- list: 'a b'\n  items: []\n- macro: m-x\n  condition: a.b = 1\n".to_owned()
        + &rule("a.b = 1")
        + "  colour: red\n"
        + &rule("a.b = 1").replace("rule: r", "rule: s")
        + "  source: okta\n";
    let loaded = load_text(&content);
    assert!(loaded.report.is_ok(), "{}", loaded.report);
    let mut codes: Vec<_> = loaded.report.warnings.iter().map(|w| w.code).collect();
    codes.sort_unstable();
    let expected = [
        "LOAD_INVALID_LIST_NAME",
        "LOAD_INVALID_MACRO_NAME",
        "LOAD_UNKNOWN_ITEM",
        "LOAD_UNKNOWN_KEY",
        "LOAD_UNKNOWN_SOURCE",
        "LOAD_UNUSED_LIST",
        "LOAD_UNUSED_MACRO",
    ];
    assert_eq!(codes, expected);
    assert_eq!(loaded.rules.len(), 1);
}

/// SAFE-1: a macro's tree is shared by all that use it; what doubles 60 times is refused where a rule writes it out.
#[test]
fn macros_cannot_blow_up() {
    let mut content = "- macro: m0\n  condition: a.b = 1\n".to_owned();
    for level in 1..60 {
        content += &format!("- macro: m{level}\n  condition: m{0} and m{0}\n", level - 1);
    }
    assert!(load_text(&(content.clone() + &rule("m9"))).report.is_ok());
    assert!(error(&(content.clone() + &rule("m59"))).contains("take more than"));
    for level in 60..2000 {
        content += &format!("- macro: m{level}\n  condition: (m{0})\n", level - 1);
    }
    assert!(error(&(content + &rule("m1999"))).contains("nested deeper"));
}

/// SAFE-1: whatever the file, there is an answer.
#[test]
fn mutated_files_never_panic() {
    let seed = rule("a.b = 1 and p.n in (l) and m") + "  exceptions: [{name: x, fields: [a.b], values: [[1]]}]\n";
    let seed =
        "- list: l\n  items: [x, 'y']\n- macro: m\n  condition: >\n    a.b =\n    \"\\x41\"\n".to_owned() + &seed;
    let pieces =
        ["\n", "  ", "- ", ": ", "[", "]", "{", "}", "'", "\"", "&a ", "*a", "|", ">", "\u{e9}", "\t", "---\n", "~"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..3000 {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..=random(3) {
            let at = random(text.len());
            match random(2) {
                0 => drop(text.remove(at)),
                _ => text.splice(at..at, pieces[random(pieces.len())].chars()).for_each(drop),
            }
        }
        let loaded = load_text(&text.into_iter().collect::<String>());
        assert!(!loaded.report.to_string().is_empty());
    }
}
