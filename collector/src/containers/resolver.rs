//! The thread that asks runtimes about containers.

use super::{ContainerInfo, ContainersSection, PATIENCE, cri, docker};
use crate::{Error, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};

/// Usual sockets of the Docker API.
const DOCKER_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];

/// Usual sockets of the container runtime interface.
const CRI_SOCKETS: [&str; 3] =
    ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock"];

/// Longest time for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two tries of a socket that is missing or does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A container that a runtime is just making may not be known to its own API yet.
const NOT_YET_KNOWN: Duration = Duration::from_millis(200);
const NOT_YET_KNOWN_TRIES: usize = 10;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Questions that wait for the thread at most, and those that are asked at a time.
const QUESTIONS_MAX: usize = 1024;
const ASKED_AT_A_TIME: usize = 16;

/// Sockets that are asked where none is configured.
pub fn usual_sockets() -> impl Iterator<Item = PathBuf> {
    DOCKER_SOCKETS.iter().chain(&CRI_SOCKETS).map(PathBuf::from)
}

#[derive(Debug)]
struct Question {
    id: Arc<str>,
    cgroup: String,
}

type Answer = (Arc<str>, Option<ContainerInfo>);

/// Both ends of the thread's queues. Dropping it ends the thread.
#[derive(Debug)]
pub struct Resolver {
    questions: Option<Sender<Question>>,
    answers: UnboundedReceiver<Answer>,
}

impl Resolver {
    /// Starts the thread. Where no socket is configured and none of the usual ones is there, nobody is asked until one
    /// is.
    ///
    /// # Errors
    /// [`Error::Io`] if a thread cannot be started.
    pub fn start(section: &ContainersSection) -> Result<Self> {
        let (questions, asked) = channel(QUESTIONS_MAX);
        // Bounded by the questions.
        let (answer, answers) = unbounded_channel();
        let runtimes = Arc::new(Runtimes::new(section));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io(Path::new("bodkin-containers"), "start runtime"))?;
        let spawned = std::thread::Builder::new().name("bodkin-containers".into());
        let spawned = spawned.spawn(move || runtime.block_on(run(runtimes, asked, answer)));
        spawned.map_err(Error::io(Path::new("bodkin-containers"), "start thread"))?;
        Ok(Self { questions: Some(questions), answers })
    }

    /// Asks for a container; false if that is not possible now.
    pub(super) fn ask(&self, id: &Arc<str>, cgroup: &str) -> bool {
        let question = Question { id: id.clone(), cgroup: cgroup.to_owned() };
        self.questions.as_ref().is_some_and(|questions| questions.try_send(question).is_ok())
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// A resolver whose other end is the test's.
    #[cfg(test)]
    pub(super) fn detached() -> (Self, OtherEnd) {
        let (questions, asked) = channel(QUESTIONS_MAX);
        let (answer, answers) = unbounded_channel();
        (Self { questions: Some(questions), answers }, OtherEnd { asked, answer })
    }
}

/// The thread's side in tests.
#[cfg(test)]
pub(super) struct OtherEnd {
    asked: Receiver<Question>,
    answer: UnboundedSender<Answer>,
}

#[cfg(test)]
impl OtherEnd {
    pub(super) fn questions(&mut self) -> Vec<Arc<str>> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).map(|question| question.id).collect()
    }

    pub(super) fn answer(&self, id: &Arc<str>, info: Option<ContainerInfo>) {
        self.answer.send((id.clone(), info)).unwrap();
    }
}

async fn run(runtimes: Arc<Runtimes>, mut asked: Receiver<Question>, answer: UnboundedSender<Answer>) {
    let mut running = JoinSet::new();
    while let Some(question) = asked.recv().await {
        while running.len() >= ASKED_AT_A_TIME {
            running.join_next().await;
        }
        let (runtimes, answer) = (runtimes.clone(), answer.clone());
        running.spawn(async move {
            let info = timeout(PATIENCE, runtimes.find(&question)).await.ok().flatten();
            // The other end is gone when the agent ends.
            let _ = answer.send((question.id, info));
        });
    }
}

/// The sockets to ask.
#[derive(Debug)]
struct Runtimes {
    docker: Vec<PathBuf>,
    cri: Vec<PathBuf>,
    /// Somebody said that there will be one: a missing socket is waited for.
    is_configured: bool,
}

/// What a socket said.
enum Said {
    Known(Box<ContainerInfo>),
    NotKnown,
    NoAnswer,
}

impl Runtimes {
    fn new(section: &ContainersSection) -> Self {
        let sockets = |configured: &Option<PathBuf>, usual: &[&str]| match configured {
            Some(socket) => vec![socket.clone()],
            None => usual.iter().map(PathBuf::from).collect(),
        };
        Self {
            docker: sockets(&section.docker_socket, &DOCKER_SOCKETS),
            cri: sockets(&section.cri_socket, &CRI_SOCKETS),
            is_configured: section.docker_socket.is_some() || section.cri_socket.is_some(),
        }
    }

    /// Asks all sockets until one knows the container, or those that answer do not. Ends with the caller's patience.
    async fn find(&self, question: &Question) -> Option<ContainerInfo> {
        let mut misses = 0;
        loop {
            let (mut answers, mut missing) = (0, 0);
            for (socket, is_docker) in self.sockets() {
                let said = match is_docker {
                    true => ask_docker(socket, &question.id).await,
                    false => ask_cri(socket, &question.id).await,
                };
                match said {
                    Said::Known(mut info) => {
                        info.runtime = Some(runtime_name(&question.cgroup, socket, is_docker).to_owned());
                        return Some(*info);
                    }
                    Said::NotKnown => answers += 1,
                    Said::NoAnswer => missing += 1,
                }
            }
            misses += usize::from(answers > 0);
            let is_hopeless = answers == 0 && missing == 0 && !self.is_configured;
            if is_hopeless || (misses > NOT_YET_KNOWN_TRIES && missing == 0) {
                return None;
            }
            sleep(if answers > 0 { NOT_YET_KNOWN } else { TRY_AGAIN }).await;
        }
    }

    /// Sockets that are there, or that somebody configured.
    fn sockets(&self) -> impl Iterator<Item = (&Path, bool)> {
        let all = self.docker.iter().map(|socket| (socket.as_path(), true));
        let all = all.chain(self.cri.iter().map(|socket| (socket.as_path(), false)));
        all.filter(|(socket, _)| socket.exists())
    }
}

/// The runtime by the name of the cgroup, else by the socket that answered.
fn runtime_name(cgroup: &str, socket: &Path, is_docker: bool) -> &'static str {
    let is_named = |name: &str| socket.to_string_lossy().contains(name);
    match () {
        () if cgroup.contains("libpod") => "podman",
        () if cgroup.contains("crio") => "cri-o",
        () if cgroup.contains("containerd") => "containerd",
        () if is_docker && is_named("podman") => "podman",
        () if is_docker => "docker",
        () if is_named("crio") => "cri-o",
        () => "containerd",
    }
}

async fn ask_docker(socket: &Path, id: &str) -> Said {
    match get(socket, &format!("/containers/{id}/json")).await {
        Ok((200, body)) => match docker::container(&body) {
            Ok(mut info) => {
                if let Some(image) = info.image_id.clone()
                    && let Ok((200, body)) = get(socket, &format!("/images/{image}/json")).await
                    && let Err(error) = docker::add_image(&mut info, &body)
                {
                    tracing::debug!(image, %error, "answer about an image cannot be read");
                }
                Said::Known(Box::new(info))
            }
            Err(error) => {
                tracing::warn!(id, %error, "answer about a container cannot be read");
                Said::NotKnown
            }
        },
        Ok((404, _)) => Said::NotKnown,
        Ok((status, _)) => {
            tracing::debug!(socket = %socket.display(), status, "unexpected answer");
            Said::NoAnswer
        }
        Err(error) => {
            tracing::debug!(socket = %socket.display(), error, "no answer");
            Said::NoAnswer
        }
    }
}

/// One request over a Unix socket.
async fn get(socket: &Path, path: &str) -> std::result::Result<(u16, Bytes), String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| e.to_string())?;
        driver.abort();
        Ok((status, body.to_bytes()))
    };
    timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn ask_cri(socket: &Path, id: &str) -> Said {
    let exchange = async {
        let channel = connect(socket).await.map_err(|error| error.to_string())?;
        cri::container(&channel, id).await.map_err(|status| status.to_string())
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Ok(Ok(Some(info))) => Said::Known(Box::new(info)),
        Ok(Ok(None)) => Said::NotKnown,
        Ok(Err(error)) => {
            tracing::debug!(socket = %socket.display(), error, "no answer");
            Said::NoAnswer
        }
        Err(_) => Said::NoAnswer,
    }
}

async fn connect(socket: &Path) -> std::result::Result<Channel, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used.
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_have_names() {
        let name = |cgroup, socket: &str, is_docker| runtime_name(cgroup, Path::new(socket), is_docker);
        assert_eq!(name("/docker/x", "/var/run/docker.sock", true), "docker");
        assert_eq!(name("/machine.slice/libpod-x.scope", "/var/run/docker.sock", true), "podman");
        assert_eq!(name("/x", "/run/podman/podman.sock", true), "podman");
        assert_eq!(name("/kubepods/x", "/run/crio/crio.sock", false), "cri-o");
        assert_eq!(name("/kubepods/x", "/run/containerd/containerd.sock", false), "containerd");
    }
}
