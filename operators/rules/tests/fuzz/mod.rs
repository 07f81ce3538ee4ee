//! What comes from outside, broken at random: rule files, conditions, audit events, CloudTrail records. A target takes
//! any bytes and must give an answer (SAFE-1).

use bodkin_rules::syntax::parse_condition;
use bodkin_rules::{Documents, Matching, Options, RuleFile, RuleSet, Source, audit_rows, check};
use bodkin_schema::Stream;
use std::path::Path;

/// What takes bytes.
pub(crate) type Take = Box<dyn Fn(&[u8])>;

/// A target: its name, texts to start from, and what takes them.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) take: Take,
}

/// A generator that repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

const PIECES: &[&str] = &[
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

/// A text with a few changes: pieces put in, bytes taken out, doubled, flipped, cut off, or taken from another text.
pub(crate) fn mutated(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            2 => {
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 if random.below(4) == 0 => bytes.truncate(at),
            _ => {
                let from = random.below(other.len());
                let part = &other[from..(from + random.below(60)).min(other.len())];
                drop(bytes.splice(at..end, part.iter().copied()));
            }
        }
    }
    bytes
}

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
    vec![
        Target { name: "rules", seeds: one_by_one, take: Box::new(take_rules) },
        Target { name: "condition", seeds: conditions.collect(), take: Box::new(take_condition) },
        Target { name: "k8s_audit", seeds: audit, take: documents(Source::K8sAudit, set(1)) },
        Target {
            name: "cloudtrail",
            seeds: vec![read("cloudtrail/events.json")],
            take: documents(Source::AwsCloudtrail, set(2)),
        },
    ]
}

fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text).into_owned();
    text.split("\n- ").map(|part| format!("- {part}\n").into_bytes()).collect()
}

fn take_rules(bytes: &[u8]) {
    let report = check(&[RuleFile { name: "f".to_owned(), content: String::from_utf8_lossy(bytes).into_owned() }]);
    assert!(
        report.is_ok() || report.errors.iter().all(|error| error.place.as_ref().is_none_or(|place| place.line > 0))
    );
    assert!(!report.to_string().is_empty());
}

fn take_condition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_condition(&text) {
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{text:?}: {error:?}")
        }
        Ok(tree) => assert!(parse_condition(&tree.to_string()).is_ok(), "{text:?} reads back as {tree}"),
    }
}

/// Whatever is an event can be stored, and has the same findings when it is read back (RULE-1).
fn documents(source: Source, rules: RuleSet) -> Take {
    Box::new(move |bytes| {
        let Ok(read) = Documents::parse(source, bytes) else { return };
        let rows = audit_rows(source, &read.documents);
        assert_eq!(rows.num_rows(), read.documents.len());
        let events = bodkin_rules::Events::Documents(source, &read.documents);
        let direct: Vec<_> = rules.findings(events, Matching::All).into_iter().map(|finding| finding.output).collect();
        let stored = rules.over(Stream::Audit, &rows, Matching::All);
        let stored = stored.as_ref().map(bodkin_rules::FindingRows::new);
        let count = stored.as_ref().map_or(0, bodkin_rules::FindingRows::len);
        let outputs = (0..count).map(|row| stored.as_ref().and_then(|rows| rows.output(row)).unwrap_or_default());
        assert_eq!(outputs.collect::<Vec<_>>(), direct);
    })
}
