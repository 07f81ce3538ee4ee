"""Range queries over what an agent really measures, and the queries of dashboards, answered by Bodkin and by a Prometheus that
got the same samples: equal.

  same_as_prometheus.py --bodkin B --agent A --prometheus P [--seconds 120] [--dashboard FILE.json ...]

Dashboards are files of Grafana; each metric that a panel names gets samples made up for it, with labels that the panel's
matchers accept, so that what they ask of exporters that are not here (kube-state-metrics, cAdvisor) is asked, too."""

import contextlib
import json
import math
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request

import harness
import remote_write_wire as wire
from container import Container
from prometheus_server import Prometheus

METRICS = [
    "node_cpu_seconds_total", "node_context_switches_total", "node_intr_total", "node_forks_total", "node_disk_read_bytes_total",
    "node_disk_written_bytes_total", "node_disk_io_time_seconds_total", "node_network_receive_bytes_total",
    "node_network_transmit_packets_total", "node_vmstat_pgfault", "node_netstat_Tcp_InSegs", "node_schedstat_running_seconds_total",
]
GAUGES = [
    "node_load1", "node_load5", "node_memory_MemFree_bytes", "node_memory_MemAvailable_bytes", "node_memory_Cached_bytes",
    "node_filesystem_avail_bytes", "node_filesystem_size_bytes", "node_procs_running", "node_sockstat_TCP_inuse", "node_filefd_allocated",
    "node_entropy_available_bits", "node_time_seconds",
]
JOINS = [
    "1 - avg by (instance) (rate(node_cpu_seconds_total{mode='idle'}[1m]))",
    "sum by (mode) (rate(node_cpu_seconds_total[1m])) / on () group_left () count(count by (cpu) (node_cpu_seconds_total))",
    "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
    "node_memory_MemTotal_bytes - node_memory_MemFree_bytes - node_memory_Cached_bytes - node_memory_Buffers_bytes",
    "1 - node_filesystem_avail_bytes / node_filesystem_size_bytes", "topk(3, sum by (cpu) (rate(node_cpu_seconds_total{mode!='idle'}[1m])))",
    "node_time_seconds - node_boot_time_seconds", "count by (__name__) ({__name__=~'node_network_.+'})",
    "node_load1 > bool 1", "node_load1 and node_load5 > 0", "node_load1 unless node_load5 > 1e9", "node_uname_info * on (instance) group_left () node_load1",
    "label_replace(node_uname_info, 'kernel', '$1', 'release', '([0-9]+).*')", "quantile by (mode) (0.9, rate(node_cpu_seconds_total[1m]))",
    "stddev by (mode) (rate(node_cpu_seconds_total[1m]))", "count_values('load', round(node_load1))", "absent(node_nothing)", "sort_desc(node_load1)",
    "max_over_time(sum(rate(node_cpu_seconds_total{mode='user'}[30s]))[1m:10s])", "avg_over_time(node_load1[30s] offset 20s)",
    "node_load1 @ end()", "histogram_quantile(0.5, sum by (le) (rate(node_none_bucket[1m])))", "vector(time())", "bottomk(1, node_memory_MemFree_bytes or node_memory_MemTotal_bytes)",
    "clamp_max(node_load1, 2)", "scalar(node_load1)", "minute(node_time_seconds)", "sgn(deriv(node_memory_MemFree_bytes[1m]))",
]


CONTAINER_COUNTERS = [
    "container_cpu_usage_seconds_total", "container_cpu_user_seconds_total", "container_cpu_system_seconds_total", "container_memory_failures_total",
]
CONTAINER_GAUGES = [
    "container_memory_usage_bytes", "container_memory_working_set_bytes", "container_memory_rss", "container_memory_cache", "container_processes",
    "container_start_time_seconds", "container_spec_memory_limit_bytes",
]
CONTAINER_JOINS = [
    "sum by (name) (rate(container_cpu_usage_seconds_total{name!=''}[1m]))", "sum by (id) (container_memory_working_set_bytes) / 1e6",
    "container_memory_usage_bytes - on (id) container_memory_cache", "count by (__name__) ({__name__=~'container_.+'})",
    "topk(2, sum by (name) (rate(container_cpu_usage_seconds_total[30s])))", "time() - container_start_time_seconds",
    "max_over_time(container_memory_usage_bytes[1m:10s])", "container_processes > bool 0", "deriv(container_memory_usage_bytes[1m])",
    "sum without (cpu) (irate(container_cpu_usage_seconds_total[30s])) / on () group_left () count(count by (cpu) (node_cpu_seconds_total))",
    "absent(container_memory_usage_bytes{name='none'})", "label_replace(container_memory_rss, 'short', '$1', 'name', '(.{12}).*')",
]
PROCESS_COUNTERS = ["process_cpu_seconds_total", "go_gc_duration_seconds_count", "go_memstats_alloc_bytes_total", "prometheus_http_requests_total"]
PROCESS_GAUGES = ["process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_start_time_seconds", "go_goroutines", "go_threads"]
PROCESS_JOINS = [
    "process_open_fds / process_max_fds", "time() - process_start_time_seconds", "process_resident_memory_bytes / on (instance) process_virtual_memory_bytes",
    "go_gc_duration_seconds{quantile='1.0'}", "count by (__name__) ({__name__=~'(process|go)_.+'})", "sum by (handler) (increase(prometheus_http_requests_total[30s])) > 0",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[1m])))",
    "histogram_quantile(0.5, sum by (le, handler) (increase(prometheus_http_response_size_bytes_bucket[30s])))",
    "rate(prometheus_http_request_duration_seconds_sum[1m]) / rate(prometheus_http_request_duration_seconds_count[1m])",
    "up{job='process'}", "scrape_duration_seconds * 0 + 1", "go_info * on (instance) group_left () go_goroutines",
]


def queries():
    """Two hundred and more: each kind of function over each kind of metric."""
    over = lambda functions, metrics: [template.format(m) for template, m in zip(functions * len(metrics), [m for m in metrics for _ in functions])]
    rates = ["rate({}[1m])", "increase({}[30s])", "irate({}[30s])", "sum without (cpu, device) (rate({}[1m]))"]
    levels = ["{}", "avg_over_time({}[30s])", "delta({}[1m])", "max by (instance) ({})"]
    return {
        "node": over(rates, METRICS) + over(levels, GAUGES) + JOINS,
        "container": over(rates, CONTAINER_COUNTERS) + over(levels, CONTAINER_GAUGES) + CONTAINER_JOINS,
        "process": over(rates, PROCESS_COUNTERS) + over(levels, PROCESS_GAUGES) + PROCESS_JOINS,
    }


def get(base, path, form=None, method="GET"):
    encoded = urllib.parse.urlencode(form or {}, doseq=True)
    request = urllib.request.Request(base + path, encoded.encode(), method="POST") if method == "POST" else urllib.request.Request(f"{base}{path}?{encoded}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def write(base, all_series):
    for start in range(0, len(all_series), 1000):
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        with urllib.request.urlopen(urllib.request.Request(base + "/api/v1/write", wire.body(all_series[start:start + 1000]), headers), timeout=60):
            pass


def close(left, right):
    one, other = float(left), float(right)
    return one == other or math.isnan(one) and math.isnan(other) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def equal(ours, theirs):
    if ours["status"] != theirs["status"] or ours.get("errorType") != theirs.get("errorType"):
        return False
    if ours["status"] != "success":
        return True
    by = lambda answer: {json.dumps(row["metric"], sort_keys=True): row["values"] for row in answer["data"]["result"]}
    one, other = by(ours), by(theirs)
    points = lambda a, b: len(a) == len(b) and all(x[0] == y[0] and close(x[1], y[1]) for x, y in zip(a, b))
    return one.keys() == other.keys() and all(points(one[key], other[key]) for key in one)


def compare(kind, expressions, bodkin, prometheus, start, end, step):
    different, empty = [], []
    for expression in expressions:
        form = {"query": expression, "start": start, "end": end, "step": step}
        ours, theirs = (get(base, "/api/v1/query_range", form, "POST") for base in (bodkin, prometheus))
        if not equal(ours, theirs):
            different.append((expression, json.dumps(ours)[:400], json.dumps(theirs)[:400]))
        elif not theirs.get("data", {}).get("result"):
            empty.append(expression)
    for expression, ours, theirs in different[:5]:
        print(f"DIFFERENT {expression}\n  bodkin     {ours}\n  prometheus {theirs}")
    print(f"{kind}: {len(expressions) - len(different)} of {len(expressions)} equal, {len(empty)} of them without data: {empty[:60]}")
    return different


def panels(path, variables=None):
    """The queries of a dashboard, its variables filled in."""
    with open(path) as file:
        dashboard = json.load(file)
    found = []

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("expr"), str):
                found.append(node["expr"])
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                walk(item)

    walk(dashboard)
    fixed = {"__rate_interval": "2m", "__interval": "30s", "__range": "10m", "resolution": "30s", **(variables or {})}
    fill = lambda match: fixed.get(match[1] or match[2], "value-" + (match[1] or match[2]))
    return sorted({re.sub(r"\$(?:\{(\w+)[^}]*\}|(\w+))", fill, expression) for expression in found})


def selectors(node, into):
    """The matchers of every selector, from what parse_query says."""
    if isinstance(node, dict):
        if "matchers" in node:
            into.append(node["matchers"])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            selectors(item, into)


def made_up(matchers, number):
    """Labels that the matchers accept."""
    labels = {"uid": str(number)}
    for matcher in matchers:
        name, kind, value = matcher["name"], matcher["type"], matcher["value"]
        if kind == "=":
            labels[name] = value
        elif kind == "=~":
            wanted = [value.split("|")[0], value.replace(".*", "x").replace(".+", "x"), "x", value]
            labels[name] = next((text for text in wanted if re.fullmatch(value, text)), "x")
        else:
            labels.setdefault(name, "other")
    return {name: value for name, value in labels.items() if value}


def dashboards(paths, bodkin, prometheus, now):
    wrong = []
    for path in paths:
        expressions, series = panels(path), {}
        for expression in expressions:
            answer = get(bodkin, "/api/v1/parse_query", {"query": expression}, "POST")
            assert answer["status"] == "success", (path, expression, answer)
            found = []
            selectors(answer["data"], found)
            for number, matchers in ((number, matchers) for number in range(2) for matchers in found):
                labels = made_up(matchers, number)
                # Counters rise, and states are 1 as a panel asks for them.
                is_counter = labels.get("__name__", "").endswith("_total")
                value = lambda step, number=number, is_counter=is_counter: float(step * (7 + number % 3)) if is_counter else 1.0
                series[json.dumps(labels, sort_keys=True)] = (labels, [((now - 1200 + step * 30) * 1000, value(step)) for step in range(41)])
        for base in (bodkin, prometheus):
            write(base, list(series.values()))
        wrong += compare(os.path.basename(path), expressions, bodkin, prometheus, now - 600, now, 30)
    return wrong


parser = harness.arguments(__doc__)
parser.add_argument("--prometheus", required=True)
parser.add_argument("--seconds", type=float, default=120, help="how long the agent measures")
parser.add_argument("--dashboard", action="append", default=[])
parser.add_argument("--agent-dashboard", action="append", default=[], help="one whose variables job and node are the agent's")
args = parser.parse_args()
with harness.folder() as folder:
    prometheus = Prometheus(args.prometheus, folder)
    config = os.path.join(folder, "bodkin.yaml")
    with open(config, "w") as file:
        target = urllib.parse.urlparse(prometheus.base).netloc
        job = f"{{job_name: process, scrape_interval: 2s, static_configs: [{{targets: ['{target}']}}]}}"
        file.write(f"prometheus: {{scrape_configs: [{job}]}}\n")
    server = harness.Server(args, folder, extra=["--config", config])
    try:
        with harness.running(server):
            bodkin = server.http + "/prometheus"
            agent = harness.Agent(args, folder, server.flight, extra=())
            container = Container(folder, "b0" * 32) if shutil.which("runc") else contextlib.nullcontext()
            with harness.running(agent), container:
                time.sleep(args.seconds)
                agent.stop()
            now = int(time.time())
            found = get(bodkin, "/api/v1/query", {"query": "{job=~'node|cadvisor|process'}[1h]", "time": now}, "POST")["data"]["result"]
            write(prometheus.base, [(row["metric"], [(round(at * 1000), float(value)) for at, value in row["values"]]) for row in found])
            samples = sum(len(row["values"]) for row in found)
            print(f"{len(found)} series of the agent, {samples} samples")
            wrong = []
            for kind, expressions in queries().items():
                wrong += compare(f"{kind} metrics", expressions, bodkin, prometheus.base, now - int(args.seconds), now, 5)
            instance = next(row["metric"]["instance"] for row in found if row["metric"]["job"] == "node")
            variables = {"job": "node", "node": instance, "__rate_interval": "1m"}
            for path in args.agent_dashboard:
                title = f"{os.path.basename(path)} over the agent's metrics"
                wrong += compare(title, panels(path, variables), bodkin, prometheus.base, now - int(args.seconds), now, 5)
            wrong += dashboards(args.dashboard, bodkin, prometheus.base, now // 60 * 60)
            assert not wrong, f"{len(wrong)} answers differ"
            assert server.stop()[0] == 0
    finally:
        prometheus.stop()
