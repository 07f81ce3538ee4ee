//! The container runtime interface, as far as it is used: two calls, with the fields that are read. Field numbers are
//! those of `runtime.v1` in cri-api.

use super::ContainerInfo;
use serde::Deserialize;
use std::collections::HashMap;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerStatus {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<Metadata>,
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(int64, tag = "5")]
    started_at: i64,
    #[prost(message, optional, tag = "8")]
    image: Option<ImageSpec>,
    #[prost(string, tag = "9")]
    image_ref: String,
    #[prost(map = "string, string", tag = "12")]
    labels: HashMap<String, String>,
    #[prost(message, repeated, tag = "14")]
    mounts: Vec<Mount>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
    #[prost(bool, tag = "3")]
    readonly: bool,
    #[prost(int32, tag = "5")]
    propagation: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodSandboxStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    network: Option<PodNetwork>,
    #[prost(map = "string, string", tag = "7")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}

/// What runtimes say under `info` of a verbose answer, as JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "sandboxID")]
    sandbox_id: String,
    /// CRI-O.
    privileged: Option<bool>,
    config: ConfigDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigDetails {
    image: ImageDetails,
    linux: LinuxDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ImageDetails {
    user_specified_image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LinuxDetails {
    security_context: SecurityDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityDetails {
    privileged: Option<bool>,
}

/// Asks for a container and its pod. None if the runtime does not know it.
///
/// # Errors
/// The runtime does not answer.
pub async fn container(channel: &Channel, id: &str) -> Result<Option<ContainerInfo>, Status> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let answer: Result<ContainerStatusResponse, Status> = call(channel, "ContainerStatus", request).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        Err(status) => return Err(status),
    };
    let (mut info, sandbox) = read(answer);
    if let Some(pod_sandbox_id) = sandbox {
        let request = PodSandboxStatusRequest { pod_sandbox_id };
        // A pod that is on its way out leaves the container without its labels; that is no reason to say nothing.
        let pod: Result<PodSandboxStatusResponse, Status> = call(channel, "PodSandboxStatus", request).await;
        if let Some(pod) = pod.ok().and_then(|pod| pod.status) {
            info.pod_labels = pod.labels.into_iter().collect();
            info.ip = pod.network.map(|network| network.ip).filter(|ip| !ip.is_empty());
        }
    }
    Ok(Some(info.bounded()))
}

async fn call<Q, A>(channel: &Channel, method: &str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"));
    let path = path.map_err(|error| Status::internal(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

/// What the bytes of a container's status say; the answer is not from us.
///
/// # Errors
/// They are no such message.
pub fn parse(bytes: &[u8]) -> Result<ContainerInfo, prost::DecodeError> {
    let answer: ContainerStatusResponse = prost::Message::decode(bytes)?;
    Ok(read(answer).0.bounded())
}

/// What an answer says, and the id of the pod.
fn read(answer: ContainerStatusResponse) -> (ContainerInfo, Option<String>) {
    let status = answer.status.unwrap_or_default();
    let details: Details = answer.info.get("info").and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    let started = if status.started_at > 0 { status.started_at } else { status.created_at };
    let mut info = ContainerInfo {
        full_id: filled(status.id),
        name: status.metadata.and_then(|metadata| filled(metadata.name)),
        is_privileged: details.config.linux.security_context.privileged.or(details.privileged),
        mounts: Some(status.mounts.iter().map(Mount::text).collect::<Vec<_>>().join(",")),
        start_ns: (started > 0).then_some(started),
        labels: status.labels.into_iter().collect(),
        ..ContainerInfo::default()
    };
    // What the user wrote, then what the runtime resolved it to: the first that is a name counts.
    let images = [details.config.image.user_specified_image, status.image.unwrap_or_default().image];
    images.iter().filter(|image| !image.is_empty()).for_each(|image| info.set_image(image));
    // `repository@sha256:...` is the digest in the registry, a bare `sha256:...` the id.
    match status.image_ref.split_once('@') {
        Some((_, digest)) => info.image_digest = Some(digest.to_owned()),
        None => info.image_id = status.image_ref.strip_prefix("sha256:").map(str::to_owned),
    }
    (info, filled(details.sandbox_id))
}

impl Mount {
    fn text(&self) -> String {
        let propagation = match self.propagation {
            1 => "rslave",
            2 => "rshared",
            _ => "rprivate",
        };
        format!("{}:{}::{}:{propagation}", self.host_path, self.container_path, !self.readonly)
    }
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn answer() -> ContainerStatusResponse {
        let info = r#"{"sandboxID":"pod1","config":{"image":{"image":"sha256:aa"},"linux":{"security_context":{"privileged":true}}}}"#;
        ContainerStatusResponse {
            status: Some(ContainerStatus {
                id: "c1".into(),
                metadata: Some(Metadata { name: "web".into() }),
                created_at: 5,
                started_at: 7,
                image: Some(ImageSpec { image: "docker.io/library/nginx:1.27".into() }),
                image_ref: "docker.io/library/nginx@sha256:22".into(),
                labels: HashMap::from([("io.kubernetes.pod.name".into(), "p".into())]),
                mounts: vec![Mount {
                    container_path: "/in".into(),
                    host_path: "/out".into(),
                    readonly: true,
                    propagation: 2,
                }],
            }),
            info: HashMap::from([("info".into(), info.into())]),
        }
    }

    #[test]
    fn an_answer_has_everything() {
        let (info, pod) = read(answer());
        assert_eq!(pod.as_deref(), Some("pod1"));
        assert_eq!((info.name.as_deref(), info.pod(), info.is_privileged), (Some("web"), Some("p"), Some(true)));
        assert_eq!(info.image_repository.as_deref(), Some("docker.io/library/nginx"));
        assert_eq!((info.image_tag.as_deref(), info.image_digest.as_deref()), (Some("1.27"), Some("sha256:22")));
        assert_eq!((info.mounts.as_deref(), info.start_ns), (Some("/out:/in::false:rshared"), Some(7)));
        assert_eq!(read(ContainerStatusResponse::default()).1, None);
    }

    proptest! {
        // SAFE-1: no answer panics.
        #[test]
        fn any_bytes_are_survived(at in 0usize..400, byte in any::<u8>()) {
            let mut bytes = answer().encode_to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            if let Ok(answer) = ContainerStatusResponse::decode(&*bytes) {
                let _ = read(answer);
            }
        }
    }
}
