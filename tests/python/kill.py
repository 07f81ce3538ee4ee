"""kill -9 of the server at random moments under load, as often as asked: every acknowledged row is stored, each once.

A sender numbers batches in its lane, keeps them until they are acknowledged and sends them again, as the agent does. The
rows carry a unique number each, so that SQL can count them. `./check --kill 200` runs it against a release build.
"""

import json
import os
import random
import signal
import threading
import time
import urllib.parse

import pyarrow as pa
import pyarrow.flight

import harness

SCHEMA = pa.schema([
    pa.field("ts", pa.timestamp("us", "UTC"), False), pa.field("producer", pa.string(), False),
    pa.field("class", pa.string(), False), pa.field("reason", pa.string(), False), pa.field("count", pa.int64(), False)])
BATCH_ROWS = 5000
WINDOW = 16
RANGE = 4_000_000

parser = harness.arguments(__doc__)
parser.add_argument("--cycles", type=int, default=3)
parser.add_argument("--rate", type=int, default=100_000, help="rows per second")
parser.add_argument("--life", type=float, default=3.0, help="seconds that a server lives at most")
parser.add_argument("--seed", type=int, default=int(time.time()))
args = parser.parse_args()


PRODUCERS = pa.array(["kill/security"] * BATCH_ROWS)
REASONS = pa.array([f"reason {n % 50}" for n in range(BATCH_ROWS)])


def batch(number):
    """The batch with this number, from 1: its rows count on from those of the one before."""
    first = (number - 1) * BATCH_ROWS
    times = pa.array([int(time.time() * 1e6)] * BATCH_ROWS, SCHEMA.field(0).type)
    ids = pa.array(range(first, first + BATCH_ROWS), pa.int64())
    return pa.record_batch([times, PRODUCERS, PRODUCERS, REASONS, ids], schema=SCHEMA)


class Sender(threading.Thread):
    """Sends at the given rate from whatever is not acknowledged, for as long as `is_sending`; then what is left."""

    def __init__(self, flight):
        super().__init__(daemon=True)
        self.flight, self.is_sending, self.acked, self.made = flight, True, 0, 0
        self.pending, self.error, self.connections = {}, None, 0

    def run(self):
        started, base = time.monotonic(), 0
        while self.is_sending or self.acked < self.made:
            try:
                self.connect(started)
            except (pa.ArrowException, OSError, pyarrow.flight.FlightError):
                time.sleep(0.02)
            except BaseException as error:  # a mistake of this script
                self.error = error
                raise

    def connect(self, started):
        client = pyarrow.flight.connect(self.flight)
        try:
            writer, reader = client.do_put(
                pa.flight.FlightDescriptor.for_path("drops"), SCHEMA, pa.flight.FlightCallOptions(timeout=60))
            self.connections += 1
            sent = self.acked
            while self.is_sending or self.acked < self.made:
                due = int((time.monotonic() - started) * args.rate / BATCH_ROWS)
                if self.is_sending and self.made < due and len(self.pending) < 4 * WINDOW:
                    self.made += 1
                    self.pending[self.made] = batch(self.made)
                if sent < self.made and sent - self.acked < WINDOW:
                    sent += 1
                    meta = {"producer": "kill/security", "incarnation": 1, "seq": sent}
                    writer.write_with_metadata(self.pending[sent], json.dumps(meta).encode())
                elif sent > self.acked:
                    answer = reader.read()
                    if answer is None:
                        raise OSError("the put ended")
                    acked = json.loads(answer.to_pybytes())["acked_seq"]
                    for number in range(self.acked + 1, acked + 1):
                        self.pending.pop(number, None)
                    self.acked = max(self.acked, acked)
                else:
                    time.sleep(0.002)
            writer.close()
        finally:
            client.close()


def wal_bytes(folder):
    path = os.path.join(folder, "data", "wal")
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


def check(server, sender, since=0):
    """What was acknowledged before the question is in the answer, and nothing is there twice; from number `since` on."""
    acked, total, first = sender.acked * BATCH_ROWS, 0, since
    while True:
        # A range at a time: the set of distinct numbers has to fit into the memory of one query.
        end = first + RANGE
        (rows, distinct, complete, newest), = server.sql(
            f"SELECT count(*) FILTER (WHERE count < {end}) AS n, count(DISTINCT CASE WHEN count < {end} THEN count END), "
            f"count(*) FILTER (WHERE count < {min(acked, end)}), max(count) FROM drops WHERE count >= {first}")
        assert rows == distinct, f"{rows - distinct} of {rows} rows from {first} on are there twice"
        expected = min(max(acked - first, 0), RANGE)
        assert complete == expected, f"{expected - complete} of {acked} acknowledged rows from {first} on are missing"
        total, first = total + rows, end
        if newest is None or newest < end:
            return total


chance = random.Random(args.seed)
print(f"seed {args.seed}")
with harness.folder() as folder:
    server = harness.Server(args, folder)
    http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    sender = Sender(server.flight)
    sender.start()
    slowest, replayed_max = 0.0, 0
    try:
        for cycle in range(args.cycles):
            time.sleep(chance.uniform(0.05, args.life))
            if cycle % 10 == 5:
                server.post("/api/v1/admin/flush")
            server.stop(signal.SIGKILL)
            replayed = wal_bytes(folder)
            server = harness.Server(args, folder, http=http, flight=flight)
            replayed_max = max(replayed_max, replayed)
            # A start alone takes a few tenths of a second on a busy machine; the log is what must not make it slow.
            slowest = max(slowest, server.ready_seconds - replayed / (1 << 30))
            if cycle % 5 == 0:
                # All of it now and then; else what a kill may have touched.
                check(server, sender, 0 if cycle % 50 == 0 else max(0, (sender.acked - 2000) * BATCH_ROWS))
            assert sender.error is None, sender.error
        sender.is_sending = False
        sender.join(args.deadline + 60)
        assert not sender.is_alive(), f"{sender.made - sender.acked} batches are not acknowledged"
        server.post("/api/v1/admin/flush")
        rows = check(server, sender)
        assert rows == sender.made * BATCH_ROWS, (rows, sender.made * BATCH_ROWS)
        assert server.sql("SELECT count(*) FROM drops WHERE reason = 'quarantined'") == [[0]]
        status, _ = server.stop()
        assert status == 0, status
    finally:
        if server.child.poll() is None:
            server.child.kill()
            server.child.wait()
    print(f"{args.cycles} kills, {rows} rows stored once, {sender.connections} connections; largest log replayed "
          f"{replayed_max / (1 << 20):.0f} MiB, slowest start {slowest:.2f} s beyond a second per GiB")
