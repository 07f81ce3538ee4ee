//! The batch evaluator must agree with the naive one on random events and random conditions (RULE-1: whatever the
//! batches are cut into, DET-1: and however encoded), and so must what screens let pass.

use crate::load;
use crate::naive::{Row, V, holds};
use arrow::array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, ListBuilder, StringArray,
    StringBuilder, StringViewArray,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use bodkin_rules::syntax::{Expr, parse_condition};
use bodkin_rules::{Events, Hit, Matching};
use proptest::prelude::*;
use std::sync::Arc;

/// What the oracle knows of an event.
#[derive(Clone, Debug, Default)]
struct Event {
    evt_type: String,
    comm: Option<String>,
    args: Option<String>,
    exe: Option<String>,
    uid: Option<i64>,
    memfd: Option<bool>,
    ancestors: Vec<String>,
    local: Option<String>,
    remote: Option<String>,
    local_port: Option<i64>,
    remote_port: Option<i64>,
}

impl Row for Event {
    fn values(&self, name: &str, arg: Option<&str>) -> Vec<V> {
        let event = self;
        let text = |value: &Option<String>| value.iter().map(|text| V::Text(text.clone().into_bytes())).collect();
        let address = |value: &Option<String>| -> Vec<V> {
            value.iter().filter_map(|text| text.parse().ok()).map(V::Address).collect()
        };
        let number = |value: Option<i64>| value.into_iter().map(V::Number).collect();
        match (name, arg) {
            ("evt.type", _) => vec![V::Text(event.evt_type.clone().into_bytes())],
            ("proc.name", _) | ("proc.aname", Some("0")) => text(&event.comm),
            ("proc.aname", None) => event.ancestors.iter().map(|name| V::Text(name.clone().into_bytes())).collect(),
            ("proc.aname", Some(index)) => text(&event.ancestors.get(index.parse::<usize>().unwrap() - 1).cloned()),
            ("proc.exepath", _) => text(&event.exe),
            ("proc.cmdline", _) => {
                let args = event.args.as_ref().filter(|args| !args.is_empty());
                text(&event.comm.as_ref().map(|comm| args.map_or(comm.clone(), |args| format!("{comm} {args}"))))
            }
            ("user.uid", _) => number(event.uid),
            ("proc.is_exe_from_memfd", _) => event.memfd.into_iter().map(V::Flag).collect(),
            ("fd.lip" | "fd.lnet", _) => address(&event.local),
            ("fd.ip" | "fd.net", _) => [address(&event.local), address(&event.remote)].concat(),
            ("fd.lport", _) => number(event.local_port),
            ("fd.port", _) => event.local_port.into_iter().chain(event.remote_port).map(V::Number).collect(),
            _ => Vec::new(),
        }
    }
}

/// A small generator, so that a failing seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(4) > 0 { Some(value(self)) } else { None }
    }

    fn list(&mut self, one: impl Fn(&mut Self) -> String) -> String {
        let items: Vec<String> = (0..self.below(4)).map(|_| one(self)).collect();
        format!("({})", items.join(", "))
    }
}

const TEXTS: &[&str] = &["", "a", "b", "ab", "abc", "A", "aB", "/etc", "/etc/x", "/etcx", "ba", "a b"];
const ADDRESSES: &[&str] = &["10.0.0.1", "10.200.0.1", "192.168.0.7", "::1", "fe80::1"];
const TYPES: &[&str] = &["open", "openat", "execve", "connect", "close"];

fn event(random: &mut Random) -> Event {
    let text = |random: &mut Random| random.maybe(|random| random.pick(TEXTS).to_owned());
    Event {
        evt_type: random.pick(TYPES).to_owned(),
        comm: text(random),
        args: text(random),
        exe: text(random),
        uid: random.maybe(|random| random.below(5) as i64 - 1),
        memfd: random.maybe(|random| random.below(2) == 0),
        ancestors: (0..random.below(4)).map(|_| random.pick(TEXTS).to_owned()).collect(),
        local: random.maybe(|random| random.pick(ADDRESSES).to_owned()),
        remote: random.maybe(|random| random.pick(ADDRESSES).to_owned()),
        local_port: random.maybe(|random| random.pick(&[22, 80, 443])),
        remote_port: random.maybe(|random| random.pick(&[22, 80, 443])),
    }
}

fn quoted(random: &mut Random) -> String {
    format!("\"{}\"", random.pick(TEXTS))
}

fn condition(random: &mut Random, depth: usize) -> String {
    match random.below(if depth == 0 { 1 } else { 4 }) {
        0 => comparison(random),
        1 => format!("not ({})", condition(random, depth - 1)),
        kind => {
            let word = if kind == 2 { " and " } else { " or " };
            let parts: Vec<String> = (0..2 + random.below(3)).map(|_| condition(random, depth - 1)).collect();
            format!("({})", parts.join(word))
        }
    }
}

fn comparison(random: &mut Random) -> String {
    let text_fields = ["proc.name", "proc.exepath", "proc.cmdline", "proc.aname", "proc.aname[0]", "proc.aname[2]"];
    let field = random.pick(&text_fields);
    let word = random.pick(&["=", "!=", "contains", "icontains", "startswith", "endswith"]);
    match random.below(16) {
        0 => format!("evt.type {} {}", random.pick(&["=", "!="]), random.pick(TYPES)),
        1 => format!("evt.type in {}", random.list(|random| random.pick(TYPES).to_owned())),
        2 => format!("{field} exists"),
        3 => format!("{field} {word} {} {}", random.pick(&["oneof", "anyof", "allof"]), random.list(quoted)),
        4 => format!("{field} {} {}", random.pick(&["in", "intersects", "pmatch"]), random.list(quoted)),
        5 => format!(
            "{field} {} {}",
            random.pick(&["glob", "iglob"]),
            random.pick(&["'a*'", "'*b*'", "'A?'", "'/e*/x'"])
        ),
        6 => format!("{field} regex {}", random.pick(&["'a.*'", "'[ab]+'"])),
        7 => {
            let mapped =
                random.pick(&["tolower(proc.name)", "toupper(basename(proc.exepath))", "concat(proc.name, \"b\")"]);
            format!("{mapped} {word} {}", quoted(random))
        }
        8 => format!("len(proc.exepath) {} {}", random.pick(&["<", ">=", "="]), random.below(4)),
        9 => format!("proc.name {} val(proc.exepath)", random.pick(&["=", "!=", "startswith"])),
        10 => format!("user.uid {} {}", random.pick(&["=", "!=", "<", "<=", ">", ">="]), random.below(4) as i64 - 1),
        11 => format!("user.uid in {}", random.list(|random| random.below(4).to_string())),
        12 => format!("proc.is_exe_from_memfd {} {}", random.pick(&["=", "!="]), random.pick(&["true", "false"])),
        13 => format!("{} {} {}", random.pick(&["fd.ip", "fd.lip"]), random.pick(&["=", "!="]), quoted_address(random)),
        14 => {
            let networks = ["\"10.0.0.0/8\"", "\"192.168.0.0/16\"", "\"fe80::/10\""];
            format!("{} {} {}", random.pick(&["fd.net", "fd.lnet"]), random.pick(&["=", "!="]), random.pick(&networks))
        }
        _ => format!(
            "{} {} {}",
            random.pick(&["fd.port", "fd.lport"]),
            random.pick(&["=", "!=", "<", ">="]),
            random.pick(&[22, 80, 443])
        ),
    }
    .replace("proc.aname pmatch", "proc.aname in")
}

fn quoted_address(random: &mut Random) -> String {
    format!("\"{}\"", random.pick(ADDRESSES))
}

/// A text column in one of the forms that it may arrive in, perhaps with rows cut off in front.
fn text_column(random: &mut Random, values: &[Option<&str>]) -> ArrayRef {
    let padding = random.below(3);
    let padded: Vec<Option<&str>> = std::iter::repeat_n(Some("zz"), padding).chain(values.iter().copied()).collect();
    let array: ArrayRef = match random.below(3) {
        0 => Arc::new(StringArray::from(padded)),
        1 => Arc::new(padded.into_iter().collect::<DictionaryArray<Int32Type>>()),
        _ => Arc::new(StringViewArray::from(padded)),
    };
    array.slice(padding, values.len())
}

fn list_column(random: &mut Random, events: &[Event]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for event in events {
        match event.ancestors.is_empty() && random.below(2) == 0 {
            true => builder.append_null(),
            false => builder.append_value(event.ancestors.iter().map(Some)),
        }
    }
    let list = builder.finish();
    if random.below(2) == 0 {
        return Arc::new(list);
    }
    let items = list.values().as_any().downcast_ref::<StringArray>().unwrap();
    let items: DictionaryArray<Int32Type> = items.iter().collect();
    let field = arrow::datatypes::Field::new("item", items.data_type().clone(), true);
    Arc::new(ListArray::new(Arc::new(field), list.offsets().clone(), Arc::new(items), list.nulls().cloned()))
}

fn batch(random: &mut Random, events: &[Event]) -> RecordBatch {
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    let mut text = |name: &'static str, of: fn(&Event) -> Option<&str>| {
        let values: Vec<Option<&str>> = events.iter().map(of).collect();
        columns.push((name, text_column(random, &values)));
    };
    text("evt_type", |event| Some(&event.evt_type));
    text("comm", |event| event.comm.as_deref());
    text("args", |event| event.args.as_deref());
    text("exe", |event| event.exe.as_deref());
    text("local_addr", |event| event.local.as_deref());
    text("remote_addr", |event| event.remote.as_deref());
    let port = |of: fn(&Event) -> Option<i64>| -> ArrayRef {
        Arc::new(events.iter().map(|event| of(event).map(|port| port as i32)).collect::<Int32Array>())
    };
    columns.push(("local_port", port(|event| event.local_port)));
    columns.push(("remote_port", port(|event| event.remote_port)));
    columns.push(("uid", Arc::new(events.iter().map(|event| event.uid).collect::<Int64Array>())));
    columns.push(("exe_is_memfd", Arc::new(events.iter().map(|event| event.memfd).collect::<BooleanArray>())));
    columns.push(("ancestor_names", list_column(random, events)));
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Rules with random conditions, some of them shared through macros.
fn rules(random: &mut Random) -> (String, Vec<String>) {
    let shared: Vec<String> = (0..3).map(|_| condition(random, 1)).collect();
    let mut content: String = shared
        .iter()
        .enumerate()
        .map(|(index, text)| format!("- macro: m{index}\n  condition: {}\n", yaml(text)))
        .collect();
    let mut conditions = Vec::new();
    for index in 0..6 {
        let own = condition(random, 2);
        let name = random.below(3);
        let joined = random.pick(&["and", "or", "and not"]);
        content += &format!(
            "- rule: r{index}\n  desc: d\n  output: o\n  priority: info\n  condition: {}\n",
            yaml(&format!("m{name} {joined} {own}"))
        );
        conditions.push(format!("({}) {joined} {own}", shared[name]));
    }
    (content, conditions)
}

fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

const CASES: u32 = if cfg!(debug_assertions) { 150 } else { 2000 };

proptest! {
#![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn batches_and_rows_agree(seed in 1_u64..) {
        let mut random = Random(seed);
        let (content, conditions) = rules(&mut random);
        let rules = load(content);
        let trees: Vec<Expr> = conditions.iter().map(|text| parse_condition(text).unwrap()).collect();
        let count = random.pick(&[0, 1, 63, 64, 65, 200]);
        let events: Vec<Event> = (0..count).map(|_| event(&mut random)).collect();

        let mut all = Vec::new();
        let mut first = Vec::new();
        for (row, event) in events.iter().enumerate() {
            let fired: Vec<Hit> = (0..trees.len()).filter(|rule| holds(event, &trees[*rule])).map(|rule| Hit { row, rule }).collect();
            first.extend(fired.first().copied());
            all.extend(fired);
        }
        let whole = batch(&mut random, &events);
        prop_assert_eq!(&rules.evaluate(Events::Batch(&whole), Matching::All), &all, "{:#?} {:#?}", conditions, events);
        prop_assert_eq!(&rules.evaluate(Events::Batch(&whole), Matching::First), &first);

        // Cut in two, and encoded anew: the same rules fire.
        let cut = if count == 0 { 0 } else { random.below(count) };
        let parts = [(0, batch(&mut random, &events[..cut])), (cut, whole.slice(cut, count - cut))];
        let again: Vec<Hit> = parts
            .iter()
            .flat_map(|(start, part)| {
                rules.evaluate(Events::Batch(part), Matching::All).into_iter().map(move |hit| Hit { row: hit.row + start, ..hit })
            })
            .collect();
        prop_assert_eq!(&again, &all);

        // A column without values may as well be missing.
        let columns = whole.columns().iter().enumerate();
        let valued = columns.filter(|(_, column)| column.logical_null_count() < count).map(|(index, _)| index);
        let fewer = whole.project(&valued.collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(&rules.evaluate(Events::Batch(&fewer), Matching::All), &all, "{:#?} {:#?}", conditions, events);

        // A row for which a rule fires passes every screen, whatever columns it may read.
        let unread = random.pick(&["", "comm", "exe", "ancestor_names", "local_addr"]);
        for screen in [rules.screen(|column| column != unread), rules.sieve(|column| column != unread)] {
            prop_assert!(!screen.columns().contains(&unread));
            let passed = screen.passes(&whole);
            for hit in &all {
                prop_assert!(passed.value(hit.row), "{:#?} {:#?}", conditions, events[hit.row]);
            }
        }
        // What may read everything lets nothing else pass.
        let passed = rules.sieve(|_| true).passes(&whole);
        let fired: std::collections::BTreeSet<usize> = all.iter().map(|hit| hit.row).collect();
        prop_assert_eq!(passed.set_indices().collect::<Vec<_>>(), fired.into_iter().collect::<Vec<_>>(), "{:#?}", conditions);
    }
}
