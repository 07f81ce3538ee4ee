//! Keys to what was known of them, by time.
//!
//! ```text
//!  key  ->  [from 10:00 web1, from 10:07 web2, from 10:30 nothing]     a row at 10:08 gets web2
//! ```

use std::collections::HashMap;
use std::sync::Arc;

/// What is held beside the texts of a version.
const VERSION_BYTES: usize = 64;

/// The values of the columns of a key from some time on.
pub(crate) type Values = Arc<[Option<Arc<str>>]>;

/// From when on (microseconds), and what; nothing where the key has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) from_us: i64,
    pub(crate) values: Option<Values>,
}

impl Version {
    fn bytes(&self) -> usize {
        let texts = self.values.iter().flat_map(|values| values.iter());
        VERSION_BYTES + texts.map(|text| 24 + text.as_ref().map_or(0, |text| text.len())).sum::<usize>()
    }
}

/// What was known at a time by these versions.
pub(crate) fn at(versions: &[Version], ts_us: i64) -> Option<&Values> {
    let past = versions.partition_point(|version| version.from_us <= ts_us);
    versions.get(past.checked_sub(1)?)?.values.as_ref()
}

/// The versions of every key, the oldest first; whoever goes through the keys sorts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    keys: HashMap<Box<[u8]>, Vec<Version>>,
    bytes: usize,
}

impl History {
    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Learns a version. Of two of one time the greater one counts, so that the order in which they come does not.
    pub(crate) fn learn(&mut self, key: &[u8], version: Version) {
        if !self.keys.contains_key(key) {
            self.bytes += VERSION_BYTES + key.len();
            self.keys.insert(key.into(), Vec::new());
        }
        let Some(versions) = self.keys.get_mut(key) else { return };
        let at = versions.partition_point(|known| known.from_us < version.from_us);
        match versions.get_mut(at).filter(|known| known.from_us == version.from_us) {
            Some(known) if *known >= version => {}
            Some(known) => {
                self.bytes = self.bytes + version.bytes() - known.bytes();
                *known = version;
            }
            None => {
                self.bytes += version.bytes();
                versions.insert(at, version);
            }
        }
    }

    /// The versions of a key, the oldest first.
    pub(crate) fn versions(&self, key: &[u8]) -> &[Version] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Forgets what was followed by another version before `ts_us`, and keys that had ended by then.
    pub(crate) fn forget_before(&mut self, ts_us: i64) {
        self.keys.retain(|_, versions| {
            let valid = versions.partition_point(|version| version.from_us <= ts_us);
            let is_gone = valid == versions.len() && versions.last().is_none_or(|version| version.values.is_none());
            let past = if is_gone { versions.len() } else { valid.saturating_sub(1) };
            versions.drain(..past);
            !versions.is_empty()
        });
        self.count();
    }

    /// Forgets the keys that were changed longest ago until no more than `bytes_max` are left. Returns how many.
    pub(crate) fn forget_beyond(&mut self, bytes_max: usize) -> u64 {
        if self.bytes <= bytes_max {
            return 0;
        }
        let newest = |versions: &[Version]| versions.last().map_or(i64::MIN, |version| version.from_us);
        let mut by_age: Vec<(i64, Box<[u8]>)> =
            self.keys.iter().map(|(key, versions)| (newest(versions), key.clone())).collect();
        by_age.sort_unstable();
        let mut count = 0;
        for (_, key) in by_age {
            // A tenth less, so that it is not begun again at once.
            if self.bytes <= bytes_max - bytes_max / 10 {
                break;
            }
            if let Some(versions) = self.keys.remove(&key) {
                self.bytes -= VERSION_BYTES + key.len() + versions.iter().map(Version::bytes).sum::<usize>();
                count += 1;
            }
        }
        count
    }

    fn count(&mut self) {
        let versions = |versions: &Vec<Version>| versions.iter().map(Version::bytes).sum::<usize>();
        self.bytes = self.keys.iter().map(|(key, of)| VERSION_BYTES + key.len() + versions(of)).sum();
    }

    /// Every version, by key and time.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], &Version)> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        keys.into_iter().flat_map(|(key, versions)| versions.iter().map(|version| (key.as_ref(), version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(from_us: i64, text: Option<&str>) -> Version {
        Version { from_us, values: text.map(|text| Arc::from([Some(Arc::from(text))])) }
    }

    fn found(history: &History, ts_us: i64) -> Option<&str> {
        at(history.versions(b"k"), ts_us).and_then(|values| values[0].as_deref())
    }

    #[test]
    fn a_version_holds_until_the_next() {
        let mut history = History::default();
        for one in [version(30, None), version(10, Some("a")), version(20, Some("b")), version(20, Some("ab"))] {
            history.learn(b"k", one);
        }
        let all = |history: &History| [9, 10, 19, 20, 29, 30].map(|ts| found(history, ts).map(str::to_owned));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(all(&history), [None, text("a"), text("a"), text("b"), text("b"), None]);
        history.forget_before(25);
        assert_eq!(all(&history), [None, None, None, text("b"), text("b"), None]);
        history.forget_before(30);
        assert_eq!((history.all().count(), history.bytes()), (0, 0), "the key has ended");
    }

    #[test]
    fn keys_are_bounded() {
        let mut history = History::default();
        (0..1000_i64).for_each(|n| history.learn(&n.to_be_bytes(), version(n, Some("text"))));
        let half = history.bytes() / 2;
        let forgotten = history.forget_beyond(half);
        assert!((500..700).contains(&forgotten) && history.bytes() <= half, "{forgotten}");
        assert!(!history.versions(&999_i64.to_be_bytes()).is_empty());
        assert!(history.versions(&0_i64.to_be_bytes()).is_empty());
        let bytes = history.bytes();
        history.count();
        assert_eq!(history.bytes(), bytes);
    }
}
