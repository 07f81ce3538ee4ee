"""Tiers of flows of a server: rows late and out of order, the server killed in the middle; every tier is a batch SQL over the flows,
and flow_rollup() answers the same from tiers as from flows (LATE-1). Flows carry what was known of their process at their time."""

import os
import random
import signal
import threading
import time

import harness
import lanes
import pyarrow as pa
import pyarrow.flight
import rollup

DAY_S, BASE_S = 86_400, 1_767_225_600  # 2026-01-01T00:00:00Z
TIERS = {"flows_1m": "1 minute", "flows_10m": "10 minutes", "flows_1h": "1 hour", "flows_1d": "1 day"}
KEY = "container_id, host, host_id, comm, exe, proto, direction, local_addr, remote_addr, port"
PORT = "CASE direction WHEN 'out' THEN remote_port WHEN 'in' THEN local_port ELSE least(local_port, remote_port) END AS port"
BATCH = """count(*), sum(CASE WHEN ended THEN 1 ELSE 0 END), sum(bytes_sent), sum(bytes_received), sum(packets_sent), sum(packets_received),
    sum(retransmits), count(connect_us), coalesce(sum(connect_us), 0), min(connect_us), max(connect_us), count(rtt_us),
    coalesce(sum(rtt_us), 0), min(rtt_us), max(rtt_us)"""
ADDED = """sum(count), sum(ended), sum(bytes_sent), sum(bytes_received), sum(packets_sent), sum(packets_received), sum(retransmits),
    sum(connect_count), sum(connect_us_sum), min(connect_us_min), max(connect_us_max), sum(rtt_count), sum(rtt_us_sum), min(rtt_us_min),
    max(rtt_us_max)"""
TEXTS = ["host", "host_id", "container_id", "comm", "exe", "proto", "direction", "local_addr", "remote_addr"]
REQUIRED = {"host", "host_id", "container_id", "proto"}
CONFIG = """
graph:
  operators:
    started:
      inputs: [events]
      sql: SELECT ts, host_id, pid, cmdline, evt_type = 'procexit' AS over FROM input WHERE evt_type IN ('execve', 'procexit')
    tagged:
      inputs: [flows]
      enrich:
        dimension: {from: started, key: [host_id, pid], columns: [cmdline], prefix: proc_, ends: over, wait: true}
    counted:
      inputs: [tagged]
      window: SELECT proc_cmdline, count(*) AS n FROM input GROUP BY proc_cmdline, tumble(ts, '1d')
"""


def schema():
    fields = [pa.field("ts", pa.timestamp("us", "UTC"), False)]
    fields += [pa.field(name, pa.string(), name not in REQUIRED) for name in TEXTS]
    fields += [pa.field(name, pa.int32()) for name in ["pid", "local_port", "remote_port"]]
    fields += [pa.field(name, pa.int64(), False)
               for name in ["bytes_sent", "bytes_received", "packets_sent", "packets_received", "retransmits"]]
    return pa.schema(fields + [pa.field("connect_us", pa.int64()), pa.field("rtt_us", pa.int64()), pa.field("ended", pa.bool_(), False)])


def flow(dice, ts_us):
    direction = dice.choice(["in", "out", None])
    return {"ts": ts_us, "host": "h", "host_id": f"h-{dice.randrange(2)}", "container_id": dice.choice(["host", "0123456789ab"]),
            "comm": dice.choice(["curl", "nginx", None]), "exe": None, "proto": dice.choice(["tcp", "udp"]), "direction": direction,
            "local_addr": "10.0.0.1", "remote_addr": f"10.0.1.{dice.randrange(4)}", "pid": dice.randrange(1, 4),
            "local_port": 443 if direction == "in" else dice.randrange(40_000, 60_000),
            "remote_port": 443 if direction == "out" else dice.choice([None, dice.randrange(40_000, 60_000)]),
            "bytes_sent": dice.randrange(10_000), "bytes_received": dice.randrange(10_000), "packets_sent": dice.randrange(9),
            "packets_received": dice.randrange(9), "retransmits": dice.randrange(2), "connect_us": dice.choice([None, dice.randrange(900)]),
            "rtt_us": dice.choice([None, dice.randrange(900)]), "ended": dice.random() < 0.3}


def send(server, stream, schema, pieces, first, producer="test/security"):
    lane = lanes.Lane(pyarrow.flight.connect(server.flight), stream, schema, producer=producer)
    for number, rows in enumerate(pieces):
        lane.send(first + number, pa.RecordBatch.from_pylist(rows, schema=schema))
    lane.close()


def processes():
    """What pid n of both hosts is, by the hour: another one every three hours, and none in the third of them."""
    wire = [("ts", pa.timestamp("us", "UTC")), ("ts_ns", pa.int64()), ("host", pa.string()), ("host_id", pa.string()), ("incarnation", pa.int64()),
            ("cpu", pa.int32()), ("seq", pa.int64()), ("evt_type", pa.string()), ("pid", pa.int32()), ("tid", pa.int32()), ("cmdline", pa.string()),
            ("container_id", pa.string()), ("result", pa.int64()), ("cgroup_id", pa.int64()), ("truncated", pa.bool_())]
    optional = {"cmdline"}
    rows = []
    for hour in range(0, 3 * 24):
        for host in ["h-0", "h-1"]:
            for pid in range(1, 4):
                if hour % 3 == 1:
                    continue
                ts = (BASE_S + hour * 3600) * 1_000_000
                ended = hour % 3 == 2
                rows.append({"ts": ts, "ts_ns": ts * 1000, "host": "h", "host_id": host, "incarnation": 1, "cpu": 0, "seq": len(rows) + 1,
                             "evt_type": "procexit" if ended else "execve", "pid": pid, "tid": pid, "cmdline": f"run {pid} {hour // 12}",
                             "container_id": "host", "result": 0, "cgroup_id": 1, "truncated": False})
    return pa.schema([pa.field(name, kind, name in optional) for name, kind in wire]), rows


def tiers_equal_batches(server):
    for tier, length in TIERS.items():
        batch = (f"SELECT to_unixtime(date_bin(INTERVAL '{length}', ts)) AS w, {KEY}, {BATCH} FROM (SELECT *, {PORT} FROM flows) GROUP BY w, {KEY}")
        made = f"SELECT to_unixtime(ts) AS w, {KEY}, {ADDED} FROM {tier} GROUP BY w, {KEY}"
        one, other = [sorted(map(repr, server.sql(query))) for query in (batch, made)]
        assert one == other and one, f"LATE-1: {tier}: {len(one)} and {len(other)} rows, {sorted(set(one) ^ set(other))[:2]}"
        print(f"{tier}: {len(one)} keys equal a batch over the flows")


def answers_equal(server, dice):
    sources = set()
    for step in ["1 minute", "10 minutes", "30 minutes", "1 hour", "6 hours", "1 day", "2 days"]:
        since = BASE_S + dice.randrange(2) * DAY_S
        call = f"flow_rollup({since}, {since + dice.choice([6, 30, 48]) * 3600}, INTERVAL '{step}'"
        columns = f"ts, {KEY}, {ADDED.replace('sum(', '(').replace('min(', '(').replace('max(', '(')}"
        fast, slow = [sorted(map(repr, server.sql(f"SELECT {columns} FROM {call}{more})"))) for more in ("", ", true")]
        assert fast == slow and fast, (call, len(fast), len(slow))
        sources |= {row[0] for row in server.sql(f"SELECT DISTINCT source FROM {call})")}
    assert {"flows_1m", "flows_10m", "flows_1h", "flows_1d"} <= sources, sources
    print(f"flow_rollup: equal from {sorted(sources)}")
    assert "no step above zero" in server.error("SELECT * FROM flow_rollup(0, 1, INTERVAL '0 seconds')")[1]["message"]
    assert "flow_rollup takes a start" in server.error("SELECT * FROM flow_rollup(0)")[1]["message"]


def tags_are_of_their_time(args, folder, dice):
    """A window over enriched flows is a join as of their time."""
    path = os.path.join(folder, "bodkin.yaml")
    with open(path, "w") as file:
        file.write(CONFIG)
    rows = [flow(dice, (BASE_S + at) * 1_000_000) for at in sorted(dice.sample(range(1, 3 * DAY_S), 2000))]
    kind, known = processes()
    server = harness.Server(args, folder, extra=("--config", path))
    with harness.running(server):
        # Both producers are there from the beginning: the watermark waits for the slower one.
        send(server, "events", kind, [known[:1]], 1, "other/security")
        send(server, "flows", schema(), [rows[:1]], 1, "one/metrics")
        for number, hour in enumerate(range(0, 72, 6)):
            from_us, until_us = [(BASE_S + at * 3600) * 1_000_000 for at in (hour, hour + 6)]
            within = [row for row in rows[1:] if from_us <= row["ts"] < until_us]
            send(server, "flows", schema(), [within], number + 2, "one/metrics")
            send(server, "events", kind, [[row for row in known[1:] if from_us <= row["ts"] < until_us]], number + 2, "other/security")
        end_us = (BASE_S + 5 * DAY_S) * 1_000_000
        send(server, "flows", schema(), [[flow(dice, end_us)]], 14, "one/metrics")
        send(server, "events", kind, [[{**known[0], "ts": end_us, "ts_ns": end_us * 1000}]], 14, "other/security")
        expected = {}
        for row in rows:
            hour = (row["ts"] // 1_000_000 - BASE_S) // 3600
            line = None if hour % 3 == 2 else f"run {row['pid']} {hour // 12}"
            key = BASE_S + hour // 24 * DAY_S, line
            expected[key] = expected.get(key, 0) + 1
        asked = "SELECT CAST(window_start AS BIGINT) / 1000000, proc_cmdline, n FROM counted"
        deadline = time.monotonic() + args.deadline
        while (found := {(at, line): n for at, line, n in server.sql(asked) if at < BASE_S + 3 * DAY_S}) != expected:
            assert time.monotonic() < deadline, sorted(map(repr, set(found.items()) ^ set(expected.items())))[:6]
            time.sleep(0.1)
        assert server.stop()[0] == 0
    print(f"{len(rows)} flows have what was known of their process at their time")


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    rows = [flow(dice, (BASE_S + dice.randrange(3 * DAY_S)) * 1_000_000) for _ in range(args.rows)]
    rows.sort(key=lambda row: row["ts"] + (dice.random() < 0.3) * dice.randrange(2 * DAY_S) * 1_000_000)
    pieces = [rows[at:at + 200] for at in range(0, len(rows), 200)]
    with harness.folder() as folder:
        server = harness.Server(args, folder)
        half = len(pieces) // 2
        send(server, "flows", schema(), pieces[:half], 1)
        making = threading.Thread(target=lambda: rollup.try_roll_up(server))
        making.start()
        time.sleep(dice.random() / 2)
        server.stop(signal.SIGKILL)
        making.join()
        server = harness.Server(args, folder)
        with harness.running(server):
            send(server, "flows", schema(), pieces[half:], half + 1)
            done = rollup.roll_up(server)["flows"]
            assert done["units_pending"] == 0 and done["units_made"] > 0, done
            tiers_equal_batches(server)
            answers_equal(server, dice)
            # One late row: at once in the answer, in the tiers after they are made again.
            send(server, "flows", schema(), [[flow(dice, (BASE_S + 5) * 1_000_000)]], len(pieces) + 1)
            day = f"FROM flow_rollup({BASE_S}, {BASE_S + DAY_S}, INTERVAL '1 day')"
            assert {row[0] for row in server.sql(f"SELECT DISTINCT source {day}")} == {"flows_1h, flows"}
            answers = f"SELECT sum(count) {day}"
            assert server.sql(answers)[0][0] == sum(row["ts"] < (BASE_S + DAY_S) * 1_000_000 for row in rows) + 1
            assert server.post("/api/v1/admin/compact?vacuum=now", timeout=600)
            assert rollup.roll_up(server)["flows"]["units_pending"] == 0
            tiers_equal_batches(server)
            status, _ = server.stop()
            assert status == 0, status
    print("the ladder of flows holds")
    with harness.folder() as folder:
        tags_are_of_their_time(args, folder, dice)


if __name__ == "__main__":
    main()
