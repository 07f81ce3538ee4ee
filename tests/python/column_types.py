"""Columns of another type than the registered one: acknowledged, kept beside, found in SQL and by foreign readers."""

import os
import signal

import deltalake
import pyarrow as pa
import pyarrow.flight

import harness
import lanes

ROWS = 500
args = harness.arguments(__doc__).parse_args()


def other_types(first):
    """Losses whose numbers are texts, whose times are milliseconds, whose reasons are structures."""
    numbers = range(first, first + ROWS)
    return pa.record_batch({
        "ts": pa.array(numbers, pa.timestamp("ms")), "producer": pa.array(["p"] * ROWS, pa.large_string()),
        "class": ["security"] * ROWS, "reason": [{"code": n, "why": ["x", None]} for n in numbers],
        "count": [f"{n}" if n % 2 else f"about {n}" for n in numbers]})


def check(server):
    query = ("SELECT count(*), count(count_text), sum(\"count\"), count(reason_text), min(reason_text) FROM drops "
             "WHERE producer = 'p'")
    odd = sum(number for number in range(ROWS, 2 * ROWS) if number % 2)
    total = sum(range(ROWS)) + odd
    first = f'{{"code":{ROWS},"why":["x",null]}}'
    assert server.sql(query) == [[2 * ROWS, ROWS, total, ROWS, first]], server.sql(query)
    found = server.sql("SELECT reason_text, epoch_ms FROM (SELECT *, CAST(date_part('epoch', ts) * 1000 AS BIGINT) epoch_ms FROM drops) "
                       f"WHERE count_text = 'about {ROWS + 8}'")
    assert found == [[first.replace(str(ROWS), str(ROWS + 8)), ROWS + 8]], found
    comment = server.sql("SELECT comment FROM column_comments WHERE table_name = 'drops' AND column_name = 'count_text'")
    assert comment == [["count where it was sent as text"]], comment


with harness.folder() as folder:
    with harness.running(harness.Server(args, folder)) as server:
        client = pa.flight.connect(server.flight)
        lane = lanes.Lane(client)
        lane.send(1, lanes.batch(0, ROWS))
        server.post("/api/v1/admin/flush")
        other = other_types(ROWS)
        odd = lanes.Lane(client, schema=other.schema, incarnation=2)
        odd.send(1, other)
        lane.close()
        odd.close()
        check(server)
        server.stop(signal.SIGKILL)
    with harness.running(harness.Server(args, folder)) as server:
        check(server)
        server.post("/api/v1/admin/flush")
        check(server)
        server.post("/api/v1/admin/compact")
        check(server)
        table = deltalake.DeltaTable(os.path.join(folder, "data", "tables", "drops")).to_pyarrow_table()
        texts = table.column("count_text").drop_null()
        assert (table.num_rows, len(texts)) == (2 * ROWS, ROWS), (table.num_rows, len(texts))
        status, _ = server.stop()
        assert status == 0, status
print(f"{ROWS} rows with columns of other types, over a kill -9, a flush and a compaction")
