"""The results as text: on the terminal while they come, as a table in RESULTS.md at the end."""

import datetime
import importlib.metadata
import math
import os
import platform
import re
import subprocess


def mib(count):
    return f"{count / (1 << 20):.0f}"


def show(result):
    ours = result["measures"]["bodkin"]
    parts = [f"{result['query']:<17} {ours['wall'] * 1000:8.1f} ms"]
    for key, measure in result["measures"].items():
        if key != "bodkin":
            took = "error " + measure["error"][:70] if "error" in measure else f"{measure['wall'] * 1000:.1f}"
            parts.append(f"{key[0]}/{key[1]} {took}")
    print("  ".join(parts), flush=True)


def geomean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


class Report:
    group = "data-plane"
    packages = ("duckdb", "polars", "chdb", "datafusion", "deltalake", "pyarrow")

    def __init__(self, args):
        self.args, self.sections = args, {}
        self.started = datetime.datetime.now(datetime.timezone.utc)

    def section(self, name, lines):
        load = os.getloadavg()
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in self.packages)
        bodkin = subprocess.run([self.args.bodkin, "--version"], capture_output=True, text=True).stdout.strip()
        stamp = f"{bodkin}; {versions}; {self.started:%Y-%m-%d %H:%M} UTC, load {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}, {os.cpu_count()} cores, {platform.machine()}"
        command = f"benches/run {self.group} {name} --rows {self.args.rows} --seed {self.args.seed}"
        self.sections[name] = "\n".join([f"## {self.group} {name}", "", f"`{command}`; {stamp}", "", *lines, ""])

    def sql(self, results, engines, arrival_bytes, own_bytes):
        lines = [f"Files: arrival order {mib(arrival_bytes)} MiB, ours {mib(own_bytes)} MiB ({own_bytes / arrival_bytes:.2f}x). "
                 "Milliseconds of wall time, median of the rounds; CPU seconds and peak MiB of ours behind.", ""]
        columns = [(engine, kind) for kind in ("arrival", "own") for engine in engines]
        lines.append("| query | ours | " + " | ".join(f"{engine}, {kind}" for engine, kind in columns) + " | x best arrival | x best own | cpu s | peak |")
        lines.append("|---" * (len(columns) + 6) + "|")
        ratios = {"arrival": [], "own": []}
        boards = []
        for result in results:
            measures = result["measures"]
            ours = measures["bodkin"]
            cells = []
            for key in columns:
                measure = measures.get(key, {"error": "not run"})
                cells.append("failed" if "error" in measure else f"{measure['wall'] * 1000:.0f}")
            best = {}
            for kind in ratios:
                walls = [m["wall"] for key, m in measures.items() if key != "bodkin" and key[1] == kind and "error" not in m]
                best[kind] = min(walls) / ours["wall"] if walls else float("nan")
                if walls:
                    ratios[kind].append(best[kind])
            if result["is_dashboard"]:
                boards.append(best["arrival"])
            lines.append(f"| {result['query']} | {ours['wall'] * 1000:.0f} | " + " | ".join(cells) +
                         f" | {best['arrival']:.2f} | {best['own']:.2f} | {ours['cpu']:.2f} | {mib(ours['peak'])} |")
        lines += ["", f"Geometric means: {geomean(ratios['arrival']):.2f}x the best peer on arrival-order files, "
                  f"{geomean(ratios['own']):.2f}x on our own files (least {min(ratios['own'], default=float('nan')):.2f}x), "
                  f"container dashboards {geomean(boards):.1f}x."]
        for result in results:
            for key, measure in result["measures"].items():
                if "error" in measure:
                    lines.append(f"- {result['query']}, {key[0]} on {key[1]}: {measure['error'][:160]}")
        print("\n".join(lines[-1 - sum(1 for r in results for m in r["measures"].values() if "error" in m):]))
        self.section("sql", lines)

    def write(self, path):
        """Replaces the sections that were measured and leaves the others."""
        text = open(path).read() if os.path.exists(path) else "# Results\n\nMeasured by `benches/run`; each section says when and by which command.\n\n"
        for name, section in self.sections.items():
            pattern = re.compile(rf"## {self.group} {name}\n.*?(?=\n## |\Z)", re.S)
            text = pattern.sub(lambda _: section.rstrip("\n") + "\n", text) if pattern.search(text) else text.rstrip("\n") + "\n\n" + section
        with open(path, "w") as file:
            file.write(text.rstrip("\n") + "\n")
