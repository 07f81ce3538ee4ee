//! Prometheus remote write, versions 1 and 2.
//!
//! Both are read field by field where they lie. Of version 1 the labels of a series are one stretch of bytes, which is
//! what the series is looked up by; of version 2 they are numbers of texts, which are joined first.

mod v1;
mod v2;

pub(crate) use v1::read as read_v1;
pub(crate) use v2::read as read_v2;

/// The message of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// The version that `Content-Type` names; none for one that is not known.
    pub fn from_content_type(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        if !media_type.is_empty() && !media_type.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let proto = parts.find_map(|part| part.strip_prefix("proto=")).map(|name| name.trim_matches('"'));
        match proto {
            None | Some("prometheus.WriteRequest") => Some(Self::V1),
            Some("io.prometheus.write.v2.Request") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        assert_eq!(Version::from_content_type("application/x-protobuf"), Some(Version::V1));
        assert_eq!(Version::from_content_type(""), Some(Version::V1));
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        assert_eq!(Version::from_content_type(v2), Some(Version::V2));
        assert_eq!(
            Version::from_content_type("application/x-protobuf; proto=prometheus.WriteRequest"),
            Some(Version::V1)
        );
        assert_eq!(Version::from_content_type("application/x-protobuf;proto=other"), None);
        assert_eq!(Version::from_content_type("application/json"), None);
    }
}
