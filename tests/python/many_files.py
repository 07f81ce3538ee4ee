"""A table of very many small files: how long its log takes to load, and a query to be planned.

The log is written here as an agent's epochs and compactions would leave it: a checkpoint, and commits behind it. The files
themselves are not there: planning reads none.
"""

import copy
import datetime
import json
import os
import statistics
import time

import deltalake
import pyarrow as pa
import pyarrow.flight

import harness
import lanes

parser = harness.arguments(__doc__)
parser.add_argument("--files", type=int, default=100_000)
parser.add_argument("--load-max", type=float, default=2.0, help="seconds that the log may take to load")
parser.add_argument("--plan-max", type=float, default=0.1, help="seconds that a query may take to be planned")
args = parser.parse_args()
PER_COMMIT, CONTAINERS, BEHIND = 16, 400, 90
START = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)

QUERIES = {
    "needle": "SELECT pid FROM events WHERE container_id = '000000000007' AND ts >= '{0}' AND ts < '{1}'",
    "recent": "SELECT count(*), max(pid) FROM events WHERE ts >= '{0}' AND ts < '{1}'",
    "all": "SELECT comm, count(*) FROM events GROUP BY comm",
    "top": "SELECT ts, path FROM events WHERE path LIKE '/etc/%' ORDER BY ts DESC LIMIT 10",
    "joined": "SELECT a.pid, b.path FROM events a JOIN events b ON a.pid = b.pid AND a.host = b.host "
              "WHERE a.evt_type = 'execve' AND b.evt_type = 'openat' AND a.ts >= '{0}' AND a.ts < '{1}'",
}


def text(minute):
    return (START + datetime.timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def add(template, number):
    """A file of one container and one minute."""
    container, minute = number % CONTAINERS, number // CONTAINERS
    stats = copy.deepcopy(template["stats"])
    stats["numRecords"] = 1000
    for kind, of in (("minValues", minute), ("maxValues", minute + 1)):
        stats[kind].update({"container_id": f"{container:012x}", "ts": text(of), "pid": number})
    return {"add": {**template["add"], "path": f"tenant=default/date=2026-11-01/node-{number:020}-0.parquet",
                    "stats": json.dumps(stats)}}


def write_log(log):
    """Commits on top of the one that made the table; the newest of them behind a checkpoint."""
    first = [json.loads(line) for line in open(os.path.join(log, f"{0:020}.json"))]
    template, = [action["add"] for action in first if "add" in action]
    template = {"add": template, "stats": json.loads(template["stats"])}
    adds = (add(template, number) for number in range(args.files - 1))
    # What a checkpoint covers is one commit here: nobody reads it again.
    behind = min(BEHIND * PER_COMMIT, (args.files - 1) // 2)
    sizes = [args.files - 1 - behind] + [PER_COMMIT] * (behind // PER_COMMIT) + [behind % PER_COMMIT]
    for version, size in enumerate(sizes, 1):
        with open(os.path.join(log, f"{version:020}.json"), "w") as file:
            file.write(json.dumps({"commitInfo": {"timestamp": 0, "operation": "WRITE"}}) + "\n")
            file.writelines(json.dumps(next(adds)) + "\n" for _ in range(size))
        if version == 1:
            deltalake.DeltaTable(os.path.dirname(log)).create_checkpoint()


def events(client, rows):
    """Events of which nothing is known but what must be."""
    def ask(query):
        return client.do_get(pa.flight.Ticket(json.dumps({"query": query}))).read_all()

    required = ask("SELECT column_name FROM information_schema.columns WHERE table_name = 'events' AND is_nullable = 'NO'")
    names = set(required.column(0).to_pylist()) - {"tenant", "date"}
    fields = [field.with_nullable(False) for field in ask("SELECT * FROM events LIMIT 0").schema if field.name in names]
    columns = [pa.array(range(rows)).cast(field.type) for field in fields]
    return pa.record_batch(columns, schema=pa.schema(fields))


with harness.folder() as folder:
    with harness.running(harness.Server(args, folder)) as server:
        client = pa.flight.connect(server.flight)
        records = events(client, 1000)
        lanes.Lane(client, "events", records.schema).send(1, records)
        server.stop()
    with harness.running(harness.Server(args, folder)) as server:
        empty = server.ready_seconds
        server.stop()
    write_log(os.path.join(folder, "data", "tables", "events", "_delta_log"))
    with harness.running(harness.Server(args, folder)) as server:
        load = server.ready_seconds - empty
        assert server.sql("SELECT count(*) FROM events") == [[1000 * args.files]]
        half = args.files // CONTAINERS // 2
        planning = {}
        for name, query in QUERIES.items():
            took = []
            for _ in range(6):
                started = time.monotonic()
                server.answer("EXPLAIN " + query.format(text(half), text(half + 2)))
                took.append(time.monotonic() - started)
            # The first query of a process also sets up what all of them share.
            planning[name] = statistics.median(took[1:])
        server.stop()
    said = ", ".join(f"{name} {1000 * took:.1f}" for name, took in planning.items())
    print(f"{args.files} files: log loaded in {load:.2f} s; planned in ms: {said}")
    assert load < args.load_max, load
    assert max(planning.values()) < args.plan_max, planning
