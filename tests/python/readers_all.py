"""Every version of every table that a real host fills, as foreign readers see it: the rows of `snapshot(table, version)`."""

import json
import os
import threading
import time

import datafusion
import deltalake
import duckdb
import polars
import pyarrow as pa
import pyarrow.flight

import activity
import harness
import lanes

K8S_EVENT = {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "stage": "ResponseComplete", "verb": "get",
             "user": {"username": "u"}, "requestReceivedTimestamp": "2026-01-02T03:04:05Z", "stageTimestamp": "2026-01-02T03:04:05Z"}


def rows(table):
    """Rows as texts in an order of their own: times as integers, dictionaries and views as what they stand for."""
    def plain(kind):
        if pa.types.is_dictionary(kind):
            return plain(kind.value_type)
        if pa.types.is_timestamp(kind):
            return pa.int64()
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return pa.string()
        if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            return pa.binary()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return pa.list_(plain(kind.value_type))
        return kind

    columns = {}
    for name in sorted(table.column_names):
        column = table[name]
        if pa.types.is_timestamp(column.type) and column.type.unit != "us":
            column = column.cast(pa.timestamp("us", column.type.tz))
        columns[name] = column.cast(plain(column.type))
    return sorted(map(repr, pa.table(columns).to_pylist()))


def with_deltalake(delta):
    return delta.to_pyarrow_table()


def with_polars(delta):
    return polars.scan_delta(delta).collect().to_arrow()


def with_pyarrow_and_duckdb(delta):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("t", delta.to_pyarrow_dataset())
    return connection.sql("SELECT * FROM t").to_arrow_table()


def with_datafusion(delta):
    context = datafusion.SessionContext()
    context.register_dataset("t", delta.to_pyarrow_dataset())
    return context.sql("SELECT * FROM t").to_arrow_table()


READERS = [with_deltalake, with_polars, with_pyarrow_and_duckdb, with_datafusion]
# What this host must have filled; what else is there is checked as well.
EXPECTED = {"events", "samples", "series", "audit", "queries", "findings", "drops"}
RULE = """
- rule: A marked program
  desc: the test's
  condition: evt.type in (execve, execveat) and proc.args contains marker-
  output: marked %proc.cmdline
  priority: NOTICE
"""


def live(server, folder, stop):
    while not stop.is_set():
        activity.execs(10, "marker")
        activity.connections(5)
        server.post("/api/v1/k8s-audit", K8S_EVENT)
        time.sleep(0.05)


args = harness.arguments(__doc__).parse_args()
with harness.folder() as folder:
    rules = os.path.join(folder, "rules.yaml")
    with open(rules, "w") as out:
        out.write(RULE)
    config = os.path.join(folder, "bodkin.yaml")
    with open(config, "w") as out:
        out.write(json.dumps({"rules": {"files": [rules]}}))
    with harness.running(harness.Server(args, folder, role="up", extra=("--config", config))) as server:
        client = pa.flight.connect(server.flight)
        lanes.Lane(client).send(1, lanes.batch(1, 50))
        stop = threading.Event()
        living = threading.Thread(target=live, args=(server, folder, stop))
        living.start()
        try:
            # host metrics come every 10 s
            server.until("SELECT count(*) FROM metrics WHERE name = 'node_load1'", 1, args.deadline)
            # The log of queries is written behind them, findings behind their events.
            server.until("SELECT count(*) FROM queries", 1, args.deadline)
            server.until("SELECT count(*) FROM findings", 1, args.deadline)
            for _ in range(4):
                server.post("/api/v1/admin/flush")
                server.post("/api/v1/admin/compact")
            checked = {}
            for name in sorted(os.listdir(os.path.join(folder, "data", "tables"))):
                root = os.path.join(folder, "data", "tables", name)
                newest = deltalake.DeltaTable(root).version()
                # The first and the last two: those between are alike.
                versions = sorted({0, max(0, newest - 1), newest})
                for version in versions:
                    query = json.dumps({"query": f"SELECT * FROM snapshot('{name}', {version})"})
                    ours = rows(client.do_get(pa.flight.Ticket(query)).read_all())
                    delta = deltalake.DeltaTable(root, version=version)
                    for read in READERS:
                        theirs = rows(read(delta))
                        if theirs != ours:
                            at = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                            raise AssertionError(f"{name} {version} {read.__name__}: {len(ours)} and {len(theirs)} rows; first difference:\n"
                                                 f"{ours[at:at + 1]}\n{theirs[at:at + 1]}")
                    checked[name] = (checked.get(name, (0, 0))[0] + 1, len(ours))
        finally:
            stop.set()
            living.join()
        filled = {name for name, (_, count) in checked.items() if count}
        assert EXPECTED <= filled, f"empty: {EXPECTED - filled}"
        for name, (versions, count) in checked.items():
            print(f"{name:16} {versions} versions, {count} rows in the last: the same for {len(READERS)} readers")
