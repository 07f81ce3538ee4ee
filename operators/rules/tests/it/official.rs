//! The published rule files load as they are.

use crate::{data, file};
use bodkin_rules::{Options, RuleSet, Source, check};

#[test]
fn official_files_load_without_errors() {
    for (path, rules, source) in
        [("falco/falco_rules.yaml", 25, Source::Syscall), ("falco/k8s_audit_rules.yaml", 48, Source::K8sAudit)]
    {
        let (set, report) = RuleSet::load(&[file(path, data(path))], &Options::default());
        let set = set.unwrap_or_else(|| panic!("{report}"));
        assert_eq!(set.rules().len(), rules);
        assert!(set.rules().iter().all(|rule| rule.source == source && rule.is_enabled));
        let unexpected: Vec<_> = report.warnings.iter().filter(|w| !w.code.starts_with("LOAD_UNUSED")).collect();
        assert!(unexpected.is_empty(), "{report}");
    }
}

#[test]
fn both_files_load_together() {
    let files = ["falco/falco_rules.yaml", "falco/k8s_audit_rules.yaml"].map(|path| file(path, data(path)));
    assert!(check(&files).is_ok());
}

#[test]
fn event_types_are_found_statically() {
    let path = "falco/falco_rules.yaml";
    let (set, _) = RuleSet::load(&[file(path, data(path))], &Options::default());
    let set = set.unwrap();
    let types = |rule: &str| set.rule(rule).unwrap().events.names().collect::<Vec<_>>().join(",");
    assert_eq!(types("Run shell untrusted"), "execve,execveat");
    assert_eq!(types("Directory traversal monitored file read"), "open,openat,openat2");
    assert_eq!(types("Disallowed SSH Connection Non Standard Port"), "connect,sendmsg,sendto");
    assert_eq!(types("PTRACE attached to process"), "ptrace");
    assert_eq!(set.events().count(), 19);
    assert!(set.rules().iter().all(|rule| rule.events.count() <= 5));
    assert!(set.columns().contains(&"evt_type"));
}
