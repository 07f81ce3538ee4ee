//! Real containers: Podman with runc, its Docker API, and an image made on the spot.

use crate::server::TestServer;
use crate::wait_for;
use arrow::array::Array;
use arrow::util::display::array_value_to_string;
use bodkin_collector::agent::{Agent, AgentConfig, Output};
use bodkin_collector::client::{Server, TlsFiles};
use bodkin_collector::containers::ContainersSection;
use bodkin_schema::SystemClock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const CONFIG: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
"#;

const IMAGE: &str = "localhost/bodkin-test:1.0";

/// A root file system of busybox, as a tar file.
pub(crate) fn rootfs(folder: &Path) -> PathBuf {
    let bin = folder.join("rootfs/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap();
    let busybox = String::from_utf8(busybox.stdout).unwrap();
    std::fs::copy(busybox.trim(), bin.join("busybox")).unwrap();
    for name in ["sh", "cat", "cp", "sleep"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let image = folder.join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder.join("rootfs")).arg("-cf").arg(&image).arg(".");
    assert!(tar.status().unwrap().success());
    image
}

/// Podman with storage of its own.
struct Podman {
    folder: PathBuf,
    service: Option<Child>,
}

impl Podman {
    /// None where Podman, runc or busybox is missing, unless that is an error.
    fn new(folder: &Path) -> Option<Self> {
        let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok();
        let missing: Vec<&str> = ["podman", "runc", "busybox"].into_iter().filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            assert!(std::env::var_os("BODKIN_REQUIRE_CONTAINERS").is_none(), "{missing:?} are missing");
            eprintln!("not tested here: {missing:?} are missing");
            return None;
        }
        std::fs::write(folder.join("containers.conf"), CONFIG).unwrap();
        let image = rootfs(folder);
        let mut podman = Self { folder: folder.to_path_buf(), service: None };
        podman.run(&["import", "-q", image.to_str().unwrap(), IMAGE]);
        let socket = format!("unix://{}", podman.socket().display());
        let service = podman.command(&["system", "service", "--time=0", &socket]).spawn().unwrap();
        podman.service = Some(service);
        wait_for("the API of Podman", || podman.socket().exists());
        Some(podman)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("podman.sock")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "overlay"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
        // Mounts and cgroups go with the containers.
        let _ = self.command(&["rm", "--all", "--force", "--time=0"]).output();
    }
}

/// Rows of `events` as text by column, nulls as `-`, of the process with that command line.
pub(crate) fn rows(server: &TestServer, marker: &str, columns: &[&str]) -> Vec<BTreeMap<String, String>> {
    let mut found = Vec::new();
    for stored in server.stored("events") {
        let cell = |name: &str, row: usize| {
            let column = stored.records.column_by_name(name).unwrap();
            if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() }
        };
        for row in 0..stored.records.num_rows() {
            if cell("evt_type", row) == "execve" && cell("args", row).contains(marker) {
                found.push(columns.iter().map(|name| ((*name).to_owned(), cell(name, row))).collect());
            }
        }
    }
    found
}

/// Types of events that the official rules are asked about, and the life of processes.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const TYPES: [&str; 43] = [
    "accept", "accept4", "bpf", "chmod", "clone", "connect", "creat", "dup", "dup2", "dup3", "execve", "execveat",
    "fchmod", "fchmodat", "finit_module", "init_module", "link", "linkat", "listen", "mkdir", "mkdirat", "open",
    "openat", "openat2", "procexit", "ptrace", "recvfrom", "recvmsg", "rename", "renameat", "renameat2", "rmdir",
    "sendmsg", "sendto", "setns", "setuid", "socket", "symlink", "symlinkat", "unlink", "unlinkat", "unshare",
    "userfaultfd",
];

/// The program that performs each kind of call, in a container: every row says which.
#[cfg(target_arch = "x86_64")]
fn every_kind_of_event(podman: &Podman, server: &TestServer, folder: &Path) {
    let source = folder.join("calls.c");
    std::fs::write(&source, include_str!("probe/calls.c")).unwrap();
    let built = Command::new("cc").args(["-O1", "-w", "-static", "-o"]).arg(folder.join("calls")).arg(&source).status();
    assert!(built.unwrap().success());
    let name = format!("bodkin-calls-{}", std::process::id());
    let volume = format!("{}:/host:ro", folder.display());
    let arguments = ["run", "--name", &name, "--network", "none", "--privileged", "-v", &volume, IMAGE];
    // The first shell's child is the program, so that there is a clone too.
    podman.run(&[&arguments[..], &["/bin/sh", "-c", "cd /; /host/calls; true"]].concat());
    let id = podman.run(&["inspect", "--format", "{{.Id}}", &name]).trim()[..12].to_owned();
    wait_for("every kind of event", || {
        let mut seen = std::collections::BTreeSet::new();
        for stored in server.stored("events") {
            let cell = |name: &str, row: usize| {
                let column = stored.records.column_by_name(name).unwrap();
                if column.is_null(row) { "-".to_owned() } else { array_value_to_string(column, row).unwrap() }
            };
            for row in (0..stored.records.num_rows()).filter(|row| cell("container_id", *row) == id) {
                let image = (cell("container_image", row), cell("container_name", row));
                assert_eq!(image, (IMAGE.to_owned(), name.clone()), "{}", cell("evt_type", row));
                seen.insert(cell("evt_type", row));
            }
        }
        let missing: Vec<&&str> = TYPES.iter().filter(|name| !seen.contains(**name)).collect();
        if !missing.is_empty() {
            eprintln!("missing so far: {missing:?}");
        }
        missing.is_empty()
    });
}

#[test]
fn rows_of_a_container_say_what_podman_says() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let flight = Server::new(&server.url(), &TlsFiles::default()).unwrap();
    let containers = ContainersSection { docker_socket: Some(dir.path().join("podman.sock")), cri_socket: None };
    let config = AgentConfig { containers, ..AgentConfig::new(Output::Server(flight), dir.path().join("data")) };
    let agent = Agent::start(config, Arc::new(SystemClock::default())).unwrap();
    if !agent.status().ebpf {
        assert!(std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "{:?}", agent.status().unseen);
        eprintln!("not tested here: {:?}", agent.status().unseen);
        return;
    }
    // The agent is there before the socket is.
    let Some(podman) = Podman::new(dir.path()) else { return };
    let marker = format!("bodkin-container-{}", std::process::id());
    let volume = format!("{}:/host:ro", dir.path().display());
    let script = format!("cat /proc/self/status; cp /bin/busybox /echo; /echo {marker}");
    let arguments = ["run", "--name", &marker, "--network", "none", "--privileged", "-l", "team=red", "-v", &volume];
    let status = podman.run(&[&arguments[..], &[IMAGE, "/bin/sh", "-c", &script]].concat());
    let full_id = podman.run(&["inspect", "--format", "{{.Id}}", &marker]).trim().to_owned();

    let columns = [
        "container_id",
        "container_full_id",
        "container_name",
        "container_type",
        "container_image",
        "container_image_repository",
        "container_image_tag",
        "container_privileged",
        "container_labels",
        "container_mounts",
        "container_start_ns",
        "vpid",
        "exe",
        "cwd",
        "uid",
        "exe_is_upper_layer",
        "exe_is_lower_layer",
    ];
    let mut found = Vec::new();
    wait_for("the program in the container", || {
        found = rows(&server, &marker, &columns);
        found.retain(|row| row["container_id"] != "host" && ["/bin/busybox", "/echo"].contains(&row["exe"].as_str()));
        found.len() == 2
    });
    let [row, added] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*added["exe"], &*added["exe_is_upper_layer"], &*added["container_name"]), ("/echo", "true", &*marker));
    assert!(status.contains("NSpid:"), "{status}");
    let expected = [
        ("container_id", &full_id[..12]),
        ("container_full_id", &full_id),
        ("container_name", &marker),
        ("container_type", "podman"),
        ("container_image", IMAGE),
        ("container_image_repository", "localhost/bodkin-test"),
        ("container_image_tag", "1.0"),
        ("container_privileged", "true"),
        ("container_labels", "{team: red}"),
        ("vpid", "1"),
        ("exe", "/bin/busybox"),
        ("exe_is_upper_layer", "false"),
        ("exe_is_lower_layer", "true"),
        ("cwd", "/"),
        ("uid", "0"),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "{column} in {row:?}");
    }
    assert!(row["container_mounts"].contains(":/host:"), "{row:?}");
    assert!(row["container_start_ns"].parse::<i64>().unwrap() > 0);
    #[cfg(target_arch = "x86_64")]
    every_kind_of_event(&podman, &server, dir.path());
    agent.stop().unwrap();
}
