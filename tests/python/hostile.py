"""What is wrong gets a clear error each, the server goes on, and nothing that was acknowledged is lost."""

import json
import os
import subprocess

import pyarrow as pa
import pyarrow.flight

import harness
import mutants
from lanes import SCHEMA, Lane, batch

args = harness.arguments(__doc__)
args.add_argument("--mutants", type=int, default=20000)
args = args.parse_args()


def refused(action, *words):
    """The action fails, and its error says these words."""
    try:
        action()
    except (pa.ArrowException, OSError) as error:
        text = str(error)
        missing = [word for word in words if word.lower() not in text.lower()]
        assert not missing, f"{missing} not in: {text}"
        return
    raise AssertionError("was not refused")


def sql_errors(server):
    for query, code, words in [
        ("SELEC 1", 400, ["\"line\": 1", "did you mean"]),
        ("SELECT *\nFROM events WHERE", 400, []),
        ("SELECT cmm FROM events", 400, ["comm"]),
        ("SELECT * FROM event", 404, ["events"]),
        ("CREATE TABLE t AS SELECT 1", 403, ["read"]),
        ("COPY events TO '/tmp/x.parquet'", 403, ["read"]),
        ("SET datafusion.execution.batch_size = 1", 403, ["read"]),
        ("SELECT * FROM '/etc/passwd'", 404, []),
        ("SELECT * FROM snapshot('events', 999999)", 404, ["999999"]),
    ]:
        status, error = server.error(query)
        text = json.dumps(error).lower()
        assert 400 <= status < 500, (query, status, error)
        assert status == code or code in (403, 404), (query, status, error)
        missing = [word for word in words if word not in text]
        assert error["message"] and not missing, (query, missing, error)


with harness.folder() as folder:
    with harness.running(harness.Server(args, folder)) as server:
        client = pa.flight.connect(server.flight)
        lane = Lane(client)
        for seq in range(1, 11):
            lane.send(seq, batch(seq * 100, 100))
        lane.close()
        again = Lane(client)
        again.send(10, batch(1000, 100))
        again.close()
        assert server.sql("SELECT count(*), count(DISTINCT \"count\") FROM drops") == [[1000, 1000]], "a resent batch counts once"

        sql_errors(server)
        lacking, unknown = batch(0, 1).drop_columns(["reason"]), batch(0, 1).append_column("nonsense", pa.array([1]))
        refused(lambda: Lane(client, schema=lacking.schema).send(11, lacking), "reason", "missing")
        refused(lambda: Lane(client, schema=unknown.schema).send(11, unknown), "nonsense", "unknown")
        refused(lambda: Lane(client, stream="nothing").send(1, batch(0, 1)), "nothing", "events")
        big = pa.record_batch([pa.array([0], SCHEMA.field(0).type), pa.array(["x" * (80 << 20)]), pa.array(["c"]), pa.array(["r"]), pa.array([1])], schema=SCHEMA)
        refused(lambda: Lane(client).send(11, big))
        count, stored = mutants.send(server.flight, "drops", SCHEMA, batch(0, 50), args.mutants)
        assert count + stored == args.mutants and count > args.mutants // 2, (count, stored)
        kept = server.sql("SELECT count(*) FROM drops WHERE producer = 'p' AND class = 'security' AND reason LIKE 'reason %'")[0][0]
        assert kept >= 1000, kept
        lane = Lane(client)
        lane.send(11, batch(1100, 100))
        lane.close()
        assert server.sql("SELECT count(*) FROM drops WHERE \"count\" BETWEEN 1100 AND 1199 AND producer = 'p'")[0][0] >= 100
        assert server.stop()[0] == 0
    print(f"errors are clear; {args.mutants} mutants: {count} refused, {stored} valid and stored")

# A full disk: no acknowledgement that is not true, and writes go on when there is room.
with harness.folder() as folder:
    data = os.path.join(folder, "data")
    os.mkdir(data)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], check=True)
    try:
        with harness.running(harness.Server(args, folder)) as server:
            client, acked, error = pa.flight.connect(server.flight), 0, None
            lane = Lane(client)
            try:
                for seq in range(1, 2000):
                    lane.send(seq, batch(seq * 2000, 2000))
                    acked = seq
            except (pa.ArrowException, OSError) as raised:
                error = str(raised)
            assert error and "space" in error.lower(), error
            assert server.sql("SELECT count(*) FROM drops WHERE producer = 'p'") == [[acked * 2000]]
            subprocess.run(["mount", "-o", "remount,size=96m", data], check=True)
            again, retried = None, 0
            while again is None:
                try:
                    again = Lane(pa.flight.connect(server.flight))
                    again.send(acked + 1, batch((acked + 1) * 2000, 2000))
                except (pa.ArrowException, OSError):
                    again, retried = None, retried + 1
                    assert retried < 200, "does not recover"
            server.post("/api/v1/admin/flush")
            server.stop(9)
        with harness.running(harness.Server(args, folder)) as server:
            rows = server.sql("SELECT count(*), count(DISTINCT \"count\") FROM drops WHERE producer = 'p'")
            assert rows == [[(acked + 1) * 2000] * 2], rows
            assert server.stop()[0] == 0
    finally:
        subprocess.run(["umount", data], check=True)
    print(f"full disk: {acked} batches acknowledged and kept, then refused ({error.splitlines()[0][:120]}), then goes on")
