"""One peer over the rows of a file: `peers.py datafusion|bytewax|pathway|flink FILE tumble|hop`; prints groups and sums.

Flink reads FILE as CSV and says its own CPU-seconds: its JVM is no child that is waited for.
"""

import json
import os
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
        inner = (f"SELECT key, w - arrow_cast(i * 10000000, 'Duration(Microsecond)') AS w, sum(n) AS n, sum(s) AS s FROM (SELECT key, {start} AS w, "
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
    times = (ts.replace(tzinfo=timezone.utc) for ts in table["ts"].to_pylist())
    items = list(zip(map(str, table["key"].to_pylist()), times, table["value"].to_pylist()))
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


def flink(path, kind):
    """One slot; the watermark waits for the last late row, because its windows drop what comes after them."""
    from pyflink.table import EnvironmentSettings, TableEnvironment

    environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    config = environment.get_config()
    for name, value in {"parallelism.default": "1", "table.exec.mini-batch.enabled": "true",
                        "table.exec.mini-batch.allow-latency": "1 s", "table.exec.mini-batch.size": "20000"}.items():
        config.set(name, value)
    environment.execute_sql(
        "CREATE TABLE t (ts BIGINT, k BIGINT, v BIGINT, event_time AS TO_TIMESTAMP_LTZ(ts / 1000, 3), "
        "WATERMARK FOR event_time AS event_time - INTERVAL '60' SECOND) "
        f"WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv')")
    window = ("TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(event_time), SIZE => INTERVAL '10' SECOND)" if kind == "tumble" else
              "HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(event_time), SLIDE => INTERVAL '10' SECOND, SIZE => INTERVAL '60' SECOND)")
    # Only the end of the sums is of interest: a change a second, and not one for each window.
    result = environment.execute_sql(
        f"SELECT count(*), sum(n), sum(s) FROM (SELECT k, window_start, count(*) AS n, sum(v) AS s FROM TABLE({window}) "
        "GROUP BY k, window_start, window_end)")
    last = None
    with result.collect() as rows:
        for row in rows:
            last = row
    print(json.dumps({"groups": last[0], "count": last[1], "total": last[2], "cpu": cpu_of_family()}))


def cpu_of_family():
    """User and system seconds of this process and its children that still run."""
    ticks = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(name) == os.getpid() or int(fields[1]) == os.getpid():
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    {"datafusion": datafusion, "bytewax": bytewax, "pathway": pathway, "flink": flink}[sys.argv[1]](sys.argv[2], sys.argv[3])
