"""Alerts under load: `latency` from a row to a webhook with 1,000 rules among 50 k events/s, and `hang`, a receiver that
does not answer for a while: what ingest feels of it, what it costs, and that all that is due arrives afterwards.

Marked rows are new label sets of one rule each. The time counts from the call that sends the row to the end of the
request at the receiver; for rules over PromQL from when the sample was taken, in intervals of the rule.
"""

import argparse
import http.server
import json
import os
import random
import sys
import tempfile
import threading
import time
import urllib.request

import numpy as np
import pyarrow as pa

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "data_plane"))

import generate
from server import Lane, Server

BATCH = 5_000
EVERY_S = 5


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class Receiver:
    """Takes webhooks; while it hangs, connections are taken and nothing is answered."""

    def __init__(self):
        self.lock, self.seen, self.keys, self.doubled = threading.Lock(), {}, {}, 0
        self.free = threading.Event()
        self.free.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if not outer.free.is_set():
                    outer.free.wait()
                    self.close_connection = True
                    return
                outer.take(self.headers["webhook-id"], json.loads(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, key, body):
        now = time.time()
        with self.lock:
            self.doubled += key in self.keys
            self.keys[key] = now
            if isinstance(body, list):
                for row in body:
                    self.seen.setdefault(row["cwd"], now)
                return
            for alert in body["alerts"]:
                mark = alert["labels"].get("cwd") or alert["labels"].get("mark")
                if alert["status"] == "firing" and mark:
                    self.seen.setdefault(mark, now)


class Load:
    """Events at a rate; a call of `mark` puts one row with this folder and path among them."""

    def __init__(self, server, rate, seed):
        self.batches = [part.slice(at, BATCH) for part in generate.batches(100_000, seed)
                        for at in range(0, part.num_rows - BATCH + 1, BATCH)]
        self.marked = self.batches[0].slice(0, 1)
        self.server, self.rate, self.stopping = server, rate, threading.Event()
        self.lane, self.sent, self.behind, self.waits = Lane(server, generate.schema()), 0, 0.0, []
        self.marks, self.marked_lock = Lane(server, generate.schema(), producer="bench/marks", window=1), threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def now(self, batch, **columns):
        count, now = batch.num_rows, time.time_ns() // 1000
        ts = pa.array(np.full(count, now), pa.int64())
        names = batch.schema.names
        arrays = list(batch.columns)
        arrays[names.index("ts")] = ts.cast(pa.timestamp("us", "UTC"))
        arrays[names.index("ts_ns")] = pa.array(np.full(count, now * 1000), pa.int64())
        for name, value in columns.items():
            arrays[names.index(name)] = pa.array([value] * count).dictionary_encode()
        return pa.record_batch(arrays, schema=batch.schema)

    def run(self):
        start = time.monotonic()
        while not self.stopping.is_set():
            due = start + self.sent / self.rate
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.behind = max(self.behind, -wait)
            self.lane.send(self.now(self.batches[self.sent // BATCH % len(self.batches)]))
            self.lane.receive()
            # From when it was due: a wait for the batch before counts, too.
            self.waits.append(time.monotonic() - due)
            self.sent += BATCH
        self.lane.close()

    def mark(self, cwd, path):
        with self.marked_lock:
            self.marks.send(self.now(self.marked, cwd=cwd, path=path, evt_type="openat"))
            self.marks.receive()

    def stop(self):
        self.stopping.set()
        self.thread.join(60)
        self.marks.close()


def memory_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def disk_mib(folder):
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.path.getsize(os.path.join(where, name)))
            except OSError:
                pass
    return sum(sizes) / (1 << 20)


def rules(count, metric_rules):
    made = []
    for n in range(count - metric_rules):
        when = [f"evt_type = 'openat' AND path = '/marked/{n}'", f"evt_type IN ('open', 'openat') AND path LIKE '/marked/{n}'",
                f"path = '/marked/{n}' AND result >= -1000", f"starts_with(path, '/marked/{n}') AND path = '/marked/{n}'"][n % 4]
        made.append({"alert": f"Marked{n}", "from": "events", "when": when, "by": ["cwd"], "severity": "critical", "keep": "10s"})
    for n in range(metric_rules):
        made.append({"alert": f"Metric{n}", "promql": f"marked_metric{{n=\"{n}\"}}", "when": "value > 10", "every": f"{EVERY_S}s"})
    return made


def write_metric(server, n, mark, value):
    text = f'marked_metric{{n="{n}",mark="{mark}"}} {value}\n'
    request = urllib.request.Request(server.http + "/prometheus/api/v1/import/prometheus", text.encode(), {"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=30).read()


def latency(args, folder):
    receiver, rng = Receiver(), random.Random(args.seed)
    config = {"channels": {"hook": {"webhook": {"url": receiver.url}}},
              "alerts": {"rules": rules(args.rules, args.rules // 5),
                         "route": {"channel": "hook", "group_by": ["..."], "group_interval": "0s"}}}
    with Server(args.bodkin, folder, extra=write(folder, config)) as server:
        load = Load(server, args.rate, args.seed)
        time.sleep(3)
        sent, metric_sent, cpu, began, before = {}, {}, server.cpu_seconds(), time.monotonic(), load.sent
        while time.monotonic() - began < args.seconds:
            n = rng.randrange(args.rules - args.rules // 5)
            mark = f"mark-{len(sent)}"
            sent[mark] = time.time()
            load.mark(mark, f"/marked/{n}")
            if len(sent) % 5 == 0:
                n, mark = rng.randrange(args.rules // 5), f"metric-{len(metric_sent)}"
                write_metric(server, n, mark, 11)
                metric_sent[mark] = time.time()
            time.sleep(0.1)
        took = time.monotonic() - began
        cpu, rate = (server.cpu_seconds() - cpu) / took, (load.sent - before) / took
        end = time.monotonic() + 30
        while (set(sent) | set(metric_sent)) - set(receiver.seen) and time.monotonic() < end:
            time.sleep(0.1)
        load.stop()
        waits = [receiver.seen[mark] - at for mark, at in sent.items() if mark in receiver.seen]
        metric_waits = [(receiver.seen[mark] - at) / EVERY_S for mark, at in metric_sent.items() if mark in receiver.seen]
        acks = load.waits[len(load.waits) // 10:]
    print(f"{args.rules} rules, {rate:,.0f} events/s, {cpu:.2f} cores of the server, at most {load.behind:.2f} s behind\n")
    print("| rules | marks | missing | p50 | p99 | max |\n|---|---|---|---|---|---|")
    line = lambda name, all_sent, all_waits, unit, digits: print(
        f"| {name} | {len(all_sent)} | {len(all_sent) - len(all_waits)} | "
        + " | ".join(f"{percentile(all_waits, share):.{digits}f} {unit}" for share in (0.5, 0.99, 1.0)) + " |")
    line("events", sent, [1000 * wait for wait in waits], "ms", 0)
    line("metrics", metric_sent, metric_waits, "intervals", 2)
    print(f"\nacknowledgement of {BATCH:,} rows: p50 {1000 * percentile(acks, .5):.0f} ms, p99 {1000 * percentile(acks, .99):.0f} ms")


def write(folder, config):
    path = os.path.join(folder, "config.yaml")
    with open(path, "w") as file:
        json.dump(config, file)
    return ["--config", path]


def hang(args, folder):
    """A minute with a receiver that works, then one that hangs, then one that works again."""
    receiver = Receiver()
    config = {"channels": {"hook": {"webhook": {"url": receiver.url}}},
              "forward": {"marks": {"inputs": ["events"], "filter": "starts_with(path, '/marked')", "to": "hook",
                                    "sql": "SELECT ts, cwd, path, cmdline, args FROM input"}}}
    with Server(args.bodkin, folder, extra=write(folder, config)) as server:
        load, sent, lines = Load(server, args.rate, args.seed), [], []
        time.sleep(3)

        def phase(name, seconds):
            first, end, peak, disk = len(load.waits), time.monotonic() + seconds, 0, 0
            while time.monotonic() < end:
                for _ in range(args.marks):
                    mark = f"mark-{len(sent)}"
                    load.mark(mark, "/marked/x")
                    sent.append(mark)
                peak, disk = max(peak, memory_mib(server.pid)), max(disk, disk_mib(os.path.join(folder, "wal")) + disk_mib(os.path.join(folder, "epochs")))
                time.sleep(0.2)
            waits = [1000 * wait for wait in load.waits[first:]]
            lines.append(f"| {name} | {seconds} s | {percentile(waits, .5):.0f} ms | {percentile(waits, .99):.0f} ms | {peak:.0f} | {disk:.0f} |")

        phase("works", args.before)
        receiver.free.clear()
        phase("hangs", args.seconds)
        receiver.free.set()
        phase("works again", args.before)
        rate = load.sent / (args.seconds + 2 * args.before + 3)
        load.stop()
        ended = lambda: {row["state"]: row["n"] for row in server.query(
            "SELECT state, count(*) AS n FROM deliveries GROUP BY state").to_pylist()}
        end = time.monotonic() + args.patience
        while set(sent) - set(receiver.seen) and time.monotonic() < end:
            time.sleep(0.5)
        missing = len(set(sent) - set(receiver.seen))
        print(f"{rate:,.0f} events/s; {len(sent):,} rows forwarded, {missing} missing, deliveries {ended()}, {receiver.doubled} came twice\n")
        print("| receiver | for | ack p50 | ack p99 | memory MiB | log and epochs MiB |\n|---|---|---|---|---|---|")
        print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "hang"])
    parser.add_argument("--bodkin", required=True, help="a release build")
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--before", type=float, default=30, help="seconds before and after the receiver hangs")
    parser.add_argument("--marks", type=int, default=3, help="rows that are forwarded, of each fifth of a second")
    parser.add_argument("--patience", type=float, default=400, help="seconds that what was held up may take to arrive")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bodkin-alerts-") as folder:
        {"latency": latency, "hang": hang}[args.what](args, folder)


if __name__ == "__main__":
    main()
