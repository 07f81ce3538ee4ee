//! `pmatch`: a path lies at or below one of a set of paths, by components.

use super::glob::Glob;
use rustc_hash::FxHashMap;

/// A set of paths as a tree of components; a path at which the tree ends matches all below it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathSet {
    names: FxHashMap<Box<[u8]>, PathSet>,
    patterns: Vec<(Glob, PathSet)>,
    is_end: bool,
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|component| !component.is_empty())
}

impl PathSet {
    pub(crate) fn insert(&mut self, path: &[u8]) {
        let mut node = self;
        for component in components(path) {
            let is_pattern = component.iter().any(|b| b"?*[".contains(b));
            node = if is_pattern {
                node.patterns.push((Glob::new(component, false), Self::default()));
                let index = node.patterns.len() - 1;
                &mut node.patterns[index].1
            } else {
                node.names.entry(component.into()).or_default()
            };
        }
        node.is_end = true;
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.matches_from(&mut components(path).collect::<Vec<_>>().as_slice())
    }

    fn matches_from(&self, path: &mut &[&[u8]]) -> bool {
        if self.is_end {
            return true;
        }
        let Some((first, mut rest)) = path.split_first() else { return false };
        self.names.get(*first).is_some_and(|below| below.matches_from(&mut rest))
            || self.patterns.iter().any(|(pattern, below)| pattern.matches(first) && below.matches_from(&mut rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_by_components() {
        let set = |paths: &[&str]| {
            let mut set = PathSet::default();
            paths.iter().for_each(|path| set.insert(path.as_bytes()));
            set
        };
        let some = set(&["/var/run", "/etc", "lib/x/", "/home/*/.ssh"]);
        for (path, expected) in [
            ("/var/run/docker", true),
            ("/var/run", true),
            ("/var//run/", true),
            ("/var", false),
            ("/var/runx", false),
            ("/boot", false),
            ("/etc/passwd", true),
            ("/lib/x/y", true),
            ("/home/a/.ssh/id", true),
            ("/home/a/b/.ssh", false),
            ("", false),
        ] {
            assert_eq!(some.matches(path.as_bytes()), expected, "{path}");
        }
        assert!(set(&["/"]).matches(b"/anything") && set(&["/"]).matches(b""));
        assert!(!set(&[]).matches(b"/x"));
    }
}
