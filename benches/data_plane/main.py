"""Measures the data plane: SQL, commit path, ingest. Called by benches/run."""

import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.parse

import deltalake
import pyarrow as pa
import pyarrow.parquet

import commit
import generate
import ingest
import queries
import report
from peers import measured
from server import Lane, Server

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINES = ["duckdb", "polars", "chdb", "datafusion"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=[], help="sql, commit, ingest; all where none is named")
    parser.add_argument("--bodkin", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="/tmp/bodkin-bench")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians count")
    parser.add_argument("--seconds", type=int, default=60, help="of sustained ingest")
    parser.add_argument("--commit-example", default="", help="the built example `commit` of bodkin-table")
    parser.add_argument("--queries", default="", help="only these, by name, separated by commas")
    parser.add_argument("--engines", default=",".join(ENGINES))
    args = parser.parse_args()
    groups = args.groups or ["ingest", "commit", "sql"]
    os.makedirs(args.work, exist_ok=True)
    out = report.Report(args)
    data = events_file(args)
    if "ingest" in groups:
        ingest.run(args, data, out)
    if "commit" in groups:
        commit.run(args, data, out)
    if "sql" in groups:
        sql(args, data, out)
    out.write(args.results)


def events_file(args):
    """The generated rows as one Arrow file, in order of arrival; made once."""
    path = os.path.join(args.work, f"events-{args.seed}-{args.rows}.arrows")
    if not os.path.exists(path):
        print(f"generating {args.rows} events", file=sys.stderr)
        with pa.ipc.new_stream(path + ".part", generate.schema()) as writer:
            for batch in generate.batches(args.rows, args.seed):
                writer.write_batch(batch)
        os.rename(path + ".part", path)
    return path


def read_batches(path):
    with pa.memory_map(path) as source:
        yield from pa.ipc.open_stream(source)


def plain_schema():
    fields = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in generate.schema()]
    return pa.schema(fields)


def arrival_files(args, data):
    """What a collector that writes Parquet leaves: files of a million rows in order of arrival."""
    folder = os.path.join(args.work, f"arrival-{args.seed}-{args.rows}")
    if not os.path.exists(folder):
        os.makedirs(folder + ".part", exist_ok=True)
        schema, rows, parts = plain_schema(), 0, []
        number = 0
        for batch in read_batches(data):
            parts.append(batch)
            rows += batch.num_rows
            if rows >= 1_000_000:
                write_parquet(parts, schema, os.path.join(folder + ".part", f"{number:04}.parquet"))
                rows, parts, number = 0, [], number + 1
        if parts:
            write_parquet(parts, schema, os.path.join(folder + ".part", f"{number:04}.parquet"))
        os.rename(folder + ".part", folder)
    return folder


def write_parquet(batches, schema, path):
    table = pa.Table.from_batches(batches).cast(schema)
    pa.parquet.write_table(table, path, compression="zstd", row_group_size=256 << 10)


def load(args, data):
    """A data folder of ours with the rows, compacted; made once. Its files are linked into a folder for the peers."""
    folder = os.path.join(args.work, f"ours-{args.seed}-{args.rows}")
    if not os.path.exists(os.path.join(folder, "loaded")):
        with Server(args.bodkin, folder) as server:
            lane = Lane(server, generate.schema())
            for number, batch in enumerate(read_batches(data), 1):
                lane.send(batch)
                # Files as a busy day leaves them: an epoch for about half a million rows.
                if number % 16 == 0:
                    server.post("/api/v1/admin/flush")
            lane.close()
            server.post("/api/v1/admin/flush")
            print(server.post("/api/v1/admin/compact?vacuum=now"), file=sys.stderr)
            count = server.query("SELECT count(*) FROM events").column(0)[0].as_py()
            assert count == args.rows, count
        open(os.path.join(folder, "loaded"), "w").close()
    own = folder + "-files"
    os.makedirs(own, exist_ok=True)
    for old in glob.glob(own + "/*"):
        os.remove(old)
    # What the log names: an object that vacuum has not deleted yet is no part of the table.
    for uri in deltalake.DeltaTable(os.path.join(folder, "tables", "events")).file_uris():
        path = urllib.parse.unquote(uri.removeprefix("file://"))
        os.link(path, os.path.join(own, os.path.basename(path)))
    return folder, own


class Peer:
    def __init__(self, args, engine, folder):
        command = [sys.executable, os.path.join(HERE, "peers.py"), engine, folder, str(args.seed)]
        self.log = open(os.path.join(args.work, f"{engine}.log"), "ab")
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.child.stdout.readline()
        assert line and json.loads(line)["ready"], f"{engine} did not start, see {self.log.name}"

    def ask(self, name):
        self.child.stdin.write(json.dumps({"query": name}) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        return json.loads(line) if line else {"error": "the process died"}

    def close(self):
        self.child.stdin.close()
        self.child.wait(30)


def sql(args, data, out):
    wanted = [query for query in queries.all_queries(args.seed) if not args.queries or query.name in args.queries.split(",")]
    arrival = arrival_files(args, data)
    folder, own = load(args, data)
    names = [name for name in args.engines.split(",") if name]
    with Server(args.bodkin, folder) as server:
        sets = {"arrival": arrival, "own": own}
        peers = {(name, kind): Peer(args, name, path) for kind, path in sets.items() for name in names}
        results = []
        for query in wanted:
            results.append(one_query(args, query, server, peers))
            report.show(results[-1])
        for peer in peers.values():
            peer.close()
    size = lambda path: sum(os.path.getsize(file) for file in glob.glob(path + "/*.parquet"))
    out.sql(results, names, size(arrival), size(own))


def one_query(args, query, server, peers):
    """Rounds of us and each peer in turn; the median of each counts, if its answer is ours."""
    runs = {}
    expected = None
    for _ in range(args.rounds):
        ours = measured(lambda: server.query(query.text("bodkin") if "bodkin" in (query.dialects or {}) else query.sql),
                        server.pid, server.cpu_seconds)
        expected = expected or ours["rows"]
        assert ours["rows"] == expected, f"{query.name}: our own answer changes"
        runs.setdefault("bodkin", []).append(ours)
        for key, peer in peers.items():
            if runs.get(key, [{}])[0].get("error"):
                continue
            answer = peer.ask(query.name)
            if "error" not in answer and answer["rows"] != expected:
                answer = {"error": f"other answer: {first_difference(expected, answer['rows'])}"}
            runs.setdefault(key, []).append(answer)
    middle = lambda of: {what: statistics.median(run[what] for run in of) for what in ("wall", "cpu", "peak")}
    measures = {key: of[0] if "error" in of[0] else middle(of) for key, of in runs.items()}
    return {"query": query.name, "is_dashboard": query.is_dashboard, "rows": len(expected), "measures": measures}


def first_difference(expected, rows):
    if len(expected) != len(rows):
        return f"{len(rows)} rows instead of {len(expected)}"
    return next(f"{other} instead of {one}" for one, other in zip(expected, rows) if one != other)


if __name__ == "__main__":
    main()
