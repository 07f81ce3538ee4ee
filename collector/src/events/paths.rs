//! The columns of paths: as the call was given them, and made absolute.

use super::process_columns::Named;
use super::sparse::Sparse;
use crate::lossy::lossy;
use crate::path;
use arrow::array::StringBuilder;
use bodkin_ebpf::event::{Components, Event, Name, Paths, Socket};
use bodkin_schema::events as e;

const AF_UNIX: u16 = 1;

/// `path`, `path2` and both as given. A row that names none of them has none.
#[derive(Debug, Default)]
pub(super) struct PathColumns {
    path: Sparse<StringBuilder>,
    path2: Sparse<StringBuilder>,
    raw: Sparse<StringBuilder>,
    raw2: Sparse<StringBuilder>,
    row: usize,
    scratch: String,
    bytes: usize,
}

impl PathColumns {
    /// The row that is told from now on.
    pub(super) fn set_row(&mut self, row: usize) {
        self.row = row;
    }

    /// A row with one name.
    pub(super) fn one(&mut self, name: &Name<'_>) {
        self.first(name);
    }

    /// A row with the path of a file.
    pub(super) fn walked(&mut self, components: &Components<'_>) {
        path::write_components(components, &mut self.scratch);
        self.push_first();
    }

    /// A row with a name that is no path.
    pub(super) fn text(&mut self, name: &[u8]) {
        self.scratch.clear();
        self.scratch.push_str(&lossy(name));
        self.push_first();
    }

    /// A row of a socket: a Unix one has the path that it is bound to.
    pub(super) fn unix(&mut self, socket: &Socket<'_>) {
        if socket.family != AF_UNIX || socket.unix_path.is_empty() {
            return;
        }
        self.scratch.clear();
        // An abstract name starts with NUL and is written with `@`, as /proc/net/unix does.
        let (mark, name) = match socket.unix_path.split_first() {
            Some((0, name)) => ("@", name),
            _ => ("", socket.unix_path),
        };
        self.scratch.push_str(mark);
        self.scratch.push_str(&lossy(name));
        self.push_first();
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

    pub(super) fn finish(&mut self, rows: usize) -> [Named; 4] {
        self.bytes = 0;
        [
            (e::PATH, self.path.finish(rows)),
            (e::PATH2, self.path2.finish(rows)),
            (e::PATH_RAW, self.raw.finish(rows)),
            (e::PATH2_RAW, self.raw2.finish(rows)),
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
        if path::write_name(&Name { raw: &joined, base: None }, &mut self.scratch) {
            self.push_first();
        }
        self.push_raw(target.raw);
        if has_link {
            self.bytes += at.len();
            self.path2.at(self.row).append_value(&at);
        }
        self.push_raw2(link.raw);
    }

    fn first(&mut self, name: &Name<'_>) {
        if path::write_name(name, &mut self.scratch) {
            self.push_first();
        }
        self.push_raw(name.raw);
    }

    fn second(&mut self, name: &Name<'_>, is_path: bool) {
        if is_path && path::write_name(name, &mut self.scratch) {
            self.bytes += self.scratch.len();
            self.path2.at(self.row).append_value(&self.scratch);
        }
        self.push_raw2(name.raw);
    }

    fn push_first(&mut self) {
        self.bytes += self.scratch.len();
        self.path.at(self.row).append_value(&self.scratch);
    }

    fn push_raw(&mut self, raw: &[u8]) {
        self.bytes += raw.len();
        self.raw.at(self.row).append_value(lossy(raw));
    }

    fn push_raw2(&mut self, raw: &[u8]) {
        self.bytes += raw.len();
        self.raw2.at(self.row).append_value(lossy(raw));
    }
}
