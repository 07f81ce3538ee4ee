"""Rules in the server: live findings, audit events, reload, history with the same answer (RULE-1), and what the routes say."""

import collections
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pyarrow.flight

import harness

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../operators/rules/tests/data")
FILES = [os.path.join(DATA, "falco", name) for name in ("falco_rules.yaml", "k8s_audit_rules.yaml")]
FILES.append(os.path.join(DATA, "cloudtrail/rules.yaml"))


def get(server, path):
    with urllib.request.urlopen(server.http + path, timeout=30) as answer:
        return json.load(answer)


def post_json(server, path, body):
    request = urllib.request.Request(server.http + path, body, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def follow(server, found):
    """Collects what the live stream tells until the server is gone."""
    try:
        with urllib.request.urlopen(server.http + "/api/v1/findings/live", timeout=60) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    found.append((time.time(), json.loads(line[6:])))
    except (OSError, ValueError):
        pass


def exchange(server, found):
    """Collects what DoExchange tells of findings until the server is gone."""
    try:
        client = pyarrow.flight.connect(server.flight)
        writer, reader = client.do_exchange(pyarrow.flight.FlightDescriptor.for_path("findings"))
        writer.begin(pa.schema([]))
        for chunk in reader:
            found.extend(chunk.data.select(["rule", "pid", "event_id"]).to_pylist())
    except (pa.ArrowException, pyarrow.flight.FlightError):
        pass


def detected(args, server, rules, *extra):
    """Findings of `bodkin detect`, as (rule, event)."""
    command = [args.bodkin, "detect", "--server", server.http, *extra, *rules]
    output = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    return collections.Counter((f["rule"], f["event_id"]) for f in map(json.loads, output.splitlines()))


def stored(server):
    return collections.Counter((rule, event) for rule, event in server.sql("SELECT rule, event_id FROM findings"))


def audit(args, folder, matching):
    """Samples of both APIs, sent over HTTP: exactly the expected rules, and the same over history."""
    config = os.path.join(folder, "audit.yaml")
    with open(config, "w") as file:
        json.dump({"rules": {"files": FILES, "matching": matching}}, file)
    with harness.running(harness.Server(args, folder, "server", ["--config", config])) as server:
        expected = collections.Counter()
        for name, events in json.load(open(os.path.join(DATA, "k8s_audit/expected.json"))).items():
            body = open(os.path.join(DATA, "k8s_audit/events", name), "rb").read()
            answer = post_json(server, "/api/v1/k8s-audit", body)
            assert answer["accepted"] == 1 and answer["rejected"] == 0, (name, answer)
            event = json.loads(body)
            event = event["items"][0] if event["kind"] == "EventList" else event
            wanted = events[0][matching]
            expected.update((rule, event["auditID"]) for rule in (wanted if isinstance(wanted, list) else [wanted]) if rule)
        body = open(os.path.join(DATA, "cloudtrail/events.json"), "rb").read()
        assert post_json(server, "/api/v1/cloudtrail", body)["accepted"] == 21
        for record in json.load(open(os.path.join(DATA, "cloudtrail/expected.json"))):
            wanted = record[matching]
            expected.update((rule, record["eventID"]) for rule in (wanted if isinstance(wanted, list) else [wanted]) if rule)
        assert stored(server) == expected, (stored(server) - expected, expected - stored(server))
        assert detected(args, server, FILES, "--matching", matching) == expected
        assert server.sql("SELECT count(*) FROM audit") == [[24 + 21]]
        server.post("/api/v1/admin/flush")
        assert stored(server) == expected
        assert detected(args, server, FILES, "--matching", matching) == expected
        routes(server, expected)
        status, _ = server.stop()
        assert status == 0, status
    # Whatever the folder holds is there once, with and without a server.
    with harness.running(harness.Server(args, folder, "server", ["--config", config])) as server:
        assert stored(server) == expected
        assert server.stop()[0] == 0
    return sum(expected.values())


def routes(server, expected):
    """Pages, filters and counters."""
    pages, cursor = [], ""
    while cursor is not None:
        page = get(server, f"/api/v1/findings?limit=7&order=asc{'&cursor=' + cursor if cursor else ''}")
        pages += page["findings"]
        cursor = page["next"]
    assert collections.Counter((f["rule"], f["event_id"]) for f in pages) == expected
    assert [f["time"] for f in pages] == sorted(f["time"] for f in pages)
    rule = pages[0]["rule"]
    filtered = get(server, f"/api/v1/findings?rule={urllib.request.quote(rule)}&limit=1000")["findings"]
    assert len(filtered) == sum(count for (name, _), count in expected.items() if name == rule)
    with urllib.request.urlopen(server.http + "/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    total = sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith("bodkin_rules_findings_made_total{"))
    assert total == sum(expected.values()), total
    for path, body in [("/api/v1/k8s-audit", b"{"), ("/api/v1/k8s-audit", b"{}"), ("/api/v1/findings?cursor=x", None)]:
        try:
            post_json(server, path, body) if body else get(server, path)
        except urllib.error.HTTPError as error:
            assert error.code == 400 and json.load(error)["error"]["message"], path
        else:
            raise AssertionError(f"{path} took {body}")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes findings as a reader of Falco's HTTP output does."""

    taken = []

    def do_POST(self):
        self.taken.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def live(args, folder):
    """Kernel events: live within a second, reload without a restart, a broken file changes nothing."""
    rules = os.path.join(folder, "rules")
    os.mkdir(rules)
    os.symlink(FILES[0], os.path.join(rules, "a.yaml"))
    config, lines = os.path.join(folder, "live.yaml"), os.path.join(folder, "falco.jsonl")
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    output = {"file": lines, "http": f"http://127.0.0.1:{receiver.server_port}/"}
    with open(config, "w") as file:
        json.dump({"rules": {"files": [rules], "matching": "all", "output": output}}, file)
    with harness.running(harness.Server(args, folder, "up", ["--require-ebpf", "--config", config])) as server:
        seen, exchanged = [], []
        threading.Thread(target=follow, args=(server, seen), daemon=True).start()
        threading.Thread(target=exchange, args=(server, exchanged), daemon=True).start()
        time.sleep(0.5)
        sensitive = "Read sensitive file untrusted"
        count = f"SELECT count(*) FROM findings WHERE rule = '{sensitive}'"
        done = time.time()
        child = subprocess.Popen(["cat", "/etc/shadow"], stdout=subprocess.DEVNULL)
        child.wait()
        found, _ = server.until(f"{count} AND pid = {child.pid}", 1, args.deadline)
        assert found == 1, f"{found} findings of {child.pid}"
        deadline = time.time() + args.deadline
        while time.time() < deadline and not all(any(f["pid"] == child.pid for f in told) for told in ([f for _, f in seen], exchanged)):
            time.sleep(0.02)
        assert any(f["pid"] == child.pid and f["rule"] == sensitive for f in exchanged), "DoExchange did not tell"
        moments = [at for at, f in seen if f["pid"] == child.pid and f["rule"] == sensitive]
        assert moments, "the live stream did not tell"
        row = server.sql(f"SELECT ancestor_pids, output_fields, host FROM findings WHERE rule = '{sensitive}' AND pid = {child.pid}")[0]
        assert os.getpid() in row[0], row
        assert json.loads(row[1])["proc.name"] == "cat", row
        # Another rule from the next event on.
        own = os.path.join(rules, "b.yaml")
        condition = "evt.type in (execve, execveat) and proc.args contains marker-of-reload"
        with open(own, "w") as file:
            file.write(f"- rule: Marker\n  desc: d\n  condition: {condition}\n  output: marker %proc.args\n  priority: NOTICE\n")
        assert server.post("/api/v1/rules")["ok"] is True
        subprocess.run(["true", "marker-of-reload"], check=True)
        found, _ = server.until("SELECT count(*) FROM findings WHERE rule = 'Marker'", 1, args.deadline)
        assert found == 1, found
        with open(own, "a") as file:
            file.write("- rule: Broken\n  condition: nothing\n")
        try:
            server.post("/api/v1/rules")
            raise AssertionError("a broken file was taken")
        except urllib.error.HTTPError as error:
            answer = json.loads(error.said)
            assert error.code == 422 and answer["errors"][0]["file"] == own and answer["errors"][0]["line"] == 6, answer
        subprocess.run(["true", "marker-of-reload"], check=True)
        found, _ = server.until("SELECT count(*) FROM findings WHERE rule = 'Marker'", 2, args.deadline)
        assert found == 2, "the rules that ran before go on"
        # RULE-1: history has the answer that the rules had live, event by event.
        server.post("/api/v1/admin/flush")
        end = server.sql("SELECT max(ts) FROM events")[0][0]
        history = detected(args, server, [FILES[0]], "--matching", "all", "--until", end)
        rows = server.sql(f"SELECT rule, event_id FROM findings WHERE ts < '{end}' AND rule <> 'Marker'")
        assert history == collections.Counter(map(tuple, rows)), (history, rows)
        printed = [json.loads(line) for line in open(lines)]
        assert any(f["rule"] == sensitive and f["output_fields"]["proc.name"] == "cat" for f in printed)
        told = [finding for path, finding in Receiver.taken if path == "/"]
        assert any(f["rule"] == sensitive and f["output_fields"]["proc.name"] == "cat" for f in told), "nothing was posted"
        status, _ = server.stop()
        assert status == 0, status
        receiver.shutdown()
        return min(moments) - done, sum(history.values())


# Rules that fire for much of what happens, over what is there, missing, negated, and of other processes.
BUSY = """
- macro: opened_for_writing
  condition: (evt.type in (open, openat, openat2) and evt.is_open_write = true and fd.typechar = f and fd.num >= 0)
- list: quiet
  items: [nobody-has-this-name, "nor this"]
- rule: Written
  desc: d
  condition: opened_for_writing and not proc.name in (quiet) and not fd.directory in (/dev, /proc)
  output: "%proc.name wrote %fd.name as %user.name in %10container.id with %proc.cmdline, from %proc.aname[2]"
  priority: INFO
  exceptions:
    - {name: few, fields: [fd.name, proc.name], comps: [endswith, =], values: [[-7, python3]]}
- rule: Started
  desc: d
  condition: evt.type in (execve, execveat) and proc.pname exists and not toupper(proc.name) contains val(proc.pname)
  output: "%proc.pname started %proc.exepath, %toupper(proc.name)"
  priority: NOTICE
- rule: Moved or gone
  desc: d
  condition: evt.type in (rename, renameat, renameat2, unlink, unlinkat) and (evt.res = SUCCESS or evt.arg.path exists)
  output: "%evt.type %evt.args %evt.res"
  priority: WARNING
- rule: Spoke
  desc: d
  condition: evt.type in (connect, sendto) and fd.sip in ("127.0.0.1", "::1") and fd.sport < 1024
  output: "%fd.name %fd.sip:%fd.sport"
  priority: ERROR
"""
WORK = """
import os, socket, subprocess, sys
folder, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    path = os.path.join(folder, f"file-{number % 10}")
    with open(path, "w") as file:
        file.write("x")
    os.rename(path, path + ".moved")
    os.unlink(path + ".moved")
    if number % 20 == 0:
        subprocess.run(["true", str(number)], check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.connect(("127.0.0.1", 9))
"""


def same(args, folder, matching):
    """RULE-1: all rules over thousands of kernel events: history has the live findings, event by event and word by word."""
    own, config = os.path.join(folder, "busy.yaml"), os.path.join(folder, "same.yaml")
    with open(own, "w") as file:
        file.write(BUSY)
    rules = [*FILES, own]
    with open(config, "w") as file:
        json.dump({"rules": {"files": rules, "matching": matching}}, file)
    with harness.running(harness.Server(args, folder, "up", ["--require-ebpf", "--config", config])) as server:
        count = 1000
        subprocess.run(["python3", "-c", WORK, folder, str(count)], check=True)
        subprocess.run(["cat", "/etc/shadow"], check=True, stdout=subprocess.DEVNULL)
        wanted = "SELECT count(*) FROM findings WHERE rule = 'Read sensitive file untrusted'"
        assert server.until(wanted, 1, args.deadline)[0] >= 1
        server.post("/api/v1/admin/flush")
        end = server.sql("SELECT max(ts) FROM events")[0][0]
        live = {(rule, event): output for rule, event, output in server.sql(f"SELECT rule, event_id, output FROM findings WHERE ts < '{end}'")}
        command = [args.bodkin, "detect", "--server", server.http, "--matching", matching, "--until", end, *rules]
        output = subprocess.run(command, check=True, capture_output=True, timeout=300).stdout
        found = [json.loads(line) for line in output.splitlines()]
        history = {(f["rule"], f["event_id"]): f["output"] for f in found}
        assert len(history) == len(found), "an event was found twice by a rule"
        assert history.keys() == live.keys(), (history.keys() ^ live.keys(), len(history), len(live))
        differing = [(key, live[key], history[key]) for key in live if live[key] != history[key]]
        assert not differing, differing[:3]
        by_rule = collections.Counter(rule for rule, _ in live)
        # A slow machine may shed some of it.
        assert all(by_rule[rule] for rule in ("Moved or gone", "Started", "Spoke", "Written")), by_rule
        if matching == "first":
            assert len({event for _, event in live}) == len(live), "an event has several findings"
        assert server.stop()[0] == 0
        return len(live)


args = harness.arguments(__doc__).parse_args()
for way in ("first", "all"):
    with harness.folder() as folder:
        print(f"audit events, matching {way}: {audit(args, folder, way)} findings as expected, live and over history")
for way in ("first", "all"):
    with harness.folder() as folder:
        print(f"all rules, matching {way}: {same(args, folder, way)} findings, the same live and over history")
with harness.folder() as folder:
    latency, count = live(args, folder)
    print(f"kernel events: live after {latency:.2f} s, {count} findings the same over history")
