//! Names of user ids, from the host's user database.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The names in an `/etc/passwd`, reread when the file changes. Directory services are not asked: a lookup may block.
#[derive(Debug)]
pub struct Users {
    file: PathBuf,
    modified: Option<SystemTime>,
    names: HashMap<u32, Arc<str>>,
}

impl Users {
    /// The users of `file`, which need not exist.
    pub fn open(file: impl Into<PathBuf>) -> Self {
        let mut users = Self { file: file.into(), modified: None, names: HashMap::new() };
        users.refresh();
        users
    }

    /// The name of `uid`.
    pub fn name(&self, uid: u32) -> Option<&Arc<str>> {
        self.names.get(&uid)
    }

    /// Rereads the file if its modification time is another than before; true if it was reread. Costs one stat.
    pub fn refresh(&mut self) -> bool {
        let modified = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        if modified == self.modified {
            return false;
        }
        self.modified = modified;
        let text = std::fs::read(&self.file).unwrap_or_default();
        self.names = parse(&String::from_utf8_lossy(&text));
        true
    }
}

/// Names by uid; of several names for one uid the first counts, as getpwuid answers.
fn parse(passwd: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) else { continue };
        if !name.is_empty() && !name.starts_with('#') {
            names.entry(uid).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn first_name_of_a_uid_counts() {
        let names =
            parse("root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:\n#x:x:7:7::/:\nbroken\nbad:x:y:1\nal:x:1000:1::/:");
        assert_eq!(names.get(&0).map(AsRef::as_ref), Some("root"));
        assert_eq!(names.get(&1000).map(AsRef::as_ref), Some("al"));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_changed_file_is_reread() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        let mut users = Users::open(&file);
        assert_eq!(users.name(0), None);
        std::fs::write(&file, "root:x:0:0::/:\n").unwrap();
        assert!(users.refresh());
        assert!(!users.refresh());
        assert_eq!(users.name(0).map(AsRef::as_ref), Some("root"));
        std::fs::write(&file, "admin:x:0:0::/:\n").unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert!(users.refresh());
        assert_eq!(users.name(0).map(AsRef::as_ref), Some("admin"));
    }
}
