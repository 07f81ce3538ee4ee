"""Server and agent as two processes, kill -9 of the server in the middle: nothing is missing, nothing is there twice."""

import os
import signal
import time
import urllib.parse

import activity
import harness

args = harness.arguments(__doc__).parse_args()
with harness.folder() as folder:
    fresh = os.path.join(folder, "fresh")
    os.mkdir(fresh)
    marker = f"crash-{os.getpid()}"
    server = harness.Server(args, folder)
    http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
    with harness.running(server), harness.running(harness.Agent(args, folder, server.flight)) as agent:
        pids = activity.execs(300, marker)
        server.post("/api/v1/admin/flush")
        pids |= {**activity.execs(300, marker + "-a")}
        server.stop(signal.SIGKILL)
        pids |= {**activity.execs(200, marker + "-away")}
        names = activity.files(200, fresh)
        with harness.running(harness.Server(args, folder, http=http, flight=flight)) as server:
            started = time.monotonic()
            local, port = activity.connections(100)
            pids |= {**activity.execs(200, marker + "-back")}
            last = f"SELECT count(*) FROM events WHERE evt_type = 'procexit' AND pid IN ({','.join(map(str, pids.values()))})"
            count, waited = server.until(last, len(pids), args.deadline)
            activity.check_execs(server, pids, marker)
            activity.check_files(server, names)
            activity.check_connections(server, local, port)
            assert server.sql("SELECT count(*) FROM drops") == [[0]], server.sql("SELECT * FROM drops")
            status, seconds = agent.stop()
            assert status == 0 and seconds < 5, (status, seconds)
            status, seconds = server.stop()
            assert status == 0, status
    print(f"{len(pids)} execs, 200 files, 100 connections found once across kill -9; recovered in {server.ready_seconds:.2f} s, complete {waited:.2f} s after the last")
