"""What Grafana's Prometheus data source asks (tests/contracts/grafana_prometheus.json), asked of a server."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import remote_write_wire as wire

CONTRACT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contracts", "grafana_prometheus.json")


def page(now):
    """A page of an exporter; what it says of each minute of the last ten."""
    lines = ["# HELP contract_requests_total Requests.", "# TYPE contract_requests_total counter", "# TYPE contract_seconds histogram"]
    for minute in range(10):
        at = (now - 600 + minute * 60) * 1000
        lines += [f'contract_requests_total{{job="grafana",code="{code}"}} {minute * count} {at}' for code, count in (("200", 60), ("500", 3))]
        lines += [f'contract_seconds_bucket{{job="grafana",le="{le}"}} {minute * count} {at}' for le, count in (("0.5", 30), ("+Inf", 60))]
        lines.append(f'up{{job="grafana"}} 1 {at}')
    return "\n".join(lines) + "\n"


def remote_write_exemplar(server, now):
    """The exemplar comes by remote write: text has none that is kept."""
    labels = {"__name__": "contract_requests_total", "job": "grafana", "code": "200"}
    body = wire.body([(labels, [(now * 1000 - 1000, 700.0)], [({"trace_id": "abc"}, now * 1000 - 1000, 0.5)])])
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    with urllib.request.urlopen(urllib.request.Request(server + "/api/v1/write", body, headers), timeout=20) as answer:
        assert answer.status == 204


def fits(wanted, found):
    if wanted == "*":
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and fits(value, found[key]) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(any(fits(item, other) for other in found) for item in wanted)
    return wanted == found


def ask(base, request, times):
    form = {key: value.format(**times) if value.startswith("{now}") or value.startswith("{from}") else value for key, value in request.get("form", {}).items()}
    encoded = urllib.parse.urlencode(form)
    if request["method"] == "POST":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        asked = urllib.request.Request(base + request["path"], encoded.encode(), headers, method="POST")
    else:
        asked = urllib.request.Request(f"{base}{request['path']}?{encoded}")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def check(base, sequence, request, times):
    status, headers, body = ask(base, request, times)
    shown = f"{sequence['name']}: {request['method']} {request['path']} {request.get('form', '')}: {status} {body[:600]!r}"
    assert status == request["status"], shown
    if "text" in request:
        assert request["text"] in body.decode(), shown
    if not {"data", "error", "is_empty", "without"} & request.keys():
        return
    assert headers["Content-Type"] == "application/json", shown
    answer = json.loads(body)
    if "error" in request:
        assert answer["status"] == "error" and fits(request["error"], answer), shown
        return
    assert answer["status"] == "success", shown
    assert fits(request.get("data", "*"), answer["data"]), shown
    assert not request.get("is_empty") or answer["data"] == [], shown
    assert not any(key in answer["data"] for key in request.get("without", [])), shown


args = harness.arguments(__doc__).parse_args()
with open(CONTRACT) as file:
    contract = json.load(file)
with harness.folder() as folder:
    server = harness.Server(args, folder)
    with harness.running(server):
        base, now = server.http + "/prometheus", int(time.time())
        body = urllib.request.Request(base + "/api/v1/import/prometheus", page(now).encode(), {"Content-Type": "text/plain"})
        with urllib.request.urlopen(body, timeout=20) as answer:
            assert answer.status == 204
        remote_write_exemplar(base, now)
        times = {"now": now, "from": now - 900}
        asked = 0
        for sequence in contract["sequences"]:
            for request in sequence["requests"]:
                check(base, sequence, request, times)
                asked += 1
        assert server.stop()[0] == 0
print(f"{asked} requests of Grafana's data source in {len(contract['sequences'])} sequences are answered as it expects")
