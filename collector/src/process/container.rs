//! Container ids from cgroup paths, by the naming of Docker, CRI runtimes, Podman, LXC and libvirt.

/// What a process outside every container is said to be in, as Falco does.
pub const HOST: &str = "host";

/// Digits of a 64-digit id that are kept.
const SHORT_ID: usize = 12;

/// What may stand before the 64 hex digits in a component. Longer ones first, where one is the end of another.
const PREFIXES: [&str; 6] = ["cri-containerd-", "containerd-", "cri-containerd:", "docker-", "crio-", "libpod-"];

/// The id of the container that the cgroup at `path` belongs to: 12 hex digits, or the name of an LXC container.
///
/// The innermost component that has the form of an id counts, so that cgroups made inside a container (systemd,
/// `libpod-ID.scope/container`) belong to it.
pub fn from_cgroup_path(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(id_of_component).or_else(|| lxc_name(path)).filter(|id| !id.is_empty())
}

/// All digits of that id, where the path has them.
pub fn full_id(path: &str) -> Option<&str> {
    let component = path.rsplit('/').find(|component| id_of_component(component).is_some())?;
    let name = component.strip_suffix(".scope").unwrap_or(component);
    name.get(name.len().checked_sub(64)?..)
}

/// The id of the container by the text of `/proc/PID/cgroup`: the v1 pids hierarchy first, then any other line.
pub fn from_proc_cgroup(text: &str) -> Option<&str> {
    pids_path(text)
        .and_then(from_cgroup_path)
        .or_else(|| cgroup_lines(text).find_map(|(_, path)| from_cgroup_path(path)))
}

/// The cgroup path that names a process best: the v1 pids hierarchy, else the v2 one, else the first.
pub fn main_path(text: &str) -> Option<&str> {
    pids_path(text)
        .or_else(|| cgroup_lines(text).find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| path))
        .or_else(|| cgroup_lines(text).next().map(|(_, path)| path))
}

fn pids_path(text: &str) -> Option<&str> {
    cgroup_lines(text).find(|(controllers, _)| controllers.split(',').any(|c| c == "pids")).map(|(_, path)| path)
}

/// Controllers and path of each line `number:controllers:path`; the path may hold colons.
fn cgroup_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

fn id_of_component(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (head, digits) = name.split_at_checked(name.len().checked_sub(64)?)?;
    let is_id = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && (head.is_empty() || is_runtime_prefix(head))).then(|| digits.get(..SHORT_ID)).flatten()
}

/// `docker-`, but also `nginx-cri-containerd-` and `kubepods-pod1.slice:cri-containerd:`.
fn is_runtime_prefix(head: &str) -> bool {
    PREFIXES.iter().any(|prefix| match head.strip_suffix(prefix) {
        Some("") => true,
        Some(before) => before.ends_with(['-', ':']) || *prefix == "cri-containerd:",
        None => false,
    })
}

/// The name of an LXC container, which libvirt's domains of that kind are too.
fn lxc_name(path: &str) -> Option<&str> {
    const MARKS: [&str; 6] = ["/lxc/", "/lxc.payload/", "/lxc.payload.", "/lxc.monitor/", "/lxc.monitor.", "-lxc\\x2d"];
    let (at, mark) = MARKS.iter().find_map(|mark| path.find(mark).map(|at| (at, *mark)))?;
    let name = path.get(at + mark.len()..)?.split('/').next()?;
    Some(name.strip_suffix(".scope").or_else(|| name.strip_suffix(".libvirt-lxc")).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn paths_of_every_runtime() {
        let table = [
            (format!("/docker/{ID}"), Some("0123456789ab")),
            (format!("/system.slice/docker-{ID}.scope"), Some("0123456789ab")),
            (format!("/docker/{ID}/system.slice/ssh.service"), Some("0123456789ab")),
            (format!("/kubepods/besteffort/pod1-2/{ID}"), Some("0123456789ab")),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), Some("0123456789ab")),
            (format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"), Some("0123456789ab")),
            (format!("/kubepods.slice/nginx-cri-containerd-{ID}.scope"), Some("0123456789ab")),
            (format!("/default/containerd-{ID}"), Some("0123456789ab")),
            (format!("/kubepods-pod1.slice:cri-containerd:{ID}"), Some("0123456789ab")),
            (format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"), Some("0123456789ab")),
            (format!("/machine.slice/libpod-{ID}.scope"), Some("0123456789ab")),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some("0123456789ab")),
            (format!("/libpod_parent/libpod-{ID}"), Some("0123456789ab")),
            (format!("/user.slice/user-1000.slice/libpod-{ID}/container"), Some("0123456789ab")),
            ("/lxc/web".to_owned(), Some("web")),
            ("/lxc.payload/web/system.slice".to_owned(), Some("web")),
            ("/lxc.payload.web".to_owned(), Some("web")),
            ("/lxc.monitor.web".to_owned(), Some("web")),
            ("/machine.slice/machine-lxc\\x2d4711\\x2dweb.scope".to_owned(), Some("4711\\x2dweb")),
            ("/machine/libvirt/lxc/web".to_owned(), Some("web")),
            (format!("/machine.slice/libpod-conmon-{ID}.scope"), None),
            (format!("/system.slice/crio-conmon-{ID}.scope"), None),
            (format!("/docker/{}", &ID[1..]), None),
            (format!("/docker/{}g", &ID[1..]), None),
            ("/system.slice/ssh.service".to_owned(), None),
            ("/user.slice/user-1000.slice/session-4.scope".to_owned(), None),
            ("/".to_owned(), None),
            (String::new(), None),
            ("/lxc/".to_owned(), None),
            (format!("/{}\u{e9}{}", &ID[..31], &ID[..32]), None),
        ];
        for (path, expected) in table {
            assert_eq!(from_cgroup_path(&path), expected, "{path}");
            assert!(full_id(&path).is_none_or(|id| Some(&id[..12]) == expected && id.len() == 64), "{path}");
        }
    }

    #[test]
    fn any_hierarchy_counts_and_pids_counts_first() {
        let text = format!("9:name=systemd:/\n8:pids:/docker/{ID}\n4:memory:/docker/{}\n0::/\n", ID.replace('0', "f"));
        assert_eq!(from_proc_cgroup(&text), Some("0123456789ab"));
        assert_eq!(main_path(&text), Some(format!("/docker/{ID}").as_str()));
        let hybrid = format!("9:name=systemd:/\n8:pids:/\n4:cpu,cpuacct:/docker/{ID}\n0::/\n");
        assert_eq!(from_proc_cgroup(&hybrid), Some("0123456789ab"));
        assert_eq!(main_path("0::/user.slice\n"), Some("/user.slice"));
        assert_eq!(from_proc_cgroup("no colons"), None);
    }
}
