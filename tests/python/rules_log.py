"""RULE-1 over kill -9: which rules an event meets is decided in the log.

A sender numbers events and sends them again until they are acknowledged. Meanwhile rules change, by a reload and while
the server is dead. An event that was acknowledged before new rules came is found by older rules only, one that was sent
after they were in force by those or newer ones, and every event is found once, whatever dies.
"""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.parse

import pyarrow as pa
import pyarrow.flight

import harness

TEXT = pa.string()
SCHEMA = pa.schema([
    pa.field(name, kind, False) for name, kind in [
        ("ts", pa.timestamp("us", "UTC")), ("ts_ns", pa.int64()), ("host", TEXT), ("host_id", TEXT), ("incarnation", pa.int64()),
        ("cpu", pa.int32()), ("seq", pa.int64()), ("evt_type", TEXT), ("pid", pa.int32()), ("tid", pa.int32()),
        ("result", pa.int64()), ("container_id", TEXT), ("cgroup_id", pa.int64()), ("truncated", pa.bool_())]])
ROWS = 50

parser = harness.arguments(__doc__)
parser.add_argument("--cycles", type=int, default=4)
parser.add_argument("--seed", type=int, default=int(time.time()))
args = parser.parse_args()


def batch(number):
    """The events of a batch, numbered on from the one before by `seq`."""
    first, now = (number - 1) * ROWS + 1, time.time_ns()
    columns = {"ts": now // 1000, "ts_ns": now, "host": "h", "host_id": "h", "incarnation": 1, "cpu": 0, "evt_type": "execve",
               "pid": 7, "tid": 7, "result": 0, "container_id": "host", "cgroup_id": 1, "truncated": False}
    arrays = [pa.array(range(first, first + ROWS) if field.name == "seq" else [columns[field.name]] * ROWS, field.type)
              for field in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA)


class Sender(threading.Thread):
    """One batch after the other, each until it is acknowledged."""

    def __init__(self, flight):
        super().__init__(daemon=True)
        self.flight, self.is_sending, self.acked, self.sent, self.error = flight, True, 0, 0, None

    def run(self):
        while self.is_sending:
            try:
                self.connect()
            except (pa.ArrowException, OSError, pyarrow.flight.FlightError):
                time.sleep(0.02)
            except BaseException as error:  # a mistake of this script
                self.error = error
                raise

    def connect(self):
        client = pyarrow.flight.connect(self.flight)
        try:
            writer, reader = client.do_put(
                pa.flight.FlightDescriptor.for_path("events"), SCHEMA, pa.flight.FlightCallOptions(timeout=30))
            while self.is_sending:
                number = self.acked + 1
                self.sent = max(self.sent, number)
                meta = {"producer": "rules/security", "incarnation": 1, "seq": number}
                writer.write_with_metadata(batch(number), json.dumps(meta).encode())
                while self.acked < number:
                    answer = reader.read()
                    if answer is None:
                        raise OSError("the put ended")
                    self.acked = max(self.acked, json.loads(answer.to_pybytes())["acked_seq"])
            writer.close()
        finally:
            client.close()


def write_rules(path, version):
    text = f"- rule: Version {version}\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: INFO\n"
    with open(path + ".part", "w") as file:
        file.write(text)
    os.rename(path + ".part", path)


def check(server, bounds, sender):
    """Every acknowledged event has one finding, of a version that fits."""
    acked = sender.acked * ROWS
    rows = server.sql("SELECT CAST(split_part(event_id, '/', 4) AS BIGINT) AS n, min(rule), count(*) FROM findings GROUP BY n ORDER BY n")
    numbers = [n for n, _, _ in rows]
    assert numbers[:acked] == list(range(1, acked + 1)), f"{acked - len(numbers)} of {acked} events have no finding"
    twice = [n for n, _, count in rows if count != 1]
    assert not twice, f"{len(twice)} events have several findings, event {twice[0]} for one"
    for version, acked_before, sent_before in bounds:
        for number, rule, _ in rows:
            found = int(rule.rsplit(" ", 1)[1])
            place = (number - 1) // ROWS + 1
            assert place > acked_before or found < version, f"event {number} met rules {found} that came after it"
            assert place <= sent_before or found >= version, f"event {number} met rules {found}, which were gone"
    return len(rows)


def wait_for(sender, batches, deadline):
    """Until so many more batches are acknowledged."""
    wanted, end = sender.acked + batches, time.time() + deadline
    while sender.acked < wanted:
        assert sender.error is None and time.time() < end, sender.error or "nothing is acknowledged any more"
        time.sleep(0.005)


chance = random.Random(args.seed)
print(f"seed {args.seed}")
with harness.folder() as folder:
    rules = os.path.join(folder, "rules.yaml")
    config = os.path.join(folder, "config.yaml")
    write_rules(rules, 1)
    with open(config, "w") as file:
        json.dump({"rules": {"files": [rules]}}, file)
    extra = ["--config", config]
    server = harness.Server(args, folder, extra=extra)
    http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    sender = Sender(server.flight)
    sender.start()
    version, bounds = 1, []
    try:
        for cycle in range(args.cycles):
            # New rules in a running server.
            wait_for(sender, chance.randrange(3, 30), args.deadline)
            version += 1
            before = sender.acked
            write_rules(rules, version)
            assert server.post("/api/v1/rules")["ok"] is True
            bounds.append((version, before, sender.sent))
            # A broken file changes nothing.
            with open(rules, "a") as file:
                file.write("- rule: broken\n")
            try:
                server.post("/api/v1/rules")
                raise AssertionError("a broken file was taken")
            except urllib.error.HTTPError as error:
                assert error.code == 422, error
            wait_for(sender, chance.randrange(1, 30), args.deadline)
            if cycle % 3 == 1:
                server.post("/api/v1/admin/flush")
                wait_for(sender, chance.randrange(1, 10), args.deadline)
            # Others while it is dead: what is replayed meets the old ones.
            server.stop(signal.SIGKILL)
            version += 1
            before, sent = sender.acked, sender.sent
            write_rules(rules, version)
            server = harness.Server(args, folder, extra=extra, http=http, flight=flight)
            bounds.append((version, before, sent))
            check(server, bounds, sender)
        wait_for(sender, 5, args.deadline)
        sender.is_sending = False
        sender.join(args.deadline)
        server.post("/api/v1/admin/flush")
        count = check(server, bounds, sender)
        assert server.stop()[0] == 0
    finally:
        if server.child.poll() is None:
            server.child.kill()
            server.child.wait()
    print(f"{args.cycles} kills, {version} sets of rules, {count} events, each found once and by the rules of its place in the log")
