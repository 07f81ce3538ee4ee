"""Starts a Prometheus of this machine as a peer, with the features on that Bodkin has on."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

FEATURES = "native-histograms,promql-experimental-functions,promql-delayed-name-removal,promql-duration-expr,exemplar-storage"


# The release that Bodkin answers as by default.
RELEASE = "3.5."


def find():
    """A Prometheus of that release: where `./check` unpacks one, or on the path; nothing where there is none."""
    unpacked = os.path.join(os.path.dirname(sys.prefix), "prometheus", "usr", "bin", "prometheus")
    for binary in (unpacked, shutil.which("prometheus")):
        if binary and os.path.exists(binary):
            said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
            if f"version {RELEASE}" in said.stdout + said.stderr:
                return binary
    return None


class Prometheus:
    """A Prometheus that takes remote writes of samples of any age."""

    def __init__(self, binary, folder):
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as file:
            file.write("storage: {tsdb: {out_of_order_time_window: 1000000h}}\n")
        flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/prometheus-data", "--web.enable-remote-write-receiver"]
        flags += [f"--enable-feature={FEATURES}", "--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=100y"]
        self.log = os.path.join(folder, "prometheus.log")
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen([binary, *flags], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            found = re.search(r"Listening on.*?address=\"?(127[.0-9]+:[0-9]+)", open(self.log).read())
            if found:
                self.base = f"http://{found[1]}"
                try:
                    with urllib.request.urlopen(self.base + "/-/ready", timeout=5):
                        return
                except OSError:
                    pass
            assert time.monotonic() < deadline and self.child.poll() is None, open(self.log).read()[-2000:]
            time.sleep(0.1)

    def stop(self):
        self.child.kill()
        self.child.wait()
