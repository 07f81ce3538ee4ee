# Sourced by ./bodkin and ./check: installs Debian packages when what they bring is missing.

# need_packages WHY PACKAGE...: installs with apt-get, through sudo where we are not root.
need_packages() {
  local why=$1; shift
  echo "installing $* ($why)" >&2
  if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install by hand what corresponds to: $*" >&2
    return 1
  fi
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >&2
}

# What a build needs: clang for the kernel programs, a C compiler for zstd, libbpf's headers; make for librdkafka.
need_build() {
  local missing=()
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v make >/dev/null || missing+=(make)
  command -v clang >/dev/null || missing+=(clang)
  command -v llvm-strip >/dev/null || missing+=(llvm)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  [ -e /usr/include/bpf/bpf_helpers.h ] || missing+=(libbpf-dev)
  [ ${#missing[@]} = 0 ] || need_packages "to build" "${missing[@]}"
  command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup" >&2; return 1; }
}

# What tests need besides: Python with a virtual environment for the clients that read us, and containers to watch.
need_tests() {
  local venv=$1 root=$2 missing=()
  command -v python3 >/dev/null || missing+=(python3)
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  # Real containers for the agent.
  command -v podman >/dev/null || missing+=(podman)
  command -v runc >/dev/null || missing+=(runc)
  command -v busybox >/dev/null || missing+=(busybox-static)
  # Real receivers of what we forward, and the command line of alerts.
  [ -x /usr/sbin/rsyslogd ] || missing+=(rsyslog rsyslog-gnutls)
  command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
  # A clock that jumps.
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
  [ ${#missing[@]} = 0 ] || need_packages "to test" "${missing[@]}"
  local wanted=$root/tests/python/requirements.txt
  if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    echo "making the Python environment of the tests" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" >&2
    cp "$wanted" "$venv/requirements.txt"
  fi
  need_prometheus "$(dirname "$venv")/prometheus"
}

# The Prometheus whose answers ours are compared with, unpacked into a folder; the stable suite has an older one. Tests that
# need it say so where it cannot be had.
need_prometheus() {
  local folder=$1 site key
  [ -x "$folder/usr/bin/prometheus" ] && return
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -1)
  key=$(dpkg -L debian-archive-keyring 2>/dev/null | grep '/debian-archive-keyring\.[gp][pg][gp]$' | head -1)
  if [ -z "$site" ] || [ -z "$key" ]; then
    echo "no Debian here to take a Prometheus from: answers are not compared with it" >&2
    return
  fi
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  echo "deb [signed-by=$key] $site sid main" >"$folder/sources.list"
  local options=(-q -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
    -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >/dev/null 2>&1 &&
    (cd "$folder" && apt-get "${options[@]}" download prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb .) ||
    echo "no Prometheus from $site: answers are not compared with it" >&2
  rm -rf "$folder/lists" "$folder/cache" "$folder/sources.list" "$folder"/*.deb
}

# What the slow tests of the agent need besides: the other runtimes.
need_runtimes() {
  local missing=()
  command -v podman >/dev/null || missing+=(podman)
  command -v runc >/dev/null || missing+=(runc)
  command -v busybox >/dev/null || missing+=(busybox-static)
  command -v containerd >/dev/null || missing+=(containerd)
  command -v dockerd >/dev/null || missing+=(docker.io)
  [ ${#missing[@]} = 0 ] || need_packages "to test the agent" "${missing[@]}"
}
