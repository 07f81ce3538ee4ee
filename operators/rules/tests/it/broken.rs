//! SAFE-1: broken rule files get a located error, quickly, whatever is wrong with them.

use crate::file;
use bodkin_rules::check;
use std::time::{Duration, Instant};

const GOOD: &str = "\
- list: shells
  items: [bash, sh]
- macro: spawned
  condition: evt.type in (execve, execveat)
- rule: Shell
  desc: a shell
  condition: spawned and proc.name in (shells) and not proc.pname startswith oneof (a, b)
  output: shell %proc.name by %user.name
  priority: WARNING
  tags: [T1059]
  exceptions:
    - name: known
      fields: [proc.name, proc.pname]
      comps: [=, startswith]
      values:
        - [bash, x]
";

/// Replacements in a good file, each of which breaks it in another way.
#[rustfmt::skip]
const BREAKS: &[(&str, &str)] = &[
    ("items: [bash, sh]", "items: [bash, sh"),
    ("items: [bash, sh]", "items: {a: b}"),
    ("items: [bash, sh]", "items: [[bash]]"),
    ("items: [bash, sh]", "item: [bash]"),
    ("items: [bash, sh]", "items: *missing"),
    ("items: [bash, sh]", "items: [')']"),
    ("items: [bash, sh]", "items: ['\"']"),
    ("- list: shells", "- list:"),
    ("- list: shells", "- list: [a]"),
    ("- macro: spawned", "- macro: other"),
    ("- macro: spawned", "- macro: ''"),
    ("condition: evt.type in (execve, execveat)", "condition: spawned"),
    ("condition: evt.type in (execve, execveat)", "condition: other"),
    ("condition: evt.type in (execve, execveat)", "condition: [x]"),
    ("condition: evt.type in (execve, execveat)", "condition:"),
    ("(execve, execveat)", "(execve, execveat"),
    ("(execve, execveat)", "(execve execveat)"),
    ("(execve, execveat)", "(execve,, execveat)"),
    ("(execve, execveat)", "(exceve)"),
    ("(execve, execveat)", "(\"execve)"),
    ("evt.type in", "evt.typ in"),
    ("evt.type in", "evt.type is"),
    ("evt.type in", "evt.type >"),
    ("evt.type in", "type in"),
    ("evt.type in", "evt.type[1] in"),
    ("evt.type in", "evt. in"),
    ("evt.type in", "val(evt.type) in"),
    ("evt.type in", "tolowr(evt.type) in"),
    ("spawned and", "spawned adn"),
    ("spawned and", "spawned and and"),
    ("spawned and", "and"),
    ("spawned and", "(spawned and"),
    ("spawned and", "spawned) and"),
    ("spawned and", "not and"),
    ("spawned and", "user.uid = root and"),
    ("spawned and", "user.uid contains 1 and"),
    ("spawned and", "user.uid in (1, x) and"),
    ("spawned and", "fd.sip = localhost and"),
    ("spawned and", "fd.snet = 10.0.0.0 and"),
    ("spawned and", "fd.snet in (10.0.0.0/99) and"),
    ("spawned and", "fd.sport = nosuchservice and"),
    ("spawned and", "proc.is_exe_from_memfd = yes and"),
    ("spawned and", "proc.name regex 'a(' and"),
    ("spawned and", "proc.name regex '(a{1000}){1000}' and"),
    ("spawned and", "proc.name = val(user.uid) and"),
    ("spawned and", "proc.name = val(nothing) and"),
    ("spawned and", "proc.name regex val(proc.exe) and"),
    ("spawned and", "fd.ip = val(fd.sip) and"),
    ("spawned and", "tolower(user.uid) = 1 and"),
    ("spawned and", "tolower(proc.name, proc.exe) = 1 and"),
    ("spawned and", "tolower(proc.aname) = x and"),
    ("spawned and", "len(user.uid) = 1 and"),
    ("spawned and", "join(proc.name) = x and"),
    ("spawned and", "concat(proc.name) = x and"),
    ("spawned and", "getopt(proc.name, \"a\") exists and"),
    ("spawned and", "tolower(proc.name)[1] = x and"),
    ("spawned and", "evt.buffer bcontains xyz and"),
    ("spawned and", "evt.buffer glob x and"),
    ("spawned and", "proc.name bcontains 00 and"),
    ("spawned and", "evt.arg.nope = 1 and"),
    ("spawned and", "evt.arg = 1 and"),
    ("spawned and", "proc.aname[x] = a and"),
    ("spawned and", "proc.aname[2 = a and"),
    ("spawned and", "ka.verb = get and"),
    ("spawned and", "proc.name = \"\\q\" and"),
    ("spawned and", "proc.name = \"\\x1\" and"),
    ("spawned and", "proc.name = 'a\\\"' and"),
    ("spawned and", "proc.name startswith and"),
    ("spawned and", "proc.name = and"),
    ("startswith oneof (a, b)", "startswith oneof (a"),
    ("startswith oneof (a, b)", "startswith towof (a, b)"),
    ("startswith oneof (a, b)", "in oneof (a, b)"),
    ("output: shell %proc.name", "output: shell %proc.nam"),
    ("output: shell %proc.name", "output: shell %"),
    ("output: shell %proc.name", "output: shell % proc.name"),
    ("output: shell %proc.name", "output: shell %fd.ip"),
    ("output: shell %proc.name", "output: shell %tolower(user.uid)"),
    ("output: shell %proc.name", "output: shell %tolower(proc.name"),
    ("output: shell %proc.name", "output: shell %proc.name["),
    ("output: shell %proc.name by %user.name", "output:"),
    ("priority: WARNING", "priority: URGENT"),
    ("priority: WARNING", "priority: [1]"),
    ("  priority: WARNING\n", ""),
    ("  desc: a shell\n", ""),
    ("tags: [T1059]", "tags: T1059"),
    ("tags: [T1059]", "tags: [[a]]"),
    ("tags: [T1059]", "enabled: perhaps"),
    ("tags: [T1059]", "override: {condition: add}"),
    ("tags: [T1059]", "override: {source: replace}"),
    ("tags: [T1059]", "override: {condition: append}\n  append: true"),
    ("tags: [T1059]", "append: true\n  rul: x\n- rule: none\n  append: true\n  condition: or a.b exists"),
    ("exceptions:\n", "exceptions: x\n  e:\n"),
    ("- name: known", "- nam: known"),
    ("fields: [proc.name, proc.pname]", "fields: [proc.name]"),
    ("fields: [proc.name, proc.pname]", "fields: proc.name"),
    ("fields: [proc.name, proc.pname]", "fields: [proc.nam, proc.pname]"),
    ("comps: [=, startswith]", "comps: [=, like]"),
    ("comps: [=, startswith]", "comps: ="),
    ("- [bash, x]", "- [bash]"),
    ("- [bash, x]", "- bash"),
    ("- rule: Shell", "- required_engine_version: 99\n- rule: Shell"),
    ("- rule: Shell", "- required_plugin_versions: [{name: okta, version: 0.1.0}]\n- rule: Shell"),
    ("- rule: Shell", "- just a text\n- rule: Shell"),
    ("- rule: Shell", "rule: Shell"),
    ("- rule: Shell", "- rule: *shell"),
    ("- rule: Shell", "- &a [*a]\n- rule: Shell"),
];

#[test]
fn a_good_file_is_good() {
    let report = check(&[file("good.yaml", GOOD)]);
    assert!(report.is_ok() && report.warnings.is_empty(), "{report}");
}

#[test]
fn a_hundred_broken_variants_are_located() {
    assert!(BREAKS.len() >= 100);
    for (from, to) in BREAKS {
        assert!(GOOD.contains(from), "{from}");
        let content = GOOD.replacen(from, to, 1);
        let start = Instant::now();
        let report = check(&[file("broken.yaml", content)]);
        assert!(start.elapsed() < Duration::from_secs(1), "{from} -> {to}");
        let error = report.errors.first().unwrap_or_else(|| panic!("no error: {from} -> {to}"));
        let place = error.place.as_ref().unwrap_or_else(|| panic!("no place: {from} -> {to}: {error}"));
        assert!(place.line >= 1 && place.column >= 1 && place.width >= 1, "{error}");
        assert!(place.line <= GOOD.lines().count() + 3, "{error}");
    }
}

#[test]
fn messages_underline_and_suggest() {
    let broken = GOOD.replace("proc.pname startswith", "proc.pnam startswith");
    let report = check(&[file("rules.yaml", broken)]);
    let expected = [
        "error[LOAD_ERR_COMPILE_CONDITION]: there is no field proc.pnam in source syscall",
        " --> rules.yaml:7:56",
        "  |",
        "7 |   condition: spawned and proc.name in (shells) and not proc.pnam startswith oneof (a, b)",
        "  |                                                        ^^^^^^^^^",
        "  = help: did you mean proc.pname?",
    ];
    assert_eq!(report.errors[0].to_string(), expected.join("\n"));
}
