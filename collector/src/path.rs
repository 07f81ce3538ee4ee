//! Paths as the kernel hands them over, made into text: components joined, `.` and `..` folded, bytes made UTF-8.
//!
//! Folding is lexical: symbolic links keep their names, as Falco's `fd.name` does. Where the leading folders are not
//! known (the walk ended early, or the folder of a relative name could not be read) the path starts with `.../`.

use crate::lossy::lossy;
use bodkin_ebpf::event::{Components, Name};

/// Stands for leading folders that are not known.
const UNKNOWN_ROOT: &str = "...";

/// Writes the path of `components` (leaf first) over `out`; the root is `/`.
pub fn write_components(components: &Components<'_>, out: &mut String) {
    out.clear();
    start(components.truncated, out);
    push_walk(components, out);
    finish(out);
}

/// Writes the absolute path that `name` means over `out`. False where the name says nothing: it is empty and its
/// folder is not known.
pub fn write_name(name: &Name<'_>, out: &mut String) -> bool {
    out.clear();
    if name.raw.is_empty() && name.base.is_none() {
        return false;
    }
    let is_absolute = name.raw.first() == Some(&b'/');
    let floor = match &name.base {
        _ if is_absolute => 0,
        Some(base) => {
            let floor = start(base.truncated, out);
            push_walk(base, out);
            floor
        }
        None => start(true, out),
    };
    if is_folded(name.raw) {
        // Nearly every name: it is written as it is.
        if !is_absolute {
            out.push('/');
        }
        out.push_str(&lossy(name.raw));
    } else {
        name.raw.split(|byte| *byte == b'/').for_each(|component| push(component, floor, out));
    }
    finish(out);
    true
}

/// Whether no component of a name is empty, `.` or `..`. May say no where it is so: of a hidden file.
fn is_folded(name: &[u8]) -> bool {
    let ends_well = name.last().is_some_and(|last| *last != b'/') && name.first() != Some(&b'.');
    let (before, after) = (name.iter(), name.iter().skip(1));
    // Without a branch in the loop it takes many bytes at a time.
    ends_well && !before.zip(after).fold(false, |any, (a, b)| any | ((*a == b'/') & ((*b == b'/') | (*b == b'.'))))
}

/// Bytes of the start of the path that `..` cannot remove.
fn start(is_truncated: bool, out: &mut String) -> usize {
    if is_truncated {
        out.push_str(UNKNOWN_ROOT);
    }
    out.len()
}

/// No name in a folder is empty, `.` or `..`.
fn push_walk(components: &Components<'_>, out: &mut String) {
    let names = lossy(components.bytes.strip_suffix(&[0]).unwrap_or(components.bytes));
    let mut push = |name: Option<&str>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            out.push('/');
            out.push_str(name);
        }
    };
    // Names are short: a search that prepares itself for long ones costs more than it finds.
    let mut end = names.len();
    for (at, _) in names.bytes().enumerate().rev().filter(|(_, byte)| *byte == 0) {
        push(names.get(at + 1..end));
        end = at;
    }
    push(names.get(..end));
}

fn push(component: &[u8], floor: usize, out: &mut String) {
    match component {
        b"" | b"." => {}
        b".." => {
            let parent = out.get(floor..).and_then(|folders| folders.rfind('/')).unwrap_or(0);
            out.truncate(floor + parent);
        }
        name => {
            out.push('/');
            out.push_str(&lossy(name));
        }
    }
}

fn finish(out: &mut String) {
    if out.is_empty() || out == UNKNOWN_ROOT {
        out.push('/');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Components of a folder, and whether they are cut.
    type Base = Option<(&'static [u8], bool)>;

    fn resolve(raw: &[u8], base: Base) -> Option<String> {
        let base = base.map(|(bytes, truncated)| Components { bytes, truncated });
        let mut out = "left over".to_owned();
        write_name(&Name { raw, base }, &mut out).then_some(out)
    }

    #[test]
    fn names_become_absolute() {
        let home: Base = Some((b"alice\0home\0", false));
        let cut: Base = Some((b"deep\0down\0", true));
        let root: Base = Some((b"", false));
        let table: [(&[u8], Base, &str); 21] = [
            (b"/etc/passwd", None, "/etc/passwd"),
            (b"/etc/passwd", home, "/etc/passwd"),
            (b"/etc/../etc/./shadow", None, "/etc/shadow"),
            (b"//etc///hosts/", None, "/etc/hosts"),
            (b"/", None, "/"),
            (b"/..", None, "/"),
            (b"/../../x", None, "/x"),
            (b"notes.txt", home, "/home/alice/notes.txt"),
            (b"../bob/notes.txt", home, "/home/bob/notes.txt"),
            (b"../../../../etc", home, "/etc"),
            (b".", home, "/home/alice"),
            (b"", home, "/home/alice"),
            (b"x", root, "/x"),
            (b".hidden/y", home, "/home/alice/.hidden/y"),
            (b"/a/.b", None, "/a/.b"),
            (b"a/", home, "/home/alice/a"),
            (b"x", cut, ".../down/deep/x"),
            (b"../../../x", cut, ".../x"),
            (b"a/../x", None, ".../x"),
            (b"..", None, ".../"),
            (b"/tmp/\xff\xfe/x", None, "/tmp/\u{fffd}\u{fffd}/x"),
        ];
        for (raw, base, expected) in table {
            let text = String::from_utf8_lossy(raw);
            assert_eq!(resolve(raw, base).as_deref(), Some(expected), "{text:?} in {base:?}");
        }
        assert_eq!(resolve(b"", None), None);
    }

    #[test]
    fn components_are_walked_from_the_root() {
        let mut out = String::new();
        write_components(&Components { bytes: b"bash\0bin\0usr\0", truncated: false }, &mut out);
        assert_eq!(out, "/usr/bin/bash");
        write_components(&Components { bytes: b"", truncated: false }, &mut out);
        assert_eq!(out, "/");
        write_components(&Components { bytes: b"bash\0bin", truncated: true }, &mut out);
        assert_eq!(out, ".../bin/bash", "a missing last NUL is forgiven");
    }
}
