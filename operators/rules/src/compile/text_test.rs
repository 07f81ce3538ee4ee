//! Tests of one text or address.

use super::glob::Glob;
use super::paths::PathSet;
use crate::fields::address::{self, Network};
use crate::syntax::Op;
use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use regex::bytes::Regex;
use rustc_hash::FxHashSet;
use std::cmp::Ordering;
use std::net::IpAddr;

/// A test of one value.
#[derive(Clone, Debug)]
pub(crate) enum TextTest {
    Equal(Box<[u8]>),
    NotEqual(Box<[u8]>),
    Order(Op, Box<[u8]>),
    In(TextSet),
    NotIn(TextSet),
    StartsWith(Box<[u8]>),
    StartsWithAny(Vec<Box<[u8]>>),
    EndsWith(Box<[u8]>),
    EndsWithAny(Vec<Box<[u8]>>),
    Contains(Box<Finder<'static>>),
    /// Holds any of several texts, or one with case aside: one pass for all of them.
    ContainsAny(AhoCorasick),
    Glob(Glob),
    Regex(Regex),
    Paths(PathSet),
    Address {
        wanted: Vec<IpAddr>,
        is_negated: bool,
    },
    Network {
        wanted: Vec<Network>,
        is_negated: bool,
    },
    All(Vec<TextTest>),
    Any(Vec<TextTest>),
    One(Vec<TextTest>),
}

/// A set of texts; most values that are not in it are told apart by their length, first and last byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextSet {
    texts: FxHashSet<Box<[u8]>>,
    /// Bit [`mark`] of each text is set.
    marks: [u64; MARKS / 64],
}

const MARKS: usize = 512;

/// A number below [`MARKS`] that costs next to nothing to make of a text.
fn mark(text: &[u8]) -> usize {
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return 0 };
    (usize::from(*first) * 37 + usize::from(*last) * 5 + text.len() * 131) % MARKS
}

impl TextSet {
    pub(crate) fn new(texts: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        let texts: FxHashSet<Box<[u8]>> = texts.into_iter().collect();
        let mut marks = [0; MARKS / 64];
        for text in &texts {
            let mark = mark(text);
            marks[mark / 64] |= 1 << (mark % 64);
        }
        Self { texts, marks }
    }

    pub(crate) fn contains(&self, text: &[u8]) -> bool {
        let mark = mark(text);
        self.marks[mark / 64] >> (mark % 64) & 1 == 1 && self.texts.contains(text)
    }

    pub(crate) fn into_texts(self) -> impl Iterator<Item = Box<[u8]>> {
        self.texts.into_iter()
    }
}

impl TextTest {
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Equal(wanted) => text == &**wanted,
            Self::NotEqual(wanted) => text != &**wanted,
            Self::Order(op, wanted) => is_ordered(*op, text.cmp(wanted)),
            Self::In(set) => set.contains(text),
            Self::NotIn(set) => !set.contains(text),
            Self::StartsWith(wanted) => text.starts_with(wanted),
            Self::StartsWithAny(wanted) => wanted.iter().any(|wanted| text.starts_with(wanted)),
            Self::EndsWith(wanted) => text.ends_with(wanted),
            Self::EndsWithAny(wanted) => wanted.iter().any(|wanted| text.ends_with(wanted)),
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::ContainsAny(finder) => finder.is_match(text),
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(String::from_utf8_lossy(text).as_bytes()),
            Self::Paths(paths) => paths.matches(text),
            Self::Address { wanted, is_negated } => {
                address::parse(text).is_some_and(|found| wanted.contains(&found) != *is_negated)
            }
            Self::Network { wanted, is_negated } => address::parse(text)
                .is_some_and(|found| wanted.iter().any(|network| network.contains(found)) != *is_negated),
            Self::All(tests) => tests.iter().all(|test| test.matches(text)),
            Self::Any(tests) => tests.iter().any(|test| test.matches(text)),
            Self::One(tests) => tests.iter().filter(|test| test.matches(text)).take(2).count() == 1,
        }
    }

    /// The texts that it compares whole values with.
    pub(crate) fn texts(&self) -> Box<dyn Iterator<Item = &[u8]> + '_> {
        match self {
            Self::Equal(text) | Self::NotEqual(text) => Box::new(std::iter::once(&**text)),
            Self::In(set) | Self::NotIn(set) => Box::new(set.texts.iter().map(|text| &**text)),
            Self::All(tests) | Self::Any(tests) | Self::One(tests) => Box::new(tests.iter().flat_map(Self::texts)),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Says whether several such tests of one text can become one.
    pub(crate) fn is_mergeable(&self) -> bool {
        matches!(self, Self::Equal(_) | Self::In(_) | Self::StartsWith(_) | Self::EndsWith(_) | Self::Contains(_))
    }

    /// A rough cost in nanoseconds, by which the parts of an `and` are ordered.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::Equal(_) | Self::NotEqual(_) | Self::Order(..) | Self::StartsWith(_) | Self::EndsWith(_) => 3,
            Self::In(_) | Self::NotIn(_) => 8,
            Self::StartsWithAny(wanted) | Self::EndsWithAny(wanted) => 3 * wanted.len() as u32,
            Self::Contains(_) => 20,
            Self::Address { .. } | Self::Network { .. } | Self::Paths(_) => 40,
            Self::ContainsAny(_) | Self::Glob(_) => 60,
            Self::Regex(_) => 200,
            Self::All(tests) | Self::Any(tests) | Self::One(tests) => tests.iter().map(Self::cost).sum(),
        }
    }
}

pub(crate) fn is_ordered(op: Op, ordering: Ordering) -> bool {
    match op {
        Op::Lt => ordering.is_lt(),
        Op::Le => ordering.is_le(),
        Op::Gt => ordering.is_gt(),
        Op::Ge => ordering.is_ge(),
        Op::Ne => ordering.is_ne(),
        _ => ordering.is_eq(),
    }
}
