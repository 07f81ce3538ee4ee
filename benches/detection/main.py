"""Measures rules: in memory, tripled, over history, pruned. Called by benches/run."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import pyarrow as pa

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "data_plane"))
sys.path.insert(0, HERE)
import latency
import report
from server import Lane, Server

ROUNDS = 3
# A rule of a type that one event in a thousand has: everything else is pruned by its event type.
PRUNED = """\
- rule: Traced
  desc: d
  condition: evt.type = ptrace and not proc.name = gdb
  output: traced %proc.name
  priority: INFO
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=[], help="memory, history, latency (as root); the first two where none is named")
    parser.add_argument("--bodkin", required=True)
    parser.add_argument("--example", required=True, help="the built example `detection` of bodkin-rules")
    parser.add_argument("--rules", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="/tmp/bodkin-bench")
    parser.add_argument("--rate", type=int, default=50_000, help="opens per second of the load, each an event")
    parser.add_argument("--seconds", type=int, default=60, help="of marked calls")
    args = parser.parse_args()
    groups = args.groups or ["memory", "history"]
    os.makedirs(args.work, exist_ok=True)
    out = Results(args)
    if "memory" in groups:
        memory(args, out)
    if "history" in groups:
        history(args, out)
    if "latency" in groups:
        latency.run(args, out)
    out.write(args.results)


class Results(report.Report):
    group = "detection"
    packages = ("pyarrow",)


def example(args, *more):
    command = [args.example, args.rules, "--rows", str(args.rows), "--seed", str(args.seed), *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def rate(ns):
    return f"{1e3 / ns:.2f} M/s"


def memory(args, out):
    said = example(args)
    lines = [f"{said['rules']} rules, {said['events']:,} events, one core; best of three rounds. The naive evaluator walks the syntax "
             "tree row by row; its answers were compared first, event by event.", "",
             "| events as | events/s per core | ns/event | tripled | x naive |", "|---|---|---|---|---|"]
    for name, key in (("dictionaries, 65,536 rows", "dictionary"), ("dictionaries, 2,048 rows", "small_batches"), ("plain text", "plain")):
        form = said[key]
        lines.append(f"| {name} | {rate(form['ns'])} | {form['ns']:.1f} | {form['tripled_ns'] - form['ns']:+.1f} ns | {said['naive_ns'] / form['ns']:.0f} |")
    lines.append(f"| naive, row by row | {rate(said['naive_ns'])} | {said['naive_ns']:.0f} | {said['naive_tripled_ns'] - said['naive_ns']:+.0f} ns | 1 |")
    out.section("memory", lines)
    print("\n".join(lines))


def table(args):
    """A data folder that holds the events as a server stores them, compacted; made once. And how many each rule finds."""
    folder = os.path.join(args.work, f"detection-{args.seed}-{args.rows}")
    hits = os.path.join(folder, "hits.json")
    if not os.path.exists(hits):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        events = os.path.join(folder, "events.arrows")
        said = example(args, "--arrow", events)
        data = os.path.join(folder, "data")
        with Server(args.bodkin, data) as server, pa.memory_map(events) as source:
            reader = pa.ipc.open_stream(source)
            lane = Lane(server, reader.schema)
            for batch in reader:
                lane.send(batch)
            lane.close()
            server.post("/api/v1/admin/flush")
            server.post("/api/v1/admin/compact")
        os.remove(events)
        with open(hits, "w") as file:
            json.dump(said["hits"], file)
    with open(hits) as file:
        return os.path.join(folder, "data"), json.load(file)


def detect(args, data, rules):
    """A cold process over the tables: findings by rule, CPU seconds, wall seconds, peak MiB."""
    command = [args.bodkin, "detect", "--data-dir", data, "--matching", "all", rules]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found = {}
    for line in child.stdout:
        rule = json.loads(line)["rule"]
        found[rule] = found.get(rule, 0) + 1
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return found, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def history(args, out):
    data, expected = table(args)
    expected = {rule: hits for rule, hits in expected.items() if hits}
    pruned = os.path.join(args.work, "pruned.yaml")
    with open(pruned, "w") as file:
        file.write(PRUNED)
    lines = [f"{args.rows:,} events as the server stores them, each run a process of its own that has seen no footer yet; best of "
             f"{ROUNDS}. A core's rate is by the CPU seconds of the whole process. Findings equal those in memory, rule by rule.", "",
             "| rules | findings | events/s per core | CPU s | wall s | peak MiB |", "|---|---|---|---|---|---|"]
    rates = []
    for name, rules in (("all of the file", args.rules), ("one of a rare event type", pruned)):
        runs = [detect(args, data, rules) for _ in range(ROUNDS)]
        found, cpu, wall, peak = min(runs, key=lambda run: run[1])
        if rules == args.rules and found != expected:
            sys.exit(f"history finds {found}, memory {expected}")
        rates.append(args.rows / cpu)
        lines.append(f"| {name} | {sum(found.values())} | {args.rows / cpu / 1e6:.2f} M/s | {cpu:.2f} | {wall:.2f} | {peak:.0f} |")
    lines += ["", f"Pruned by event type: {rates[1] / rates[0]:.1f} times as many events per core."]
    out.section("history", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
