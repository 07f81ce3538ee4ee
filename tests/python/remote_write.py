"""Remote write through kill -9: bodies in doubt are sent again, and every acknowledged sample is there once.

A sender writes rounds of samples of the same series, in order. The server is killed while it writes, again and again; after
each restart the sender sends what was not acknowledged, and goes on. At the end PromQL and SQL have each sample once."""

import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import remote_write_wire as wire


def body(series, round_, base_ms):
    """One sample of each series, its value the round."""
    labels = lambda number: {"__name__": "crash_samples_total", "job": "crash", "series": str(number)}
    return wire.body([(labels(number), [(base_ms + round_ * 1000, float(round_))]) for number in range(series)])


class Sender(threading.Thread):
    """Sends each round until it is acknowledged."""

    def __init__(self, http, series, base_ms):
        super().__init__(daemon=True)
        self.url = http + "/prometheus/api/v1/write"
        self.series, self.base_ms = series, base_ms
        self.acked, self.resent, self.refused = 0, 0, []
        self.is_stopping = threading.Event()

    def run(self):
        round_ = 0
        while not self.is_stopping.is_set():
            payload = body(self.series, round_, self.base_ms)
            while not self.is_stopping.is_set():
                headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
                try:
                    with urllib.request.urlopen(urllib.request.Request(self.url, payload, headers), timeout=20):
                        self.acked = round_ + 1
                        break
                except urllib.error.HTTPError as error:
                    if error.code < 500:
                        self.refused.append((error.code, error.read()))
                        self.acked = round_ + 1
                        break
                except OSError:
                    pass
                self.resent += 1
                time.sleep(0.02)
            round_ += 1


def promql(server, query, at_ms):
    params = urllib.parse.urlencode({"query": query, "time": at_ms / 1000})
    with urllib.request.urlopen(f"{server.http}/prometheus/api/v1/query?{params}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


parser = harness.arguments(__doc__)
parser.add_argument("--cycles", type=int, default=6, help="how often the server is killed")
parser.add_argument("--series", type=int, default=200)
args = parser.parse_args()
with harness.folder() as folder:
    server = harness.Server(args, folder)
    http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    base_ms = int(time.time() * 1000) // 60000 * 60000 - 24 * 3600 * 1000
    sender = Sender(server.http, args.series, base_ms)
    sender.start()
    for cycle in range(args.cycles):
        # Long enough for some rounds; every third time an epoch ends shortly before the kill.
        time.sleep(random.uniform(0.1, 1.0))
        if cycle % 3 == 2:
            server.post("/api/v1/admin/flush")
            time.sleep(random.uniform(0, 0.1))
        server.stop(signal.SIGKILL)
        server = harness.Server(args, folder, http=http, flight=flight)
    with harness.running(server):
        time.sleep(0.5)
        sender.is_stopping.set()
        sender.join(30)
        rounds = sender.acked
        assert rounds > args.cycles and not sender.refused, (rounds, sender.refused[:2])
        end_ms = base_ms + rounds * 1000
        counts = promql(server, f"count_over_time(crash_samples_total[{rounds + 5}s])", end_ms)
        # The last round may have been stored without its answer.
        seen = {int(row["value"][1]) for row in counts}
        assert len(counts) == args.series and seen <= {rounds, rounds + 1}, (len(counts), rounds, seen)
        sums = {float(row["value"][1]) for row in promql(server, f"sum_over_time(crash_samples_total[{rounds + 5}s])", end_ms)}
        assert sums <= {sum(range(rounds)), sum(range(rounds + 1))}, (rounds, sums)
        of = "FROM metrics WHERE name = 'crash_samples_total'"
        rows = server.sql(f"SELECT count(*) {of}")[0][0]
        distinct = server.sql(f"SELECT count(*) FROM (SELECT DISTINCT series_id, ts {of}) d")[0][0]
        assert rows == distinct and rounds * args.series <= rows <= (rounds + 1) * args.series, (rows, distinct, rounds)
        status, _ = server.stop()
        assert status == 0, status
    print(
        f"{rounds} rounds of {args.series} series acknowledged, {sender.resent} sent again, across {args.cycles} times kill -9: "
        f"{rows} samples, each once; the last recovery took {server.ready_seconds:.2f} s"
    )
