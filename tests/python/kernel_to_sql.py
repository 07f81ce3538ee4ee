"""`bodkin up` in an empty folder: everything that happens is in SQL, once, with the right values, and `drops` says 0."""

import os
import time

import activity
import harness

args = harness.arguments(__doc__).parse_args()
with harness.folder() as folder, harness.running(harness.Server(args, folder, "up", ["--require-ebpf"])) as server:
    fresh = os.path.join(folder, "fresh")
    os.mkdir(fresh)
    marker = f"marker-{os.getpid()}"
    pids = activity.execs(1000, marker)
    names = activity.files(200, fresh)
    local, port = activity.connections(100)
    count, waited = server.until(f"SELECT count(*) FROM network_events WHERE remote_port = {port} AND evt_type = 'connect'", 100, args.deadline)
    assert count == 100, f"{count} of 100 connections after {waited:.1f} s"
    activity.check_execs(server, pids, marker)
    activity.check_files(server, names)
    activity.check_connections(server, local, port)
    drops = server.sql("SELECT * FROM drops")
    if drops:
        busiest = server.sql("SELECT comm, evt_type, count(*) FROM events GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 10")
        raise AssertionError(f"rows were dropped: {drops}; busiest: {busiest}")
    # Host metrics come as well, and survive an epoch.
    found, _ = server.until("SELECT count(*) FROM metrics WHERE name = 'node_load1'", 1, args.deadline)
    assert found >= 1, "no host metrics"
    server.post("/api/v1/admin/flush")
    activity.check_execs(server, pids, marker)
    status, seconds = server.stop()
    assert status == 0, f"exit status {status}"
    print(f"ready in {server.ready_seconds:.2f} s; 1000 execs, 200 files, 100 connections found once, {waited:.2f} s after the last; stopped in {seconds:.1f} s")
