"""kill -9 of a server that forwards, again and again (`--kills N`): every row that was acknowledged arrives, in a delivery
that comes again only under the same key and with the same body; receivers refuse now and then.
"""

import http.server
import json
import os
import random
import signal
import threading
import time

import pyarrow.flight

import harness
from flow import rows
from lanes import Lane


class Receiver:
    """Takes rows; refuses one request in ten before it took it, and does not answer one in fifty after it did."""

    def __init__(self, seed):
        self.lock, self.bodies, self.doubled, self.requests = threading.Lock(), {}, 0, 0
        self.changed, rng = [], random.Random(seed)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                with outer.lock:
                    outer.requests += 1
                    luck = rng.random()
                    if luck >= 0.1:
                        key = (self.path, self.headers["webhook-id"])
                        outer.doubled += key in outer.bodies
                        if outer.bodies.setdefault(key, body) != body:
                            outer.changed.append(key)
                if 0.1 <= luck < 0.12:
                    return
                self.send_response(503 if luck < 0.1 else 200)
                self.send_header("Retry-After", "0")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def counts(self, path):
        """Rows by their number, each with the keys that it came under."""
        found = {}
        with self.lock:
            for (where, key), body in self.bodies.items():
                if where == path:
                    for row in json.loads(body):
                        found.setdefault(row["count"], set()).add(key)
        return found


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng, receiver = random.Random(args.seed), Receiver(args.seed)
    config = {
        "channels": {name: {"webhook": {"url": f"{receiver.url}/{name}"}} for name in ("all", "some")},
        "forward": {
            "everything": {"inputs": ["drops"], "sql": "SELECT ts, reason, count FROM input", "to": "all"},
            "hundreds": {"inputs": ["drops"], "filter": "count % 100 = 0", "sql": "SELECT count FROM input", "to": "some"},
        },
    }
    acked, seq = 0, 0
    with harness.folder() as folder:
        path = os.path.join(folder, "config.yaml")
        with open(path, "w") as file:
            json.dump(config, file)
        for kill in range(args.kills + 1):
            is_last = kill == args.kills
            with harness.running(harness.Server(args, folder, extra=["--config", path])) as server:
                lane = Lane(pyarrow.flight.connect(server.flight), incarnation=kill + 1)
                end = time.monotonic() + rng.uniform(0.05, 1.5)
                seq = 0
                while time.monotonic() < end:
                    seq += 1
                    count = rng.randrange(1, 40)
                    lane.send(seq, rows([(time.time(), "c", f"r{kill}", acked + n) for n in range(count)]))
                    acked += count
                    time.sleep(0.02)
                    if rng.random() < 0.05:
                        server.post("/api/v1/admin/flush")
                if not is_last:
                    server.stop(signal.SIGKILL)
                    continue
                everything, hundreds = set(range(acked)), set(range(0, acked, 100))
                missing = lambda: (everything - set(receiver.counts("/all"))) | (hundreds - set(receiver.counts("/some")))
                end = time.monotonic() + 100 + args.deadline
                while missing():
                    assert time.monotonic() < end, f"{len(missing())} of {acked} are missing: {sorted(missing())[:10]}"
                    time.sleep(0.1)
                assert server.sql("SELECT count(*) FROM drops WHERE reason LIKE 'r%'")[0][0] == acked
                dead = server.sql("SELECT count(*) FROM deliveries WHERE state = 'dead'")[0][0]
                assert dead == 0, dead
                status, _ = server.stop()
                assert status == 0, status
    twice = {count: keys for where in ("/all", "/some") for count, keys in receiver.counts(where).items() if len(keys) > 1}
    assert not twice, f"rows under two keys: {list(twice.items())[:3]}"
    assert not receiver.changed, f"another body under the same key: {receiver.changed[:3]}"
    print(f"{args.kills} kills, {acked} rows, {len(receiver.bodies)} deliveries in {receiver.requests} requests, "
          f"{receiver.doubled} came again under their key, none is missing")


if __name__ == "__main__":
    main()
