//! The Docker API's answer about a container, as Docker and Podman give it.

use super::ContainerInfo;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What `GET /containers/ID/json` answers, as far as it is used. Everything may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspect {
    id: Option<String>,
    name: Option<String>,
    /// Id of the image.
    image: Option<String>,
    created: Option<String>,
    image_digest: Option<String>,
    state: Option<State>,
    config: Option<Config>,
    host_config: Option<HostConfig>,
    mounts: Option<Vec<Mount>>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    started_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    image: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    privileged: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    source: Option<String>,
    destination: Option<String>,
    mode: Option<String>,
    #[serde(rename = "RW")]
    rw: Option<bool>,
    propagation: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
    networks: Option<BTreeMap<String, Option<Network>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
}

/// What `GET /images/ID/json` answers, as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
}

/// Reads an answer about a container.
///
/// # Errors
/// The bytes are not such an answer.
pub fn container(answer: &[u8]) -> Result<ContainerInfo, serde_json::Error> {
    let inspect: Inspect = serde_json::from_slice(answer)?;
    let config = inspect.config.unwrap_or_default();
    let state = inspect.state.unwrap_or_default();
    let mut info = ContainerInfo {
        full_id: filled(inspect.id),
        name: filled(inspect.name).map(|name| name.trim_start_matches('/').to_owned()),
        image_id: filled(inspect.image).map(|id| id.strip_prefix("sha256:").unwrap_or(&id).to_owned()),
        image_digest: filled(inspect.image_digest),
        is_privileged: inspect.host_config.and_then(|host| host.privileged),
        mounts: inspect.mounts.map(|mounts| mounts.iter().map(Mount::text).collect::<Vec<_>>().join(",")),
        start_ns: [state.started_at, inspect.created].into_iter().flatten().find_map(|time| nanos(&time)),
        ip: inspect.network_settings.and_then(NetworkSettings::address),
        ..ContainerInfo::default()
    };
    if let Some(image) = filled(config.image) {
        info.set_image(&image);
    }
    let labels = config.labels.unwrap_or_default().into_iter();
    info.labels = labels.map(|(key, value)| (key, value.unwrap_or_default())).collect();
    Ok(info.bounded())
}

/// Adds what an answer about the image tells: tag and digest where the container was started by the image's id, and the
/// digest in the registry.
///
/// # Errors
/// The bytes are not such an answer.
pub fn add_image(info: &mut ContainerInfo, answer: &[u8]) -> Result<(), serde_json::Error> {
    let image: Image = serde_json::from_slice(answer)?;
    if let Some(name) = image.repo_tags.as_ref().and_then(|tags| tags.first()) {
        info.set_image(name);
    }
    let digests = image.repo_digests.unwrap_or_default();
    let of_repository = |digest: &&String| match &info.image_repository {
        Some(repository) => digest.split('@').next() == Some(repository),
        None => true,
    };
    let digest = digests.iter().find(of_repository).or(digests.first());
    if let Some((_, digest)) = digest.and_then(|digest| digest.split_once('@')) {
        info.image_digest = Some(digest.to_owned());
    }
    *info = std::mem::take(info).bounded();
    Ok(())
}

impl Mount {
    fn text(&self) -> String {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (source, destination, mode) = (text(&self.source), text(&self.destination), text(&self.mode));
        format!("{source}:{destination}:{mode}:{}:{}", self.rw.unwrap_or(true), text(&self.propagation))
    }
}

impl NetworkSettings {
    fn address(self) -> Option<String> {
        let of_networks = self.networks.unwrap_or_default().into_values().flatten();
        filled(self.ip_address).or_else(|| of_networks.into_iter().find_map(|network| filled(network.ip_address)))
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Nanoseconds since 1970; None for a time that is none, or the year 1 that Docker says for never.
pub(super) fn nanos(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &str = r#"{"Id":"a1a1","Name":"/trigger_a","Created":"2026-01-01T00:00:00.5Z","Image":"sha256:cc",
        "State":{"StartedAt":"2026-01-01T00:00:01Z"},"HostConfig":{"Privileged":true},
        "Config":{"Image":"registry.example/trigger:1.0","Labels":{"team":"red","io.kubernetes.pod.name":"p",
        "io.kubernetes.pod.namespace":"n"}},
        "Mounts":[{"Source":"/var","Destination":"/host","Mode":"z","RW":false,"Propagation":"rprivate"},{}],
        "NetworkSettings":{"IPAddress":"","Networks":{"x":{"IPAddress":"172.17.0.2"},"y":null}}}"#;

    #[test]
    fn an_answer_has_everything() {
        let mut info = container(ANSWER.as_bytes()).unwrap();
        assert_eq!((info.name.as_deref(), info.image_id.as_deref()), (Some("trigger_a"), Some("cc")));
        assert_eq!(info.image_repository.as_deref(), Some("registry.example/trigger"));
        assert_eq!((info.is_privileged, info.ip.as_deref()), (Some(true), Some("172.17.0.2")));
        assert_eq!(info.mounts.as_deref(), Some("/var:/host:z:false:rprivate,:::true:"));
        assert_eq!(info.start_ns, Some(1_767_225_601_000_000_000));
        assert_eq!((info.pod(), info.namespace(), info.pod_uid()), (Some("p"), Some("n"), None));
        let image = br#"{"RepoTags":["other:2"],"RepoDigests":["x@sha256:11","registry.example/trigger@sha256:22"]}"#;
        add_image(&mut info, image).unwrap();
        assert_eq!((info.image_digest.as_deref(), info.image_tag.as_deref()), (Some("sha256:22"), Some("1.0")));
    }

    #[test]
    fn what_is_missing_is_not_known() {
        assert_eq!(container(b"{}").unwrap(), ContainerInfo::default());
        let nulls = br#"{"Id":null,"Config":null,"Mounts":null,"State":{"StartedAt":"0001-01-01T00:00:00Z"}}"#;
        assert_eq!(container(nulls).unwrap(), ContainerInfo::default());
        assert!(container(b"7").is_err() && container(b"").is_err() && container(br#"{"Id":1}"#).is_err());
    }

    proptest! {
        // SAFE-1: no answer panics.
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..600, byte in any::<u8>()) {
            let _ = container(&bytes);
            let mut changed = ANSWER.as_bytes().to_vec();
            if let Some(slot) = changed.get_mut(at) {
                *slot = byte;
            }
            if let Ok(mut info) = container(&changed) {
                let _ = add_image(&mut info, &changed);
            }
        }
    }
}
