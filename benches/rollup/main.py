"""Questions about a month: Bodkin by tiers, Bodkin by samples, VictoriaMetrics, over the same samples.

Counters of whole numbers with resets. Series are announced by remote write; samples come to us as Arrow over Flight and to
VictoriaMetrics as JSON lines. Each question is asked a few times of each in turn, caches of answers are off, and the best
time counts. Answers by tiers are compared with those by samples.
"""

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "../../tests/python"), os.path.join(HERE, "../data_plane")]
import remote_write_wire as wire  # noqa: E402
from server import Server  # noqa: E402

BASE = 1_767_225_600  # 2026-01-01T00:00:00Z
METRIC = "bench_requests_total"
QUESTIONS = [
    ("rate by hour", f"sum by (job) (rate({METRIC}[1h]))", 3600),
    ("increase by day", f"sum(increase({METRIC}[1d]))", 86400),
    ("increase by six hours, each series", f"increase({METRIC}[6h])", 21600),
    ("highest of each day", f"topk(5, max_over_time({METRIC}[1d]))", 86400),
    ("samples by hour", f"sum(count_over_time({METRIC}[1h]))", 3600),
]


def get(url, timeout=300):
    started = time.perf_counter()
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        body = answer.read()
    return time.perf_counter() - started, json.loads(body)


def post(url, body, headers=None, timeout=600):
    with urllib.request.urlopen(urllib.request.Request(url, body, headers or {}, method="POST"), timeout=timeout) as answer:
        return answer.read()


def values(seed, series, samples):
    dice = np.random.default_rng([seed, series])
    steps = dice.integers(0, 50, samples)
    steps[dice.random(samples) < 0.0005] = -1
    out, resets = np.cumsum(np.maximum(steps, 0)).astype(np.float64), np.flatnonzero(steps < 0)
    for at in resets:
        out[at:] -= out[at]
    return out


def victoria(binary, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, f"-storageDataPath={folder}/vm", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
               "-search.latencyOffset=0s", "-search.disableCache", "-loggerLevel=ERROR"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(url + "/health", timeout=5).read()
            return child, url
        except OSError:
            time.sleep(0.1)
    raise SystemExit("victoria-metrics does not start")


def fill(server, vm, args):
    samples = args.days * 86400 // args.interval
    times = BASE + 7 + np.arange(samples, dtype=np.int64) * args.interval
    labels = [{"__name__": METRIC, "job": f"job-{n % 10}", "instance": f"i-{n}"} for n in range(args.series)]
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    first = [(labels[n], [(int(times[0]) * 1000, float(values(args.seed, n, samples)[0]))]) for n in range(args.series)]
    post(server.http + "/prometheus/api/v1/write", wire.body(first), headers)
    known = server.query("SELECT series_id, metric_id, labels['instance'] AS instance FROM series").to_pylist()
    ids = {row["instance"]: (row["series_id"], row["metric_id"]) for row in known}
    schema = pa.schema([("series_id", pa.int64()), ("metric_id", pa.int64()), ("ts", pa.timestamp("us", "UTC")), ("value", pa.float64())])
    writer, reader = flight.connect(server.flight).do_put(flight.FlightDescriptor.for_path("samples"), schema)
    seq, acked, stamps = 0, 0, [int(t) * 1000 for t in times]
    for n in range(args.series):
        own = values(args.seed, n, samples)
        for at in range(1, samples, 50_000):
            part = slice(at, min(at + 50_000, samples))
            rows = part.stop - part.start
            series_id, metric_id = ids[f"i-{n}"]
            batch = pa.record_batch([
                pa.array(np.full(rows, series_id)), pa.array(np.full(rows, metric_id)),
                pa.array(times[part] * 1_000_000, pa.timestamp("us", "UTC")), pa.array(own[part])], schema=schema)
            seq += 1
            meta = {"producer": "bench/metrics", "incarnation": 1, "seq": seq}
            writer.write_with_metadata(batch, json.dumps(meta).encode())
            while seq - acked > 8:
                acked = json.loads(bytes(reader.read()))["acked_seq"]
        line = json.dumps({"metric": labels[n], "values": own.tolist(), "timestamps": stamps}).encode()
        post(vm + "/api/v1/import", line)
    writer.done_writing()
    while acked < seq:
        acked = json.loads(bytes(reader.read()))["acked_seq"]
    writer.close()
    get_text(vm + "/internal/force_flush")
    return samples * args.series


def get_text(url):
    return urllib.request.urlopen(url, timeout=600).read()


def numbers(answer):
    return {(json.dumps(s["metric"], sort_keys=True), at): float(v) for s in answer["data"]["result"] for at, v in s["values"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodkin", required=True)
    parser.add_argument("--victoria", default=shutil.which("victoria-metrics"), help="VictoriaMetrics, single node")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--interval", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default=None)
    args = parser.parse_args()
    if not args.victoria:
        raise SystemExit("victoria-metrics is missing: --victoria FILE")
    with tempfile.TemporaryDirectory(dir=args.work) as folder, Server(args.bodkin, os.path.join(folder, "bodkin")) as server:
        child, vm = victoria(args.victoria, folder)
        try:
            started = time.perf_counter()
            count = fill(server, vm, args)
            filled = time.perf_counter()
            server.post("/api/v1/admin/flush")
            before = server.cpu_seconds()
            made = server.post("/api/v1/admin/rollup")
            seconds = time.perf_counter() - filled
            cpu = server.cpu_seconds() - before
            print(f"{count:,} samples of {args.series} series, filled in {filled - started:.0f} s; tiers of {made['units_made'] * 2} hours made "
                  f"in {seconds:.1f} s, {cpu:.1f} CPU s, {count / cpu:,.0f} samples per CPU second", flush=True)
            server.post("/api/v1/admin/compact")
            print("| question | step | tiers ms | samples ms | VictoriaMetrics ms | tiers / VictoriaMetrics | tiers = samples |\n|---|---|---|---|---|---|---|")
            shares, start, end = [], BASE + 86400, BASE + args.days * 86400
            for name, query, step in QUESTIONS:
                params = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": step})
                ours = f"{server.http}/prometheus/api/v1/query_range?{params}"
                best, answers = {}, {}
                for _ in range(args.rounds):
                    for who, url in (("tiers", ours), ("samples", ours + "&exact=true"), ("vm", f"{vm}/api/v1/query_range?{params}&nocache=1")):
                        seconds, answers[who] = get(url)
                        best[who] = min(seconds, best.get(who, math.inf))
                assert any("rollup_" in info for info in answers["tiers"].get("infos", [])), "no tier was read"
                one, other = numbers(answers["tiers"]), numbers(answers["samples"])
                same = one.keys() == other.keys() and all(abs(v - other[k]) <= 1e-9 * max(1, abs(v)) for k, v in one.items())
                shares.append(best["tiers"] / best["vm"])
                print(f"| {name} | {step} s | {best['tiers'] * 1000:.1f} | {best['samples'] * 1000:.1f} | {best['vm'] * 1000:.1f} "
                      f"| {shares[-1]:.3f} | {'yes' if same else 'NO'} |", flush=True)
            print(f"worst {max(shares):.3f}, geometric mean {math.exp(sum(map(math.log, shares)) / len(shares)):.3f}")
        finally:
            child.terminate()
            child.wait()


if __name__ == "__main__":
    main()
