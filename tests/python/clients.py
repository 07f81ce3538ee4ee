"""Foreign clients read us while we run: pyarrow.flight, ADBC, deltalake and polars, with the rows that SQL has."""

import json
import os
import time
import urllib.request

import adbc_driver_flightsql.dbapi
import deltalake
import polars
import pyarrow as pa
import pyarrow.flight
import pyarrow.parquet

import activity
import harness

COLUMNS = ["host", "cpu", "seq", "ts_ns", "pid", "evt_type", "path", "container_id"]


def rows_of(table):
    """Rows of an Arrow table in a fixed order."""
    table = table.select(COLUMNS)
    return sorted(map(tuple, zip(*(column.to_pylist() for column in table.columns))), key=repr)


args = harness.arguments(__doc__).parse_args()
with harness.folder() as folder, harness.running(harness.Server(args, folder, "up", ["--require-ebpf"])) as server:
    marker = f"client-{os.getpid()}"
    pids = activity.execs(50, marker)
    wanted = f"SELECT count(*) FROM events WHERE args LIKE '{marker}-%' AND evt_type = 'execve'"
    count, _ = server.until(wanted, 50, args.deadline)
    assert count == 50, count
    query = f"SELECT {', '.join(COLUMNS)} FROM events WHERE args LIKE '{marker}-%' AND evt_type = 'execve'"

    # Arrow over Flight, by a JSON command, and by Flight SQL.
    client = pa.flight.connect(server.flight)
    descriptor = pa.flight.FlightDescriptor.for_command(json.dumps({"query": query}))
    info = client.get_flight_info(descriptor)
    flight = client.do_get(info.endpoints[0].ticket).read_all()
    assert flight.num_rows == 50 and all(not str(field.type).endswith("view") for field in flight.schema)
    direct = client.do_get(pa.flight.Ticket(json.dumps({"query": query}))).read_all()
    assert rows_of(direct) == rows_of(flight)
    with adbc_driver_flightsql.dbapi.connect(server.flight) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        adbc = cursor.fetch_arrow_table()
        cursor.execute("SELECT count(*) FROM events WHERE pid = -1")
        assert cursor.fetchone() == (0,)
    assert rows_of(adbc) == rows_of(flight)
    with adbc_driver_flightsql.dbapi.connect(server.flight) as connection:
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = {t["table_name"] for c in objects for s in c["catalog_db_schemas"] for t in s["db_schema_tables"]}
        assert {"events", "processes", "samples"} <= tables, tables

    # REST as Arrow, Parquet and CSV.
    def rest(accept):
        request = urllib.request.Request(
            server.http + "/api/v1/sql", json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json", "Accept": accept})
        return urllib.request.urlopen(request).read()

    stream = pa.ipc.open_stream(rest("application/vnd.apache.arrow.stream")).read_all()
    parquet = pa.parquet.read_table(pa.BufferReader(rest("application/vnd.apache.parquet")))
    assert rows_of(stream) == rows_of(flight) == rows_of(parquet)
    assert rest("text/csv").decode().count("\n") == 51

    # The table folder, mid-ingest, at every version.
    for _ in range(2):
        server.post("/api/v1/admin/flush")
        activity.execs(20, marker + "-more")
        time.sleep(0.3)
    root = os.path.join(folder, "data", "tables", "events")
    newest = deltalake.DeltaTable(root).version()
    assert newest >= 1
    compared = 0
    for version in range(newest + 1):
        delta = pa.table(deltalake.DeltaTable(root, version=version).to_pyarrow_table()) if hasattr(
            deltalake.DeltaTable, "to_pyarrow_table") else deltalake.DeltaTable(root, version=version).to_pandas()
        ours = client.do_get(pa.flight.Ticket(json.dumps({"query": f"SELECT * FROM snapshot('events', {version})"}))).read_all()
        assert sorted(ours.column_names) == sorted(delta.column_names), set(ours.column_names) ^ set(delta.column_names)
        assert rows_of(ours) == rows_of(delta), version
        lazy = polars.scan_delta(root, version=version).select(COLUMNS).collect().to_arrow()
        assert rows_of(ours) == rows_of(lazy), version
        compared += ours.num_rows
    for table in ("series", "samples"):
        path = os.path.join(folder, "data", "tables", table)
        version = deltalake.DeltaTable(path).version()
        ours = server.sql(f"SELECT count(*) FROM snapshot('{table}', {version})")[0][0]
        assert ours == polars.scan_delta(path, version=version).collect().height, table
    status, _ = server.stop()
    assert status == 0
    print(f"pyarrow.flight, ADBC, REST, deltalake and polars agree; {compared} rows over {newest + 1} versions compared")
