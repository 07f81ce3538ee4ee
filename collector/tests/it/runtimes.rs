//! Docker and containerd for real, with an image made on the spot. Each takes seconds to start, so they run only where
//! `BODKIN_SLOW_TESTS` is set (`./check --agent`).

use crate::containers::{rootfs, rows};
use crate::server::TestServer;
use crate::wait_for;
use bodkin_collector::agent::{Agent, AgentConfig, Output};
use bodkin_collector::client::{Server, TlsFiles};
use bodkin_collector::containers::ContainersSection;
use bodkin_schema::SystemClock;
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tonic::transport::{Channel, Endpoint, Uri};

const IMAGE: &str = "localhost/bodkin-test:1.0";

const COLUMNS: [&str; 8] = [
    "container_id",
    "container_full_id",
    "container_name",
    "container_type",
    "container_image_repository",
    "container_labels",
    "k8s_pod",
    "k8s_ns",
];

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It takes its containers along if it is asked politely.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn are_wanted(programs: &[&str]) -> bool {
    if std::env::var_os("BODKIN_SLOW_TESTS").is_none() {
        return false;
    }
    let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let missing: Vec<&&str> = programs.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty() || std::env::var_os("BODKIN_REQUIRE_CONTAINERS").is_none(), "{missing:?} are missing");
    missing.is_empty()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// containerd with everything of its own; its socket.
fn containerd(folder: &Path) -> (Daemon, PathBuf) {
    let socket = folder.join("containerd.sock");
    let (root, state, config) = (folder.join("cd-root"), folder.join("cd-state"), folder.join("containerd.toml"));
    let lines = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\n[grpc]\naddress = {socket:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {IMAGE:?}\nrestrict_oom_score_adj = true\n\
         disable_apparmor = true\ndisable_tcp_service = true\nstream_server_port = \"0\"\n"
    );
    std::fs::write(&config, lines).unwrap();
    let log = std::fs::File::create(folder.join("containerd.log")).unwrap();
    let child = Command::new("containerd").arg("--config").arg(&config).stdout(Stdio::null()).stderr(log).spawn();
    let daemon = Daemon(child.unwrap());
    wait_for("containerd", || {
        let version = Command::new("ctr").args(["-a", text(&socket), "version"]).output().unwrap();
        version.status.success()
    });
    (daemon, socket)
}

fn start_agent(folder: &Path, server: &TestServer, containers: ContainersSection) -> Agent {
    let flight = Server::new(&server.url(), &TlsFiles::default()).unwrap();
    let config = AgentConfig { containers, ..AgentConfig::new(Output::Server(flight), folder.join("data")) };
    let agent = Agent::start(config, Arc::new(SystemClock::default())).unwrap();
    assert!(agent.status().ebpf, "{:?}", agent.status().unseen);
    agent
}

/// The row of the program that was started in the container with those arguments.
fn row(server: &TestServer, marker: &str) -> BTreeMap<String, String> {
    let mut found = Vec::new();
    wait_for("the program in the container", || {
        found = rows(server, marker, &COLUMNS);
        found.retain(|row| row["container_id"] != "host" && row["container_name"] != "-");
        !found.is_empty()
    });
    found.swap_remove(0)
}

#[test]
fn runtimes_docker_says_what_its_containers_are() {
    if !are_wanted(&["dockerd", "docker", "containerd", "runc", "busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let (_containerd, containerd_socket) = containerd(folder);
    let socket = folder.join("docker.sock");
    let url = format!("unix://{}", socket.display());
    let log = std::fs::File::create(folder.join("dockerd.log")).unwrap();
    let mut dockerd = Command::new("dockerd");
    dockerd.args(["-H", &url, "--containerd", text(&containerd_socket), "--bridge=none", "--iptables=false"]);
    dockerd.args(["--data-root", text(&folder.join("docker")), "--exec-root", text(&folder.join("docker-exec"))]);
    dockerd.args(["--pidfile", text(&folder.join("docker.pid"))]).stdout(Stdio::null()).stderr(log);
    let _dockerd = Daemon(dockerd.spawn().unwrap());
    wait_for("dockerd", || Command::new("docker").args(["-H", &url, "version"]).output().unwrap().status.success());
    let server = TestServer::on_a_free_port();
    let containers = ContainersSection { docker_socket: Some(socket), cri_socket: None };
    let agent = start_agent(folder, &server, containers);
    let marker = format!("bodkin-docker-{}", std::process::id());
    run("docker", &["-H", &url, "import", text(&rootfs(folder)), IMAGE]);
    let arguments = ["-H", &url, "run", "--name", &marker, "--network", "none", "-l", "team=red", IMAGE];
    run("docker", &[&arguments[..], &["/bin/sh", "-c", "/bin/cat /proc/self/stat; /bin/sleep 0", &marker]].concat());
    let full_id = run("docker", &["-H", &url, "inspect", "--format", "{{.Id}}", &marker]).trim().to_owned();
    let row = row(&server, &marker);
    let expected = [
        ("container_id", &full_id[..12]),
        ("container_full_id", &full_id),
        ("container_name", &marker),
        ("container_type", "docker"),
        ("container_image_repository", "localhost/bodkin-test"),
        ("container_labels", "{team: red}"),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "{column} in {row:?}");
    }
    run("docker", &["-H", &url, "rm", "-f", &marker]);
    agent.stop().unwrap();
}

#[test]
fn runtimes_containerd_says_what_its_pods_are() {
    if !are_wanted(&["containerd", "ctr", "runc", "busybox"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let (_containerd, socket) = containerd(folder);
    run("ctr", &["-a", text(&socket), "-n", "k8s.io", "images", "import", text(&archive(folder))]);
    let server = TestServer::on_a_free_port();
    let containers = ContainersSection { docker_socket: None, cri_socket: Some(socket.clone()) };
    let agent = start_agent(folder, &server, containers);
    let marker = format!("bodkin-cri-{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let full_id = runtime.block_on(cri::pod(&socket, &marker));
    let row = row(&server, &marker);
    let expected = [
        ("container_id", &full_id[..12]),
        ("container_full_id", &*full_id),
        ("container_name", "web"),
        ("container_type", "containerd"),
        ("container_image_repository", "localhost/bodkin-test"),
        ("k8s_pod", &marker),
        ("k8s_ns", "shop"),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "{column} in {row:?}");
    }
    runtime.block_on(cri::stop(&socket));
    agent.stop().unwrap();
}

/// An image as `docker save` writes it.
fn archive(folder: &Path) -> PathBuf {
    let layer = rootfs(folder);
    let digest = run("sha256sum", &[text(&layer)]);
    let digest = digest.split_whitespace().next().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Cmd": ["/bin/sleep", "1000"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    write("config.json", config.to_string());
    let layer = layer.file_name().unwrap().to_str().unwrap().to_owned();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": [layer] }]);
    write("manifest.json", manifest.to_string());
    let archive = folder.join("archive.tar");
    run("tar", &["-C", text(folder), "-cf", text(&archive), "manifest.json", "config.json", &layer]);
    archive
}

/// What of the container runtime interface makes a pod; field numbers are those of its definition.
mod cri {
    use super::*;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct PodMetadata {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        uid: String,
        #[prost(string, tag = "3")]
        namespace: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Namespaces {
        #[prost(int32, tag = "1")]
        network: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PodSecurity {
        #[prost(message, optional, tag = "1")]
        namespaces: Option<Namespaces>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PodLinux {
        #[prost(message, optional, tag = "2")]
        security: Option<PodSecurity>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PodConfig {
        #[prost(message, optional, tag = "1")]
        metadata: Option<PodMetadata>,
        #[prost(string, tag = "3")]
        log_directory: String,
        #[prost(map = "string, string", tag = "6")]
        labels: HashMap<String, String>,
        #[prost(message, optional, tag = "8")]
        linux: Option<PodLinux>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct RunPod {
        #[prost(message, optional, tag = "1")]
        config: Option<PodConfig>,
    }

    /// An answer, or a question, that is one id.
    #[derive(Clone, PartialEq, Message)]
    struct Id {
        #[prost(string, tag = "1")]
        id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ContainerMetadata {
        #[prost(string, tag = "1")]
        name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Image {
        #[prost(string, tag = "1")]
        image: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ContainerConfig {
        #[prost(message, optional, tag = "1")]
        metadata: Option<ContainerMetadata>,
        #[prost(message, optional, tag = "2")]
        image: Option<Image>,
        #[prost(string, repeated, tag = "3")]
        command: Vec<String>,
        #[prost(map = "string, string", tag = "9")]
        labels: HashMap<String, String>,
        #[prost(string, tag = "11")]
        log_path: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct CreateContainer {
        #[prost(string, tag = "1")]
        pod: String,
        #[prost(message, optional, tag = "2")]
        config: Option<ContainerConfig>,
        #[prost(message, optional, tag = "3")]
        pod_config: Option<PodConfig>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Empty {}

    #[derive(Clone, PartialEq, Message)]
    struct Pod {
        #[prost(string, tag = "1")]
        id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Pods {
        #[prost(message, repeated, tag = "1")]
        pods: Vec<Pod>,
    }

    async fn connect(socket: &Path) -> Channel {
        let socket = socket.to_path_buf();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
    }

    async fn call<Q: Message + 'static, A: Message + Default + 'static>(socket: &Path, method: &str, question: Q) -> A {
        let mut client = tonic::client::Grpc::new(connect(socket).await);
        client.ready().await.unwrap();
        let path = format!("/runtime.v1.RuntimeService/{method}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        client.unary(tonic::Request::new(question), path, codec).await.unwrap().into_inner()
    }

    /// Runs a pod with one container; returns the container's id.
    pub(super) async fn pod(socket: &Path, marker: &str) -> String {
        let of_kubernetes = |entries: [(&str, &str); 3]| -> HashMap<String, String> {
            entries.into_iter().map(|(key, value)| (format!("io.kubernetes.{key}"), value.to_owned())).collect()
        };
        let labels = of_kubernetes([("pod.name", marker), ("pod.namespace", "shop"), ("pod.uid", "uid-1")]);
        let metadata = PodMetadata { name: marker.into(), uid: "uid-1".into(), namespace: "shop".into() };
        const NODE: i32 = 2;
        let security = PodSecurity { namespaces: Some(Namespaces { network: NODE }) };
        let config = PodConfig {
            metadata: Some(metadata),
            log_directory: socket.with_file_name("logs").display().to_string(),
            labels: labels.clone(),
            linux: Some(PodLinux { security: Some(security) }),
        };
        let pod: Id = call(socket, "RunPodSandbox", RunPod { config: Some(config.clone()) }).await;
        let script = format!("/bin/cat /proc/self/stat {marker}; exec /bin/sleep 100");
        let container = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".into() }),
            image: Some(Image { image: IMAGE.into() }),
            command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
            labels,
            log_path: "web.log".into(),
        };
        let create = CreateContainer { pod: pod.id, config: Some(container), pod_config: Some(config) };
        let container: Id = call(socket, "CreateContainer", create).await;
        let _: Empty = call(socket, "StartContainer", Id { id: container.id.clone() }).await;
        container.id
    }

    /// Ends all pods.
    pub(super) async fn stop(socket: &Path) {
        let pods: Pods = call(socket, "ListPodSandbox", Empty {}).await;
        for pod in pods.pods {
            let _: Empty = call(socket, "StopPodSandbox", Id { id: pod.id.clone() }).await;
            let _: Empty = call(socket, "RemovePodSandbox", Id { id: pod.id }).await;
        }
    }
}
