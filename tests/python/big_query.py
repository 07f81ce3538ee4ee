"""Queries that need far more than there is, while rows come in: each is spilled, refused or ended within its limits, and
senders do not notice.

`--rows 500000000` asks for 50 GB; the default fits a debug build.
"""

import json
import os
import threading
import time

import pyarrow as pa
import pyarrow.flight

import harness
import lanes

parser = harness.arguments(__doc__)
parser.add_argument("--rows", type=int, default=2_000_000, help="rows of 100 bytes that each query holds")
parser.add_argument("--memory", default="64MiB", help="memory of all queries")
parser.add_argument("--timeout", default="10s", help="time of one query")
parser.add_argument("--resident-max", type=float, default=0, help="MiB that the server may take in all; 0 does not ask")
parser.add_argument("--ack-p99-max", type=float, default=0, help="milliseconds; 0 does not ask")
parser.add_argument("--queries", default="", help="only these, by name, separated by commas")
parser.add_argument("--batches-per-second", type=float, default=50)
args = parser.parse_args()
ROWS_PER_BATCH = 2000

# What is held is a text of 96 characters that differs in each row.
WIDE = "(SELECT value v, repeat(md5(CAST(value AS VARCHAR)), 3) t FROM range({0}))"
QUERIES = {
    "sort": f"SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY t DESC) n FROM {WIDE})",
    "groups": f"SELECT count(*) FROM (SELECT t, count(*) FROM {WIDE} GROUP BY t)",
    "distinct": f"SELECT count(DISTINCT t) FROM {WIDE}",
    "list": f"SELECT length(CAST(array_agg(t) AS VARCHAR)) FROM {WIDE}",
    "join": f"SELECT count(*) FROM {WIDE} a JOIN {WIDE} b ON a.t = b.t AND a.v >= b.v",
    "cross": "SELECT count(*) FROM range({0}) a, range({0}) b WHERE (a.value * b.value) % 7 = 3",
    "window": f"SELECT max(w) FROM (SELECT last_value(t) OVER (PARTITION BY v % 2 ORDER BY t) w FROM {WIDE})",
    "table": "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY md5(a.reason || b.value)) n FROM drops a, range({0} / 1000) b)",
}


class Sender(threading.Thread):
    """Sends batches at a steady pace and notes how long each acknowledgement took."""

    def __init__(self, flight):
        super().__init__()
        self.lane = lanes.Lane(pa.flight.connect(flight))
        self.took, self.sent, self.done, self.failed = [], 0, threading.Event(), None

    def run(self):
        try:
            due = time.monotonic()
            while not self.done.is_set():
                records = lanes.batch(self.sent * ROWS_PER_BATCH, ROWS_PER_BATCH)
                started = time.monotonic()
                self.lane.send(self.sent + 1, records)
                self.took.append(1000 * (time.monotonic() - started))
                self.sent += 1
                due = max(due + 1 / args.batches_per_second, time.monotonic() - 0.1)
                time.sleep(max(0.0, due - time.monotonic()))
            self.lane.close()
        except Exception as error:  # said by the main thread
            self.failed = error

    def take(self):
        """Latencies since the last call, in order of size."""
        took, self.took = self.took, []
        return sorted(took)


def resident(pid):
    """MiB that the process holds."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


class Watch(threading.Thread):
    """The most that a process has held."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.done = pid, 0.0, threading.Event()

    def run(self):
        while not self.done.wait(0.02):
            self.most = max(self.most, resident(self.pid))


def outcome(server, query):
    try:
        return f"answered {server.post('/api/v1/sql', {'query': query}, timeout=300)['rows'][0][0]}"
    except Exception as error:
        said = json.loads(error.said)["error"]
        assert said["code"] in ("limit", "timeout"), said
        assert said["message"], said
        return f"{said['code']}: {said['message']}"


def patient(server, query, seconds=120):
    """Rows of a query that may itself run longer than queries may, where the machine has other work."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return server.sql(query)
        except Exception as error:
            if json.loads(error.said)["error"]["code"] != "timeout" or time.monotonic() > deadline:
                raise


with harness.folder() as folder:
    config = os.path.join(folder, "config.yaml")
    with open(config, "w") as file:
        file.write(f"queries: {{memory: {args.memory}, timeout: {args.timeout}}}\n")
    with harness.running(harness.Server(args, folder, extra=("--config", config))) as server:
        sender, watch = Sender(server.flight), Watch(server.pid)
        sender.start()
        watch.start()
        try:
            time.sleep(3)
            quiet, worst = sender.take(), []
            print(f"{len(quiet)} acks without queries: p50 {quiet[len(quiet) // 2]:.1f} ms, p99 {quiet[len(quiet) * 99 // 100]:.1f} ms")
            for name in args.queries.split(",") if args.queries else QUERIES:
                query = QUERIES[name]
                watch.most = 0.0
                started = time.monotonic()
                ended = outcome(server, query.format(args.rows))
                took, acks = time.monotonic() - started, sender.take()
                assert sender.failed is None, sender.failed
                p99 = acks[len(acks) * 99 // 100] if acks else 0.0
                worst += acks
                print(f"{name}: {took:.1f} s, {ended[:150]}; {len(acks)} acks, p99 {p99:.1f} ms, max {max(acks, default=0):.1f} ms; "
                      f"{watch.most:.0f} MiB", flush=True)
                if args.resident_max:
                    assert watch.most < args.resident_max, (name, watch.most)
        finally:
            sender.done.set()
            sender.join()
            watch.done.set()
        assert sender.failed is None, sender.failed
        expected = sender.sent * ROWS_PER_BATCH
        found = patient(server, "SELECT count(*), count(DISTINCT \"count\") FROM drops WHERE producer = 'p'")
        assert found == [[expected, expected]], (found, expected)
        spill, deadline = os.path.join(folder, "data", "spill"), time.monotonic() + 20
        # A query that was refused takes a moment to end: its tasks are dropped where they wait next.
        while (left := sum(len(files) for _, _, files in os.walk(spill))) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == 0, f"{left} files are left of what was spilled"
        worst.sort()
        p99 = worst[len(worst) * 99 // 100]
        print(f"{len(worst)} acks beside queries: p50 {worst[len(worst) // 2]:.1f} ms, p99 {p99:.1f} ms, max {worst[-1]:.1f} ms")
        if args.ack_p99_max:
            assert p99 < args.ack_p99_max, p99
        status, _ = server.stop()
        assert status == 0, status
