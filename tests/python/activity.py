"""Things that a host does, with what must be found of them in `events`."""

import os
import socket
import subprocess
import threading


def execs(count, marker):
    """Runs /bin/true COUNT times; returns {argument: pid}."""
    pids = {}
    for number in range(count):
        argument = f"{marker}-{number}"
        child = subprocess.Popen(["/bin/true", argument])
        pids[argument] = child.pid
        child.wait()
    return pids


def files(count, folder):
    """Writes, renames and deletes COUNT files; returns their names."""
    names = [os.path.join(folder, f"file-{number}") for number in range(count)]
    for name in names:
        with open(name, "w") as out:
            out.write("x")
        os.rename(name, name + ".new")
        os.unlink(name + ".new")
    return names


def connections(count):
    """Connects COUNT times over loopback; returns the client's and the server's ports."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=count)
    port, local = listener.getsockname()[1], []

    def accept_all():
        for _ in range(count):
            listener.accept()[0].close()

    server = threading.Thread(target=accept_all)
    server.start()
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port)) as client:
            local.append(client.getsockname()[1])
    server.join()
    listener.close()
    return local, port


def check_execs(server, pids, marker):
    """Every exec is there once, with pid, parent, resolved executable and arguments; so are its fork and its exit."""
    rows = server.sql(
        f"SELECT args, pid, ppid, exe, exe_arg0, cmdline, result, container_id FROM events "
        f"WHERE evt_type = 'execve' AND args LIKE '{marker}-%' ORDER BY args"
    )
    true = os.path.realpath("/bin/true")
    expected = sorted([argument, pid, os.getpid(), true, "/bin/true", f"/bin/true {argument}", 0] for argument, pid in pids.items())
    assert [row[:7] for row in rows] == expected, first_difference([row[:7] for row in rows], expected)
    assert len({row[7] for row in rows}) == 1, "one container for all"
    ids = ",".join(map(str, pids.values()))
    exits = server.sql(f"SELECT pid, count(*), min(result) FROM events WHERE evt_type = 'procexit' AND pid IN ({ids}) GROUP BY pid ORDER BY pid")
    assert exits == [[pid, 1, 0] for pid in sorted(pids.values())], first_difference(exits, sorted(pids.values()))
    forks = server.sql(f"SELECT result, count(*) FROM events WHERE pid = {os.getpid()} AND evt_type IN ('clone','clone3','fork','vfork') AND result IN ({ids}) GROUP BY result ORDER BY result")
    assert forks == [[pid, 1] for pid in sorted(pids.values())], first_difference(forks, sorted(pids.values()))


def check_files(server, names):
    """Every open, rename and unlink is there once, with absolute paths and results."""
    prefix = os.path.dirname(names[0])
    rows = server.sql(
        f"SELECT path, evt_type, path2, result >= 0, pid FROM file_events "
        f"WHERE path LIKE '{prefix}/%' AND evt_type NOT LIKE 'newfstat%' ORDER BY path, evt_type"
    )
    pid, expected = os.getpid(), []
    for name in names:
        expected += [[name, "openat", None, True, pid], [name, "rename", name + ".new", True, pid], [name + ".new", "unlink", None, True, pid]]
    expected.sort(key=lambda row: (row[0], row[1]))
    assert rows == expected, first_difference(rows, expected)


def check_connections(server, local, port):
    """Both ends of every connection are there once, with addresses."""
    rows = server.sql(
        f"SELECT local_port, local_addr, remote_addr, remote_port, result, pid FROM network_events "
        f"WHERE evt_type = 'connect' AND remote_port = {port} ORDER BY local_port"
    )
    expected = [[own, "127.0.0.1", "127.0.0.1", port, 0, os.getpid()] for own in sorted(local)]
    assert rows == expected, first_difference(rows, expected)
    rows = server.sql(
        f"SELECT remote_port, local_addr, remote_addr, local_port, result >= 0, pid FROM network_events "
        f"WHERE evt_type = 'accept4' AND local_port = {port} ORDER BY remote_port"
    )
    expected = [[own, "127.0.0.1", "127.0.0.1", port, True, os.getpid()] for own in sorted(local)]
    assert rows == expected, first_difference(rows, expected)


def first_difference(found, expected):
    for index, (one, other) in enumerate(zip(found, expected)):
        if one != other:
            return f"row {index}: found {one}, expected {other} ({len(found)} and {len(expected)} rows)"
    return f"{len(found)} rows, expected {len(expected)}: {(found + expected)[min(len(found), len(expected)):][:3]}"
