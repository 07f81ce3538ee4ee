"""Configuration that changes while everything runs: pushed by the server to an agent, and under `bodkin up`."""

import json
import os
import signal
import socket
import time

import harness

args = harness.arguments(__doc__).parse_args()


def write(path, config):
    with open(path + ".new", "w") as file:
        json.dump(config, file)
    os.replace(path + ".new", path)


def try_both(marker):
    """Makes a folder and opens a file, neither of which works; only one of them is told."""
    for call in (os.mkdir, open):
        try:
            call(f"/nowhere/{marker}")
        except OSError:
            pass


def told(server, marker):
    rows = server.sql(f"SELECT DISTINCT evt_type FROM events WHERE path = '/nowhere/{marker}'")
    return {"mkdir" if row[0].startswith("mkdir") else "open" for row in rows}


def wait_for_only(server, kind, marker):
    """Tries until exactly that kind of call is told; returns the seconds it took."""
    started, number = time.monotonic(), 0
    while True:
        number += 1
        name = f"{marker}-{kind}-{number}"
        try_both(name)
        until = time.monotonic() + 2
        while not (found := told(server, name)) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        if told(server, name) == {kind}:
            return time.monotonic() - started
        assert time.monotonic() - started < args.deadline, f"{kind}: told {found}"


OPENS, FOLDERS = ["open", "openat"], ["mkdir", "mkdirat"]

with harness.folder() as folder:
    config = os.path.join(folder, "server.json")
    entry = lambda events, hosts: {"agents": [{"hosts": ["no-such-host"], "agent": {"events": ["bpf"]}}, {"hosts": hosts, "agent": {"events": events}}]}
    write(config, entry(OPENS, [socket.gethostname()[:1] + "*"]))
    with harness.running(harness.Server(args, folder, extra=["--config", config])) as server:
        own = os.path.join(folder, "agent.json")
        write(own, {"agent": {"events": FOLDERS}})
        with harness.running(harness.Agent(args, folder, server.flight, ["--require-ebpf", "--config", own])) as agent:
            marker = f"pushed-{os.getpid()}"
            wait_for_only(server, "open", marker)
            write(config, entry(FOLDERS, [socket.gethostname()]))
            server.child.send_signal(signal.SIGHUP)
            seconds = wait_for_only(server, "mkdir", marker)
            reports = "SELECT count(DISTINCT object) FROM audit WHERE source = 'bodkin_agent' AND result = 'success'"
            assert server.until(reports, 2, args.deadline)[0] == 2
            print(f"a pushed configuration is applied {seconds:.1f} s after the server read it, and told back")
            # Without a configuration from the server the agent's own counts again.
            write(config, {"agents": []})
            write(own, {"agent": {"events": OPENS}})
            server.child.send_signal(signal.SIGHUP)
            wait_for_only(server, "open", marker)
            assert agent.stop()[0] == 0
        assert server.stop()[0] == 0

with harness.folder() as folder:
    config = os.path.join(folder, "up.json")
    write(config, {"agent": {"events": OPENS}})
    extra = ["--require-ebpf", "--config", config]
    with harness.running(harness.Server(args, folder, "up", extra)) as server:
        marker = f"up-{os.getpid()}"
        wait_for_only(server, "open", marker)
        write(config, {"agent": {"events": FOLDERS}})
        seconds = wait_for_only(server, "mkdir", marker)
        print(f"under bodkin up the agent's section is applied {seconds:.1f} s after the file changed")
        assert server.stop()[0] == 0
