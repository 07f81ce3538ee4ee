//! The label index: which series there are, and which of them matchers accept.
//!
//! ```text
//!  label  -> value (sorted) -> places of the series that have it
//!  job       api               0 1 4
//!            web               2 3
//! ```
//! A series has a place, counted from 0, for as long as the process lives. Places are ranked by labels, so that what a
//! query finds is put into the order of its answer by comparing integers.

use crate::postings::Postings;
use bodkin_promql::{Labels, MatchOp, Matcher};
use bodkin_schema::{MetricId, SeriesId};
use roaring::RoaringBitmap;
use rustc_hash::FxBuildHasher;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

/// Results of expensive matchers that are kept until the next new series.
const CACHED_MAX: usize = 64;

/// A series.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SeriesId,
    pub(crate) metric_id: MetricId,
    /// None while only samples of it have come.
    pub(crate) labels: Option<Labels>,
}

/// All series of a process. Memory: about 600 bytes per series with ten labels.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_id: HashMap<i64, u32, FxBuildHasher>,
    entries: Vec<Entry>,
    labels: BTreeMap<Arc<str>, LabelTerms>,
    all: RoaringBitmap,
    /// Places by labels, and each place's rank there; of the first `ranked` announcements.
    sorted: Vec<u32>,
    ranks: Vec<u32>,
    unranked: Vec<u32>,
    cache: Mutex<HashMap<(String, String, bool), Arc<RoaringBitmap>>>,
}

/// The values of one label.
#[derive(Debug, Default)]
struct LabelTerms {
    values: BTreeMap<Arc<str>, Postings>,
    all: RoaringBitmap,
}

impl Index {
    /// The place of a series, which is made where it is new.
    pub(crate) fn place(&mut self, id: SeriesId, metric_id: MetricId) -> u32 {
        if let Some(place) = self.by_id.get(&id.0) {
            return *place;
        }
        let place = self.entries.len() as u32;
        self.entries.push(Entry { id, metric_id, labels: None });
        self.by_id.insert(id.0, place);
        place
    }

    /// The place of a series that is known.
    pub(crate) fn find(&self, id: SeriesId) -> Option<u32> {
        self.by_id.get(&id.0).copied()
    }

    /// Gives a series its labels. False where it has others already: two label sets with one id.
    pub(crate) fn announce(&mut self, id: SeriesId, metric_id: MetricId, labels: Labels) -> bool {
        let place = self.place(id, metric_id);
        let entry = &mut self.entries[place as usize];
        if let Some(known) = &entry.labels {
            return *known == labels;
        }
        for (name, value) in labels.iter() {
            let terms = match self.labels.get_mut(name) {
                Some(terms) => terms,
                None => self.labels.entry(name.into()).or_default(),
            };
            terms.all.insert(place);
            match terms.values.get_mut(value) {
                Some(postings) => postings.insert(place),
                None => drop(terms.values.insert(value.into(), Postings::One(place))),
            }
        }
        entry.labels = Some(labels);
        self.all.insert(place);
        self.unranked.push(place);
        self.cache.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        true
    }

    /// Number of series whose labels are known.
    pub(crate) fn len(&self) -> usize {
        self.all.len() as usize
    }

    pub(crate) fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)
    }

    /// The labels of a series; none while only samples of it have come.
    pub(crate) fn labels(&self, place: u32) -> Option<&Labels> {
        self.entry(place)?.labels.as_ref()
    }

    /// Whether every series has its rank.
    pub(crate) fn is_ranked(&self) -> bool {
        self.unranked.is_empty()
    }

    /// Ranks what is new: O(new log new + all).
    pub(crate) fn rank(&mut self) {
        let mut new = std::mem::take(&mut self.unranked);
        if new.is_empty() {
            return;
        }
        let entries = &self.entries;
        let labels = |place: &u32| entries[*place as usize].labels.as_ref();
        new.sort_unstable_by(|left, right| labels(left).cmp(&labels(right)));
        let mut sorted = Vec::with_capacity(self.sorted.len() + new.len());
        let (mut old, mut new) = (self.sorted.iter().copied().peekable(), new.into_iter().peekable());
        while let (Some(left), Some(right)) = (old.peek(), new.peek()) {
            let next = if labels(left) <= labels(right) { old.next() } else { new.next() };
            sorted.extend(next);
        }
        sorted.extend(old.chain(new));
        self.ranks.resize(self.entries.len(), u32::MAX);
        for (rank, place) in sorted.iter().enumerate() {
            self.ranks[*place as usize] = rank as u32;
        }
        self.sorted = sorted;
    }

    /// The places that every matcher accepts, in the order of their labels. The index is ranked.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let found = self.matching(matchers);
        let count = found.len() as usize;
        if count > self.sorted.len() / 8 {
            return self.sorted.iter().copied().filter(|place| found.contains(*place)).collect();
        }
        let mut places: Vec<u32> = found.into_iter().collect();
        places.sort_unstable_by_key(|place| self.ranks.get(*place as usize).copied().unwrap_or(u32::MAX));
        places
    }

    /// The places that every matcher accepts.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> RoaringBitmap {
        // A matcher that accepts "" accepts series without the label, too: it only takes away.
        let (mut narrowing, mut widening): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| !matcher.matches(""));
        narrowing.sort_by_key(|matcher| cost(matcher));
        widening.sort_by_key(|matcher| cost(matcher));
        let mut found: Option<RoaringBitmap> = None;
        for matcher in narrowing {
            found = Some(match found {
                None => self.values_where(matcher, true).as_ref().clone(),
                Some(found) if found.is_empty() => return found,
                Some(found) => self.narrow(found, matcher),
            });
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        for matcher in widening {
            if found.is_empty() {
                break;
            }
            found = self.narrow(found, matcher);
        }
        found
    }

    /// Those of `found` that `matcher` accepts: by looking at each where they are fewer than the label has values.
    fn narrow(&self, mut found: RoaringBitmap, matcher: &Matcher) -> RoaringBitmap {
        let values = self.labels.get(matcher.name.as_str()).map_or(0, |terms| terms.values.len());
        if cost(matcher) > 0 && (found.len() as usize) < values {
            let accepts =
                |place: &u32| self.labels(*place).is_some_and(|labels| matcher.matches(labels.get(&matcher.name)));
            return found.into_iter().filter(accepts).collect();
        }
        if matcher.matches("") {
            found -= self.values_where(matcher, false).as_ref();
        } else {
            found &= self.values_where(matcher, true).as_ref();
        }
        found
    }

    /// The places of the values of the matcher's label that it accepts, or (`is_accepted` false) does not.
    fn values_where(&self, matcher: &Matcher, is_accepted: bool) -> Arc<RoaringBitmap> {
        let Some(terms) = self.labels.get(matcher.name.as_str()) else { return Arc::default() };
        let of = |value: &str| terms.values.get(value).map(Postings::to_bitmap).unwrap_or_default();
        match (matcher.op, matcher.value.as_str(), is_accepted) {
            (MatchOp::Equal, "", false) | (MatchOp::NotEqual, "", true) => return Arc::new(terms.all.clone()),
            (MatchOp::Equal, value, true) | (MatchOp::NotEqual, value, false) => return Arc::new(of(value)),
            _ => {}
        }
        // What the expression itself accepts, seen through `!~`.
        let wants_match = is_accepted == (matcher.op == MatchOp::Regex);
        if let (Some(literals), true) = (matcher.regex().and_then(|regex| regex.literals()), wants_match) {
            let mut found = RoaringBitmap::new();
            literals.iter().filter_map(|value| terms.values.get(value.as_str())).for_each(|p| p.add_to(&mut found));
            return Arc::new(found);
        }
        let key = (matcher.name.clone(), matcher.value.clone(), wants_match);
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        cached.unwrap_or_else(|| {
            let found = Arc::new(scan(terms, matcher, is_accepted, wants_match));
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
            cache.insert(key, found.clone());
            found
        })
    }

    /// Names of labels, sorted; of the series in `among` where it is given.
    pub(crate) fn names(&self, among: Option<&RoaringBitmap>) -> Vec<String> {
        let is_used = |terms: &LabelTerms| among.is_none_or(|among| !terms.all.is_disjoint(among));
        self.labels.iter().filter(|(_, terms)| is_used(terms)).map(|(name, _)| name.to_string()).collect()
    }

    /// Values of a label, sorted; of the series in `among` where it is given; at most `limit`.
    pub(crate) fn values(&self, name: &str, among: Option<&RoaringBitmap>, limit: usize) -> Vec<String> {
        let Some(terms) = self.labels.get(name) else { return Vec::new() };
        let is_used = |postings: &Postings| among.is_none_or(|among| postings.intersects(among));
        let used = terms.values.iter().filter(|(_, postings)| is_used(postings));
        used.take(limit).map(|(value, _)| value.to_string()).collect()
    }

    /// For each label its number of values and, as an estimate, their bytes; for each pair its number of series.
    pub(crate) fn cardinality(&self) -> impl Iterator<Item = (&str, usize, usize, u64)> {
        self.labels.iter().map(|(name, terms)| {
            let bytes = terms.values.keys().map(|value| value.len()).sum();
            (name.as_ref(), terms.values.len(), bytes, terms.all.len())
        })
    }

    /// The values of a label with their numbers of series.
    pub(crate) fn value_counts(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let terms = self.labels.get(name);
        terms.into_iter().flat_map(|terms| terms.values.iter().map(|(value, places)| (value.as_ref(), places.len())))
    }
}

/// Matchers that need one lookup first.
fn cost(matcher: &Matcher) -> u8 {
    match (matcher.op, matcher.regex().and_then(|regex| regex.literals())) {
        (MatchOp::Equal | MatchOp::NotEqual, _) => 0,
        (_, Some(_)) => 1,
        _ => 2,
    }
}

fn scan(terms: &LabelTerms, matcher: &Matcher, is_accepted: bool, wants_match: bool) -> RoaringBitmap {
    let mut found = RoaringBitmap::new();
    let prefix = matcher.regex().map_or("", |regex| regex.prefix());
    if wants_match && !prefix.is_empty() {
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(prefix), Bound::Unbounded);
        let range = terms.values.range::<str, _>(from).take_while(|(value, _)| value.starts_with(prefix));
        range.filter(|(value, _)| matcher.matches(value) == is_accepted).for_each(|(_, p)| p.add_to(&mut found));
        return found;
    }
    let values = terms.values.iter().filter(|(value, _)| matcher.matches(value) == is_accepted);
    values.for_each(|(_, postings)| postings.add_to(&mut found));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(series: &[Vec<(String, String)>]) -> Index {
        let mut index = Index::default();
        for (number, pairs) in series.iter().enumerate() {
            let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            assert!(index.announce(SeriesId(number as i64), MetricId(0), labels));
        }
        index.rank();
        index
    }

    fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
        Matcher::new(op, name, value).unwrap()
    }

    #[test]
    fn a_second_label_set_of_an_id_is_told_apart() {
        let mut index = Index::default();
        let labels = |job| Labels::from_pairs([("__name__", "up"), ("job", job)]);
        assert!(index.announce(SeriesId(1), MetricId(0), labels("a")));
        assert!(index.announce(SeriesId(1), MetricId(0), labels("a")));
        assert!(!index.announce(SeriesId(1), MetricId(0), labels("b")));
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn names_values_and_ranks() {
        let pairs =
            |job: &str, zone: &str| vec![("job".to_owned(), job.to_owned()), ("zone".to_owned(), zone.to_owned())];
        let mut index = index(&[pairs("b", "1"), pairs("a", ""), pairs("a", "2")]);
        assert_eq!(index.names(None), ["job", "zone"]);
        assert_eq!(index.values("job", None, 10), ["a", "b"]);
        let among = index.matching(&[matcher(MatchOp::Equal, "zone", "")]);
        assert_eq!(
            (index.names(Some(&among)), index.values("job", Some(&among), 10)),
            (vec!["job".to_owned()], vec!["a".to_owned()])
        );
        assert_eq!(index.select(&[matcher(MatchOp::NotEqual, "job", "")]), [1, 2, 0]);
        index.announce(SeriesId(9), MetricId(0), Labels::from_pairs([("job", "a"), ("zone", "1")]));
        assert!(!index.is_ranked());
        index.rank();
        assert_eq!(index.select(&[matcher(MatchOp::NotEqual, "job", "")]), [1, 3, 2, 0]);
    }

    fn value() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", "a", "ab", "abc", "b", "x1", "x2"]).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn the_index_finds_what_a_scan_finds(
            series in prop::collection::vec((value(), value(), value()), 0..40),
            matchers in prop::collection::vec((0usize..4, 0usize..3, prop::sample::select(vec!["", "a", "ab|b", "a.*", "x[0-9]", ".*", ".+", "(a|x).*", "no"])), 1..4),
        ) {
            let names = ["k1", "k2", "k3"];
            let series: Vec<Vec<(String, String)>> = series.iter().enumerate().map(|(n, (a, b, c))| vec![
                ("k1".to_owned(), a.clone()), ("k2".to_owned(), b.clone()), ("k3".to_owned(), c.clone()), ("n".to_owned(), n.to_string()),
            ]).collect();
            let index = index(&series);
            let matchers: Vec<Matcher> = matchers.into_iter().map(|(op, name, value)| {
                matcher([MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][op], names[name], value)
            }).collect();
            let accepts = |place: &u32| {
                let labels = index.labels(*place).unwrap();
                matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name)))
            };
            let mut expected: Vec<u32> = (0..series.len() as u32).filter(accepts).collect();
            expected.sort_by(|left, right| index.labels(*left).cmp(&index.labels(*right)));
            prop_assert_eq!(index.select(&matchers), expected.clone());
            prop_assert_eq!(index.select(&matchers), expected, "from the cache");
        }
    }
}
