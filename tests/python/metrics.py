"""Metrics of a server as a Prometheus would have them: rules, scraping, alerts at a real Alertmanager, and the same answers
from memory, from files, after a restart and after compaction. At the end, what would hurt: floods, huge queries."""

import http.server
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import remote_write_wire as wire

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
DAY_MS = 86_400_000
# Over all that is written below; {t} is a time in seconds.
QUERIES = [
    "cold_total", "rate(cold_total[5m])", "sum by (job) (increase(cold_total[10m]))", "cold_total offset 1m", "count_over_time(cold_gauge[7m])",
    "sort(cold_gauge)", "cold_gauge == bool cold_gauge", "topk(2, cold_gauge)", "avg_over_time(cold_gauge[3m:1m])", "changes(cold_gauge[10m])",
    "resets(cold_total[10m])", "absent(cold_gauge{{job=\"none\"}})", "histogram_quantile(0.9, cold_native)", "histogram_count(rate(cold_native[5m]))",
    "cold_gauge @ {t}", "max_over_time(cold_gauge[5m] @ {t})", "timestamp(cold_gauge)", "{{__name__=~\"cold_.+\", job!=\"a\"}}",
    "quantile_over_time(0.5, cold_gauge[9m])", "deriv(cold_total[8m])", "last_over_time(cold_gauge[1h])", "stddev(cold_gauge)",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=60):
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def api(server, path, **params):
    status, body = get(f"{server.http}/prometheus/api/v1/{path}?{urllib.parse.urlencode(params)}")
    return status, json.loads(body)


def write(server, body, expected=204):
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(server.http + "/prometheus/api/v1/write", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, b""
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    assert status == expected, (status, text[:500])
    return text.decode()


def until(what, check, deadline):
    started = time.monotonic()
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() - started < deadline, f"{what}: not within {deadline} s"
        time.sleep(0.1)


def history(base_ms):
    """An hour of series that are hard to keep: counters with resets, gauges with NaNs, gaps, markers, order upside down,
    native histograms."""
    dice = random.Random(7)
    series = []
    for number in range(12):
        labels = {"job": "abc"[number % 3], "instance": f"i-{number}"}
        total, points, gauge, native = 0.0, [], [], []
        for step in range(120):
            at = base_ms + step * 30_000 + (number if number % 4 == 0 else 0)
            total = 0.0 if dice.random() < 0.02 else total + dice.choice([1.0, 40.0, 0.125, 1e9])
            if dice.random() < 0.05:
                continue
            points.append((at, total))
            gauge.append((at, dice.choice([STALE, float("nan"), -0.0, float("inf"), 1e-300, dice.random(), round(dice.random(), 2)])))
            native.append((at, wire.native(step * (number + 1))))
        if number % 5 == 0:
            dice.shuffle(points)
        series += [({"__name__": "cold_total", **labels}, points), ({"__name__": "cold_gauge", **labels}, gauge)]
        if number < 3:
            series.append(({"__name__": "cold_native", **labels}, native))
    return series


def answers(server, bases_ms):
    """What every query answers, at the edges of each stretch of history and within."""
    found = {}
    for base_ms in bases_ms:
        for query in QUERIES:
            middle = base_ms // 1000 + 1800
            text = query.format(t=middle - 300)
            for at in (middle, middle + 1790, middle + 2300):
                found[text, at] = api(server, "query", query=text, time=at)
            found[text, "range", base_ms] = api(server, "query_range", query=text, start=middle - 2000, end=middle + 2400, step=60)
    return found


def same_answers(args, folder):
    """TAIL-1 for PromQL: the head, the tail, files of an epoch, files of compaction, and a mixture give the same answers."""
    server = harness.Server(args, folder)
    now_ms = int(time.time() * 1000) // 60_000 * 60_000
    bases_ms = [0, now_ms - 20 * DAY_MS, now_ms - 3_700_000]
    with harness.running(server):
        for base_ms in bases_ms:
            for labels, points in history(base_ms):
                half = len(points) // 2
                for part in (points[:half], points[half:]):
                    write(server, wire.body([(labels, part)]))
            # Between two stretches an epoch ends: files and memory hold parts of one series.
            if base_ms == bases_ms[1]:
                server.post("/api/v1/admin/flush")
        expected = answers(server, bases_ms)
        wrong = [key for key, (status, body) in expected.items() if status != 200 or body["status"] != "success"]
        empty = [key for key, (_, body) in expected.items() if not body["data"]["result"]]
        assert not wrong and len(empty) < len(expected) / 2, (wrong[:3], len(empty), len(expected))
        server.post("/api/v1/admin/flush")
        compare("after an epoch", expected, answers(server, bases_ms))
        http, flight = (urllib.parse.urlparse(server.ready[name]).netloc for name in ("http", "flight"))
        server.stop(signal.SIGKILL)
    server = harness.Server(args, folder, http=http, flight=flight)
    with harness.running(server):
        compare("after kill -9", expected, answers(server, bases_ms))
        # The same once more, as a sender does that lost its answers: nothing changes.
        for labels, points in history(bases_ms[2]):
            write(server, wire.body([(labels, points)]))
        compare("after all was sent again", expected, answers(server, bases_ms))
        server.post("/api/v1/admin/flush")
        server.post("/api/v1/admin/compact?vacuum=now", timeout=120)
        compare("after compaction", expected, answers(server, bases_ms))
        assert server.stop()[0] == 0
    server = harness.Server(args, folder, http=http, flight=flight)
    with harness.running(server):
        compare("after a stop", expected, answers(server, bases_ms))
        assert server.stop()[0] == 0
    return len(expected)


def compare(when, expected, found):
    different = [key for key in expected if shown(expected[key]) != shown(found[key])]
    assert not different, f"{when}: {len(different)} of {len(expected)} differ, first {different[0]}:\n{expected[different[0]]}\n{found[different[0]]}"


def shown(answer):
    """An instant vector has no order but that of sort and topk."""
    status, body = answer
    data = body.get("data", {})
    if data.get("resultType") == "vector":
        return status, sorted(json.dumps(row, sort_keys=True) for row in data["result"])
    return status, json.dumps(body, sort_keys=True)


class Exporter(http.server.BaseHTTPRequestHandler):
    """Pages with exemplars: OpenMetrics, and the same as protocol buffers."""

    def do_GET(self):
        if self.path == "/families":
            at = wire.field(3, wire.varint(1 << 3) + wire.varint(int(time.time())))
            exemplar = wire.field(1, wire.field(1, b"trace_id") + wire.field(2, b"in-buffers")) + wire.double(2, 0.25) + at
            counter = wire.double(1, 7.0) + wire.field(2, exemplar)
            family = wire.field(1, b"traced_total") + wire.varint(3 << 3) + wire.varint(0) + wire.field(4, wire.field(3, counter))
            kind, page = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", wire.varint(len(family)) + family
        else:
            kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
            page = b'# TYPE traced counter\ntraced_total 7 # {trace_id="in-text"} 0.25\n# EOF\n'
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def rules_and_scraping(args, folder):
    """A Prometheus configuration as it is: scraping this server, rules over that, an alert that reaches an Alertmanager."""
    alertmanager, am_port = None, free_port()
    if shutil.which("prometheus-alertmanager"):
        with open(os.path.join(folder, "am.yml"), "w") as file:
            file.write("route: {receiver: none}\nreceivers: [{name: none}]\n")
        command = ["prometheus-alertmanager", f"--config.file={folder}/am.yml", f"--storage.path={folder}/am",
                   f"--web.listen-address=127.0.0.1:{am_port}", "--cluster.listen-address="]
        alertmanager = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(os.path.join(folder, "am.log"), "wb"))
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    own, statsd_port = f"127.0.0.1:{free_port()}", free_port()
    rules = os.path.join(folder, "a.rules.yml")
    with open(rules, "w") as file:
        file.write(
            "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {record: 'job:up:sum', expr: sum by (job) (up), labels: {made: by-rule}}\n"
            "  - alert: SelfUp\n    expr: \"job:up:sum{job='self'} == 1\"\n    for: 2s\n    labels: {severity: page}\n"
            "    annotations: {summary: '{{ $labels.job }} has {{ $value }}'}\n"
        )
    with open(os.path.join(folder, "prometheus.yml"), "w") as file:
        file.write(
            f"global: {{scrape_interval: 1s, external_labels: {{dc: test}}}}\nrule_files: ['*.rules.yml']\n"
            f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{am_port}']}}]}}]}}\n"
            f"scrape_configs:\n- job_name: self\n  static_configs: [{{targets: ['{own}'], labels: {{zone: z}}}}]\n"
            f"- job_name: traced\n  static_configs: [{{targets: ['127.0.0.1:{exporter.server_port}']}}]\n"
            f"- job_name: families\n  metrics_path: /families\n  static_configs: [{{targets: ['127.0.0.1:{exporter.server_port}']}}]\n"
            "- job_name: nobody\n  static_configs: [{targets: ['127.0.0.1:1']}]\n"
        )
    with open(os.path.join(folder, "bodkin.yaml"), "w") as file:
        file.write(f"statsd: {{udp: '127.0.0.1:{statsd_port}', unix: '{folder}/statsd.sock'}}\n")
        file.write("prometheus: {file: prometheus.yml, external_url: 'http://here'}\n".replace("prometheus.yml", f"{folder}/prometheus.yml"))
    server = harness.Server(args, folder, extra=["--config", os.path.join(folder, "bodkin.yaml")], http=own)
    try:
        with harness.running(server):
            result = lambda query: api(server, "query", query=query)[1]["data"]["result"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
                udp.sendto(b"shop.orders:2|c|#zone:a\nshop.time:250|ms", ("127.0.0.1", statsd_port))
                unix.sendto(b"shop.orders:3|c|#zone:a", f"{folder}/statsd.sock")
            up = until("up", lambda: result('up{job="self"} == 1'), args.deadline)
            assert up[0]["metric"] == {"__name__": "up", "instance": own, "job": "self", "zone": "z"}, up
            until("down", lambda: result('up{job="nobody"} == 0'), args.deadline)
            assert result("bodkin_ingest_rows_stored_total{job='self'}"), "a counter of the page"
            until("recorded", lambda: result('job:up:sum{job="self", made="by-rule"} == 1'), args.deadline)
            until("fires", lambda: result('ALERTS{alertname="SelfUp", alertstate="firing", severity="page", job="self"}'), args.deadline)
            assert result('ALERTS_FOR_STATE{alertname="SelfUp"}')
            group = api(server, "rules")[1]["data"]["groups"][0]
            assert [rule["health"] for rule in group["rules"]] == ["ok", "ok"] and group["interval"] == 1, group
            alert = api(server, "alerts")[1]["data"]["alerts"][0]
            assert alert["state"] == "firing" and alert["annotations"] == {"summary": "self has 1"}, alert
            pools = {t["scrapePool"]: t["health"] for t in api(server, "targets")[1]["data"]["activeTargets"]}
            assert pools == {"self": "up", "traced": "up", "families": "up", "nobody": "down"}, pools
            exemplars = lambda: api(server, "query_exemplars", query="rate(traced_total[1m])", start=time.time() - 300, end=time.time() + 60)[1]["data"]
            found = until("exemplars", lambda: len(exemplars()) == 2 and exemplars(), args.deadline)
            traces = {(one["seriesLabels"]["job"], one["exemplars"][-1]["labels"]["trace_id"], one["exemplars"][-1]["value"]) for one in found}
            assert traces == {("traced", "in-text", "0.25"), ("families", "in-buffers", "0.25")}, found
            if alertmanager:
                told = lambda: json.loads(get(f"http://127.0.0.1:{am_port}/api/v2/alerts")[1])
                until("Alertmanager listens", lambda: reachable(am_port), args.deadline)
                alerts = until("told", told, max(args.deadline, 90))
                assert alerts[0]["labels"] == {"alertname": "SelfUp", "dc": "test", "job": "self", "made": "by-rule", "severity": "page"}, alerts
            until("StatsD", lambda: result('shop_orders{zone="a"} == 5'), args.deadline)
            assert result("histogram_sum(shop_time)")[0]["value"][1] == "0.25"
            # A target and a rule that are gone leave markers; what is wrong changes nothing.
            with open(os.path.join(folder, "a.rules.yml"), "w") as file:
                file.write("groups: [{name: g, rules: [{record: x, expr: 'sum('}]}]\n")
            os.kill(server.pid, signal.SIGHUP)
            time.sleep(0.5)
            assert len(api(server, "rules")[1]["data"]["groups"][0]["rules"]) == 2, "the configuration stays as it was"
            with open(os.path.join(folder, "a.rules.yml"), "w") as file:
                file.write("groups: []\n")
            os.kill(server.pid, signal.SIGHUP)
            until("no rules", lambda: not api(server, "rules")[1]["data"]["groups"], args.deadline)
            until("stale", lambda: not result("job:up:sum"), args.deadline)
            assert server.stop()[0] == 0
    finally:
        exporter.shutdown()
        if alertmanager:
            alertmanager.kill()
            alertmanager.wait()


def reachable(port):
    try:
        return get(f"http://127.0.0.1:{port}/-/ready")[0] == 200
    except OSError:
        return False


def resident_mib(server):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def abuse(args, folder, series):
    """A flood of series and queries that ask for too much: refused or answered within limits, others unharmed."""
    server = harness.Server(args, folder)
    with harness.running(server):
        now_ms = int(time.time() * 1000)
        for start in range(0, series, 5000):
            write(server, wire.body([({"__name__": "flood", "id": str(n), "of": str(n % 7)}, [(now_ms, 1.0)]) for n in range(start, start + 5000)]))
        status, body = api(server, "query", query='count({__name__=~".+"})')
        assert status == 200 and int(body["data"]["result"][0]["value"][1]) == series, body
        status, body = api(server, "query_range", query="flood", start=0, end=50_000, step=1)
        assert (status, body["errorType"]) == (400, "bad_data"), body
        status, body = api(server, "query", query="max_over_time(sum(rate(flood[1m]))[50000s:1s])", timeout="10s")
        assert status in (200, 422, 503), body
        status, body = api(server, "query", query='sum by (id) (flood) * on (id) group_left () sum by (id, of) (flood)', timeout="20s")
        assert status in (200, 422, 503), body
        for pattern in ("(a+)+$", "(((((x{1,900}){1,900}){1,900}))))", "(?:" * 300, ".*" * 500, "[a-z]{1000}{1000}"):
            status, body = api(server, "query", query=f'flood{{id=~"{pattern}"}}')
            assert status in (200, 400, 422), (pattern, body)
        text = write(server, wire.body([({"__name__": "big", "x": "y" * 10_000_000}, [(now_ms, 1.0)])]), 400)
        assert "labels exceed the limit in bytes (actual: 10000012, limit: 65536)" in text, text[:500]
        text = write(server, wire.body([({"__name__": "wide", **{f"l{n}": "v" for n in range(1000)}}, [(now_ms, 1.0)])]), 400)
        assert "number of labels exceeds the limit (actual: 1001, limit: 256)" in text, text[:500]
        for limit in ("label_bytes", "labels"):
            counted = f'bodkin_gateway_limits_met_total{{tenant="default",limit="{limit}"}} 1'
            assert counted in get(server.http + "/metrics")[1].decode(), limit
        started = time.monotonic()
        write(server, wire.body([({"__name__": "small"}, [(now_ms, 4.0)])]))
        assert api(server, "query", query="small")[1]["data"]["result"][0]["value"][1] == "4"
        unharmed_ms = (time.monotonic() - started) * 1000
        peak = resident_mib(server)
        assert peak < 300 + series / 200, f"{peak:.0f} MiB for {series} series"
        assert server.stop()[0] == 0
    return peak, unharmed_ms


parser = harness.arguments(__doc__)
parser.add_argument("--flood", type=int, default=50_000, help="series of the flood; the acceptance is 1000000")
args = parser.parse_args()
with harness.folder() as folder:
    queries = same_answers(args, folder)
with harness.folder() as folder:
    rules_and_scraping(args, folder)
with harness.folder() as folder:
    peak, unharmed_ms = abuse(args, folder, args.flood)
print(
    f"{queries} answers equal from memory, files, after kill -9, compaction and a stop; rules, scraping and alerts as Prometheus has "
    f"them; {args.flood} series at once: {peak:.0f} MiB at most, a write and its query {unharmed_ms:.0f} ms beside them"
)
