"""A real S3 server for tests."""

import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Bucket:
    """moto's S3 server with one bucket."""

    def __init__(self):
        self.port = free_port()
        self.child = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{self.port}/tables", method="PUT")
                urllib.request.urlopen(request, timeout=5)
                return
            except OSError:
                assert time.monotonic() < deadline, "moto does not answer"
                time.sleep(0.1)

    def stop(self):
        self.child.kill()
        self.child.wait()
