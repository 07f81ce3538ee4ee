"""Every version of a table as foreign readers see it, while rows come in and compaction rewrites the files."""

import json
import os
import threading

import datafusion
import deltalake
import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.flight

import harness
import lanes
from lanes import batch

EPOCHS = 8
ROWS = 200


def numbers(column):
    return sorted(value.as_py() if hasattr(value, "as_py") else value for value in column)


def with_deltalake(root, version):
    return numbers(deltalake.DeltaTable(root, version=version).to_pyarrow_table(columns=["count"]).column(0))


def with_polars(root, version):
    return numbers(polars.scan_delta(root, version=version).select("count").collect().to_series().to_list())


def with_pyarrow_and_duckdb(root, version):
    dataset = deltalake.DeltaTable(root, version=version).to_pyarrow_dataset()
    connection = duckdb.connect()
    connection.register("drops", dataset)
    return [row[0] for row in connection.execute("SELECT count FROM drops ORDER BY count").fetchall()]


def with_datafusion(root, version):
    context = datafusion.SessionContext()
    dataset = deltalake.DeltaTable(root, version=version).to_pyarrow_dataset()
    context.register_dataset("drops", dataset)
    return numbers(context.sql('SELECT "count" FROM drops').to_arrow_table().column(0))


READERS = [with_deltalake, with_polars, with_pyarrow_and_duckdb, with_datafusion]

args = harness.arguments(__doc__).parse_args()
with harness.folder() as folder, harness.running(harness.Server(args, folder)) as server:
    root = os.path.join(folder, "data", "tables", "drops")
    client = pa.flight.connect(server.flight)
    lane = lanes.Lane(client)
    done = threading.Event()
    reports = []

    def compact():
        while not done.is_set():
            reports.append(server.post("/api/v1/admin/compact"))

    compactor = threading.Thread(target=compact)
    lane.send(1, batch(ROWS, ROWS))
    server.post("/api/v1/admin/flush")
    compactor.start()
    try:
        checked = 0
        for epoch in range(2, EPOCHS + 1):
            lane.send(epoch, batch(epoch * ROWS, ROWS))
            server.post("/api/v1/admin/flush")
            newest = deltalake.DeltaTable(root).version()
            for version in range(checked, newest + 1):
                query = json.dumps({"query": f"SELECT count FROM snapshot('drops', {version})"})
                ours = numbers(client.do_get(pa.flight.Ticket(query)).read_all().column(0))
                assert len(ours) % ROWS == 0 and ours == list(range(ROWS, ROWS + len(ours))), (version, len(ours))
                for read in READERS:
                    assert read(root, version) == ours, (read.__name__, version)
            checked = newest + 1
    finally:
        done.set()
        compactor.join()
    jobs = sum(report["jobs"] for report in reports)
    assert jobs > 0, "compaction did nothing"
    rows = server.sql("SELECT count(*), count(DISTINCT \"count\") FROM drops WHERE producer = 'p'")
    assert rows == [[EPOCHS * ROWS, EPOCHS * ROWS]], rows
    print(f"{checked} versions, {len(READERS)} readers each, {jobs} compaction jobs meanwhile: the same rows")
