"""The agent and a node_exporter on one host: the same names, labels and values, but for what docs/metrics.md lists.

  beside_node_exporter.py --bodkin B --agent A --exporter /usr/bin/prometheus-node-exporter"""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request

import harness

# What the agent does not have, as docs/metrics.md says.
NOT_THERE = re.compile(
    r"(go|process|promhttp)_.*|node_(arp|dmi|nvme|os|selinux|textfile|timex|udp_queues|time_clocksource|exporter|scrape_collector)(_.*)?|node_nf_conntrack_stat_.*"
    r"|node_network_(receive_nohandler_total|speed_bytes|address_assign_type|device_id|dormant|flags|iface_.*|name_assign_type|net_dev_group|protocol_type)|node_disk_info")
# What one of the two leaves out on purpose.
ASIDE = re.compile(r'device="(lo|zram\d+|.*unavailable)"|mountpoint="/mnt/')
# What has moved on between the two readings.
CLOSE = 0.2


def series(name, pairs):
    """A series as text, without what says where it comes from and without labels that say nothing."""
    pairs = sorted((label, value) for label, value in pairs if value and label not in ("job", "instance", "host"))
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in pairs) + "}"


def of_page(page):
    found = {}
    for line in page.splitlines():
        match = re.match(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$", line)
        if match:
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
            found[series(match[1], pairs)] = float(match[3])
    return found


parser = harness.arguments(__doc__)
parser.add_argument("--exporter", required=True)
parser.add_argument("--seconds", type=float, default=22, help="how long the agent measures first")
args = parser.parse_args()
address = "127.0.0.1:19100"
with harness.folder() as folder:
    server = harness.Server(args, folder)
    with harness.running(server):
        agent = harness.Agent(args, folder, server.flight, extra=())
        exporter = subprocess.Popen([args.exporter, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
        try:
            with harness.running(agent):
                time.sleep(args.seconds)
                with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
                    theirs = of_page(answer.read().decode())
                query = urllib.parse.urlencode({"query": '{job="node"}'})
                with urllib.request.urlopen(f"{server.http}/prometheus/api/v1/query?{query}", timeout=30) as answer:
                    rows = json.load(answer)["data"]["result"]
                ours = {series(row["metric"]["__name__"], ((n, v) for n, v in row["metric"].items() if n != "__name__")): float(row["value"][1]) for row in rows}
        finally:
            exporter.kill()
            exporter.wait()
names = [{key.split("{")[0] for key in found} for found in (ours, theirs)]
unlisted = [name for name in sorted(names[1] - names[0]) if not NOT_THERE.fullmatch(name)]
assert not unlisted and not names[0] - names[1], f"the exporter alone has {unlisted}, the agent alone {sorted(names[0] - names[1])}"
both = names[0] & names[1]
alone = [key for key in sorted(ours.keys() ^ theirs.keys()) if key.split("{")[0] in both and not ASIDE.search(key)]
assert not alone, f"{len(alone)} series of one of them alone: {alone[:10]}"
shared = ours.keys() & theirs.keys()
apart = [(key, ours[key], theirs[key]) for key in sorted(shared) if abs(ours[key] - theirs[key]) > CLOSE * max(abs(ours[key]), abs(theirs[key])) + 1]
print(f"{len(both)} metrics and {len(shared)} series of both; {len(apart)} values more than {CLOSE:.0%} apart: {apart[:10]}")
assert len(apart) <= len(shared) // 20
