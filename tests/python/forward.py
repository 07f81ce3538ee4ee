"""Channels against real receivers: rsyslog over UDP, TCP and TLS, aiosmtpd, Alertmanager, an S3 server (moto); and
against doubles of those that do not run here (receivers.py).

Every channel gets the same rows and one alert; all arrive, with the content that their contract asks for.
"""

import email
import email.policy
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import pyarrow as pa
import pyarrow.flight
from aiosmtpd.controller import Controller

import harness
from flow import rows, until
from lanes import Lane
from receivers import Doubles

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
template(name="all" type="string" string="%syslogseverity-text%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%msg%\\n")
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
    def __init__(self):
        self.got = []

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 OK"


def start(folder, ended):
    """The real receivers; gives their ports."""
    with open(f"{folder}/openssl.cnf", "w") as file:
        file.write(CERTIFICATE)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config", f"{folder}/openssl.cnf",
                    "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)
    ports = {"udp": free_port(socket.SOCK_DGRAM), "tcp": free_port(), "tls": free_port(), "am": free_port(), "s3": free_port()}
    with open(f"{folder}/rsyslog.conf", "w") as file:
        file.write(RSYSLOG.format(folder=folder, **ports))
    with open(f"{folder}/am.yaml", "w") as file:
        file.write("route: {receiver: none}\nreceivers: [{name: none}]\n")
    log = open(f"{folder}/receivers.log", "w")
    commands = [
        [shutil.which("rsyslogd") or "/usr/sbin/rsyslogd", "-n", "-f", f"{folder}/rsyslog.conf", "-i", f"{folder}/pid"],
        ["prometheus-alertmanager", f"--config.file={folder}/am.yaml", f"--storage.path={folder}/am",
         f"--web.listen-address=127.0.0.1:{ports['am']}", "--cluster.listen-address="],
        [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", str(ports["s3"])],
    ]
    for command in commands:
        ended.append(subprocess.Popen(command, stdout=log, stderr=log))
    for name in ("tcp", "tls", "am", "s3"):
        until(f"{name} does not listen", lambda: reachable(ports[name]), 30)
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{ports['s3']}/lake", method="PUT"))
    return ports


def channels(folder, ports, smtp, doubles):
    syslog = lambda address, **more: {"syslog": {"address": address, **more}}
    s3 = {"url": "s3://lake/rows", "endpoint": f"http://127.0.0.1:{ports['s3']}", "access_key": "x", "secret_key": "y"}
    return {
        "udp": syslog(f"udp://127.0.0.1:{ports['udp']}"),
        "tcp": syslog(f"tcp://127.0.0.1:{ports['tcp']}", format="cef"),
        "tls": syslog(f"tls://localhost:{ports['tls']}", format="json", ca=f"{folder}/cert.pem"),
        "mail": {"email": {"smtp": f"smtp://127.0.0.1:{smtp}", "from": "bodkin@example.org", "to": ["ops@example.org"]}},
        "am": {"alertmanager": {"url": f"http://127.0.0.1:{ports['am']}"}},
        "lines": {"s3": s3},
        "parquet": {"s3": {**s3, "url": "s3://lake/parquet", "format": "parquet"}},
        "chat": {"slack": {"url": f"{doubles.url}/slack"}},
        "pager": {"pagerduty": {"routing_key": "R" * 32, "url": f"{doubles.url}/v2/enqueue"}},
        "splunk": {"splunk_hec": {"url": doubles.url, "token": "T", "acks": True}},
        "otel": {"otlp": {"url": doubles.url}},
    }


def lines(path):
    return open(path, errors="replace").read().splitlines() if os.path.exists(path) else []


def s3_objects(port, prefix):
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="y")
    names = [one["Key"] for one in client.list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])]
    return {name: client.get_object(Bucket="lake", Key=name)["Body"].read() for name in names}


def check(server, folder, ports, mails, doubles, counts, deadline):
    """Every receiver has the rows with these counts."""
    def all_there(what, seen):
        until(f"{what}: {len(set(seen()) & counts)} of {len(counts)}", lambda: set(seen()) >= counts, deadline)

    def of_text(path):
        return [int(line.rsplit("row ", 1)[1].split(" ")[0].split('"')[0]) for line in lines(path) if "row " in line]

    all_there("rsyslog over TCP", lambda: of_text(f"{folder}/tcp.txt"))
    all_there("rsyslog over TLS", lambda: of_text(f"{folder}/tls.txt"))
    # Datagrams may be lost; here they are not.
    all_there("rsyslog over UDP", lambda: of_text(f"{folder}/udp.txt"))
    severity, when, host, app, kind, text = lines(f"{folder}/udp.txt")[0].split("|", 5)
    assert (severity, app, kind) == ("warning", "bodkin", "r_1"), (severity, app, kind)
    assert host == "web-1" and when.startswith("20"), (host, when)
    cef = next(line for line in lines(f"{folder}/tcp.txt") if "CEF:0|Bodkin|bodkin|" in line and "msg=row " in line)
    assert "|r 1|" in cef and "msg=row " in cef and "dvchost=web-1" in cef, cef
    row = json.loads(next(line for line in lines(f"{folder}/tls.txt") if "row " in line).split("|", 5)[5])
    assert row["rule"] == "r 1" and row["priority"] == "Warning", row

    all_there("Splunk", lambda: [int(event["event"]["count"]) for event in doubles.splunk if "count" in event["event"]])
    assert all(event.get("host") == "web-1" for event in doubles.splunk if "count" in event["event"]), doubles.splunk[0]
    until("events are not asked for until they are indexed", lambda: set(doubles.acks.values()) == {2}, deadline)
    all_there("OTLP", lambda: [int(attribute["value"]["intValue"]) for record in doubles.otlp
                               for attribute in record["attributes"] if attribute["key"] == "count"])
    all_there("S3", lambda: [json.loads(line)["count"] for body in s3_objects(ports["s3"], "rows/").values()
                             for line in body.decode().splitlines() if "count" in line])
    import io

    import pyarrow.parquet
    def parquet_counts():
        tables = [pa.parquet.read_table(io.BytesIO(body)) for body in s3_objects(ports["s3"], "parquet/").values()]
        return [count for table in tables if "count" in table.column_names for count in table["count"].to_pylist()]
    all_there("Parquet in S3", parquet_counts)

    alert = until("no mail", lambda: [mail for mail in mails.got if "Loud" in mail[1]["subject"]], deadline)[0]
    assert alert[0] == ["ops@example.org"] and "[FIRING:1]" in alert[1]["subject"], alert[1]["subject"]
    assert "very loud" in alert[1].get_content() and alert[1]["message-id"], alert[1].get_content()
    def active():
        answer = urllib.request.urlopen(f"http://127.0.0.1:{ports['am']}/api/v2/alerts")
        return [alert for alert in json.load(answer) if alert["labels"]["alertname"] == "Loud"]
    found = until("Alertmanager has no alert", active, deadline)
    assert found[0]["annotations"]["summary"] == "very loud" and found[0]["labels"]["severity"] == "critical", found
    slack = until("no message", lambda: [one for one in doubles.slack if "Loud" in one["text"]], deadline)
    assert "very loud" in slack[0]["attachments"][0]["text"], slack
    page = until("no page", lambda: [one for one in doubles.pagerduty if "Loud" in one["payload"]["summary"]], deadline)
    assert (page[0]["event_action"], page[0]["payload"]["severity"]) == ("trigger", "critical"), page
    assert not doubles.errors, doubles.errors


def main():
    args = harness.arguments(__doc__).parse_args()
    doubles, mails, ended = Doubles(), Mails(), []
    doubles.busy = {"/slack": 2, "/v2/enqueue": 2, "/v1/logs": 2, "/services/collector/event": 2}
    controller = Controller(mails, hostname="127.0.0.1", port=free_port())
    controller.start()
    with harness.folder() as folder:
        try:
            ports = start(folder, ended)
            all_channels = channels(folder, ports, controller.port, doubles)
            sql = "SELECT ts, 'web-1' AS host, 'r 1' AS rule, 'Warning' AS priority, concat('row ', count) AS output, count FROM input"
            forwarded = ("udp", "tcp", "tls", "lines", "parquet", "splunk", "otel")
            people = ("mail", "am", "chat", "pager")
            config = {
                "channels": all_channels,
                "forward": {name: {"inputs": ["drops"], "sql": sql, "to": name} for name in forwarded},
                "alerts": {
                    "rules": [{"alert": "Loud", "from": "drops", "when": "count = 7", "severity": "critical",
                               "annotations": {"summary": "very loud"}}],
                    "route": {"channel": people[0], "routes": [
                        {"channel": name, "match": {"alertname": "Loud"}, "continue": True} for name in people]},
                },
            }
            path = f"{folder}/config.yaml"
            with open(path, "w") as file:
                json.dump(config, file)
            with harness.running(harness.Server(args, folder, extra=["--config", path])) as server:
                for name in all_channels:
                    if name not in ("udp",):
                        until(f"no test message to {name}", lambda: subprocess.run(
                            [args.bodkin, "forward", "test", name, "--server", server.http], capture_output=True).returncode == 0, 20)
                lane = Lane(pa.flight.connect(server.flight))
                for seq in range(1, 11):
                    lane.send(seq, rows([(time.time(), "c", "x", (seq - 1) * 30 + n) for n in range(30)]))
                check(server, folder, ports, mails, doubles, set(range(300)), args.deadline)
                expected = [[name, "sent"] for name in sorted(all_channels)]
                until("deliveries are missing", lambda: server.sql(
                    "SELECT DISTINCT channel, state FROM deliveries ORDER BY 1") == expected, args.deadline)
                status, _ = server.stop()
                assert status == 0, status
        finally:
            controller.stop()
            for process in ended:
                process.kill()
                process.wait()
    print(f"{len(all_channels)} channels took 300 rows or an alert")


if __name__ == "__main__":
    main()
