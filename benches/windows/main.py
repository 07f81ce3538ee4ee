"""Windows against peers: 10 s tumbling and 1 m / 10 s sliding counts and sums by 200 k groups, 1 % of rows a minute late.

Same rows for all, from one Arrow file; CPU-seconds of the whole process of each (user and system), start and reading
included; answers are compared with the batch query of DataFusion, late rows included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.csv

HERE = os.path.dirname(os.path.abspath(__file__))


def generate(path, rows, groups, seed):
    """Rows of about 200 k per second of event time."""
    random = np.random.default_rng(seed)
    ts = np.arange(rows, dtype=np.int64) * 5 + 1_700_000_000_000_000
    late = random.random(rows) < 0.01
    ts[late] -= random.integers(15_000_000, 60_000_000, late.sum())
    table = pa.table({
        "ts": pa.array(ts, pa.timestamp("us", "UTC")), "key": pa.array(random.integers(0, groups, rows), pa.int64()),
        "value": pa.array(random.integers(0, 1000, rows), pa.int64())})
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=8192):
            writer.write_batch(batch)
    plain = table.set_column(0, "ts", table["ts"].cast(pa.int64()))
    pa.csv.write_csv(plain, f"{path}.csv", pa.csv.WriteOptions(include_header=False))


def run(command, timeout):
    """Its JSON answer, with CPU-seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer["cpu"] = max(children, answer.get("cpu", 0.0))
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--throughput", required=True, help="bench-windows, a release build")
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--groups", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--peers", default="datafusion,bytewax", help="also pathway, flink: where they are installed")
    parser.add_argument("--flink-python", default=sys.executable, help="the Python that has apache-flink")
    parser.add_argument("--kinds", default="tumble,hop")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.arrows")
        generate(path, args.rows, args.groups, args.seed)
        print("| window | who | rows per CPU-second | CPU s | groups | count | answer |\n|---|---|---|---|---|---|---|")
        for kind in args.kinds.split(","):
            expected = None
            for who in ["datafusion", "bodkin", *[peer for peer in args.peers.split(",") if peer != "datafusion"]]:
                python, file = (args.flink_python, f"{path}.csv") if who == "flink" else (sys.executable, path)
                command = ([args.throughput, path, kind] if who == "bodkin"
                           else [python, os.path.join(HERE, "peers.py"), who, file, kind])
                try:
                    answer = run(command, args.timeout)
                except subprocess.TimeoutExpired:
                    answer = {"error": f"not done in {args.timeout:.0f} s"}
                if "error" in answer:
                    print(f"| {kind} | {who} | - | - | - | - | {answer['error']} |", flush=True)
                    continue
                got = (answer["groups"], answer["count"], answer["total"])
                expected = expected or got
                equal = "equal" if got == expected else f"differs from {expected}"
                print(f"| {kind} | {who} | {args.rows / answer['cpu']:,.0f} | {answer['cpu']:.2f} | {got[0]} | {got[1]} | {equal} |",
                      flush=True)


if __name__ == "__main__":
    main()
