"""Rows through Flight: to the acknowledgement, and sustained to the tables, beside a server that discards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

from server import TICKS, Lane, Server


# Batches of 32,768 rows that stay below the 64 MiB at which an epoch ends by itself.
PIECE_BATCHES = 6
# Twice as much as goes through says the same after a minute as after ten.
OVERLOAD_SECONDS_MAX = 60


class Discarding(flight.FlightServerBase):
    """Reads, acknowledges and forgets."""

    def do_put(self, context, descriptor, reader, writer):
        while True:
            try:
                chunk = reader.read_chunk()
            except StopIteration:
                return
            seq = json.loads(chunk.app_metadata.to_pybytes())["seq"]
            writer.write(json.dumps({"acked_seq": seq, "credit_bytes": 1 << 20}).encode())


class DiscardingProcess:
    """The same in a process of its own."""

    def __init__(self):
        code = ("import sys; sys.path.insert(0, sys.argv[1]); import ingest; s = ingest.Discarding('grpc://127.0.0.1:0'); "
                "print(s.port, flush=True); s.serve()")
        here = os.path.dirname(os.path.abspath(__file__))
        self.child = subprocess.Popen([sys.executable, "-c", code, here], stdout=subprocess.PIPE, text=True)
        self.flight = f"grpc://127.0.0.1:{int(self.child.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def cpu_seconds(self):
        with open(f"/proc/{self.child.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def batches_of(data, rows):
    taken = []
    with pa.memory_map(data) as source:
        for batch in pa.ipc.open_stream(source):
            taken.append(batch)
            if sum(b.num_rows for b in taken) >= rows:
                break
    return taken


def burst(server, batches, producer="bench/security"):
    """Sends all of `batches`; rows per second and per CPU second of the server, and waits for acknowledgements."""
    lane = Lane(server, batches[0].schema, producer=producer)
    before, started = server.cpu_seconds(), time.perf_counter()
    for batch in batches:
        lane.send(batch)
    lane.close()
    wall, cpu = time.perf_counter() - started, server.cpu_seconds() - before
    rows = sum(batch.num_rows for batch in batches)
    waits = sorted(lane.waits)
    return {"rows": rows, "per_s": rows / wall, "per_cpu_s": rows / max(cpu, 1e-9), "p50_ms": waits[len(waits) // 2] * 1e3,
            "p99_ms": waits[int(len(waits) * 0.99)] * 1e3}


def acknowledged(server, batches):
    """As `burst`, in pieces that are smaller than what ends an epoch; each epoch is ended behind its piece, off the clock."""
    pieces = [batches[at:at + PIECE_BATCHES] for at in range(0, len(batches), PIECE_BATCHES)]
    runs = []
    for number, piece in enumerate(pieces):
        runs.append(burst(server, piece, producer=f"bench-{number}/security"))
        server.post("/api/v1/admin/flush")
    rows, waits = sum(run["rows"] for run in runs), sorted(run["p99_ms"] for run in runs)
    return {"rows": rows, "per_s": rows / sum(run["rows"] / run["per_s"] for run in runs),
            "per_cpu_s": rows / sum(run["rows"] / run["per_cpu_s"] for run in runs),
            "p50_ms": sorted(run["p50_ms"] for run in runs)[len(runs) // 2], "p99_ms": waits[int(len(waits) * 0.99)]}


def paced(server, batches, seconds, rows_per_second):
    """Sends at a steady rate and returns the waits: what an acknowledgement takes when nothing queues."""
    lane = Lane(server, batches[0].schema, producer="bench-paced/security", window=64)
    started, number, sent = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds:
        due = started + sent / rows_per_second
        time.sleep(max(0, due - time.perf_counter()))
        batch = batches[number % len(batches)].slice(0, 8192)
        lane.send(batch)
        while lane.acked < lane.sent:
            lane.receive()
        sent, number = sent + batch.num_rows, number + 1
    lane.close()
    waits = sorted(lane.waits)
    return waits[len(waits) // 2] * 1e3, waits[int(len(waits) * 0.99)] * 1e3


def folder_bytes(path):
    total = 0
    for where, _, names in os.walk(path):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(where, name))
            except OSError:
                pass
    return total


def sustained(server, batches, seconds):
    """Sends as fast as it goes, epochs included; the largest log and memory seen."""
    lane = Lane(server, batches[0].schema, producer="bench-sustained/security")
    before, started, rows, log, number = server.cpu_seconds(), time.perf_counter(), 0, 0, 0
    while time.perf_counter() - started < seconds:
        batch = batches[number % len(batches)]
        lane.send(batch)
        rows, number = rows + batch.num_rows, number + 1
        if number % 50 == 0:
            log = max(log, folder_bytes(os.path.join(server.folder, "wal")))
    lane.close()
    server.post("/api/v1/admin/flush")
    wall, cpu = time.perf_counter() - started, server.cpu_seconds() - before
    return {"rows": rows, "per_s": rows / wall, "per_cpu_s": rows / cpu, "log_mib": log / (1 << 20)}


def freshness(server, batches, count):
    """Seconds from sending a row to an answer of SQL that has it, while other rows come in at a steady rate."""
    lane = Lane(server, batches[0].schema, producer="bench-fresh/security")
    other = Lane(server, batches[0].schema, producer="bench-beside/security", window=64)
    waits = []
    for number in range(count):
        other.send(batches[number % len(batches)].slice(0, 8192))
        row = batches[number % len(batches)].slice(0, 1)
        index = row.schema.get_field_index("pid")
        row = row.set_column(index, row.schema.field(index), pa.array([-1 - number], pa.int32()))
        started = time.perf_counter()
        lane.send(row)
        while lane.acked < lane.sent:
            lane.receive()
        while server.query(f"SELECT count(*) AS n FROM events WHERE pid = {-1 - number}").column(0)[0].as_py() == 0:
            pass
        waits.append(time.perf_counter() - started)
    lane.close()
    other.close()
    waits.sort()
    return waits[len(waits) // 2] * 1e3, waits[int(len(waits) * 0.99)] * 1e3


def overload(server, batches, seconds, capacity):
    """Two senders that each offer `capacity` rows a second: what share of it is acknowledged, and the server's memory."""
    lanes = [Lane(server, batches[0].schema, producer=f"bench-overload-{n}/security", window=64) for n in range(2)]
    counts, peak = [0, 0], 0

    def send(index):
        started, number = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            time.sleep(max(0, started + counts[index] / capacity - time.perf_counter()))
            batch = batches[number % len(batches)]
            lanes[index].send(batch)
            counts[index] += batch.num_rows
            number += 1
        lanes[index].close()

    started = time.perf_counter()
    senders = [threading.Thread(target=send, args=(index,)) for index in range(2)]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        with open(f"/proc/{server.pid}/status") as file:
            peak = max(peak, next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS")))
        time.sleep(0.1)
    return sum(counts) / (time.perf_counter() - started) / capacity, peak / (1 << 20)


class Lines(list):
    """Lines of the report, printed as they come: some take ten minutes."""

    def append(self, line):
        super().append(line)
        print(line, flush=True)


def run(args, data, out):
    batches = batches_of(data, min(args.rows, 2_000_000))
    lines = Lines()
    for line in ["| to | rows/s | rows per server CPU second | ack p50 ms | ack p99 ms |", "|---|---|---|---|---|"]:
        lines.append(line)
    bursts = {"ours: log and tail": [], "ours: log and tail, and epochs meanwhile": [], "pyarrow Flight server that discards": []}
    for _ in range(args.rounds):
        folder = tempfile.mkdtemp(prefix="bodkin-bench-", dir=args.work)
        with Server(args.bodkin, folder) as server:
            bursts["ours: log and tail"].append(acknowledged(server, batches))
            bursts["ours: log and tail, and epochs meanwhile"].append(burst(server, batches))
        shutil.rmtree(folder, ignore_errors=True)
        with DiscardingProcess() as server:
            bursts["pyarrow Flight server that discards"].append(burst(server, batches))
    for name, found in bursts.items():
        found.sort(key=lambda one: one["per_cpu_s"])
        one = found[len(found) // 2]
        lines.append(f"| {name}, {one['rows']} rows | {one['per_s'] / 1e6:.2f} M | {one['per_cpu_s'] / 1e6:.2f} M | {one['p50_ms']:.1f} | {one['p99_ms']:.1f} |")
    folder = tempfile.mkdtemp(prefix="bodkin-bench-", dir=args.work)
    with Server(args.bodkin, folder) as server:
        p50, p99 = paced(server, batches, 10, 200_000)
        lines.append(f"| ours at 200 k rows/s, one batch of 8,192 at a time | 0.20 M | | {p50:.1f} | {p99:.1f} |")
        one = sustained(server, batches, args.seconds)
        lines.append(f"| ours to the tables, {args.seconds} s, {one['rows']} rows, log at most {one['log_mib']:.0f} MiB | "
                     f"{one['per_s'] / 1e6:.2f} M | {one['per_cpu_s'] / 1e6:.2f} M | | |")
        seconds = min(args.seconds, OVERLOAD_SECONDS_MAX)
        share, peak = overload(server, batches, seconds, one["per_s"])
        lines.append(f"| ours, twice as much for {seconds} s: {share:.0%} of the rate above is acknowledged, at most {peak:.0f} MiB | | | | |")
    shutil.rmtree(folder, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix="bodkin-bench-", dir=args.work)
    with Server(args.bodkin, folder) as server:
        p50, p99 = freshness(server, batches, 200)
        lines.append(f"| ours, from sending a row to the answer of SQL that has it: p50 {p50:.1f} ms, p99 {p99:.1f} ms | | | | |")
    shutil.rmtree(folder, ignore_errors=True)
    out.section("ingest", lines)
