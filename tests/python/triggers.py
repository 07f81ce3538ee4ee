"""Performs real behaviours under a running server and agent and holds the findings against what each must fire.

`triggers.py --bodkin B --agent A --trigger FILE [--matching first|all]`; FILE performs the cases and prints one JSON line for each:
id, rule, also, start_ns, end_ns, pid. Runs as root. It is no part of ./check: cases start what a machine may not allow.
"""

import datetime
import json
import os
import subprocess
import sys
import time

import harness

RULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../operators/rules/tests/data/falco/falco_rules.yaml")

parser = harness.arguments(__doc__)
parser.add_argument("--trigger", required=True)
parser.add_argument("--matching", default="all", choices=("first", "all"))
parser.add_argument("--rules", nargs="*", default=[RULES], help="rule files; the published stable one by default")
parser.add_argument("--only", default="", help="cases by id, separated by commas")
args = parser.parse_args()


def nanoseconds(text):
    """RFC 3339 with microseconds."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.timestamp() * 1e6) * 1000


stable = {line.split(":", 1)[1].strip() for line in open(RULES) if line.startswith("- rule:")}
with harness.folder() as folder:
    config, docker = os.path.join(folder, "config.yaml"), os.path.join(folder, "docker.sock")
    with open(config, "w") as file:
        json.dump({"rules": {"files": [os.path.abspath(path) for path in args.rules], "matching": args.matching, "switch": [{"enable": {"rule": "*"}}]}, "containers": {"docker_socket": docker}}, file)
    with harness.running(harness.Server(args, folder, "up", ["--require-ebpf", "--config", config])) as server:
        time.sleep(1)
        command = [sys.executable, args.trigger, "--mock-docker", docker]
        command += ["--only", args.only] if args.only else []
        output = subprocess.run(command, capture_output=True, text=True, timeout=600)
        cases = [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]
        assert cases, output.stderr[-3000:]
        time.sleep(8)  # a container's first rows wait up to 5 s for what its runtime says
        server.post("/api/v1/admin/flush")
        rows = server.sql("SELECT ts, rule, pid, ancestor_pids FROM findings")
        wrong = 0
        for case in cases:
            if case["result"] != "ok":
                print(f"{case['id']:<24} {case['result']}: {case.get('detail')}")
                continue
            inside = [(rule, pid) for ts, rule, pid, ancestors in rows
                      if case["start_ns"] - 10_000_000 <= nanoseconds(ts) <= case["end_ns"] + 10_000_000
                      and case["pid"] in [pid, *(ancestors or [])]]
            fired = sorted({rule for rule, _ in inside})
            allowed = {case["rule"], *case["also"]}
            # Rules beyond the stable ones may find more in what a case does.
            is_right = (case["rule"] is None or case["rule"] in fired) and set(fired) & stable <= allowed
            wrong += not is_right
            print(f"{case['id']:<24} {'ok   ' if is_right else 'WRONG'} wanted {case['rule']}, fired {fired}")
        assert server.stop()[0] == 0
print(f"matching {args.matching}: {len(cases)} cases, {wrong} wrong")
sys.exit(1 if wrong else 0)
