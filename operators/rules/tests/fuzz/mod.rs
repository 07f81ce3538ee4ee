//! What comes from outside, broken at random: rule files, conditions, audit events, CloudTrail records. A target takes
//! any bytes and must give an answer (SAFE-1).

use bodkin_fuzz::{Take, Target};
use bodkin_rules::syntax::parse_condition;
use bodkin_rules::{Documents, Matching, Options, RuleFile, RuleSet, Source, audit_rows, check};
use bodkin_schema::Stream;
use std::path::Path;

/// Words of the languages.
pub(crate) const PIECES: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "'",
    "\"",
    "&a ",
    "*a",
    "|",
    ">",
    "\u{e9}",
    "\t",
    "---\n",
    "~",
    "null",
    "\\",
    "\\u0000",
    "not ",
    " and ",
    " or ",
    " in ",
    "val(",
    "exists",
    "-1",
    "1e999",
    "18446744073709551616",
    ",",
    "\0",
];

/// All targets, with the published rules and samples as seeds. `data` is the folder of the test data.
pub(crate) fn targets(data: &Path) -> Vec<Target> {
    let read = |path: &str| std::fs::read(data.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let rules = ["falco/falco_rules.yaml", "falco/k8s_audit_rules.yaml", "cloudtrail/rules.yaml"].map(read);
    let set = |index: usize| {
        let file = RuleFile { name: "f".to_owned(), content: String::from_utf8_lossy(&rules[index]).into_owned() };
        RuleSet::load(&[file], &Options::default()).0.unwrap_or_else(|| panic!("the published rules are without error"))
    };
    let events = std::fs::read_dir(data.join("k8s_audit/events")).unwrap_or_else(|e| panic!("{e}"));
    let audit = events.flatten().filter_map(|entry| std::fs::read(entry.path()).ok()).collect();
    // A rule file in one piece takes too long to break in many ways: its rules one by one.
    let one_by_one = rules.iter().flat_map(|text| split(text)).collect();
    let conditions = (0..3).flat_map(|index| {
        set(index).rules().iter().map(|rule| rule.condition.clone().into_bytes()).collect::<Vec<_>>()
    });
    let trail = vec![read("cloudtrail/events.json")];
    vec![
        target("rules", one_by_one, Box::new(take_rules)),
        target("condition", conditions.collect(), Box::new(take_condition)),
        target("k8s_audit", audit, documents(Source::K8sAudit, set(1))),
        target("cloudtrail", trail, documents(Source::AwsCloudtrail, set(2))),
    ]
}

fn target(name: &'static str, seeds: Vec<Vec<u8>>, take: Take) -> Target {
    Target { name, seeds, take, pieces: PIECES, bytes_max: 256 << 10, memory_mib_max: 1_024 }
}

fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text).into_owned();
    text.split("\n- ").map(|part| format!("- {part}\n").into_bytes()).collect()
}

fn take_rules(bytes: &[u8]) -> bool {
    let report = check(&[RuleFile { name: "f".to_owned(), content: String::from_utf8_lossy(bytes).into_owned() }]);
    assert!(
        report.is_ok() || report.errors.iter().all(|error| error.place.as_ref().is_none_or(|place| place.line > 0))
    );
    assert!(!report.to_string().is_empty());
    report.is_ok()
}

fn take_condition(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let parsed = parse_condition(&text);
    match &parsed {
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{text:?}: {error:?}")
        }
        Ok(tree) => assert!(parse_condition(&tree.to_string()).is_ok(), "{text:?} reads back as {tree}"),
    }
    parsed.is_ok()
}

/// Whatever is an event can be stored, and has the same findings when it is read back (RULE-1).
fn documents(source: Source, rules: RuleSet) -> Take {
    Box::new(move |bytes| {
        let Ok(read) = Documents::parse(source, bytes) else { return false };
        let rows = audit_rows(source, &read.documents);
        assert_eq!(rows.num_rows(), read.documents.len());
        let events = bodkin_rules::Events::Documents(source, &read.documents);
        let direct: Vec<_> = rules.findings(events, Matching::All).into_iter().map(|finding| finding.output).collect();
        let stored = rules.over(Stream::Audit, &rows, Matching::All);
        let stored = stored.as_ref().map(bodkin_rules::FindingRows::new);
        let count = stored.as_ref().map_or(0, bodkin_rules::FindingRows::len);
        let outputs = (0..count).map(|row| stored.as_ref().and_then(|rows| rows.output(row)).unwrap_or_default());
        assert_eq!(outputs.collect::<Vec<_>>(), direct);
        true
    })
}
