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
use bodkin_rules::{Documents, EventRows, Events, Finding, Matching, Options, Priority, RuleSet, Source};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
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
    test.expect.iter().try_for_each(|expected| expected.check(rules))?;
    let (rows, documents);
    let (events, rejected) = if source == Source::Syscall {
        rows = EventRows::from_records(&test.events, 0);
        if let Some(left_out) = rows.left_out.first() {
            bail!("{left_out}");
        }
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
        let found = found.iter().map(|found| {
            let Finding { rule, row, output, .. } = found;
            format!("  event {}: {}\n    {output}", row + 1, rule.name)
        });
        let found: Vec<String> = found.collect();
        let expected: Vec<String> = test.expect.iter().map(|expected| format!("  {expected}")).collect();
        let or_none = |lines: Vec<String>| if lines.is_empty() { "  nothing".to_owned() } else { lines.join("\n") };
        bail!("expected\n{}\nfound\n{}", or_none(expected), or_none(found));
    }
    Ok(())
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Finding(ExpectedFinding { rule, event, priority, output }) = self else {
            return f.write_str(self.rule());
        };
        if let Some(event) = event {
            write!(f, "event {event}: ")?;
        }
        f.write_str(rule)?;
        if let Some(priority) = priority {
            write!(f, ", priority {priority}")?;
        }
        match output {
            Some(output) => write!(f, ", with {output:?} in its output"),
            None => Ok(()),
        }
    }
}

impl Expected {
    /// Says what can never be found.
    fn check(&self, rules: &RuleSet) -> anyhow::Result<()> {
        let name = self.rule();
        match rules.rule(name) {
            None => {
                let hint = rules.did_you_mean(name).map(|hint| format!(": {hint}")).unwrap_or_default();
                bail!("there is no rule {name:?}{hint}");
            }
            Some(rule) if !rule.is_enabled => bail!("rule {name:?} is disabled"),
            Some(_) => {}
        }
        let Self::Finding(ExpectedFinding { priority: Some(priority), .. }) = self else { return Ok(()) };
        Priority::from_name(priority).with_context(|| format!("{priority:?} is no priority")).map(|_| ())
    }

    fn rule(&self) -> &str {
        match self {
            Self::Rule(rule) => rule,
            Self::Finding(finding) => &finding.rule,
        }
    }

    fn is(&self, found: &Finding<'_>) -> bool {
        let of_rule = found.rule.name == self.rule();
        let Self::Finding(expected) = self else { return of_rule };
        let priority = |name: &String| Priority::from_name(name) == Some(found.rule.priority);
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
        assert!(out.contains("expected\n        nothing\n      found\n        event 1: Shell\n          "), "{out}");
        assert!(out.contains("Shell, with \"zsh\" in its output"), "{out}");
        assert!(out.contains("record 1: it has no evt_type") && out.ends_with("0 passed, 3 failed\n"), "{out}");
        let (out, is_ok) = tested(
            "- name: rule\n  events: [{evt_type: execve, comm: sh}]\n  expect: [Shel]\n\
             - name: column\n  events: [{evt_type: execve, com: sh}]\n  expect: []\n\
             - name: priority\n  events: [{evt_type: execve, comm: sh}]\n  expect: [{rule: Shell, priority: warn}]\n",
        );
        assert!(!is_ok);
        for said in ["did you mean Shell?", "did you mean comm?", "\"warn\" is no priority"] {
            assert!(out.contains(said), "{out}");
        }
    }
}
