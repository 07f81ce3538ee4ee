//! The columns of paths: as the call was given them, and made absolute.

use super::process_columns::Named;
use crate::path;
use arrow::array::StringBuilder;
use bodkin_ebpf::event::{Components, Event, Name, Paths, Socket};
use bodkin_schema::events as e;
use std::sync::Arc;

const AF_UNIX: u16 = 1;

/// `path`, `path2` and both as given.
#[derive(Debug, Default)]
pub(super) struct PathColumns {
    path: StringBuilder,
    path2: StringBuilder,
    raw: StringBuilder,
    raw2: StringBuilder,
    scratch: String,
    bytes: usize,
}

impl PathColumns {
    /// A row without paths.
    pub(super) fn none(&mut self) {
        self.path.append_null();
        self.raw.append_null();
        self.no_second();
    }

    /// A row with one name.
    pub(super) fn one(&mut self, name: &Name<'_>) {
        self.first(name);
        self.no_second();
    }

    /// A row with the path of a file.
    pub(super) fn walked(&mut self, components: &Components<'_>) {
        path::write_components(components, &mut self.scratch);
        self.push_first();
        self.raw.append_null();
        self.no_second();
    }

    /// A row with a name that is no path.
    pub(super) fn text(&mut self, name: &[u8]) {
        self.scratch.clear();
        self.scratch.push_str(&String::from_utf8_lossy(name));
        self.push_first();
        self.raw.append_null();
        self.no_second();
    }

    /// A row of a socket: a Unix one has the path that it is bound to.
    pub(super) fn unix(&mut self, socket: &Socket<'_>) {
        if socket.family != AF_UNIX || socket.unix_path.is_empty() {
            return self.none();
        }
        self.scratch.clear();
        // An abstract name starts with NUL and is written with `@`, as /proc/net/unix does.
        let (mark, name) = match socket.unix_path.split_first() {
            Some((0, name)) => ("@", name),
            _ => ("", socket.unix_path),
        };
        self.scratch.push_str(mark);
        self.scratch.push_str(&String::from_utf8_lossy(name));
        self.push_first();
        self.raw.append_null();
        self.no_second();
    }

    /// A row of a call with names.
    pub(super) fn append(&mut self, event: &Event<'_>, paths: &Paths<'_>) {
        match (event.name, &paths.name2) {
            ("symlink" | "symlinkat", Some(target)) => self.link(&paths.name, target),
            ("mount", Some(source)) => {
                self.first(&paths.name);
                // A source need not be a path: `proc`, `none`.
                let is_path = source.raw.first() == Some(&b'/');
                self.second(source, is_path);
            }
            // Where it led, which a symbolic link may hide.
            ("chdir", _) if event.head.ret == 0 && paths.name.base.is_some() => {
                let folder = paths.name.base.unwrap_or_default();
                path::write_components(&folder, &mut self.scratch);
                self.push_first();
                self.push_raw(paths.name.raw);
                self.no_second();
            }
            (_, Some(second)) => {
                self.first(&paths.name);
                self.second(second, true);
            }
            (_, None) => self.one(&paths.name),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn finish(&mut self) -> [Named; 4] {
        self.bytes = 0;
        [
            (e::PATH, Arc::new(self.path.finish())),
            (e::PATH2, Arc::new(self.path2.finish())),
            (e::PATH_RAW, Arc::new(self.raw.finish())),
            (e::PATH2_RAW, Arc::new(self.raw2.finish())),
        ]
    }

    /// A symbolic link: its target first, relative to the folder of the link.
    fn link(&mut self, link: &Name<'_>, target: &Name<'_>) {
        let mut at = String::new();
        let has_link = path::write_name(link, &mut at);
        let folder = at.get(..at.rfind('/').unwrap_or(0)).unwrap_or_default();
        let joined = match target.raw.first() {
            Some(b'/') => target.raw.to_vec(),
            _ => [folder.as_bytes(), b"/", target.raw].concat(),
        };
        match path::write_name(&Name { raw: &joined, base: None }, &mut self.scratch) {
            true => self.push_first(),
            false => self.path.append_null(),
        }
        self.push_raw(target.raw);
        match has_link {
            true => {
                self.bytes += at.len();
                self.path2.append_value(&at);
            }
            false => self.path2.append_null(),
        }
        self.push_raw2(link.raw);
    }

    fn first(&mut self, name: &Name<'_>) {
        match path::write_name(name, &mut self.scratch) {
            true => self.push_first(),
            false => self.path.append_null(),
        }
        self.push_raw(name.raw);
    }

    fn second(&mut self, name: &Name<'_>, is_path: bool) {
        match is_path && path::write_name(name, &mut self.scratch) {
            true => {
                self.bytes += self.scratch.len();
                self.path2.append_value(&self.scratch);
            }
            false => self.path2.append_null(),
        }
        self.push_raw2(name.raw);
    }

    fn no_second(&mut self) {
        self.path2.append_null();
        self.raw2.append_null();
    }

    fn push_first(&mut self) {
        self.bytes += self.scratch.len();
        self.path.append_value(&self.scratch);
    }

    fn push_raw(&mut self, raw: &[u8]) {
        self.bytes += raw.len();
        self.raw.append_value(String::from_utf8_lossy(raw));
    }

    fn push_raw2(&mut self, raw: &[u8]) {
        self.bytes += raw.len();
        self.raw2.append_value(String::from_utf8_lossy(raw));
    }
}
