//! Mounts of a container: `source:dest:mode:rdwr:propagation` joined by commas.

use super::FieldArg;
use super::derive::Derived;
use crate::compile::Glob;

/// The mount that the argument names, or a part of it. The argument is a number, or a shell pattern of the source; for
/// the source itself, of the destination.
pub(super) fn find<'a>(part: Derived, mounts: &'a [u8], arg: &FieldArg) -> Option<&'a [u8]> {
    let FieldArg::Key(arg) = arg else { return None };
    let mut all = mounts.split(|b| *b == b',').filter(|mount| !mount.is_empty());
    let named = if part == Derived::MountSource { 1 } else { 0 };
    let mount = match arg.parse::<usize>() {
        Ok(index) => all.nth(index)?,
        Err(_) => {
            let pattern = Glob::new(arg.as_bytes(), false);
            all.find(|mount| mount.split(|b| *b == b':').nth(named).is_some_and(|name| pattern.matches(name)))?
        }
    };
    let index = match part {
        Derived::MountSource => 0,
        Derived::MountDest => 1,
        Derived::MountMode => 2,
        Derived::MountReadWrite => 3,
        Derived::MountPropagation => 4,
        _ => return Some(mount),
    };
    mount.split(|b| *b == b':').nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_by_number_and_pattern() {
        let mounts = b"/proc:/host/proc::false:rprivate,/var/run:/run:z:true:rslave";
        let find = |part, arg: &str| {
            find(part, mounts, &FieldArg::Key(arg.to_owned())).map(|found| String::from_utf8_lossy(found).into_owned())
        };
        assert_eq!(find(Derived::MountDest, "/proc*").as_deref(), Some("/host/proc"));
        assert_eq!(find(Derived::MountDest, "/none"), None);
        assert_eq!(find(Derived::MountSource, "/run").as_deref(), Some("/var/run"));
        assert_eq!(find(Derived::MountMode, "1").as_deref(), Some("z"));
        assert_eq!(find(Derived::MountReadWrite, "/var/*").as_deref(), Some("true"));
        assert_eq!(find(Derived::Mount, "0").as_deref(), Some("/proc:/host/proc::false:rprivate"));
        assert_eq!(find(Derived::Mount, "2"), None);
    }
}
