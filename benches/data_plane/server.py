"""Our server as the benches drive it: put rows, end epochs, ask, and what that cost it."""

import json
import os
import signal
import subprocess
import time
import urllib.request

import pyarrow as pa
import pyarrow.flight as flight

TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, bodkin, folder, extra=()):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.log = open(os.path.join(folder, "server.log"), "ab")
        command = [bodkin, "server", "--data-dir", folder, "--http", "127.0.0.1:0", "--flight", "127.0.0.1:0", *extra]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = json.loads(self.child.stdout.readline())
        self.pid, self.http, self.flight = self.child.pid, ready["http"], ready["flight"]
        self.client = flight.connect(self.flight)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()

    def post(self, path, body=b"", timeout=1800):
        request = urllib.request.Request(self.http + path, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def query(self, text):
        return self.client.do_get(flight.Ticket(json.dumps({"query": text}))).read_all()

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def data_files(self, table="events"):
        found = []
        for folder, _, names in os.walk(os.path.join(self.folder, "tables", table)):
            found += [os.path.join(folder, name) for name in names if name.endswith(".parquet")]
        return found


class Lane:
    """One DoPut stream with a window of batches on their way."""

    def __init__(self, server, schema, producer="bench/security", incarnation=None, window=16):
        self.producer, self.incarnation = producer, incarnation or time.time_ns() // 1000
        self.writer, self.reader = flight.connect(server.flight).do_put(flight.FlightDescriptor.for_path("events"), schema)
        self.sent, self.acked, self.window, self.waits, self.at = 0, 0, window, [], {}

    def send(self, batch):
        while self.sent - self.acked >= self.window:
            self.receive()
        self.sent += 1
        meta = {"producer": self.producer, "incarnation": self.incarnation, "seq": self.sent}
        self.at[self.sent] = time.perf_counter()
        self.writer.write_with_metadata(batch, json.dumps(meta).encode())

    def receive(self):
        answer = self.reader.read()
        if answer is None:
            self.writer.close()
            raise RuntimeError("the server ended the stream")
        acked = json.loads(answer.to_pybytes())["acked_seq"]
        now = time.perf_counter()
        for seq in range(self.acked + 1, acked + 1):
            self.waits.append(now - self.at.pop(seq))
        self.acked = max(self.acked, acked)

    def close(self):
        while self.acked < self.sent:
            self.receive()
        self.writer.close()
