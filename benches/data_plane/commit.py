"""The commit path: rows in memory, sorted, encoded, committed; against those that also sort and write Parquet.

Each runs in a process of its own: `python commit.py PEER DATA ROWS FOLDER` prints CPU seconds and bytes.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet

SORT = ["container_id", "ts"]


def plain(table):
    fields = [f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def with_pyarrow(table, folder):
    ordered = plain(table).sort_by([(name, "ascending") for name in SORT])
    pa.parquet.write_table(ordered, f"{folder}/0.parquet", compression="zstd", row_group_size=256 << 10)


def with_deltalake(table, folder):
    import deltalake
    ordered = plain(table).sort_by([(name, "ascending") for name in SORT])
    options = {}
    if hasattr(deltalake, "WriterProperties"):
        options["writer_properties"] = deltalake.WriterProperties(compression="ZSTD", compression_level=1)
    deltalake.write_deltalake(folder, ordered, **options)


def with_duckdb(table, folder):
    import duckdb
    connection = duckdb.connect()
    connection.register("events", table)
    connection.execute(f"COPY (SELECT * FROM events ORDER BY container_id, ts) TO '{folder}/0.parquet' (FORMAT parquet, COMPRESSION zstd)")


def with_polars(table, folder):
    import polars
    polars.from_arrow(plain(table)).sort(SORT).write_parquet(f"{folder}/0.parquet", compression="zstd", compression_level=1)


PEERS = {"pyarrow": with_pyarrow, "deltalake": with_deltalake, "duckdb COPY": with_duckdb, "polars": with_polars}


def table_of(data, rows):
    taken, count = [], 0
    with pa.memory_map(data) as source:
        for batch in pa.ipc.open_stream(source):
            taken.append(batch)
            count += batch.num_rows
            if count >= rows:
                break
    return pa.Table.from_batches(taken)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one(name, data, rows, folder):
    table = table_of(data, rows)
    before, started = cpu(), time.perf_counter()
    PEERS[name](table, folder)
    took = {"rows": table.num_rows, "cpu": cpu() - before, "wall": time.perf_counter() - started}
    took["bytes"] = sum(os.path.getsize(os.path.join(where, file)) for where, _, files in os.walk(folder)
                        for file in files if file.endswith(".parquet"))
    print(json.dumps(took))


def run(args, data, out):
    rows = min(args.rows, 1_000_000)
    found = {}
    for _ in range(args.rounds):
        for name in ["ours", *PEERS]:
            folder = tempfile.mkdtemp(prefix="bodkin-commit-", dir=args.work)
            command = [args.commit_example, data, str(rows), folder] if name == "ours" else [
                sys.executable, os.path.abspath(__file__), name, data, str(rows), folder]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found.setdefault(name, []).append(json.loads(answer.stdout.splitlines()[-1]))
            shutil.rmtree(folder)
    lines = ["| | rows per CPU second | wall s | MiB | bytes, ours / theirs |", "|---|---|---|---|---|"]
    size = found["ours"][0]["bytes"]
    for name, runs in found.items():
        middle = {what: statistics.median(run[what] for run in runs) for what in ("rows", "cpu", "wall", "bytes")}
        lines.append(f"| {name} | {middle['rows'] / middle['cpu'] / 1e6:.3f} M | {middle['wall']:.2f} | "
                     f"{middle['bytes'] / (1 << 20):.1f} | {size / middle['bytes']:.2f} |")
    print("\n".join(lines))
    out.section("commit", [f"{rows} rows from memory: sort by {', '.join(SORT)}, Parquet with zstd, and a Delta commit where there is one (ours, deltalake).", "", *lines])


if __name__ == "__main__":
    one(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
