//! What is known of one container.

use std::collections::BTreeMap;

/// Longest text that is taken over from a runtime, and most labels.
const TEXT_BYTES_MAX: usize = 16 * 1024;
const LABELS_MAX: usize = 256;

/// A container as its runtime tells it. None is what it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// All digits of the id.
    pub full_id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// docker, podman, containerd, cri-o.
    pub runtime: Option<String>,
    /// Image as the runtime was told.
    pub image: Option<String>,
    /// Id of the image, without `sha256:`.
    pub image_id: Option<String>,
    /// Image without tag and digest.
    pub image_repository: Option<String>,
    /// Tag of the image.
    pub image_tag: Option<String>,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// It has every right of the host.
    pub is_privileged: Option<bool>,
    /// `source:dest:mode:rdwr:propagation` of each mount, joined by commas.
    pub mounts: Option<String>,
    /// Start in nanoseconds since 1970.
    pub start_ns: Option<i64>,
    /// IP address.
    pub ip: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Labels of its pod.
    pub pod_labels: BTreeMap<String, String>,
}

impl ContainerInfo {
    /// Kubernetes namespace, by the labels that kubelets set.
    pub fn namespace(&self) -> Option<&str> {
        self.label("io.kubernetes.pod.namespace")
    }

    /// Name of the pod.
    pub fn pod(&self) -> Option<&str> {
        self.label("io.kubernetes.pod.name")
    }

    /// Uid of the pod.
    pub fn pod_uid(&self) -> Option<&str> {
        self.label("io.kubernetes.pod.uid")
    }

    /// Bytes that each of its rows repeats.
    pub fn label_bytes(&self) -> usize {
        let labels = self.labels.iter().chain(&self.pod_labels);
        labels.map(|(key, value)| key.len() + value.len() + 8).sum()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Takes the parts of an image's name over, where they are not known yet.
    pub(super) fn set_image(&mut self, image: &str) {
        let reference = ImageReference::parse(image);
        self.image.get_or_insert_with(|| image.to_owned());
        if reference.is_id() {
            return;
        }
        self.image_repository.get_or_insert_with(|| reference.repository.to_owned());
        self.image_tag = self.image_tag.take().or_else(|| reference.tag.map(str::to_owned));
        self.image_digest = self.image_digest.take().or_else(|| reference.digest.map(str::to_owned));
    }

    /// Cuts what is too long to be carried in every row.
    pub(super) fn bounded(mut self) -> Self {
        let texts = [
            &mut self.full_id,
            &mut self.name,
            &mut self.runtime,
            &mut self.image,
            &mut self.image_id,
            &mut self.image_repository,
            &mut self.image_tag,
            &mut self.image_digest,
            &mut self.mounts,
            &mut self.ip,
        ];
        texts.into_iter().flatten().for_each(cut);
        for labels in [&mut self.labels, &mut self.pod_labels] {
            while labels.len() > LABELS_MAX {
                labels.pop_last();
            }
            labels.values_mut().for_each(cut);
        }
        self
    }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
}

/// A name of an image: `repository[:tag][@digest]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageReference<'a> {
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> ImageReference<'a> {
    fn parse(image: &'a str) -> Self {
        let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
        // A colon before the last slash belongs to the port of a registry.
        let start = name.rfind('/').map_or(0, |slash| slash + 1);
        let colon = name.get(start..).and_then(|last| last.find(':')).map(|at| start + at);
        let (repository, tag) = match colon.and_then(|at| name.split_at_checked(at)) {
            Some((repository, tag)) => (repository, tag.strip_prefix(':')),
            None => (name, None),
        };
        Self { repository, tag, digest }
    }

    /// `sha256:...` or bare digits are an id, not a name.
    fn is_id(&self) -> bool {
        let is_hex = |text: &str| text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.repository.is_empty()
            || (self.repository == "sha256" && self.tag.is_some_and(is_hex))
            || (self.tag.is_none() && is_hex(self.repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_parts() {
        let parse = |image| {
            let r = ImageReference::parse(image);
            (r.repository, r.tag, r.digest, r.is_id())
        };
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(parse("nginx"), ("nginx", None, None, false));
        assert_eq!(parse("nginx:1.27"), ("nginx", Some("1.27"), None, false));
        assert_eq!(parse("host:5000/a/b"), ("host:5000/a/b", None, None, false));
        assert_eq!(parse("host:5000/a/b:t@sha256:ff"), ("host:5000/a/b", Some("t"), Some("sha256:ff"), false));
        let with_algorithm = format!("sha256:{id}");
        assert!([id, &with_algorithm, ""].into_iter().all(|image| ImageReference::parse(image).is_id()));
        let mut info = ContainerInfo::default();
        info.set_image("registry.example/trigger:1.0");
        assert_eq!(
            (info.image_repository.as_deref(), info.image_tag.as_deref()),
            (Some("registry.example/trigger"), Some("1.0"))
        );
    }

    // SAFE-1: what a runtime says is as long as it likes.
    #[test]
    fn long_texts_are_cut() {
        let mut info = ContainerInfo { name: Some("\u{e9}".repeat(TEXT_BYTES_MAX)), ..ContainerInfo::default() };
        info.labels = (0..2 * LABELS_MAX).map(|n| (n.to_string(), "x".repeat(2 * TEXT_BYTES_MAX))).collect();
        let info = info.bounded();
        assert!(info.name.unwrap().len() <= TEXT_BYTES_MAX);
        assert!(info.labels.len() == LABELS_MAX && info.labels.values().all(|value| value.len() <= TEXT_BYTES_MAX));
    }
}
