//! What descriptors are called, and modes of files as text.

use super::derive::{fd_kind, is_open};
use super::event_type::has_fd;
use crate::eval::column::Column;

/// Falco's name of a row's descriptor: the path of a file, `client:port->server:port` of a connection. Inputs as
/// `Derived::FdName` lists them.
pub(super) fn name(i: &[Column], row: usize, out: &mut Vec<u8>) -> bool {
    let text = |index: usize| i.get(index).and_then(|column| column.text(row));
    let number = |index: usize| i.get(index).and_then(|column| column.number(row));
    let Some(event) = text(0).filter(|event| has_fd(event)) else { return false };
    if let Some(path) = text(1) {
        out.extend_from_slice(path);
        return true;
    }
    let (Some(local), Some(remote)) = (text(3), text(4)) else { return true };
    let by_call = matches!(event, b"accept" | b"accept4");
    let is_server = i.get(7).and_then(|column| column.flag(row)).unwrap_or(by_call);
    let (local, remote) = ((local, number(5)), (remote, number(6)));
    let (client, server) = if is_server { (remote, local) } else { (local, remote) };
    for (arrow, (address, port)) in [("", client), ("->", server)] {
        out.extend_from_slice(arrow.as_bytes());
        out.extend_from_slice(address);
        out.extend_from_slice(format!(":{}", port.unwrap_or_default()).as_bytes());
    }
    true
}

/// The path and kind of a row's file; inputs as `Derived::FdDirectory` lists them.
fn file(i: &[Column], row: usize) -> Option<(&[u8], Option<&[u8]>)> {
    i.first()?.text(row).filter(|event| has_fd(event))?;
    Some((i.get(1)?.text(row)?, fd_kind(i, row, 0, 2)))
}

/// The directory that holds a row's file, or is it. A call that failed has the directory of the path it names.
pub(super) fn directory(i: &[Column], row: usize) -> Option<&[u8]> {
    let (path, kind) = file(i, row)?;
    match kind {
        Some(b"directory") => Some(path),
        Some(b"file") => Some(parent(path)),
        None => i.first()?.text(row).filter(|event| is_open(event) || *event == b"creat").map(|_| parent(path)),
        _ => None,
    }
}

/// The directory of a path, as Falco has it.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        None | Some(0) => b"/",
        Some(slash) if slash + 1 == path.len() => path,
        Some(slash) => &path[..slash],
    }
}

/// The last component of a row's file; none where there is no open file.
pub(super) fn filename(i: &[Column], row: usize) -> Option<&[u8]> {
    let (path, kind) = file(i, row)?;
    kind.filter(|kind| *kind == b"file")?;
    Some(last_component(path))
}

/// The last component of a path, as Falco has it.
pub(super) fn last_component(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        None => b"/",
        Some(slash) if slash + 1 == path.len() => path,
        Some(slash) => &path[slash + 1..],
    }
}

/// `ip` or `unix`.
pub(super) fn family(kind: Option<&[u8]>) -> Option<&'static [u8]> {
    match kind? {
        b"ipv4" | b"ipv6" => Some(b"ip"),
        b"unix" => Some(b"unix"),
        _ => None,
    }
}

/// Permission bits by name: `S_IXOTH|S_ISUID`.
pub(super) fn mode(mode: i64) -> String {
    let names = [
        "S_IXOTH", "S_IWOTH", "S_IROTH", "S_IXGRP", "S_IWGRP", "S_IRGRP", "S_IXUSR", "S_IWUSR", "S_IRUSR", "S_ISVTX",
        "S_ISGID", "S_ISUID",
    ];
    let set: Vec<&str> =
        names.into_iter().enumerate().filter(|(bit, _)| mode >> bit & 1 == 1).map(|(_, name)| name).collect();
    if set.is_empty() { "0".to_owned() } else { set.join("|") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_falco_splits_them() {
        for (path, expected) in [("/etc/shadow", "/etc"), ("/x", "/"), ("x", "/"), ("/etc/", "/etc/")] {
            assert_eq!(parent(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode(0o4755), "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID");
        assert_eq!(mode(0), "0");
    }
}
