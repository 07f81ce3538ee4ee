//! Which series make a group.

use rustc_hash::FxHashMap;

use crate::eval::matrix::Row;
use crate::labels::{Labels, METRIC_NAME};

/// Numbers groups as their first series come.
pub(crate) struct Grouping<'a> {
    names: Vec<&'a str>,
    is_without: bool,
    known: FxHashMap<Vec<u8>, usize>,
    key: Vec<u8>,
    /// The labels of each group.
    pub(super) rows: Vec<Row>,
}

impl<'a> Grouping<'a> {
    pub(super) fn new(names: &'a [String], is_without: bool) -> Self {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        Self { names, is_without, known: FxHashMap::default(), key: Vec::new(), rows: Vec::new() }
    }

    /// The group of a series.
    pub(super) fn of(&mut self, row: &Row) -> usize {
        if self.names.is_empty() && !self.is_without {
            if self.rows.is_empty() {
                self.rows.push(Row { labels: Labels::empty(), drops_name: row.drops_name });
            }
            return 0;
        }
        self.write_key(&row.labels);
        if let Some(group) = self.known.get(self.key.as_slice()) {
            let known = &mut self.rows[*group];
            known.drops_name |= row.drops_name;
            return *group;
        }
        let group = self.rows.len();
        self.known.insert(self.key.clone(), group);
        self.rows.push(Row { labels: self.labels(&row.labels), drops_name: row.drops_name });
        group
    }

    fn write_key(&mut self, labels: &Labels) {
        self.key.clear();
        if self.is_without {
            for (name, value) in labels.iter() {
                if name != METRIC_NAME && self.names.binary_search(&name).is_err() {
                    self.key.extend_from_slice(name.as_bytes());
                    self.key.push(0xff);
                    self.key.extend_from_slice(value.as_bytes());
                    self.key.push(0xff);
                }
            }
        } else {
            // The names are the same for all, so the values tell groups apart.
            for name in &self.names {
                self.key.extend_from_slice(labels.get(name).as_bytes());
                self.key.push(0xff);
            }
        }
    }

    fn labels(&self, labels: &Labels) -> Labels {
        let is_named = |name: &str| self.names.binary_search(&name).is_ok();
        if self.is_without {
            labels.without(|name| is_named(name) || name == METRIC_NAME)
        } else {
            labels.without(|name| !is_named(name))
        }
    }
}
