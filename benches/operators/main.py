"""Stateless operators against peers: 95 % filtered away, eight columns picked, twelve looked up by container.

Same rows for all, in memory before the clock starts; one thread each; the best of several rounds. What is left is compared.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import duckdb
import numpy as np
os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when it is imported
import polars as pl
import pyarrow as pa

CONTAINERS, COLUMNS = 1000, 12


def dictionary(random, values, rows):
    return pa.DictionaryArray.from_arrays(pa.array(random.integers(0, len(values), rows), pa.int32()), pa.array(values))


def generate(folder, rows, seed):
    """Rows as events have them, and the file of containers; of a tenth of the containers it knows nothing."""
    random = np.random.default_rng(seed)
    table = pa.table({
        "ts": pa.array(1_700_000_000_000_000 + np.arange(rows, dtype=np.int64) * 3, pa.timestamp("us", "UTC")),
        "evt_type": dictionary(random, [f"call{n}" for n in range(40)], rows),
        "result": pa.array(np.where(random.random(rows) < 0.05, -2, 3), pa.int64()),
        "pid": pa.array(random.integers(1, 4_000_000, rows), pa.int32()),
        "comm": dictionary(random, [f"program-{n}" for n in range(500)], rows),
        "exe": dictionary(random, [f"/usr/bin/program-{n}" for n in range(800)], rows),
        "container_id": dictionary(random, [f"{n:012x}" for n in range(CONTAINERS)], rows),
        "path": dictionary(random, [f"/var/lib/file-{n}" for n in range(20_000)], rows)})
    path, lookup = os.path.join(folder, "rows.arrows"), os.path.join(folder, "containers.csv")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=8192):
            writer.write_batch(batch)
    names = ["owner", *[f"tag{n}" for n in range(1, COLUMNS)]]
    with open(lookup, "w") as out:
        out.write(",".join(["id", *names]) + "\n")
        for n in range(CONTAINERS * 9 // 10):
            out.write(",".join([f"{n:012x}", *[f"{name}-{n % 37}" for name in names]]) + "\n")
    return path, lookup, names


def best(rounds, run):
    took = []
    for _ in range(rounds):
        start = time.process_time()
        answer = run()
        took.append(time.process_time() - start)
    return min(took), answer


def with_polars(rows, lookup, names, rounds):
    table, containers = pl.from_arrow(rows), pl.read_csv(lookup)
    def run():
        picked = table.lazy().filter(pl.col("result") < 0).select(
            "ts", "evt_type", "result", "pid", "comm", "exe", pl.col("container_id").cast(pl.String), pl.col("comm").cast(pl.String).str.to_uppercase().alias("title"))
        return picked.join(containers.lazy(), left_on="container_id", right_on="id", how="left").collect()
    seconds, answer = best(rounds, run)
    return seconds, (len(answer), answer["pid"].cast(pl.Int64).sum(), len(answer) - answer["owner"].null_count())


def with_duckdb(rows, lookup, names, rounds):
    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", rows)
    connection.execute("CREATE TABLE r AS SELECT * FROM given")
    connection.execute("CREATE TABLE containers AS SELECT * FROM read_csv(?)", [lookup])
    columns = ", ".join(f"c.{name}" for name in names)
    query = (f"SELECT ts, evt_type, result, pid, comm, exe, container_id, upper(comm) AS title, {columns} "
             "FROM r LEFT JOIN containers c ON r.container_id = c.id WHERE result < 0")
    seconds, answer = best(rounds, lambda: connection.sql(query).to_arrow_table())
    total = int(np.sum(answer["pid"].to_numpy().astype(np.int64)))
    return seconds, (answer.num_rows, total, answer.num_rows - answer["owner"].null_count)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operators", required=True, help="bench-operators, a release build")
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, lookup, names = generate(folder, args.rows, args.seed)
        with pa.OSFile(path) as file, pa.ipc.open_stream(file) as reader:
            rows = reader.read_all()
        results = {"polars": with_polars(rows, lookup, names, args.rounds), "duckdb": with_duckdb(rows, lookup, names, args.rounds)}
        del rows
        done = subprocess.run([args.operators, path, lookup, str(args.rounds)], check=True, capture_output=True, text=True)
        ours = json.loads(done.stdout)
        results["bodkin"] = ours["seconds"], (ours["left"], ours["pids"], ours["owned"])
        print("| who | rows/s per core | seconds | rows left | answer |\n|---|---|---|---|---|")
        expected = results["duckdb"][1]
        for who, (seconds, answer) in results.items():
            equal = "equal" if answer == expected else f"differs: {answer}, {expected}"
            print(f"| {who} | {args.rows / seconds / 1e6:.1f} M | {seconds:.3f} | {answer[0]} | {equal} |")
        print("\n| 25 further columns of a row | ns |\n|---|---|")
        print(f"| 12 of a file, 13 tags | {ours['tags_ns']} |\n| 12 of a file, 13 of a stream, valid at its time | {ours['dimension_ns']} |")


if __name__ == "__main__":
    main()
