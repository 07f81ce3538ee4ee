"""Tables in a bucket: a real S3 server, rows through Flight, the server killed, the store failing for a while."""

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pyarrow.flight

import harness
import lanes
from bucket import Bucket
from lanes import batch


class Faults(http.server.ThreadingHTTPServer):
    """Stands before the bucket; answers 500 and 503, or nothing for a while, when it is told to."""

    daemon_threads = True

    def __init__(self, port):
        self.upstream, self.mode, self.count, self.failed = port, "pass", 0, 0
        super().__init__(("127.0.0.1", 0), Forward)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class Forward(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def forward(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.count += 1
        if server.mode == "errors" or (server.mode == "hang" and server.count % 2):
            server.failed += 1
            if server.mode == "hang":
                time.sleep(1.5)
            return self.reply(500 if server.count % 4 < 2 else 503, [], b"<Error><Code>SlowDown</Code></Error>")
        request = urllib.request.Request(f"http://127.0.0.1:{server.upstream}{self.path}", body or None, method=self.command)
        # Without a type of its own, a body would be taken for a form, and be empty.
        request.add_header("Content-Type", "application/octet-stream")
        for name, value in self.headers.items():
            if name.lower() not in ("content-length", "connection"):
                request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.reply(answer.status if hasattr(answer, "status") else answer.code, answer.headers.items(), answer.read())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def reply(self, status, headers, body):
        self.send_response(status)
        length = None
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


args = harness.arguments(__doc__).parse_args()
bucket = Bucket()
faults = Faults(bucket.port)
os.environ.update({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{faults.port}", "AWS_ACCESS_KEY_ID": "test",
                   "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"})
store = ["--store", "s3://tables/fleet"]
count = "SELECT count(*) FROM drops WHERE producer = 'p'"
try:
    with harness.folder() as folder:
        with harness.running(harness.Server(args, folder, extra=store)) as server:
            lane = lanes.Lane(pa.flight.connect(server.flight))
            for seq in range(1, 6):
                lane.send(seq, batch(seq * 100, 100))
            server.post("/api/v1/admin/flush")
            assert server.sql(count) == [[500]], server.sql(count)
            assert not os.path.exists(os.path.join(folder, "data", "tables")), "tables are in the bucket alone"

            # The store fails: rows are taken, queries of the tail go on, and the epoch ends when the store is back.
            faults.mode = "errors"
            sent = time.monotonic()
            for seq in range(6, 26):
                lane.send(seq, batch(seq * 100, 100))
            slowest = time.monotonic() - sent
            assert slowest < 15, f"20 batches took {slowest:.1f} s"
            ended = []
            flush = threading.Thread(target=lambda: ended.append(server.post("/api/v1/admin/flush", timeout=110)))
            flush.start()
            time.sleep(3)
            faults.mode = "hang"
            time.sleep(3)
            assert faults.failed > 0 and not ended, (faults.failed, ended)
            faults.mode = "pass"
            flush.join()
            assert ended and server.sql(count) == [[2500]], (ended, server.sql(count))

            # Killed with rows in the log alone.
            for seq in range(26, 31):
                lane.send(seq, batch(seq * 100, 100))
            server.child.kill()
            server.child.wait()
        with harness.running(harness.Server(args, folder, extra=store)) as server:
            assert server.sql(count) == [[3000]], server.sql(count)
            ids = server.sql("SELECT count(DISTINCT \"count\"), min(\"count\"), max(\"count\") FROM drops WHERE producer = 'p'")
            assert ids == [[3000, 100, 3099]], ids
            server.post("/api/v1/admin/flush")
            report = server.post("/api/v1/admin/compact?vacuum=now")
            assert report["jobs"] >= 1 and report["objects_deleted"] >= 2, report
            assert server.sql(count) == [[3000]], server.sql(count)
            server.stop()
        # The folder remembers its store; a client command reads the bucket.
        answer = subprocess.run([args.bodkin, "sql", "--format", "json", "--data-dir", os.path.join(folder, "data"), count],
                                capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0 and "3000" in answer.stdout, (answer.stdout, answer.stderr)
        print(f"3000 rows in a bucket; {faults.count} requests, {faults.failed} of them failed; ack of 20 batches while it failed: {slowest:.2f} s")
finally:
    faults.shutdown()
    bucket.stop()
