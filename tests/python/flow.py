"""Windows, alerts and deliveries of a real server, killed in the middle (LATE-1, DET-1).

An event becomes a window, an alert and a signed webhook; receivers fail and come back; windows equal a batch query
over the raw rows; what is forwarded arrives, and what comes twice has the same key.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import pyarrow as pa
import pyarrow.flight

import harness
from lanes import SCHEMA, Lane

SECRET = b"a secret of the test"


class Receiver:
    """An HTTP server that takes webhooks, and refuses as it is told: the next `busy` requests get 503, those of
    paths that are `down` always do, /bad gets 400."""

    def __init__(self):
        self.lock = threading.Lock()
        self.got = []  # (path, webhook-id, body, time)
        self.busy = 0
        self.down = set()
        self.refused = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with outer.lock:
                    is_busy = outer.busy > 0
                    if is_busy:
                        outer.busy -= 1
                        outer.refused += 1
                if self.path == "/bad":
                    self.send_response(400)
                elif self.path in outer.down:
                    self.send_response(503)
                elif is_busy:
                    self.send_response(503)
                    self.send_header("Retry-After", "0")
                else:
                    if self.path == "/alerts":
                        check_signature(self.headers, body)
                    with outer.lock:
                        outer.got.append((self.path, self.headers["webhook-id"], json.loads(body), time.time()))
                    self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, path):
        with self.lock:
            return [one for one in self.got if one[0] == path]


def check_signature(headers, body):
    """As Standard Webhooks says."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}", headers["webhook-signature"]


def config(url):
    return f"""
graph:
  operators:
    per_reason:
      inputs: [drops]
      window: "SELECT reason, count(*) AS n, sum(count) AS total FROM drops GROUP BY reason, tumble(ts, '10s')"
      early: true
    sliding: {{inputs: [drops], window: "SELECT class, count(*) AS n, avg(count) AS a FROM drops GROUP BY class, hop(ts, '1m', '10s')"}}
channels:
  hook: {{webhook: {{url: {url}/alerts, secret: "{SECRET.decode()}"}}}}
  siem: {{webhook: {{url: {url}/rows}}}}
  broken: {{webhook: {{url: {url}/bad}}}}
forward:
  hundreds: {{inputs: [drops], filter: count % 100 = 0, sql: "SELECT ts, reason, count FROM input", to: siem}}
  refused: {{inputs: [drops], filter: reason = 'marker', to: broken}}
alerts:
  rules:
    - {{alert: Marker, from: drops, when: reason = 'marker', by: [class], severity: critical, annotations: {{summary: "class {{{{ labels.class }}}}"}}}}
    - {{alert: Burst, from: per_reason, when: n >= 3, by: [reason], keep: 1h}}
    - {{alert: Total, sql: SELECT count(*) AS value FROM drops, when: value > 10, every: 1s}}
  route: {{channel: hook, group_by: ["..."], group_interval: 0s}}
"""


def rows(records):
    """Rows of `drops` from (seconds, class, reason, count)."""
    ts, classes, reasons, counts = zip(*records)
    return pa.record_batch([
        pa.array([int(t * 1e6) for t in ts], SCHEMA.field(0).type), pa.array(["p"] * len(ts)), pa.array(classes),
        pa.array(reasons), pa.array(counts, pa.int64())], schema=SCHEMA)


def until(what, check, seconds):
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


def send_late_rows(lane, seq, start, stop, base, rng):
    """Batches of rows of the last twenty minutes; three in ten come up to ten minutes late."""
    for number in range(start, stop):
        records = []
        for row in range(20):
            late = rng.uniform(30, 600) if rng.random() < 0.3 else rng.uniform(0, 5)
            second = base + number * 2 - late
            records.append((second, f"c{rng.randrange(3)}", f"r{rng.randrange(5)}", number * 20 + row))
        lane.send(seq + number, rows(records))


def windows_equal_batch(server, deadline):
    """The merged windows and the same statements over the raw rows."""
    pairs = [
        ("SELECT reason, window_start, n, total FROM per_reason WHERE {} ORDER BY 1, 2",
         "SELECT reason, tumble(ts, '10s') AS t, count(*) AS n, sum(count) AS total FROM drops WHERE reason <> 'marker' "
         "GROUP BY reason, tumble(ts, '10s') ORDER BY 1, 2"),
        ("SELECT class, window_start, n, a FROM sliding WHERE {} ORDER BY 1, 2",
         "SELECT class, hop(ts, '1m', '10s') AS t, count(*) AS n, avg(count) AS a FROM drops WHERE class <> 'marker' "
         "GROUP BY class, hop(ts, '1m', '10s') ORDER BY 1, 2"),
    ]
    conditions = ["reason <> 'marker'", "class <> 'marker'"]
    for (windows, batch), condition in zip(pairs, conditions):
        expected = server.sql(batch)
        assert len(expected) > 50, len(expected)
        until(f"{windows} is not {batch}", lambda: server.sql(windows.format(condition)) == expected, deadline)


def main():
    args = harness.arguments(__doc__).parse_args()
    receiver, rng = Receiver(), random.Random(7)
    with harness.folder() as folder:
        path = os.path.join(folder, "config.yaml")
        with open(path, "w") as file:
            file.write(config(receiver.url))
        extra = ["--config", path]

        with harness.running(harness.Server(args, folder, extra=extra)) as server:
            lane = Lane(pa.flight.connect(server.flight), incarnation=1)
            now = time.time()
            sent = time.time()
            lane.send(1, rows([(now, "marker", "marker", 1)]))
            marker = until("no webhook", lambda: [one for one in receiver.of("/alerts")
                                                  if one[2]["commonLabels"]["alertname"] == "Marker"], args.deadline)[0]
            print(f"row to webhook: {(marker[3] - sent) * 1e3:.0f} ms")
            alert = marker[2]["alerts"][0]
            assert (marker[2]["status"], alert["labels"]["severity"], alert["annotations"]["summary"]) == (
                "firing", "critical", "class marker"), marker
            dead = until("no dead letter", lambda: server.sql(
                "SELECT channel, state, attempts FROM deliveries WHERE state = 'dead'"), args.deadline)
            assert dead == [["broken", "dead", 1]], dead

            sent = time.time()
            lane.send(2, rows([(now, "marker", "burst", 1)] * 3))
            burst = until("no alert over a window", lambda: [one for one in receiver.of("/alerts")
                                                             if one[2]["commonLabels"]["alertname"] == "Burst"], args.deadline)[0]
            print(f"row to window to webhook: {(burst[3] - sent) * 1e3:.0f} ms")

            nodes = {node["name"] for node in json.loads(subprocess.run(
                [args.bodkin, "graph", "--server", server.http, "--format", "json"], check=True, capture_output=True).stdout)["nodes"]}
            assert {"per_reason", "per_reason.merge", "alerting", "alert.per_reason", "forward.hundreds"} <= nodes, nodes
            subprocess.run([args.bodkin, "forward", "test", "hook", "--server", server.http], check=True, capture_output=True)
            refused = subprocess.run([args.bodkin, "forward", "test", "broken", "--server", server.http], capture_output=True)
            assert refused.returncode != 0 and b"400" in refused.stderr, refused
            listed = subprocess.run([args.bodkin, "alerts", "list", "--server", server.http], check=True, capture_output=True)
            assert b"Marker" in listed.stdout, listed

            with receiver.lock:
                receiver.busy = 5
            base = now - 400
            send_late_rows(lane, 3, 0, 60, base, rng)
            server.post("/api/v1/admin/flush")
            send_late_rows(lane, 3, 60, 90, base, rng)
            server.stop(signal.SIGKILL)

        with harness.running(harness.Server(args, folder, extra=extra)) as server:
            lane = Lane(pa.flight.connect(server.flight), incarnation=1)
            send_late_rows(lane, 3, 90, 150, base, rng)
            total = server.sql("SELECT count(*) FROM drops WHERE class <> 'marker'")[0][0]
            assert total == 150 * 20, total
            # Event time goes on, so that all windows end.
            lane.send(400, rows([(time.time() + 60, "marker", "marker", 1)]))
            windows_equal_batch(server, 60)
            until("the total does not fire", lambda: [one for one in receiver.of("/alerts")
                                                      if one[2]["commonLabels"]["alertname"] == "Total"], args.deadline)

            expected = {row[0] for row in server.sql("SELECT count FROM drops WHERE count % 100 = 0")}
            def arrived():
                return {row["count"] for one in receiver.of("/rows") for row in one[2]}
            until("forwarded rows are missing", lambda: arrived() >= expected, args.deadline)
            by_rows = {}
            for _, key, body, _ in receiver.of("/rows"):
                by_rows.setdefault(json.dumps(body), set()).add(key)
            assert all(len(keys) == 1 for keys in by_rows.values()), "the same rows under two keys"
            assert receiver.refused == 5, receiver.refused

            silence(server, receiver, lane)
            reload(server, receiver, lane, path)
            status, seconds = server.stop()
            assert status == 0, status
    print(f"{len(receiver.got)} deliveries, {len(by_rows)} of rows")


def reload(server, receiver, lane, path):
    """At SIGHUP what waits for a channel goes to where the channel goes now; new rules are asked, new channels are there."""
    receiver.down.add("/rows")
    lane.send(600, rows([(time.time(), "x", "reloaded", 1_000_000 + 100 * n) for n in range(20)]))
    pending = re.compile(rb"^bodkin_outbox_deliveries_pending ([1-9].*)$", re.M)
    until("nothing waits", lambda: pending.search(urllib.request.urlopen(server.http + "/metrics").read()), 10)
    with open(path) as file:
        text = file.read()
    text = text.replace("/rows}}", "/elsewhere}}").replace("channels:", f"channels:\n  late: {{webhook: {{url: {receiver.url}/late}}}}")
    text = text.replace("  refused:", "  late: {inputs: [drops], filter: reason = 'late', to: late}\n  refused:")
    text = text.replace("  rules:", "  rules:\n    - {alert: New, sql: SELECT count(*) AS value FROM drops, when: value > 1, every: 1s}")
    with open(path, "w") as file:
        file.write(text)
    os.kill(server.pid, signal.SIGHUP)
    counts = {1_000_000 + 100 * n for n in range(20)}
    until("what waited is lost", lambda: {row["count"] for one in receiver.of("/elsewhere") for row in one[2]} >= counts, 30)
    lane.send(601, rows([(time.time(), "x", "late", 7)]))
    until("the new channel gets nothing", lambda: receiver.of("/late"), 30)
    until("the new rule does not fire", lambda: [one for one in receiver.of("/alerts")
                                                if one[2]["commonLabels"]["alertname"] == "New"], 30)
    # What is wrong changes nothing.
    with open(path, "w") as file:
        file.write(text.replace("to: late", "to: nowhere"))
    os.kill(server.pid, signal.SIGHUP)
    lane.send(602, rows([(time.time(), "x", "late", 8)]))
    until("a wrong configuration breaks what runs", lambda: len(receiver.of("/late")) == 2, 30)
    dead = server.sql("SELECT count(*) FROM deliveries WHERE state = 'dead' AND channel <> 'broken'")
    assert dead == [[0]], dead


def silence(server, receiver, lane):
    """amtool, or the same by hand, mutes an alert that fires."""
    base = f"{server.http}/alertmanager"
    amtool = shutil.which("amtool")
    if amtool:
        def run(*command):
            return subprocess.run([amtool, f"--alertmanager.url={base}", *command], check=True, capture_output=True, text=True).stdout
        assert "Burst" in run("alert", "query"), run("alert", "query")
        run("silence", "add", "alertname=Marker", "class=muted", "--author=test", "--comment=test", "--duration=1h")
        assert "muted" in run("silence", "query"), run("silence", "query")
        assert run("config", "routes", "test", "alertname=Marker").strip() == "hook", run("config", "routes", "show")
    else:
        server.post("/api/v1/silences", {"matchers": {"alertname": "Marker", "class": "muted"}, "duration": "1h"})
    posted(server, receiver, amtool and run)
    before = len(receiver.of("/alerts"))
    lane.send(500, rows([(time.time(), "muted", "marker", 1)]))
    until("the muted alert is not in the table", lambda: server.sql(
        "SELECT count(*) FROM alerts WHERE rule = 'Marker' AND labels['class'] = 'muted'")[0][0], 20)
    lane.send(501, rows([(time.time(), "heard", "marker", 1)]))
    until("the next alert is not heard", lambda: [one for one in receiver.of("/alerts")[before:]
                                                  if one[2]["commonLabels"].get("class") == "heard"], 20)
    muted = [one for one in receiver.of("/alerts")[before:] if one[2]["commonLabels"].get("class") == "muted"]
    assert not muted, muted


def posted(server, receiver, amtool):
    """Somebody else's alert fires, is shown, and ends."""
    alert = {"labels": {"alertname": "Posted", "severity": "critical"}}
    def post(alert):
        request = urllib.request.Request(f"{server.http}/alertmanager/api/v2/alerts", json.dumps([alert]).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200, answer.status
    if amtool:
        amtool("alert", "add", "alertname=Posted", "severity=critical", "--annotation=summary=by hand")
    else:
        post({**alert, "annotations": {"summary": "by hand"}})
    def of(status):
        return [one for one in receiver.of("/alerts")
                if one[2]["commonLabels"]["alertname"] == "Posted" and one[2]["status"] == status]
    fired = until("the posted alert does not fire", lambda: of("firing"), 20)
    assert fired[0][2]["alerts"][0]["annotations"]["summary"] == "by hand", fired
    if amtool:
        assert "Posted" in amtool("alert", "query", "alertname=Posted"), amtool("alert", "query")
    post({**alert, "endsAt": "2020-01-01T00:00:00Z"})
    until("the posted alert does not end", lambda: of("resolved"), 20)
    states = server.sql("SELECT state, count(*) FROM alerts WHERE rule = 'Posted' GROUP BY state ORDER BY 1")
    assert states == [["firing", 1], ["resolved", 1]], states


if __name__ == "__main__":
    main()
