"""Real receivers of what a server forwards: rsyslog over UDP, TCP and TLS, Alertmanager, an S3 server (moto), aiosmtpd, and a
server that speaks Elasticsearch's protocol (noida-db)."""

import contextlib
import email
import email.policy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
from aiosmtpd.controller import Controller

from flow import until

# It signs itself and is no authority: what signs itself as one may be no server's.
CERTIFICATE = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
"""

RSYSLOG = """
global(workDirectory="{folder}" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{folder}/cert.pem"
       defaultNetstreamDriverCertFile="{folder}/cert.pem" defaultNetstreamDriverKeyFile="{folder}/key.pem")
module(load="imudp") module(load="imtcp")
template(name="all" type="string"
         string="%syslogseverity-text%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n")
ruleset(name="udp") {{ action(type="omfile" file="{folder}/udp.txt" template="all") }}
ruleset(name="tcp") {{ action(type="omfile" file="{folder}/tcp.txt" template="all") }}
ruleset(name="tls") {{ action(type="omfile" file="{folder}/tls.txt" template="all") }}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="udp")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="tcp")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="tls" streamdriver.name="gtls" streamdriver.mode="1"
      streamdriver.authmode="anon")
"""


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def reachable(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Mails:
    """Mails by arrival: who they are for, and what they are. With `luck` some are refused for now, some after they were taken."""

    def __init__(self, luck=None):
        self.got, self.luck = [], luck

    async def handle_DATA(self, server, session, envelope):
        fate = self.luck.draw() if self.luck else "taken"
        if fate != "refused":
            self.got.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 OK" if fate == "taken" else "451 busy"


class Receivers:
    """The processes and what they have; `ports` are theirs."""

    def __init__(self, folder, mails):
        self.folder, self.mails, self.ports, self.children = folder, mails, {}, []

    def start(self):
        folder = self.folder
        with open(f"{folder}/openssl.cnf", "w") as file:
            file.write(CERTIFICATE)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config", f"{folder}/openssl.cnf",
                        "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)
        self.ports = {"udp": free_port(socket.SOCK_DGRAM), **{name: free_port() for name in ("tcp", "tls", "am", "s3", "smtp", "es")}}
        with open(f"{folder}/rsyslog.conf", "w") as file:
            file.write(RSYSLOG.format(folder=folder, **self.ports))
        with open(f"{folder}/am.yaml", "w") as file:
            file.write("global: {resolve_timeout: 24h}\nroute: {receiver: none}\nreceivers: [{name: none}]\n")
        programs = os.path.dirname(sys.executable)
        commands = [
            [shutil.which("rsyslogd") or "/usr/sbin/rsyslogd", "-n", "-f", f"{folder}/rsyslog.conf", "-i", f"{folder}/pid"],
            ["prometheus-alertmanager", f"--config.file={folder}/am.yaml", f"--storage.path={folder}/am",
             f"--web.listen-address=127.0.0.1:{self.ports['am']}", "--cluster.listen-address="],
            [f"{programs}/moto_server", "-H", "127.0.0.1", "-p", str(self.ports["s3"])],
            [f"{programs}/noida-db", "start", "--data-dir", f"{folder}/es", "--only", "elasticsearch",
             "--elasticsearch-port", str(self.ports["es"])],
        ]
        log = open(f"{folder}/receivers.log", "w")
        for command in commands:
            # A group each: noida-db is a script that runs the server as its child.
            self.children.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        self.smtp = Controller(self.mails, hostname="127.0.0.1", port=self.ports["smtp"])
        self.smtp.start()
        for name in ("tcp", "tls", "am", "s3", "es"):
            until(f"{name} does not listen", lambda: reachable(self.ports[name]), 30)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.ports['s3']}/lake", method="PUT"))

    def stop(self):
        if hasattr(self, "smtp"):
            self.smtp.stop()
        for child in self.children:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def syslog(self, name):
        """Lines that rsyslog wrote, each as severity, time, host, app, message id, structured data, text."""
        path = f"{self.folder}/{name}.txt"
        lines = open(path, errors="replace").read().splitlines() if os.path.exists(path) else []
        return [line.split("|", 6) for line in lines if line.count("|") >= 6]

    def objects(self, prefix):
        """Objects of the bucket, by name."""
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.ports['s3']}", region_name="us-east-1",
                              aws_access_key_id="x", aws_secret_access_key="y")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
        names = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return {name: client.get_object(Bucket="lake", Key=name)["Body"].read() for name in names}

    def documents(self, index):
        """Id and content of each document of an index that has a `count`."""
        found, behind = [], {}
        while True:
            body = json.dumps({"size": 5000, "sort": [{"count": "asc"}], "query": {"exists": {"field": "count"}}, **behind}).encode()
            url = f"http://127.0.0.1:{self.ports['es']}/{index}"
            urllib.request.urlopen(urllib.request.Request(f"{url}/_refresh", method="POST")).read()
            try:
                with urllib.request.urlopen(urllib.request.Request(f"{url}/_search", body, {"content-type": "application/json"})) as answer:
                    hits = json.load(answer)["hits"]["hits"]
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return found
                raise
            if not hits:
                return found
            found += [(hit["_id"], hit["_source"]) for hit in hits]
            behind = {"search_after": hits[-1]["sort"]}

    def alerts(self):
        """What the Alertmanager has."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['am']}/api/v2/alerts") as answer:
            return json.load(answer)


@contextlib.contextmanager
def receivers(folder, mails):
    """All of them, ended whatever happens."""
    started = Receivers(folder, mails)
    try:
        started.start()
        yield started
    finally:
        started.stop()
