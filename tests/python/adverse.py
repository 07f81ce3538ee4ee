"""A host that turns against the server: folders that cannot be written, a clock that jumps. It says why, goes on by itself,
and nothing is lost."""

import glob
import os
import subprocess
import urllib.error

import pyarrow as pa
import pyarrow.flight

import harness
from lanes import Lane, batch

args = harness.arguments(__doc__).parse_args()
ALL = "SELECT count(*), count(DISTINCT \"count\") FROM drops WHERE producer = 'p'"
FAKETIME, = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def unmount(path):
    subprocess.run(["umount", "--lazy", path], check=True)


# A data folder that cannot be written: the server does not start, and names it.
with harness.folder() as folder:
    data = os.path.join(folder, "data")
    os.mkdir(data)
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", data)
    try:
        harness.Server(args, folder)
        raise AssertionError("it started in a folder that it cannot write")
    except RuntimeError as error:
        said = str(error)
        assert data in said and "read-only" in said.lower(), said
    finally:
        unmount(data)
print("read-only data folder: refused by name")

# Tables that cannot be written for a while: rows are acknowledged and seen, the epoch waits and says why.
with harness.folder() as folder:
    tables = os.path.join(folder, "data", "tables")
    with harness.running(harness.Server(args, folder)) as server:
        lane = Lane(pa.flight.connect(server.flight))
        lane.send(1, batch(100, 100))
        server.post("/api/v1/admin/flush")
        mount("--bind", tables, tables)
        mount("-o", "remount,ro,bind", tables)
        try:
            for seq in range(2, 12):
                lane.send(seq, batch(seq * 100, 100))
            assert server.sql(ALL) == [[1100, 1100]]
            try:
                server.post("/api/v1/admin/flush", timeout=3)
                raise AssertionError("an epoch ended without its files")
            except (TimeoutError, urllib.error.URLError):
                pass
            lane.send(12, batch(1200, 100))
        finally:
            unmount(tables)
        server.post("/api/v1/admin/flush")
        assert server.sql(ALL) == [[1200, 1200]]
        log = open(os.path.join(folder, "server.log")).read()
        assert "epoch waits and is tried again" in log and "Read-only" in log, log[-2000:]
        server.stop(9)
    with harness.running(harness.Server(args, folder)) as server:
        assert server.sql(ALL) == [[1200, 1200]]
        assert server.stop()[0] == 0
print("read-only tables: rows acknowledged and seen meanwhile, the epoch ended afterwards")

# A clock that jumps, while the server runs and between its lives.
with harness.folder() as folder:
    offset = os.path.join(folder, "offset")

    def jump(seconds):
        with open(offset + ".new", "w") as out:
            out.write(f"{seconds:+d}\n")
        os.rename(offset + ".new", offset)

    jump(0)
    os.environ |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": offset, "FAKETIME_NO_CACHE": "1",
                   "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    sent = 0
    try:
        for life, jumps in enumerate([(0, -3600, 7200), (-86400, -86500), (-172800, 0)]):
            jump(jumps[0])
            with harness.running(harness.Server(args, folder)) as server:
                for seconds in jumps:
                    jump(seconds)
                    lane = Lane(pa.flight.connect(server.flight), incarnation=life + 1)
                    for _ in range(5):
                        sent += 1
                        lane.send(sent, batch(sent * 100, 100))
                    lane.close()
                    assert server.sql(ALL) == [[sent * 100] * 2]
                    if life != 1:
                        server.post("/api/v1/admin/flush")
                    assert server.sql(ALL) == [[sent * 100] * 2]
                server.stop(9)
    finally:
        del os.environ["LD_PRELOAD"]
    with harness.running(harness.Server(args, folder)) as server:
        assert server.sql(ALL) == [[sent * 100] * 2]
        server.post("/api/v1/admin/compact")
        assert server.sql(ALL) == [[sent * 100] * 2]
        assert server.stop()[0] == 0
print(f"clock jumps, three lives killed: {sent * 100} rows once each")
