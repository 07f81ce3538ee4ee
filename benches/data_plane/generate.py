"""Events as a fleet makes them, from a seed: the columns of table `events`, in order of arrival.

Hosts and containers have very different loads, names follow Zipf, most paths are seen often and some once. Rows come
from many hosts at once, each in order, with up to two seconds of delay between them.
"""

import numpy as np
import pyarrow as pa

DAY_US = 86_400_000_000
# 2026-11-24T00:00:00Z
START_US = 1_795_478_400_000_000
BATCH_ROWS = 32_768
NEEDLE_PATH = "/opt/backup/.hidden/exfil-7f3a.tar.gz"
NEEDLE_ADDR = "203.0.113.77"

EVENT_TYPES = {
    "openat": 42, "close_range": 0, "connect": 9, "execve": 6, "procexit": 7, "clone": 8, "accept4": 6, "unlinkat": 4,
    "renameat2": 3, "mkdirat": 2, "open": 4, "fchmodat": 1, "bind": 1, "listen": 1, "sendto": 6,
}
EVENT_TYPES = {name: share for name, share in EVENT_TYPES.items() if share}
FILE_CALLS = {"openat", "open", "unlinkat", "renameat2", "mkdirat", "fchmodat"}
SOCKET_CALLS = {"connect", "accept4", "bind", "listen", "sendto"}
COMMS = ["nginx", "postgres", "java", "python3", "node", "bash", "sh", "curl", "sshd", "cron", "systemd", "kubelet",
         "containerd", "redis-server", "envoy", "grep", "ls", "cat", "git", "ruby", "php-fpm", "haproxy", "rsync", "tar"]
USERS = ["root", "www-data", "postgres", "app", "deploy", "nobody", "redis", "ubuntu"]
ERRORS = np.array([-2, -13, -11, -111, -17, -1], dtype=np.int64)


def zipf(random, size, count, exponent=1.1):
    """`size` draws of 0..count, the first the likeliest."""
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    bounds = np.cumsum(weights / weights.sum())
    return np.searchsorted(bounds, random.random(size)).clip(0, count - 1).astype(np.int32)


class Texts:
    """A pool of texts; columns hold their numbers."""

    def __init__(self, values):
        self.values = pa.array(values, pa.string())

    def column(self, codes, valid=None):
        """A dictionary of the texts that occur."""
        used, local = np.unique(codes if valid is None else np.where(valid, codes, codes[0]), return_inverse=True)
        mask = None if valid is None else ~valid
        indices = pa.array(local.astype(np.int32), mask=mask)
        return pa.DictionaryArray.from_arrays(indices, self.values.take(pa.array(used)))


class Fleet:
    """What does not change from row to row."""

    def __init__(self, seed):
        random = self.random = np.random.default_rng(seed)
        hexes = lambda count, digits: ["".join(row) for row in random.choice(list("0123456789abcdef"), (count, digits))]
        self.hosts = Texts([f"host-{n:03}" for n in range(40)])
        self.host_ids = Texts(hexes(40, 32))
        containers = hexes(400, 12)
        self.containers = Texts(["host"] + containers)
        self.container_host = random.integers(0, 40, 401)
        self.types = Texts(list(EVENT_TYPES))
        self.type_shares = np.cumsum(np.array(list(EVENT_TYPES.values()), float) / sum(EVENT_TYPES.values()))
        self.is_file = np.array([name in FILE_CALLS for name in EVENT_TYPES])
        self.is_socket = np.array([name in SOCKET_CALLS for name in EVENT_TYPES])
        self.renameat2 = list(EVENT_TYPES).index("renameat2")
        self.comms = Texts(COMMS)
        self.exes = Texts([f"/usr/bin/{COMMS[n % len(COMMS)]}" if n < 24 else
                           f"/opt/app-{n % 60}/bin/{COMMS[n % len(COMMS)]}-{n}" for n in range(600)])
        self.cmdlines = Texts([f"{COMMS[n % len(COMMS)]} --config /etc/app-{n % 97}/config.yaml --worker {n}" if n % 31 else
                               f"curl -sS https://repo-{n % 53}.example.com/artifacts/{n} -o /tmp/a{n}"
                               for n in range(60_000)])
        folders = ["/etc", "/usr/lib/x86_64-linux-gnu", "/var/log", "/var/lib/app", "/proc/self", "/tmp", "/opt/app/data",
                   "/home/deploy", "/root/.ssh", "/run/secrets"]
        self.paths = Texts([f"{folders[n % 10]}/{['conf', 'cache', 'db', 'obj'][n % 4]}-{n % 977}/file-{n}.dat"
                            for n in range(300_000)] + [NEEDLE_PATH])
        self.addrs = Texts([f"10.{n // 4096 % 16}.{n // 16 % 256}.{n % 16 + 1}" for n in range(20_000)] + [NEEDLE_ADDR])
        self.users = Texts(USERS)
        self.flags = Texts(["O_RDONLY", "O_RDONLY|O_CLOEXEC", "O_WRONLY|O_CREAT|O_TRUNC", "O_RDWR|O_CREAT", "O_DIRECTORY"])
        self.ttys = np.array([0, 0, 0, 34816, 34817], np.int32)


def schema():
    """The columns of table `events`, text as dictionaries, as an agent sends them."""
    text, time = pa.dictionary(pa.int32(), pa.string()), pa.timestamp("us", "UTC")
    fields = [("ts", time, False), ("ts_ns", pa.int64(), False), ("host", text, False), ("host_id", text, False),
              ("incarnation", pa.int64(), False), ("cpu", pa.int32(), False), ("seq", pa.int64(), False),
              ("evt_type", text, False), ("pid", pa.int32(), False), ("tid", pa.int32(), False), ("ppid", pa.int32(), True),
              ("pname", text, True), ("uid", pa.int64(), True), ("user", text, True), ("loginuid", pa.int64(), True),
              ("comm", text, True), ("exe", text, True), ("exe_arg0", text, True), ("cmdline", text, True),
              ("args", text, True), ("cwd", text, True), ("tty", pa.int32(), True), ("path", text, True),
              ("path2", text, True), ("fd", pa.int32(), True), ("fd_type", text, True), ("flags", text, True),
              ("mode", pa.int32(), True), ("result", pa.int64(), False), ("proto", text, True), ("local_addr", text, True),
              ("local_port", pa.int32(), True), ("remote_addr", text, True), ("remote_port", pa.int32(), True),
              ("container_id", text, False), ("cgroup_id", pa.int64(), False), ("truncated", pa.bool_(), False)]
    return pa.schema([pa.field(name, kind, nullable) for name, kind, nullable in fields])


def batches(rows, seed):
    """Yields record batches of `rows` events in order of arrival."""
    fleet = Fleet(seed)
    counters = np.zeros(40, np.int64)
    made = 0
    while made < rows:
        count = min(BATCH_ROWS, rows - made)
        yield batch(fleet, counters, made, count, rows)
        made += count


def batch(fleet, counters, start, count, total):
    random = fleet.random
    container = zipf(random, count, 401, 0.9)
    host = np.where(container == 0, zipf(random, count, 40, 0.6), fleet.container_host[container]).astype(np.int32)
    kind = np.searchsorted(fleet.type_shares, random.random(count)).clip(0, len(EVENT_TYPES) - 1).astype(np.int32)
    is_file, is_socket = fleet.is_file[kind], fleet.is_socket[kind]
    arrival = START_US + (np.arange(start, start + count) * DAY_US) // total
    times = arrival - random.integers(0, 2_000_000, count)
    process = container.astype(np.int64) * 37 + zipf(random, count, 37, 1.0)
    pid = (1000 + process * 13 + (start // 2_000_000) * 7).astype(np.int32)
    exe = ((process * 2654435761) % 600).astype(np.int32)
    user = (process % 8).astype(np.int32)
    cmdline = ((process * 40503 + start // 500_000) % 60_000).astype(np.int32)
    path = np.where(random.random(count) < 0.7, zipf(random, count, 3_000, 0.8), random.integers(0, 300_000, count))
    path = path.astype(np.int32)
    path[(random.random(count) < 2e-6) & is_file] = 300_000
    remote = zipf(random, count, 20_000, 1.0)
    remote[(random.random(count) < 4e-6) & is_socket] = 20_000
    failed = random.random(count) < 0.06
    result = np.where(failed, random.choice(ERRORS, count), np.where(is_file, random.integers(3, 200, count), 0))
    result = np.where(is_socket & ~failed, (random.lognormal(6, 1.4, count)).astype(np.int64), result)
    order = np.argsort(host, kind="stable")
    sizes = np.bincount(host, minlength=40)
    seq = np.empty(count, np.int64)
    seq[order] = np.concatenate([counters[n] + np.arange(1, sizes[n] + 1) for n in range(40)])
    counters += sizes
    plain = lambda values, kind, valid=None: pa.array(values.astype(kind), mask=None if valid is None else ~valid)
    always = np.ones(count, bool)
    fd_types = Texts(["file", "ipv4"])
    protos = Texts(["tcp", "udp"])
    columns = {
        "ts": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC")), "ts_ns": plain(times * 1000 + 7, np.int64),
        "host": fleet.hosts.column(host), "host_id": fleet.host_ids.column(host),
        "incarnation": plain(np.full(count, START_US - DAY_US), np.int64), "cpu": plain(seq % 8, np.int32),
        "seq": plain(seq, np.int64), "evt_type": fleet.types.column(kind), "pid": plain(pid, np.int32),
        "tid": plain(pid + (seq % 3), np.int32), "ppid": plain(pid // 2, np.int32), "pname": fleet.comms.column((exe // 3) % 24),
        "uid": plain(np.where(user == 0, 0, 1000 + user), np.int64), "user": fleet.users.column(user),
        "loginuid": plain(np.full(count, 1000), np.int64, process % 11 == 0), "comm": fleet.comms.column(exe % 24),
        "exe": fleet.exes.column(exe), "exe_arg0": fleet.comms.column(exe % 24), "cmdline": fleet.cmdlines.column(cmdline),
        "args": fleet.cmdlines.column((cmdline + 1) % 60_000), "cwd": fleet.paths.column((process % 500).astype(np.int32)),
        "tty": plain(fleet.ttys[process % 5], np.int32), "path": fleet.paths.column(path, is_file),
        "path2": fleet.paths.column((path + 1) % 300_000, kind == fleet.renameat2),
        "fd": plain(result % 1024, np.int32, (is_file | is_socket) & ~failed),
        "fd_type": fd_types.column(is_socket.astype(np.int32), is_file | is_socket),
        "flags": fleet.flags.column((seq % 5).astype(np.int32), is_file), "mode": plain(np.full(count, 0o644), np.int32, is_file & (seq % 9 == 0)),
        "result": plain(result, np.int64), "proto": protos.column((remote % 2).astype(np.int32), is_socket),
        "local_addr": fleet.addrs.column(container % 400, is_socket),
        "local_port": plain(random.integers(1024, 65536, count), np.int32, is_socket),
        "remote_addr": fleet.addrs.column(remote, is_socket),
        "remote_port": plain(np.array([443, 80, 5432, 6379, 8080, 53])[remote % 6], np.int32, is_socket),
        "container_id": fleet.containers.column(container), "cgroup_id": plain(4000 + container, np.int64),
        "truncated": pa.array(seq % 5000 == 0) if always.all() else None,
    }
    return pa.record_batch(list(columns.values()), schema=schema())


def container(seed, rank):
    """Id of the container with the `rank`-th most rows (0 is the host itself)."""
    return Fleet(seed).containers.values[rank].as_py()
