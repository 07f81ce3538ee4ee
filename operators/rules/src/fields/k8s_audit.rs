//! Fields of Kubernetes audit events.

use super::ArgRule::{Index, NeedsKey};
use super::document::{Document, Extract, Extracted, as_text, step, walk};
use super::{FieldArg, FieldInfo, Get, Kind};
use serde_json::Value;

type With = fn(&Document, &FieldArg) -> Option<Extracted>;

const fn path(name: &'static str, path: &'static [&'static str]) -> FieldInfo {
    FieldInfo::new(name, Kind::Text, Get::Document(Extract::Path(path)))
}

const fn with(name: &'static str, extract: With) -> FieldInfo {
    FieldInfo::new(name, Kind::Text, Get::Document(Extract::With(extract)))
}

const fn list(name: &'static str, extract: With) -> FieldInfo {
    with(name, extract).list()
}

/// A list field whose argument picks one element.
const fn indexed(name: &'static str, extract: With) -> FieldInfo {
    list(name, extract).arg(Index)
}

/// The fields of the containers of a pod.
macro_rules! container_fields {
    ($($list:literal)*) => {
        &[$(
            indexed(concat!("ka.req.pod.", $list, ".args"), |d, a| words(d, $list, a, "args")),
            indexed(concat!("ka.req.pod.", $list, ".command"), |d, a| words(d, $list, a, "command")),
            indexed(concat!("ka.req.pod.", $list, ".name"), |d, a| every(container(d, $list, a, &["name"])?)),
            indexed(concat!("ka.req.pod.", $list, ".image"), |d, a| every(container(d, $list, a, &["image"])?)),
            indexed(concat!("ka.req.pod.", $list, ".image.repository"), |d, a| repositories(d, $list, a)),
            indexed(concat!("ka.req.pod.", $list, ".host_port"), |d, a| host_ports(d, $list, a)),
            indexed(concat!("ka.req.pod.", $list, ".privileged"), |d, a| security(d, $list, a, "privileged")),
            indexed(concat!("ka.req.pod.", $list, ".allow_privilege_escalation"), |d, a| security(d, $list, a, "allowPrivilegeEscalation")),
            indexed(concat!("ka.req.pod.", $list, ".read_only_fs"), |d, a| security(d, $list, a, "readOnlyRootFilesystem")),
            indexed(concat!("ka.req.pod.", $list, ".run_as_user"), |d, a| security(d, $list, a, "runAsUser")),
            indexed(concat!("ka.req.pod.", $list, ".eff_run_as_user"), |d, a| effective(d, $list, a, "runAsUser")),
            indexed(concat!("ka.req.pod.", $list, ".run_as_group"), |d, a| security(d, $list, a, "runAsGroup")),
            indexed(concat!("ka.req.pod.", $list, ".eff_run_as_group"), |d, a| effective(d, $list, a, "runAsGroup")),
            indexed(concat!("ka.req.pod.", $list, ".proc_mount"), |d, a| security(d, $list, a, "procMount")),
            indexed(concat!("ka.req.pod.", $list, ".add_capabilities"), |d, a| some(container(d, $list, a, &["securityContext", "capabilities", "add"])?)),
        )*]
    };
}

/// Fields of every container of a pod.
pub(super) static CONTAINER_FIELDS: &[FieldInfo] =
    container_fields!("containers" "initContainers" "ephemeralContainers");

/// All other fields of audit events.
#[rustfmt::skip]
pub(super) static FIELDS: &[FieldInfo] = &[
    path("ka.auditid", &["auditID"]),
    path("ka.stage", &["stage"]),
    path("ka.auth.decision", &["annotations", "authorization.k8s.io/decision"]),
    path("ka.auth.reason", &["annotations", "authorization.k8s.io/reason"]),
    path("ka.auth.openshift.decision", &["annotations", "authentication.openshift.io/decision"]),
    path("ka.auth.openshift.username", &["annotations", "authentication.openshift.io/username"]),
    path("ka.validations.admission.policy.failure", &["annotations", "validation.policy.admission.k8s.io/validation_failure"]),
    path("ka.security.pod.violations", &["annotations", "pod-security.kubernetes.io/audit-violations"]),
    path("ka.user.name", &["user", "username"]),
    list("ka.user.groups", |d, _| array(d, &["user", "groups"])),
    path("ka.impuser.name", &["impersonatedUser", "username"]),
    path("ka.verb", &["verb"]),
    path("ka.uri", &["requestURI"]),
    with("ka.uri.param", uri_param).arg(NeedsKey),
    path("ka.target.name", &["objectRef", "name"]),
    path("ka.target.namespace", &["objectRef", "namespace"]),
    path("ka.target.resource", &["objectRef", "resource"]),
    path("ka.target.subresource", &["objectRef", "subresource"]),
    with("ka.target.pod.name", pod_name),
    list("ka.req.binding.subjects", |d, _| array(d, &["requestObject", "subjects"])),
    list("ka.req.binding.subjects.user_names", |d, _| subjects(d, "User", false)),
    list("ka.req.binding.subjects.serviceaccount_names", |d, _| subjects(d, "ServiceAccount", false)),
    list("ka.req.binding.subjects.serviceaccount_ns_names", |d, _| subjects(d, "ServiceAccount", true)),
    list("ka.req.binding.subjects.group_names", |d, _| subjects(d, "Group", false)),
    path("ka.req.binding.role", &["requestObject", "roleRef", "name"]),
    with("ka.req.binding.subject.has_name", |_, _| Some(Extracted::Text("true".to_owned()))).arg(NeedsKey),
    path("ka.req.configmap.name", &["objectRef", "name"]),
    path("ka.req.configmap.obj", &["requestObject", "data"]),
    with("ka.req.container.image", |d, _| first(every(container(d, "containers", &FieldArg::Index(0), &["image"])?)?)),
    with("ka.req.container.image.repository", |d, _| first(repositories(d, "containers", &FieldArg::Index(0))?)),
    path("ka.req.container.host_network", &["requestObject", "spec", "hostNetwork"]),
    with("ka.req.container.privileged", any_privileged),
    path("ka.req.pod.host_ipc", &["requestObject", "spec", "hostIPC"]),
    path("ka.req.pod.host_network", &["requestObject", "spec", "hostNetwork"]),
    path("ka.req.pod.host_pid", &["requestObject", "spec", "hostPID"]),
    path("ka.req.pod.run_as_user", &["requestObject", "spec", "securityContext", "runAsUser"]),
    path("ka.req.pod.run_as_group", &["requestObject", "spec", "securityContext", "runAsGroup"]),
    path("ka.req.pod.fs_group", &["requestObject", "spec", "securityContext", "fsGroup"]),
    list("ka.req.pod.supplemental_groups", |d, _| array(d, &["requestObject", "spec", "securityContext", "supplementalGroups"])),
    list("ka.req.role.rules", |d, _| array(d, &["requestObject", "rules"])),
    indexed("ka.req.role.rules.apiGroups", |d, a| flattened(d, a, &["requestObject", "rules", "apiGroups"])),
    indexed("ka.req.role.rules.nonResourceURLs", |d, a| flattened(d, a, &["requestObject", "rules", "nonResourceURLs"])),
    indexed("ka.req.role.rules.verbs", |d, a| flattened(d, a, &["requestObject", "rules", "verbs"])),
    indexed("ka.req.role.rules.resources", |d, a| flattened(d, a, &["requestObject", "rules", "resources"])),
    path("ka.req.service.type", &["requestObject", "spec", "type"]),
    indexed("ka.req.service.ports", |d, a| some(find_all(&d.value, a, &["requestObject", "spec", "ports"])?)),
    indexed("ka.req.pod.volumes.hostpath", |d, a| some(find_all(&d.value, a, HOST_PATH)?)),
    with("ka.req.volume.hostpath", has_host_path).arg(NeedsKey),
    indexed("ka.req.pod.volumes.flexvolume_driver", |d, a| some(find_all(&d.value, a, &["requestObject", "spec", "volumes", "flexVolume", "driver"])?)),
    indexed("ka.req.pod.volumes.volume_type", volume_types),
    path("ka.resp.name", &["responseObject", "metadata", "name"]),
    path("ka.response.code", &["responseStatus", "code"]),
    path("ka.response.reason", &["responseStatus", "reason"]),
    path("ka.useragent", &["userAgent"]),
    indexed("ka.sourceips", |d, a| flattened(d, a, &["requestObject", "rules", "sourceIPs"])),
    path("ka.cluster.name", &["annotations", "cluster_name"]),
];

const HOST_PATH: &[&str] = &["requestObject", "spec", "volumes", "hostPath", "path"];

/// Every value at a path; where the path meets a list, it goes through all of its elements or the one that `arg`
/// picks. An element without the rest of the path counts as a value that is missing.
fn find_all<'a>(value: &'a Value, arg: &FieldArg, path: &[&str]) -> Option<Vec<Option<&'a Value>>> {
    let mut value = value;
    for (depth, key) in path.iter().enumerate() {
        if let Value::Array(items) = value {
            let FieldArg::Index(index) = arg else {
                let rest = path.get(depth..).unwrap_or_default();
                return Some(
                    items.iter().flat_map(|item| find_all(item, arg, rest).unwrap_or_else(|| vec![None])).collect(),
                );
            };
            value = items.get(*index)?;
        }
        value = if key.is_empty() { value } else { step(value, key)? };
    }
    Some(vec![Some(value)])
}

/// The values of a field in the containers of a pod.
fn container<'a>(document: &'a Document, list: &str, arg: &FieldArg, keys: &[&str]) -> Option<Vec<Option<&'a Value>>> {
    let path: Vec<&str> = ["requestObject", "spec", list].iter().chain(keys).copied().collect();
    find_all(&document.value, arg, &path)
}

/// All values; no value at all where one is missing.
fn every(values: Vec<Option<&Value>>) -> Option<Extracted> {
    values.into_iter().map(|value| value.map(as_text)).collect::<Option<Vec<_>>>().map(Extracted::Texts)
}

/// The values that are there.
fn some(values: Vec<Option<&Value>>) -> Option<Extracted> {
    Some(Extracted::Texts(values.into_iter().flatten().map(as_text).collect()))
}

fn first(texts: Extracted) -> Option<Extracted> {
    match texts {
        Extracted::Texts(texts) => texts.into_iter().next().map(Extracted::Text),
        other => Some(other),
    }
}

fn security(document: &Document, list: &str, arg: &FieldArg, key: &str) -> Option<Extracted> {
    some(container(document, list, arg, &["securityContext", key])?)
}

/// The container's own value, else the pod's, else 0. As in Falco's plugin both are looked for beside
/// `securityContext`, not in it.
fn effective(document: &Document, list: &str, arg: &FieldArg, key: &str) -> Option<Extracted> {
    let pod = walk(&document.value, &["requestObject", "spec", key]).map_or("0".to_owned(), as_text);
    let own = container(document, list, arg, &[key])?;
    Some(Extracted::Texts(own.into_iter().map(|value| value.map_or(pod.clone(), as_text)).collect()))
}

/// Lists of words, each joined by blanks.
fn words(document: &Document, list: &str, arg: &FieldArg, key: &str) -> Option<Extracted> {
    let mut all = Vec::new();
    for value in container(document, list, arg, &[key])?.into_iter().flatten() {
        let words: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
        all.push(words?.join(" "));
    }
    Some(Extracted::Texts(all))
}

/// Images without tag and digest.
fn repositories(document: &Document, list: &str, arg: &FieldArg) -> Option<Extracted> {
    let Extracted::Texts(images) = every(container(document, list, arg, &["image"])?)? else { return None };
    let repository = |image: String| image.split([':', '@']).next().unwrap_or_default().to_owned();
    Some(Extracted::Texts(images.into_iter().map(repository).collect()))
}

fn host_ports(document: &Document, list: &str, arg: &FieldArg) -> Option<Extracted> {
    let mut all = Vec::new();
    for ports in container(document, list, arg, &["ports"])?.into_iter().flatten() {
        // With the host's network a container's port is the host's.
        all.extend(
            ports.as_array()?.iter().filter_map(|port| port.get("hostPort").or(port.get("containerPort"))).map(as_text),
        );
    }
    Some(Extracted::Texts(all))
}

fn any_privileged(document: &Document, _: &FieldArg) -> Option<Extracted> {
    let values = container(document, "containers", &FieldArg::None, &["securityContext", "privileged"])?;
    let is_any = values.into_iter().flatten().any(|value| value.as_bool() == Some(true));
    Some(Extracted::Text(is_any.to_string()))
}

/// The texts of a list.
fn array(document: &Document, path: &[&str]) -> Option<Extracted> {
    let items = walk(&document.value, path)?.as_array()?;
    Some(Extracted::Texts(items.iter().map(as_text).collect()))
}

/// The texts of lists in a list.
fn flattened(document: &Document, arg: &FieldArg, path: &[&str]) -> Option<Extracted> {
    let lists = find_all(&document.value, arg, path)?;
    let texts = lists.into_iter().flatten().filter_map(Value::as_array).flatten().map(as_text).collect();
    Some(Extracted::Texts(texts))
}

/// Names of the subjects of a binding that are of that kind.
fn subjects(document: &Document, kind: &str, has_namespace: bool) -> Option<Extracted> {
    let none = Vec::new();
    let items = match walk(&document.value, &["requestObject", "subjects"]) {
        Some(subjects) => subjects.as_array()?,
        None => &none,
    };
    let name = |subject: &Value| {
        let name = as_text(subject.get("name")?);
        match has_namespace {
            true => Some(format!("{}:{name}", as_text(subject.get("namespace")?))),
            false => Some(name),
        }
    };
    let of_kind = items.iter().filter(|subject| subject.get("kind").is_some_and(|found| found == kind));
    Some(Extracted::Texts(of_kind.filter_map(name).collect()))
}

fn pod_name(document: &Document, _: &FieldArg) -> Option<Extracted> {
    let part = |key| walk(&document.value, &["objectRef", key]).and_then(Value::as_str).unwrap_or_default();
    if part("resource") != "pods" || !part("subresource").is_empty() {
        return None;
    }
    walk(&document.value, &["responseObject", "metadata", "name"]).map(|name| Extracted::Text(as_text(name)))
}

/// Whether a volume of the pod is at a path of the host, or below it where the argument ends with `*`.
fn has_host_path(document: &Document, arg: &FieldArg) -> Option<Extracted> {
    let FieldArg::Key(wanted) = arg else { return None };
    let Some(Extracted::Texts(paths)) = some(find_all(&document.value, &FieldArg::None, HOST_PATH)?) else {
        return None;
    };
    let is_any = paths.iter().any(|path| match wanted.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == wanted,
    });
    Some(Extracted::Text(is_any.to_string()))
}

/// The keys of the volumes beside their names.
fn volume_types(document: &Document, arg: &FieldArg) -> Option<Extracted> {
    let volumes = find_all(&document.value, arg, &["requestObject", "spec", "volumes", ""])?;
    let objects = volumes.into_iter().flatten().filter_map(Value::as_object);
    Some(Extracted::Texts(objects.flat_map(|volume| volume.keys()).filter(|key| *key != "name").cloned().collect()))
}

/// The first value of a parameter of the request's query.
fn uri_param(document: &Document, arg: &FieldArg) -> Option<Extracted> {
    let FieldArg::Key(wanted) = arg else { return None };
    let uri = document.value.get("requestURI")?.as_str()?;
    let (_, query) = uri.split('#').next()?.split_once('?')?;
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .find(|(key, _)| decode(key).as_ref() == Some(wanted))
        .and_then(|(_, value)| decode(value))
        .map(Extracted::Text)
}

/// Undoes the encoding of a query; none where an escape is broken.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::document::Documents;
    use crate::fields::find;
    use crate::load::Source;

    const POD: &str = r#"{"kind":"Event","auditID":"a1","stageTimestamp":"2018-10-25T17:55:18Z",
        "requestURI":"/api/v1/x?command=ls%20-l&command=b&stdin=true","objectRef":{"resource":"pods"},
        "user":{"username":"u","groups":["g1","g2"]},"responseStatus":{"code":201},
        "responseObject":{"metadata":{"name":"p1"}},
        "requestObject":{"spec":{"hostNetwork":true,"runAsUser":5,
        "containers":[{"name":"c1","image":"repo/a:1@sha","args":["x","y"],"securityContext":{"privileged":true,"runAsUser":0},"ports":[{"containerPort":80},{"hostPort":81}]},
                      {"name":"c2","image":"b","securityContext":{"capabilities":{"add":["NET_ADMIN"]}}}],
        "volumes":[{"name":"v","hostPath":{"path":"/etc/x"}},{"name":"w","emptyDir":{}}]},
        "rules":[{"verbs":["get","list"],"resources":["pods"]},{"verbs":["*"]}],
        "subjects":[{"kind":"User","name":"bob"},{"kind":"ServiceAccount","name":"sa","namespace":"ns"}]}}"#;

    fn shown(field: &str, arg: Option<&str>) -> String {
        let document = Documents::parse(Source::K8sAudit, POD.as_bytes()).unwrap().documents.remove(0);
        let field = find(Source::K8sAudit, field, arg).unwrap();
        match document.extract(field.info, &field.arg) {
            None => "-".to_owned(),
            Some(Extracted::Text(text)) => text,
            Some(Extracted::Texts(texts)) => format!("({})", texts.join(",")),
            Some(Extracted::Number(number)) => number.to_string(),
        }
    }

    #[test]
    fn fields_of_a_pod() {
        for (field, arg, expected) in [
            ("ka.auditid", None, "a1"),
            ("ka.response.code", None, "201"),
            ("ka.response.reason", None, "-"),
            ("ka.user.groups", None, "(g1,g2)"),
            ("ka.uri.param", Some("command"), "ls -l"),
            ("ka.uri.param", Some("none"), "-"),
            ("ka.target.pod.name", None, "p1"),
            ("ka.req.pod.host_network", None, "true"),
            ("ka.req.pod.host_pid", None, "-"),
            ("ka.req.pod.containers.image", None, "(repo/a:1@sha,b)"),
            ("ka.req.pod.containers.image", Some("1"), "(b)"),
            ("ka.req.pod.containers.image", Some("2"), "-"),
            ("ka.req.pod.containers.image.repository", None, "(repo/a,b)"),
            ("ka.req.container.image.repository", None, "repo/a"),
            ("ka.req.pod.containers.privileged", None, "(true)"),
            ("ka.req.pod.initContainers.privileged", None, "-"),
            ("ka.req.container.privileged", None, "true"),
            ("ka.req.pod.containers.args", None, "(x y)"),
            ("ka.req.pod.containers.run_as_user", None, "(0)"),
            ("ka.req.pod.containers.eff_run_as_user", None, "(5,5)"),
            ("ka.req.pod.containers.host_port", None, "(80,81)"),
            ("ka.req.pod.containers.add_capabilities", None, r#"(["NET_ADMIN"])"#),
            ("ka.req.pod.volumes.hostpath", None, "(/etc/x)"),
            ("ka.req.volume.hostpath", Some("/etc*"), "true"),
            ("ka.req.volume.hostpath", Some("/etc"), "false"),
            ("ka.req.pod.volumes.volume_type", None, "(hostPath,emptyDir)"),
            ("ka.req.role.rules.verbs", None, "(get,list,*)"),
            ("ka.req.role.rules.verbs", Some("1"), "(*)"),
            ("ka.req.role.rules.resources", None, "(pods)"),
            ("ka.req.binding.subjects.user_names", None, "(bob)"),
            ("ka.req.binding.subjects.serviceaccount_ns_names", None, "(ns:sa)"),
            ("ka.req.binding.role", None, "-"),
        ] {
            assert_eq!(shown(field, arg), expected, "{field}[{arg:?}]");
        }
    }
}
