//! SAFE-1: rule files that would take all memory or time are refused within bounds, at a place.

use crate::file;
use bodkin_rules::check;
use std::fs;
use std::time::{Duration, Instant};

/// What a load may add to the memory of the process.
const PEAK_BYTES_MAX: u64 = 256 << 20;

fn rule(name: usize, condition: &str) -> String {
    format!("- rule: r{name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: info\n")
}

/// A name and a text each.
fn bombs() -> Vec<(&'static str, String)> {
    let numbered = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    let joined = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let twice = |kind: &str, levels: usize, line: &dyn Fn(usize) -> String| {
        numbered(levels, &|level| format!("- {kind}{level}\n  {}\n", line(level + 1)))
    };
    let of_ten = |name: &str| [name; 10].join(", ");
    let large = joined(20_000, &|i| format!("xxxxxxxxxx{i}"));
    vec![
        (
            "aliases of lists",
            numbered(20, &|i| match i {
                0 => "- &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
                i => format!("- &a{i} [{}]\n", of_ten(&format!("*a{}", i - 1))),
            }),
        ),
        ("aliases of conditions", {
            let first = rule(0, &format!("&c evt.type = open and proc.name in ({large})"));
            first + &numbered(2000, &|i| rule(i + 1, "*c"))
        }),
        (
            "lists of later lists",
            twice("list: l", 40, &|next| format!("items: [{}]", of_ten(&format!("l{next}"))))
                + &rule(0, "proc.name in (l0)"),
        ),
        ("lists of nothing", {
            let lists = numbered(60, &|i| format!("- list: l{}\n  items: [l{i}, l{i}]\n", i + 1));
            format!("- list: l0\n  items: []\n{lists}- list: bad\n  items: {{a: b}}\n")
        }),
        ("macros of macros", {
            let macros = numbered(60, &|i| format!("- macro: m{}\n  condition: (m{i} or not m{i})\n", i + 1));
            format!("- macro: m0\n  condition: evt.type = open and proc.name = a\n{macros}{}", rule(0, "m60"))
        }),
        ("deep macros", {
            let macros = numbered(5000, &|i| format!("- macro: m{}\n  condition: (m{i} or m{i})\n", i + 1));
            format!("- macro: m0\n  condition: evt.type = open\n{macros}{}", rule(0, "m5000"))
        }),
        (
            "deep lists",
            numbered(5000, &|i| format!("- list: l{i}\n  items: [l{}]\n", i + 1))
                + &numbered(5000, &|i| format!("- list: l{i}\n  items: [x]\n  override: {{items: append}}\n")),
        ),
        ("deep parentheses", rule(0, &format!("{}a.b = 1{}", "(".repeat(50_000), ")".repeat(50_000)))),
        ("deep transformers", rule(0, &format!("{}proc.name{} = a", "tolower(".repeat(50_000), ")".repeat(50_000)))),
        ("deep YAML", "[".repeat(100_000)),
        ("a list without end", format!("- list: l\n  items: [{}]\n", "x, ".repeat(700_000))),
        ("one list in many rules", {
            let list = format!("- list: l\n  items: [{large}]\n");
            list + &numbered(40, &|i| rule(i, &format!("evt.type = open and proc.name in (l, y{i})")))
        }),
        ("many broken rules", numbered(20_000, &|i| rule(i, "evt.type = open and proc.nam = x"))),
        ("many unknown macros", numbered(20_000, &|i| format!("- macro: m{i}\n  condition: n{i}\n"))),
        ("many objects", "- list: l\n  items: [x]\n".repeat(33_000)),
        ("many unknown keys", format!("- rule: r\n{}", numbered(100_000, &|i| format!("  key{i}: x\n")))),
        (
            "many regular expressions",
            rule(0, &format!("proc.name regex anyof ({})", joined(2000, &|i| format!("'.*x{i}[a-z]{{50}}'")))),
        ),
        ("long lists in lists", {
            let of_long = ["long"; 5000].join(", ");
            format!("- list: long\n  items: [{}]\n- list: all\n  items: [{of_long}]\n", "x".repeat(200_000))
        }),
        ("an exception of a long field", {
            let rows = ["[a]"; 20_000].join(", ");
            let exception = format!("{{name: e, fields: [{}], values: [{rows}]}}", "x".repeat(200_000));
            format!("{}  exceptions: [{exception}]\n", rule(0, "evt.type = open"))
        }),
        ("many exceptions", {
            let exceptions = joined(20_000, &|i| format!("{{name: e{i}, fields: [proc.name], values: [[a]]}}"));
            format!("{}  exceptions: [{exceptions}]\n", rule(0, "evt.type = open"))
        }),
        ("a large regular expression", rule(0, "proc.name regex '((a{100}){100}){100}'")),
        ("a path without end", rule(0, &format!("evt.type = open and fd.name pmatch ({})", "/a".repeat(100_000)))),
        ("texts of icontains", rule(0, &format!("evt.type = open and proc.name icontains {}", "x".repeat(2 << 20)))),
        ("an output of fields", {
            let output = "%proc.name ".repeat(400_000);
            rule(0, "evt.type = open").replace("output: o", &format!("output: '{output}'"))
        }),
        ("one line of everything", format!("- {{rule: r, {}}}\n", joined(100_000, &|i| format!("key{i}: \u{e9}")))),
        ("too large", format!("# {}", "x".repeat(16 << 20))),
    ]
}

/// The most memory that the process held since this was last asked, and forgets it.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = line.trim_end_matches("kB").trim().parse().unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    kibibytes << 10
}

/// The time is that of `broken_rules.py` over a release build; here it only must end.
#[test]
fn bombs_are_refused_at_their_place() {
    for (name, content) in bombs() {
        if cfg!(debug_assertions) && content.len() > 1 << 20 {
            // Megabytes take a build without optimization too long.
            continue;
        }
        peak();
        let before = peak();
        let start = Instant::now();
        let report = check(&[file(name, content)]);
        let (took, grown) = (start.elapsed(), peak().saturating_sub(before));
        let error = report.errors.first().unwrap_or_else(|| panic!("{name}: no error"));
        assert!(error.place.is_some(), "{name}: {error}");
        let limit = Duration::from_secs(if cfg!(debug_assertions) { 120 } else { 10 });
        assert!(took < limit, "{name} took {took:?}");
        assert!(grown < PEAK_BYTES_MAX, "{name} took {} MiB", grown >> 20);
    }
}
