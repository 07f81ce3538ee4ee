"""Real senders through kill -9: a Prometheus and a vmagent scrape a page that counts its readings and write them by remote
write, while the server is killed again and again. In the end each reading of each series is there once.

  senders.py --bodkin B --agent A [--prometheus P] [--vmagent V] [--cycles 50]"""

import http.server
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.parse

import harness

SCRAPE = "250ms"


class Page(http.server.BaseHTTPRequestHandler):
    """`/NAME`: how often NAME has asked, as so many series."""

    protocol_version = "HTTP/1.1"
    readings, series, is_over, lock = {}, 100, False, threading.Lock()

    def do_GET(self):
        name = self.path.strip("/")
        with self.lock:
            if self.is_over:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            reading = self.readings[name] = self.readings.get(name, 0) + 1
        lines = ["# TYPE sender_readings_total counter"]
        lines += [f'sender_readings_total{{sender="{name}",series="{number}"}} {reading}' for number in range(self.series)]
        body = ("\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def scrape_config(folder, name, page, more=""):
    path = os.path.join(folder, f"{name}.yml")
    with open(path, "w") as file:
        file.write(
            f"global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}}}\n"
            f"scrape_configs: [{{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{page}']}}]}}]\n{more}"
        )
    return path


def prometheus(binary, folder, page, server):
    queue = "queue_config: {min_backoff: 30ms, max_backoff: 300ms, batch_send_deadline: 200ms, max_samples_per_send: 300}"
    config = scrape_config(folder, "prometheus", page, f"remote_write: [{{url: '{server}/prometheus/api/v1/write', {queue}}}]\n")
    data = os.path.join(folder, "prometheus-data")
    return [binary, "--agent", f"--config.file={config}", f"--storage.agent.path={data}", "--web.listen-address=127.0.0.1:0"]


def vmagent(binary, folder, page, server):
    config = scrape_config(folder, "vmagent", page)
    flags = [f"-promscrape.config={config}", f"-remoteWrite.url={server}/prometheus/api/v1/write", "-httpListenAddr=127.0.0.1:0"]
    flags += [f"-remoteWrite.tmpDataPath={folder}/vmagent-data", "-remoteWrite.flushInterval=200ms", "-remoteWrite.retryMinInterval=100ms"]
    return [binary, *flags, "-remoteWrite.retryMaxTime=1s"]


def per_series(server, name):
    """For each series of a sender: samples, times, values, least and greatest value."""
    where = f"name = 'sender_readings_total' AND labels['sender'] = '{name}' AND NOT isnan(value)"
    columns = "count(*), count(DISTINCT ts), count(DISTINCT value), min(value), max(value)"
    return server.sql(f"SELECT {columns} FROM metrics WHERE {where} GROUP BY series_id")


parser = harness.arguments(__doc__)
parser.add_argument("--prometheus", help="a prometheus binary")
parser.add_argument("--vmagent", help="a vmagent binary")
parser.add_argument("--cycles", type=int, default=50, help="how often the server is killed")
args = parser.parse_args()
senders = {name: (path, make) for name, path, make in (("prometheus", args.prometheus, prometheus), ("vmagent", args.vmagent, vmagent)) if path}
assert senders, "no sender is given"
with harness.folder() as folder:
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{page.server_address[1]}"
    server = harness.Server(args, folder)
    http_address, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    children = []
    try:
        for name, (path, make) in senders.items():
            log = open(os.path.join(folder, f"{name}.log"), "ab")
            children.append(subprocess.Popen(make(path, folder, address, server.http), stdout=log, stderr=log))
        slowest = 0.0
        for cycle in range(args.cycles):
            time.sleep(random.uniform(0.3, 1.5))
            if cycle % 5 == 4:
                server.post("/api/v1/admin/flush")
                time.sleep(random.uniform(0, 0.1))
            server.stop(signal.SIGKILL)
            time.sleep(random.uniform(0, 0.3))
            server = harness.Server(args, folder, http=http_address, flight=flight)
            slowest = max(slowest, server.ready_seconds)
        with harness.running(server):
            time.sleep(2)
            with Page.lock:
                Page.is_over = True
            said = []
            for name in senders:
                readings = Page.readings.get(name, 0)
                deadline = time.monotonic() + 60
                while True:
                    rows = per_series(server, name)
                    is_whole = len(rows) == Page.series and all(row[4] == readings for row in rows)
                    if is_whole or time.monotonic() > deadline:
                        break
                    time.sleep(0.3)
                wrong = [row for row in rows if not (row[0] == row[1] == row[2] == readings and row[3] == 1 and row[4] == readings)]
                assert is_whole and not wrong, (name, readings, len(rows), wrong[:3])
                said.append(f"{name}: {readings} readings of {Page.series} series, {readings * Page.series} samples, each once")
            assert server.stop()[0] == 0
        print(f"{args.cycles} times kill -9, the slowest start took {slowest:.2f} s; " + "; ".join(said))
    finally:
        for child in children:
            child.kill()
            child.wait()
