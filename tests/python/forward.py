"""Channels against real receivers: rsyslog over UDP, TCP and TLS, aiosmtpd, Alertmanager, an S3 server (moto),
Elasticsearch's protocol (noida-db); and against doubles of those that do not run here (receivers.py).

Every channel gets the same rows and one alert; all arrive, with the content that their contract asks for.
"""

import datetime
import io
import json
import subprocess
import time

import pyarrow as pa
import pyarrow.flight
import pyarrow.parquet

import harness
from flow import rows, until
from lanes import Lane
from real_receivers import Mails, receivers
from receivers import Doubles


def channels(folder, ports, doubles):
    syslog = lambda address, **more: {"syslog": {"address": address, **more}}
    s3 = {"url": "s3://lake/rows", "endpoint": f"http://127.0.0.1:{ports['s3']}", "access_key": "x", "secret_key": "y"}
    return {
        "udp": syslog(f"udp://127.0.0.1:{ports['udp']}"),
        "tcp": syslog(f"tcp://127.0.0.1:{ports['tcp']}", format="cef"),
        "tls": syslog(f"tls://localhost:{ports['tls']}", format="json", ca=f"{folder}/cert.pem"),
        "mail": {"email": {"smtp": f"smtp://127.0.0.1:{ports['smtp']}", "from": "bodkin@example.org", "to": ["ops@example.org"]}},
        "am": {"alertmanager": {"url": f"http://127.0.0.1:{ports['am']}"}},
        "lines": {"s3": s3},
        "parquet": {"s3": {**s3, "url": "s3://lake/parquet", "format": "parquet"}},
        "chat": {"slack": {"url": f"{doubles.url}/slack"}},
        "team": {"teams": {"url": f"{doubles.url}/teams"}},
        "pager": {"pagerduty": {"routing_key": "R" * 32, "url": f"{doubles.url}/v2/enqueue"}},
        "splunk": {"splunk_hec": {"url": doubles.url, "token": "T", "acks": True}},
        "otel": {"otlp": {"url": doubles.url}},
        "search": {"elasticsearch": {"url": f"http://127.0.0.1:{ports['es']}", "index": "rows", "user": "u", "password": "p"}},
    }


def check(server, real, mails, doubles, counts, deadline):
    """Every receiver has the rows with these counts."""
    def all_there(what, seen):
        until(f"{what}: {len(set(seen()) & counts)} of {len(counts)}", lambda: set(seen()) >= counts, deadline)

    def of_syslog(name):
        return [line for line in real.syslog(name) if "row " in line[6]]

    def of_text(name):
        return [int(line[6].rsplit("row ", 1)[1].split(" ")[0].split('"')[0]) for line in of_syslog(name)]

    all_there("rsyslog over TCP", lambda: of_text("tcp"))
    all_there("rsyslog over TLS", lambda: of_text("tls"))
    # Datagrams may be lost; here they are not.
    all_there("rsyslog over UDP", lambda: of_text("udp"))
    severity, when, host, app, kind, key, _ = of_syslog("udp")[0]
    assert (severity, app, kind) == ("warning", "bodkin", "r_1"), (severity, app, kind)
    assert host == "web-1" and when.startswith("20") and key.startswith('[bodkin@32473 key="udp-'), (host, when, key)
    cef = of_syslog("tcp")[0][6]
    assert "CEF:0|Bodkin|bodkin|" in cef and "|r 1|" in cef and "msg=row " in cef and "dvchost=web-1" in cef, cef
    row = json.loads(of_syslog("tls")[0][6])
    assert row["rule"] == "r 1" and row["priority"] == "Warning", row

    all_there("Splunk", lambda: [int(event["event"]["count"]) for event in doubles.splunk if "count" in event["event"]])
    assert all(event.get("host") == "web-1" for event in doubles.splunk if "count" in event["event"]), doubles.splunk[0]
    until("events are not asked for until they are indexed", lambda: set(doubles.acks.values()) == {2}, deadline)
    all_there("OTLP", lambda: [int(attribute["value"]["intValue"]) for record in doubles.otlp
                               for attribute in record["attributes"] if attribute["key"] == "count"])
    all_there("Elasticsearch", lambda: [document["count"] for _, document in real.documents("rows")])
    key, document = real.documents("rows")[0]
    assert key.startswith("search-") and document["@timestamp"] == document["ts"] and document["host"] == "web-1", (key, document)
    all_there("S3", lambda: [json.loads(line)["count"] for body in real.objects("rows/").values()
                             for line in body.decode().splitlines() if "count" in line])

    def parquet_counts():
        tables = [pa.parquet.read_table(io.BytesIO(body)) for body in real.objects("parquet/").values()]
        return [count for table in tables if "count" in table.column_names for count in table["count"].to_pylist()]
    all_there("Parquet in S3", parquet_counts)

    alert = until("no mail", lambda: [mail for mail in mails.got if "Loud" in mail[1]["subject"]], deadline)[0]
    assert alert[0] == ["ops@example.org"] and "[FIRING:1]" in alert[1]["subject"], alert[1]["subject"]
    assert "very loud" in alert[1].get_content() and alert[1]["message-id"], alert[1].get_content()
    found = until("Alertmanager has no alert", lambda: [one for one in real.alerts() if one["labels"]["alertname"] == "Loud"], deadline)
    ends = datetime.datetime.fromisoformat(found[0]["endsAt"])
    assert ends - datetime.datetime.now(datetime.timezone.utc) > datetime.timedelta(hours=23), "it does not end by itself"
    assert found[0]["annotations"]["summary"] == "very loud" and found[0]["labels"]["severity"] == "critical", found
    slack = until("no message", lambda: [one for one in doubles.slack if "Loud" in one["text"]], deadline)
    assert "very loud" in slack[0]["attachments"][0]["text"], slack
    team = until("no card", lambda: [one for one in doubles.teams if "Loud" in one[0]], deadline)
    assert "very loud" in team[0][1], team
    page = until("no page", lambda: [one for one in doubles.pagerduty if "Loud" in one["payload"]["summary"]], deadline)
    assert (page[0]["event_action"], page[0]["payload"]["severity"]) == ("trigger", "critical"), page
    assert not doubles.errors, doubles.errors


def main():
    args = harness.arguments(__doc__).parse_args()
    doubles, mails = Doubles(), Mails()
    doubles.busy = {"/slack": 2, "/teams": 2, "/v2/enqueue": 2, "/v1/logs": 2, "/services/collector/event": 2}
    with harness.folder() as folder, receivers(folder, mails) as real:
        all_channels = channels(folder, real.ports, doubles)
        sql = "SELECT ts, 'web-1' AS host, 'r 1' AS rule, 'Warning' AS priority, concat('row ', count) AS output, count FROM input"
        forwarded = ("udp", "tcp", "tls", "lines", "parquet", "splunk", "otel", "search")
        people = ("mail", "am", "chat", "team", "pager")
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
            check(server, real, mails, doubles, set(range(300)), args.deadline)
            expected = [[name, "sent"] for name in sorted(all_channels)]
            until("deliveries are missing", lambda: server.sql(
                "SELECT DISTINCT channel, state FROM deliveries ORDER BY 1") == expected, args.deadline)
            status, _ = server.stop()
            assert status == 0, status
    print(f"{len(all_channels)} channels took 300 rows or an alert")


if __name__ == "__main__":
    main()
