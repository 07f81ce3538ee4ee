"""From system call to finding: marked calls under a load of others, until `GET /api/v1/findings` tells of them."""

import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.request

RULES = """\
- rule: Marked
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith %s/marked-
  output: marked %%fd.name
  priority: NOTICE
"""
# Opens a file again and again at a given rate, from as few wake-ups as that takes.
LOAD = """
import os, sys, time
path, rate = sys.argv[1], float(sys.argv[2])
start, done = time.perf_counter(), 0
while True:
    due = int((time.perf_counter() - start) * rate)
    for _ in range(due - done):
        os.close(os.open(path, os.O_RDONLY))
    done = max(due, done)
    time.sleep(0.002)
"""


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def get(http, path):
    with urllib.request.urlopen(http + path, timeout=30) as answer:
        return json.load(answer)


def events(http):
    """Events that have come so far."""
    body = json.dumps({"query": "SELECT count(*) FROM events"}).encode()
    request = urllib.request.Request(http + "/api/v1/sql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["rows"][0][0]


def watch(http, sent, seen, stopping):
    """Notes when each mark is first in an answer; the newest are asked for, as a dashboard does."""
    while not stopping.is_set():
        page = get(http, "/api/v1/findings?rule=Marked&limit=50")
        now = time.time()
        for finding in page["findings"]:
            name = finding["output_fields"]["fd.name"]
            if name in sent:
                seen.setdefault(name, now)
        time.sleep(0.05)


def run(args, out):
    with tempfile.TemporaryDirectory(prefix="bodkin-latency-") as folder:
        rules, config = os.path.join(folder, "rules.yaml"), os.path.join(folder, "config.yaml")
        with open(rules, "w") as file:
            file.write(RULES % folder)
        with open(config, "w") as file:
            json.dump({"rules": {"files": [args.rules, rules], "matching": "all"}}, file)
        command = [args.bodkin, "up", "--require-ebpf", "--data-dir", os.path.join(folder, "data"), "--http", "127.0.0.1:0",
                   "--flight", "127.0.0.1:0", "--config", config]
        with open(os.path.join(folder, "up.log"), "ab") as log:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        load, stopping = None, threading.Event()
        try:
            http = json.loads(server.stdout.readline())["http"]
            load = subprocess.Popen(["python3", "-c", LOAD, rules, str(args.rate)])
            time.sleep(3)
            sent, seen = {}, {}
            watcher = threading.Thread(target=watch, args=(http, sent, seen, stopping), daemon=True)
            watcher.start()
            count, start = events(http), time.time()
            while time.time() - start < args.seconds:
                name = os.path.join(folder, f"marked-{len(sent)}")
                sent[name] = time.time()
                os.close(os.open(name, os.O_RDWR | os.O_CREAT))
                time.sleep(0.1)
            # What is late shows within this time, or not at all.
            end = time.time() + 10
            rate = (events(http) - count) / (time.time() - start)
            while len(seen) < len(sent) and time.time() < end:
                time.sleep(0.05)
        finally:
            stopping.set()
            for child in [load, server]:
                if child is not None:
                    child.terminate()
                    child.wait(60)
        waits = [seen[name] - at for name, at in sent.items() if name in seen]
        missing = len(sent) - len(waits)
        figures = [f"{percentile(waits, share) * 1000:.0f} ms" for share in (0.5, 0.99, 1.0)]
        lines = [f"Calls marked ten times a second among {rate / 1000:.0f} k events/s on one machine that runs agent, server, load and this "
                 "script; rules: the published file and one that finds the marks. Polled every 50 ms.", "",
                 "| marks | missing | p50 | p99 | max |", "|---|---|---|---|---|",
                 f"| {len(sent)} | {missing} | {' | '.join(figures)} |"]
        out.section("latency", lines)
        print("\n".join(lines))
