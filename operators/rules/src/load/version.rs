//! What rule files may ask of the engine and its plugins.

/// The engine version that we answer for: that of Falco 0.44.
const ENGINE: Version = Version { major: 0, minor: 63, patch: 0 };

/// Plugins whose fields are built in, with the version whose fields they are.
const PLUGINS: &[(&str, Version)] = &[
    ("container", version(0, 7, 1)),
    ("cloudtrail", version(0, 17, 1)),
    ("json", version(0, 7, 4)),
    ("k8saudit", version(0, 18, 0)),
    ("k8saudit-aks", version(0, 6, 0)),
    ("k8saudit-eks", version(0, 12, 0)),
    ("k8saudit-gke", version(0, 9, 0)),
    ("k8saudit-ovh", version(0, 6, 0)),
];

/// A version of three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

const fn version(major: u32, minor: u32, patch: u32) -> Version {
    Version { major, minor, patch }
}

impl Version {
    /// Reads `x.y.z`; what follows a `-` or `+` is ignored.
    fn parse(text: &str) -> Option<Self> {
        let numbers = text.split(['-', '+']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    fn satisfies(self, wanted: Self) -> bool {
        self.major == wanted.major && self >= wanted
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Checks `required_engine_version`: a number N means 0.N.0.
pub(super) fn check_engine(wanted: &str) -> Result<(), String> {
    let parsed = wanted.parse().map(|minor| version(0, minor, 0)).ok().or_else(|| Version::parse(wanted));
    match parsed {
        None => Err(format!("'{wanted}' is no engine version: expected a number or x.y.z")),
        Some(parsed) if ENGINE.satisfies(parsed) => Ok(()),
        Some(parsed) => Err(format!("the rules need engine version {parsed}, this is {ENGINE}")),
    }
}

/// Checks one plugin requirement: any of the alternatives will do.
pub(super) fn check_plugin(alternatives: &[(String, String)]) -> Result<(), String> {
    let mut names = Vec::new();
    for (name, wanted) in alternatives {
        let parsed = Version::parse(wanted).ok_or_else(|| format!("'{wanted}' is no version of plugin '{name}'"))?;
        let ours = PLUGINS.iter().find(|(plugin, _)| plugin == name);
        if ours.is_some_and(|(_, ours)| ours.satisfies(parsed)) {
            return Ok(());
        }
        names.push(format!("{name} {wanted}"));
    }
    Err(format!("the rules need a plugin whose fields are not built in: {}", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_versions() {
        for wanted in ["0.57.0", "15", "10", "0.63.0", "0.63.0-rc1"] {
            assert_eq!(check_engine(wanted), Ok(()), "{wanted}");
        }
        for wanted in ["0.64.0", "64", "1.0.0", "x", "", "1.2", "0.1.2.3"] {
            assert!(check_engine(wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn plugin_versions() {
        let all =
            |list: &[(&str, &str)]| -> Vec<_> { list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect() };
        assert_eq!(check_plugin(&all(&[("json", "0.7.0")])), Ok(()));
        assert_eq!(check_plugin(&all(&[("okta", "0.1.0"), ("cloudtrail", "0.10.0")])), Ok(()));
        assert!(check_plugin(&all(&[("okta", "0.1.0")])).unwrap_err().contains("okta 0.1.0"));
        assert!(check_plugin(&all(&[("json", "0.9.0")])).is_err());
        assert!(check_plugin(&all(&[("json", "seven")])).is_err());
    }
}
