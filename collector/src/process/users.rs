//! Names of user and group ids, from the host's databases.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// An entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: Arc<str>,
    /// Home directory.
    pub home: Arc<str>,
    /// Shell.
    pub shell: Arc<str>,
}

/// What `/etc/passwd` and `/etc/group` say, reread when a file changes. Directory services are not asked: a lookup may
/// block.
#[derive(Debug)]
pub struct Users {
    passwd: Source,
    group: Source,
    users: HashMap<u32, User>,
    groups: HashMap<u32, Arc<str>>,
}

#[derive(Debug)]
struct Source {
    file: PathBuf,
    modified: Option<SystemTime>,
}

impl Users {
    /// The users of a `passwd` file and the groups of the `group` file beside it; neither need exist.
    pub fn open(passwd: impl Into<PathBuf>) -> Self {
        let passwd = passwd.into();
        let group = passwd.with_file_name("group");
        let source = |file| Source { file, modified: None };
        let (passwd, group) = (source(passwd), source(group));
        let mut users = Self { passwd, group, users: HashMap::new(), groups: HashMap::new() };
        users.refresh();
        users
    }

    /// The user with that id.
    pub fn user(&self, uid: u32) -> Option<&User> {
        self.users.get(&uid)
    }

    /// The name of a user.
    pub fn name(&self, uid: u32) -> Option<&Arc<str>> {
        self.users.get(&uid).map(|user| &user.name)
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&Arc<str>> {
        self.groups.get(&gid)
    }

    /// Rereads what has another modification time than before; true if anything was reread. Costs two stats.
    pub fn refresh(&mut self) -> bool {
        let passwd = self.passwd.read();
        let group = self.group.read();
        if let Some(text) = &passwd {
            self.users = users(text);
        }
        if let Some(text) = &group {
            self.groups = groups(text);
        }
        passwd.is_some() || group.is_some()
    }
}

impl Source {
    /// The text, if it may have changed.
    fn read(&mut self) -> Option<String> {
        let modified = std::fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        if modified == self.modified {
            return None;
        }
        self.modified = modified;
        let text = std::fs::read(&self.file).unwrap_or_default();
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Users by id; of several names for one id the first counts, as getpwuid answers.
fn users(passwd: &str) -> HashMap<u32, User> {
    let mut users = HashMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) else { continue };
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        let (home, shell) = (fields.nth(2).unwrap_or_default(), fields.next().unwrap_or_default());
        users.entry(uid).or_insert_with(|| User { name: name.into(), home: home.into(), shell: shell.into() });
    }
    users
}

/// Groups by id.
fn groups(group: &str) -> HashMap<u32, Arc<str>> {
    let mut groups = HashMap::new();
    for line in group.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(gid)) = (fields.next(), fields.nth(1).and_then(|gid| gid.parse().ok())) else { continue };
        if !name.is_empty() && !name.starts_with('#') {
            groups.entry(gid).or_insert_with(|| name.into());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn first_name_of_a_uid_counts() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:\n#x:x:7:7::/:\nbroken\nbad:x:y:1\nal:x:1000:1";
        let users = users(passwd);
        let root = User { name: "root".into(), home: "/root".into(), shell: "/bin/bash".into() };
        assert_eq!(users.get(&0), Some(&root));
        assert_eq!(users.get(&1000).map(|user| (&*user.name, &*user.home)), Some(("al", "")));
        assert_eq!(users.len(), 2);
        let groups = groups("root:x:0:\nwheel:x:0:al\nbad:x:y\nadm:x:4:syslog");
        assert_eq!((groups.get(&0).map(AsRef::as_ref), groups.get(&4).map(AsRef::as_ref)), (Some("root"), Some("adm")));
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
        std::fs::write(dir.path().join("group"), "adm:x:4:\n").unwrap();
        assert!(users.refresh());
        assert_eq!(users.group(4).map(AsRef::as_ref), Some("adm"));
        std::fs::write(&file, "admin:x:0:0::/:\n").unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        assert!(users.refresh());
        assert_eq!(users.name(0).map(AsRef::as_ref), Some("admin"));
    }
}
