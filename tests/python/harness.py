"""Starts the real binaries for the scripts beside this file, asks them SQL, and ends what it started."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


def arguments(description):
    """Command line that every script shares."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bodkin", required=True, help="the bodkin binary")
    parser.add_argument("--agent", required=True, help="the bodkin-agent binary")
    parser.add_argument("--deadline", type=float, default=20.0, help="seconds that rows may take to show up")
    return parser


class Process:
    """A bodkin binary that has said it is ready."""

    def __init__(self, command, log):
        self.log = open(log, "ab")
        started = time.monotonic()
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.child.stdout.readline()
        self.ready_seconds = time.monotonic() - started
        if not line:
            self.child.wait()
            raise RuntimeError(f"{command} ended with {self.child.returncode}: {open(log).read()[-4000:]}")
        self.ready = json.loads(line)
        assert self.ready["ready"] is True, line
        self.pid = self.child.pid

    def stop(self, sig=signal.SIGTERM, seconds=30):
        """Signals the process and returns its exit status and how long it took."""
        started = time.monotonic()
        if self.child.poll() is None:
            self.child.send_signal(sig)
        status = self.child.wait(seconds)
        self.child.stdout.close()
        self.log.close()
        return status, time.monotonic() - started


class Server(Process):
    """`bodkin up` or `bodkin server`."""

    def __init__(self, args, folder, role="server", extra=(), http="127.0.0.1:0", flight="127.0.0.1:0"):
        command = [args.bodkin, role, "--data-dir", os.path.join(folder, "data"), "--http", http, "--flight", flight]
        super().__init__(command + list(extra), os.path.join(folder, f"{role}.log"))
        self.http, self.flight = self.ready["http"], self.ready["flight"]

    def sql(self, query):
        """Rows of a query as lists."""
        return self.answer(query)["rows"]

    def answer(self, query):
        return self.post("/api/v1/sql", {"query": query})

    def post(self, path, body=None, timeout=60):
        data = json.dumps(body).encode() if body is not None else b""
        request = urllib.request.Request(self.http + path, data, {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # The body says why, and can be read once.
            error.add_note(said := error.read().decode(errors="replace"))
            error.said = said
            raise

    def error(self, query):
        """The error that a query is answered with: (HTTP status, error object)."""
        try:
            self.answer(query)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.said)["error"]
        raise AssertionError(f"no error for {query}")

    def until(self, query, expected, deadline):
        """Asks until the one value of the answer is at least `expected`; returns the value and the seconds it took."""
        started = time.monotonic()
        while True:
            value = self.sql(query)[0][0]
            waited = time.monotonic() - started
            if value >= expected or waited > deadline:
                return value, waited
            time.sleep(0.02)


class Agent(Process):
    """`bodkin-agent`."""

    def __init__(self, args, folder, server, extra=("--require-ebpf",)):
        command = [args.agent, "--server", server, "--data-dir", os.path.join(folder, "agent-data"), *extra]
        super().__init__(command, os.path.join(folder, "agent.log"))


@contextlib.contextmanager
def folder():
    """A fresh folder that is gone afterwards; kept after a failure, with its logs shown."""
    path = tempfile.mkdtemp(prefix="bodkin-test-")
    try:
        yield path
    except BaseException:
        for name in sorted(os.listdir(path)):
            if name.endswith(".log"):
                print(f"--- {name}\n{open(os.path.join(path, name), errors='replace').read()[-6000:]}")
        raise
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(process):
    """Ends the process whatever happens."""
    try:
        yield process
    finally:
        if process.child.poll() is None:
            process.child.kill()
            process.child.wait()
