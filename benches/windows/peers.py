"""One peer over the rows of a file: `peers.py datafusion|bytewax|pathway FILE tumble|hop`; prints groups and sums."""

import json
import sys
from datetime import datetime, timedelta, timezone

import pyarrow as pa


def read(path):
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all()


def say(groups, count, total):
    print(json.dumps({"groups": int(groups), "count": int(count), "total": int(total)}))


def datafusion(path, kind):
    """The batch query, all of its answer made."""
    import datafusion as df

    context = df.SessionContext(df.SessionConfig().with_target_partitions(1))
    context.register_record_batches("t", [read(path).to_batches()])
    start = "date_bin(INTERVAL '10 seconds', ts, TIMESTAMP '1970-01-01')"
    if kind == "tumble":
        inner = f"SELECT key, {start} AS w, count(*) AS n, sum(value) AS s FROM t GROUP BY 1, 2"
    else:
        # Panes first, then each pane in its six windows.
        inner = (f"SELECT key, w - i * INTERVAL '10 seconds' AS w, sum(n) AS n, sum(s) AS s FROM (SELECT key, {start} AS w, "
                 "count(*) AS n, sum(value) AS s FROM t GROUP BY 1, 2) CROSS JOIN "
                 "(VALUES (0), (1), (2), (3), (4), (5)) AS v(i) GROUP BY 1, 2")
    row = context.sql(f"SELECT count(*), sum(n), sum(s) FROM ({inner})").collect()[0]
    say(*[row.column(i)[0].as_py() for i in range(3)])


def bytewax(path, kind):
    import bytewax.operators as op
    import bytewax.operators.windowing as win
    from bytewax.dataflow import Dataflow
    from bytewax.operators.windowing import EventClock, SlidingWindower, TumblingWindower
    from bytewax.testing import TestingSink, TestingSource, run_main

    table = read(path)
    items = list(zip(map(str, table["key"].to_pylist()), table["ts"].to_pylist(), table["value"].to_pylist()))
    # Late rows are only counted if every window waits for them.
    clock = EventClock(lambda item: item[1], wait_for_system_duration=timedelta(seconds=60))
    align = datetime(1970, 1, 1, tzinfo=timezone.utc)
    if kind == "tumble":
        windower = TumblingWindower(length=timedelta(seconds=10), align_to=align)
    else:
        windower = SlidingWindower(length=timedelta(seconds=60), offset=timedelta(seconds=10), align_to=align)
    out, flow = [], Dataflow("windows")
    stream = op.key_on("key", op.input("in", flow, TestingSource(items, batch_size=8192)), lambda item: item[0])
    folded = win.fold_window("fold", stream, clock, windower, lambda: (0, 0),
                             lambda sums, item: (sums[0] + 1, sums[1] + item[2]),
                             lambda one, other: (one[0] + other[0], one[1] + other[1]))
    op.output("out", folded.down, TestingSink(out))
    run_main(flow)
    say(len(out), sum(value[1][0] for _, value in out), sum(value[1][1] for _, value in out))


def pathway(path, kind):
    import pathway as pw

    frame = read(path).to_pandas()
    frame["ts"] = frame["ts"].dt.tz_localize(None)
    table = pw.debug.table_from_pandas(frame)
    if kind == "tumble":
        window = pw.temporal.tumbling(duration=timedelta(seconds=10))
    else:
        window = pw.temporal.sliding(hop=timedelta(seconds=10), duration=timedelta(seconds=60))
    result = table.windowby(pw.this.ts, window=window, instance=pw.this.key).reduce(
        key=pw.this._pw_instance, n=pw.reducers.count(), s=pw.reducers.sum(pw.this.value))
    total = result.reduce(groups=pw.reducers.count(), n=pw.reducers.sum(pw.this.n), s=pw.reducers.sum(pw.this.s))
    row = pw.debug.table_to_pandas(total).iloc[0]
    say(row["groups"], row["n"], row["s"])


if __name__ == "__main__":
    {"datafusion": datafusion, "bytewax": bytewax, "pathway": pathway}[sys.argv[1]](sys.argv[2], sys.argv[3])
