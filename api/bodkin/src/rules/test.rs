//! `bodkin rules test`: events in YAML, and the findings that must come of them.
//!
//! ```yaml
//! rules: [rules.yaml]           # files or folders, relative to this file
//! source: syscall               # as for every test here; syscall by default
//! tests:
//!   - name: reading the shadow file
//!     matching: all             # first by default
//!     events:
//!       - {evt_type: openat, comm: cat, path: /etc/shadow, flags: O_RDONLY, fd: 3, result: 3}
//!     expect:
//!       - Read sensitive file untrusted
//!       - {rule: Other, event: 1, priority: warning, output: text that is in the output}
//! ```
//! What is expected is all that may come, in the order of events and then of rules.

use super::files::{read_files, rule_set};
use anyhow::{Context, anyhow, bail};
use bodkin_rules::{Documents, EventRows, Events, Finding, Matching, Options, RuleSet, Source};
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    rules: Vec<PathBuf>,
    source: Option<String>,
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    source: Option<String>,
    #[serde(default)]
    matching: MatchingName,
    events: Vec<Value>,
    expect: Vec<Expected>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MatchingName {
    #[default]
    First,
    All,
}

/// A finding, or the rule alone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    Rule(String),
    Finding(ExpectedFinding),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFinding {
    rule: String,
    /// From 1.
    event: Option<usize>,
    priority: Option<String>,
    output: Option<String>,
}

/// Runs the tests of `paths`; fails where one fails.
pub(super) fn run(paths: &[PathBuf], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for path in paths {
        let context = || format!("test file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        let file: TestFile = serde_saphyr::from_str(&text).map_err(|error| anyhow!("{error}")).with_context(context)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let rules: Vec<PathBuf> = file.rules.iter().map(|rules| folder.join(rules)).collect();
        let rules = rule_set(&read_files(&rules)?, &Options::default())?;
        for test in &file.tests {
            let source = test.source.as_ref().or(file.source.as_ref());
            match check(&rules, source.map(String::as_str), test) {
                Ok(()) => {
                    passed += 1;
                    writeln!(out, "ok    {}", test.name)?;
                }
                Err(why) => {
                    failed += 1;
                    writeln!(out, "FAIL  {}\n      {}", test.name, format!("{why:#}").replace('\n', "\n      "))?;
                }
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(rules: &RuleSet, source: Option<&str>, test: &Test) -> anyhow::Result<()> {
    let source = source.unwrap_or("syscall");
    let source = Source::from_name(source).with_context(|| format!("there is no source {source:?}"))?;
    let matching = match test.matching {
        MatchingName::First => Matching::First,
        MatchingName::All => Matching::All,
    };
    let (rows, documents);
    let (events, rejected) = if source == Source::Syscall {
        rows = EventRows::from_records(&test.events, 0);
        (Events::Batch(&rows.records), &rows.rejected)
    } else {
        let mut read = Documents::default();
        test.events.iter().for_each(|event| read.push(source, event.clone()));
        documents = read;
        (Events::Documents(source, &documents.documents), &documents.rejected)
    };
    if let Some(why) = rejected.first() {
        bail!("the events are no events of source {source}: {why}");
    }
    let found = rules.findings(events, matching);
    if found.len() != test.expect.len() || !found.iter().zip(&test.expect).all(|(found, expected)| expected.is(found)) {
        let found: Vec<String> =
            found.iter().map(|found| format!("  event {}: {}", found.row + 1, found.output)).collect();
        let named = |expected: &Expected| format!("  {}", expected.rule());
        let expected: Vec<String> = test.expect.iter().map(named).collect();
        let or_none = |lines: Vec<String>| if lines.is_empty() { "  nothing".to_owned() } else { lines.join("\n") };
        bail!("expected\n{}\nfound\n{}", or_none(expected), or_none(found));
    }
    Ok(())
}

impl Expected {
    fn rule(&self) -> &str {
        match self {
            Self::Rule(rule) => rule,
            Self::Finding(finding) => &finding.rule,
        }
    }

    fn is(&self, found: &Finding<'_>) -> bool {
        let of_rule = found.rule.name == self.rule();
        let Self::Finding(expected) = self else { return of_rule };
        let priority = |name: &String| bodkin_rules::Priority::from_name(name) == Some(found.rule.priority);
        of_rule
            && expected.event.is_none_or(|event| event == found.row + 1)
            && expected.priority.as_ref().is_none_or(priority)
            && expected.output.as_ref().is_none_or(|part| found.output.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
- rule: Shell
  desc: d
  condition: evt.type = execve and proc.name in (sh, bash)
  output: shell %proc.name
  priority: WARNING
- rule: Anonymous
  desc: d
  condition: ka.user.name = system:anonymous
  output: anonymous
  priority: NOTICE
  source: k8s_audit
";

    fn tested(tests: &str) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
        let path = folder.path().join("tests.yaml");
        std::fs::write(&path, format!("rules: [rules.yaml]\ntests:\n{tests}")).unwrap();
        let mut out = Vec::new();
        let code = run(&[path], &mut out).unwrap();
        (String::from_utf8(out).unwrap(), code == ExitCode::SUCCESS)
    }

    #[test]
    fn passing_and_failing_tests() {
        let (out, is_ok) = tested(
            "- name: a shell\n  events: [{evt_type: execve, comm: sh}, {evt_type: open, comm: sh}]\n  expect: [Shell]\n\
             - name: whole\n  events: [{evt_type: execve, comm: bash}]\n  \
               expect: [{rule: Shell, event: 1, priority: warning, output: shell bash}]\n\
             - name: k8s\n  source: k8s_audit\n  expect: [Anonymous]\n  events:\n  \
               - {kind: Event, stageTimestamp: '2026-01-02T03:04:05Z', user: {username: 'system:anonymous'}}\n",
        );
        assert!(is_ok, "{out}");
        assert!(out.ends_with("3 passed, 0 failed\n"), "{out}");
        let (out, is_ok) = tested(
            "- name: silent\n  events: [{evt_type: execve, comm: sh}]\n  expect: []\n\
             - name: no event\n  events: [{comm: sh}]\n  expect: []\n\
             - name: other\n  events: [{evt_type: execve, comm: sh}]\n  expect: [{rule: Shell, output: zsh}]\n",
        );
        assert!(!is_ok);
        assert!(out.contains("expected\n        nothing\n      found\n        event 1: "), "{out}");
        assert!(out.contains("record 1: it has no evt_type") && out.ends_with("0 passed, 3 failed\n"), "{out}");
    }
}
