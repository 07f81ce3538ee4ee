"""One peer in a process of its own: reads commands as JSON lines, answers each with what it took and its rows.

    python peers.py ENGINE FOLDER SEED
"""

import glob
import json
import os
import resource
import sys
import time


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def reset_peak(pid="self"):
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


def peak_bytes(pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def plain(value):
    """A value that compares equal whichever engine made it."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if hasattr(value, "timestamp"):
        import datetime
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return round(value.timestamp() * 1e6)
    if isinstance(value, bytes):
        return value.decode()
    number = float(value)
    return int(number) if number == int(number) else float(f"{number:.9g}")


def rows_of(table):
    columns = [column.to_pylist() for column in table.columns]
    return [[plain(value) for value in row] for row in zip(*columns)]


class DuckDb:
    dialect = "duckdb"

    def __init__(self, folder):
        import duckdb
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{folder}/*.parquet')")

    def run(self, query):
        answer = self.connection.execute(query.text(self.dialect))
        return answer.to_arrow_table() if hasattr(answer, "to_arrow_table") else answer.arrow().read_all()


class Polars:
    dialect = "polars"

    def __init__(self, folder):
        import polars
        self.frame = polars.scan_parquet(f"{folder}/*.parquet")

    def run(self, query):
        return query.polars(self.frame).collect(engine="streaming" if query.name not in ("sessions",) else "auto").to_arrow()


class ClickHouse:
    dialect = "clickhouse"

    def __init__(self, folder):
        from chdb import session
        self.session = session.Session()
        self.session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self.session.query("USE bench")
        self.session.query(f"CREATE VIEW bench.events AS SELECT * FROM file('{folder}/*.parquet', Parquet)")

    def run(self, query):
        import pyarrow as pa
        text = query.text(self.dialect).replace("FROM events", "FROM bench.events")
        answer = self.session.query(text + " SETTINGS join_use_nulls = 1", "Arrow")
        return pa.ipc.open_file(pa.BufferReader(answer.bytes())).read_all()


class DataFusion:
    dialect = "datafusion"

    def __init__(self, folder):
        import datafusion
        self.context = datafusion.SessionContext()
        self.context.register_parquet("events", folder)

    def run(self, query):
        return self.context.sql(query.text(self.dialect)).to_arrow_table()


ENGINES = {"duckdb": DuckDb, "polars": Polars, "chdb": ClickHouse, "datafusion": DataFusion}


def measured(run, pid="self", cpu=cpu_seconds):
    """Wall seconds, CPU seconds, peak bytes and rows of one run."""
    reset_peak(pid)
    before, started = cpu(), time.perf_counter()
    table = run()
    wall = time.perf_counter() - started
    return {"wall": wall, "cpu": cpu() - before, "peak": peak_bytes(pid), "rows": rows_of(table)}


def main():
    name, folder, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import queries
    questions = {query.name: query for query in queries.all_queries(seed)}
    assert glob.glob(os.path.join(folder, "*.parquet")), f"{folder} holds no files"
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = ENGINES[name](folder)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        query = questions[json.loads(line)["query"]]
        try:
            answer = measured(lambda: engine.run(query))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
