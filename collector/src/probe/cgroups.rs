//! Numbers of cgroups: what the programs know them by.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The mounted hierarchy that names processes: the v1 one with the pids controller, else the v2 one; None where it is not
/// mounted, or only a part of it.
pub(super) fn hierarchy() -> Option<PathBuf> {
    find_hierarchy(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// Lines are `id parent device root mount-point options ... - type source super-options`.
fn find_hierarchy(mountinfo: &str) -> Option<PathBuf> {
    let mounted = |wanted: &str, option: Option<&str>| {
        mountinfo.lines().find_map(|line| {
            let (mount, fs) = line.split_once(" - ")?;
            let (mut mount, mut fs) = (mount.split(' ').skip(3), fs.split(' '));
            let (root, point) = (mount.next()?, mount.next()?);
            let (fs_type, options) = (fs.next()?, fs.nth(1)?);
            let has_option = option.is_none_or(|option| options.split(',').any(|found| found == option));
            (root == "/" && fs_type == wanted && has_option).then(|| PathBuf::from(point))
        })
    };
    mounted("cgroup", Some("pids")).or_else(|| mounted("cgroup2", None))
}

/// Calls `on_id` with the number of a cgroup and of those below, parents first; false if there is none of that path.
pub(super) fn walk(hierarchy: &Path, path: &str, on_id: &mut dyn FnMut(u64)) -> bool {
    let mut open = vec![hierarchy.join(path.trim_start_matches('/'))];
    let mut is_there = false;
    while let Some(folder) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&folder) else { continue };
        is_there = true;
        on_id(meta.ino());
        // After it is known: what is made in it from now on is told by the kernel.
        let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        open.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_names_processes_is_found() {
        let v2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let v1 = "31 20 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let part = "32 20 0:28 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find_hierarchy(&[v2, v1].concat()), Some("/sys/fs/cgroup/pids".into()));
        assert_eq!(find_hierarchy(v2), Some("/sys/fs/cgroup".into()));
        assert_eq!(find_hierarchy(&[part, "broken\n"].concat()), None);
    }

    #[test]
    fn a_cgroup_comes_with_those_below() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        fs::write(root.path().join("a/cgroup.procs"), "").unwrap();
        let ino = |path: &str| fs::metadata(root.path().join(path)).unwrap().ino();
        let mut found = Vec::new();
        assert!(walk(root.path(), "/a", &mut |id| found.push(id)));
        assert_eq!(found, [ino("a"), ino("a/b"), ino("a/b/c")]);
        assert!(!walk(root.path(), "/nothing", &mut |_| panic!("nothing is there")));
    }
}
