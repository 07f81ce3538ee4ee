"""Broken rule files: each gets a located error within a second and bounded memory, and a server keeps the rules it runs.

The variants are made from the published files by a seeded generator: broken syntax, unknown names, loops, values of another
type, and files that mean far more than they hold. `--check-only` leaves the server out.
"""

import collections
import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request

import harness

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../operators/rules/tests/data")
FILES = [os.path.join(DATA, name) for name in ("falco/falco_rules.yaml", "falco/k8s_audit_rules.yaml", "cloudtrail/rules.yaml")]
SECONDS_MAX = 1.0
# The process with everything that the binary brings along.
MIB_MAX = 512

parser = harness.arguments(__doc__)
parser.add_argument("--variants", type=int, default=100)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--slower", type=float, default=1.0, help="times that a check may take longer: for builds without optimization")
parser.add_argument("--check-only", action="store_true")
args = parser.parse_args()
chance = random.Random(args.seed)


def rule(name, condition, output="o"):
    return f"- rule: {name}\n  desc: d\n  condition: {condition}\n  output: {output}\n  priority: info\n"


def lines_with(text, prefix):
    return [index for index, line in enumerate(text.split("\n")) if line.startswith(prefix)]


def on_line(prefix, change):
    """A breaker that changes one of the lines that begin with `prefix`."""
    def broken(text):
        lines = text.split("\n")
        index = chance.choice(lines_with(text, prefix))
        lines[index] = change(lines[index])
        return "\n".join(lines)
    return broken


def on_condition(change):
    """A breaker that gives a new rule the changed condition of another kind each time."""
    return lambda text: text + "\n" + rule("Broken", change)


def replaced(before, after):
    def broken(text):
        assert before in text, before
        places = [at for at in range(len(text)) if text.startswith(before, at)]
        at = chance.choice(places)
        return text[:at] + after + text[at + len(before):]
    return broken


SYNTAX = [
    on_line("- rule:", lambda line: line.replace("- rule:", "-rule:")),
    on_line("- rule:", lambda line: line.replace("- rule:", "- rule")),
    on_line("- rule:", lambda line: "\t" + line),
    on_line("  condition:", lambda line: line.replace("  condition:", "   condition:")),
    on_line("  condition:", lambda line: line + " \"never closed\n"),
    on_line("  priority:", lambda line: "  priority: SOMEWHAT"),
    on_line("  priority:", lambda line: "  priority: [NOTICE]"),
    on_line("  priority:", lambda line: "  prioritee: NOTICE"),
    on_line("  output:", lambda line: "  output: seen %proc.nmae"),
    on_line("  output:", lambda line: "  output: seen %"),
    on_line("  output:", lambda line: "  outptu: seen"),
    on_line("  desc:", lambda line: "  desc: {a: b}"),
    on_line("  tags:", lambda line: "  tags: container, host"),
    on_line("  tags:", lambda line: "  tags: [container, host"),
    on_line("- list:", lambda line: "- list:"),
    on_line("- list:", lambda line: "- list: &x *x"),
    on_line("- macro:", lambda line: line.split(":")[0] + ": renamed_by_mistake"),
    lambda text: text[:chance.randrange(len(text) // 2, len(text) * 3 // 4)] + "\n  {{",
    lambda text: text.replace("- rule:", "- rule:\n  {unclosed: [", 1),
    lambda text: "rules:\n" + "".join("  " + line + "\n" for line in text.split("\n")),
    lambda text: text + "\n- required_engine_version: 99.0.0\n",
    lambda text: text + "\n- required_engine_version: newest\n",
    lambda text: text + "\n- required_plugin_versions:\n  - name: okta\n    version: 99.0.0\n",
    lambda text: text + "\n- rule: Nowhere\n  condition: and evt.type = open\n  override: {condition: append}\n",
    lambda text: text + "\n- macro: nowhere\n  condition: or evt.type = open\n  append: true\n",
    lambda text: text + "\n- list: nowhere\n  items: [x]\n  override: {items: append}\n",
    lambda text: text + "\n- rule: Half\n  desc: d\n  condition: evt.type = open\n",
    lambda text: text + "\n" + rule("Both", "evt.type = open") + "  append: true\n  override: {condition: append}\n",
    lambda text: text + "\n" + rule("Row", "evt.type = open") + "  exceptions:\n  - {name: e, fields: [proc.name, fd.name], values: [[a]]}\n",
    lambda text: text + "\n" + rule("Comp", "evt.type = open") + "  exceptions:\n  - {name: e, fields: [proc.name], comps: [almost], values: [[a]]}\n",
    lambda text: text + "\n" + rule("None", "evt.type = open") + "  exceptions:\n  - {name: e, values: [a]}\n",
]
CONDITIONS = [on_condition(condition) for condition in (
    "evt.type = open and", "evt.type = open adn proc.name = a", "(evt.type = open", "evt.type = open)", "not", "and", "evt.type",
    "evt.type = ", "evt.type in (open", "evt.type in (open,)", "evt.type in (open close)", "evt.type = opne",
    "proc.nmae = a", "fd.nam contains x", "proc.aname[one] = a", "proc.aname[2 = a", "evt.type == = open", "proc.name => a",
    "fd.sport = many", "fd.num = three", "fd.sip = 1.2.3", "fd.snet = 1.2.3.4/99", "user.uid contains 1", "proc.name regex '('",
    "proc.name regex '[a'", "proc.name regex 'a{3,2}'", "proc.name startswith oneof a", "proc.name startswith someof (a)",
    "tolower(proc.name = a", "toupper() = a", "lower(proc.name) = a", "proc.name = val(proc.nmae)", "proc.name = val(user.uid)",
    "evt.buffer bcontains xyz", "proc.name = \"\\q\"", "proc.name exists a", "no_such_macro", "evt.type = open and no_such_macro",
    "ka.verb = get and evt.type = open", "evt.is_open_read = maybe", "fd.name pmatch /etc", "evt.arg.nothing = 1", "basename(fd.num) = a",
)]
LOOPS = [
    lambda text: text + "\n- macro: round\n  condition: round\n" + rule("Round", "round"),
    lambda text: text + "\n- macro: a1\n  condition: a2\n- macro: a2\n  condition: a1\n" + rule("Round", "a1"),
    lambda text: text + "\n- macro: b1\n  condition: evt.type = open\n- macro: b2\n  condition: b1\n"
                        "- macro: b1\n  condition: or b2\n  override: {condition: append}\n" + rule("Round", "b2"),
    lambda text: text + "\n- list: &a [*a]\n",
    lambda text: text + "".join(f"- macro: c{i}\n  condition: c{(i + 1) % 300}\n" for i in range(300)),
]


def aliases(_):
    return "- &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"- &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 20))


def numbered(count, text):
    return "".join(text(i) for i in range(count))


def joined(count, text, between=", "):
    return between.join(text(i) for i in range(count))


BOMBS = [
    aliases,
    lambda _: rule("a", "&c proc.name in (" + joined(20_000, lambda i: f"x{i:012}") + ")") + numbered(2000, lambda i: rule(f"r{i}", "*c")),
    lambda _: numbered(40, lambda i: f"- list: l{i}\n  items: [{', '.join([f'l{i + 1}'] * 20)}]\n") + rule("r", "proc.name in (l0)"),
    lambda _: "- list: l0\n  items: []\n" + numbered(60, lambda i: f"- list: l{i + 1}\n  items: [l{i}, l{i}]\n") + rule("r", "proc.name in (l60) and"),
    lambda _: "- macro: m0\n  condition: proc.name = a\n" + numbered(60, lambda i: f"- macro: m{i + 1}\n  condition: (m{i} or not m{i})\n") + rule("r", "m60"),
    lambda _: "- macro: m0\n  condition: proc.name = a\n" + numbered(5000, lambda i: f"- macro: m{i + 1}\n  condition: (m{i})\n") + rule("r", "m5000"),
    lambda _: rule("r", "(" * 50_000 + "proc.name = a" + ")" * 50_000),
    lambda _: rule("r", "not (" * 50_000 + "proc.name = a" + ")" * 50_000),
    lambda _: rule("r", "tolower(" * 50_000 + "proc.name" + ")" * 50_000 + " = a"),
    lambda _: "[" * 100_000,
    lambda _: "- " * 100_000,
    lambda _: "{a: " * 100_000,
    lambda _: "- list: l\n  items: [" + "x, " * 5_000_000 + "]\n",
    lambda _: "- list: l\n  items: [" + joined(600_000, lambda i: f"x{i}") + "]\n",
    lambda _: "- list: l\n  items: [" + joined(200_000, lambda i: f"x{i}") + "]\n" + numbered(40, lambda i: rule(f"r{i}", f"proc.name in (l, y{i})")),
    lambda _: numbered(100_000, lambda i: rule(f"r{i}", "evt.type = open and proc.name = x")),
    lambda _: numbered(30_000, lambda i: rule(f"r{i}", "evt.type = open and proc.nmae = x")),
    lambda _: numbered(30_000, lambda i: f"- macro: m{i}\n  condition: n{i}\n"),
    lambda _: rule("r", joined(500_000, lambda i: f"proc.name = x{i}", " or ")),
    lambda _: rule("r", "proc.cmdline contains anyof (" + joined(500_000, lambda i: f"x{i}") + ")"),
    lambda _: rule("r", "proc.cmdline icontains " + "x" * 8_000_000),
    lambda _: rule("r", "proc.name regex '((a{100}){100}){100}'"),
    lambda _: rule("r", "proc.name regex anyof (" + joined(20_000, lambda i: f"'.*x{i}[a-z]{{50}}'") + ")"),
    lambda _: rule("r", "fd.name pmatch (" + "/a" * 1_000_000 + ")"),
    lambda _: rule("r", "evt.type = open", "'" + "%proc.name " * 1_000_000 + "'"),
    lambda _: rule("r", "evt.type = open") + "  tags: [" + joined(1_000_000, lambda i: f"t{i}") + "]\n",
    lambda _: "- {rule: r, " + joined(300_000, lambda i: f"key{i}: x") + "}\n",
    lambda _: "# " + "x" * (17 << 20),
    lambda _: "\0" * (8 << 20),
]


def variants():
    """(kind, content) as many as are wanted: every breaker once, then any of them."""
    chance.seed(args.seed)
    texts = [open(path).read() for path in FILES]
    every = [("syntax", one) for one in SYNTAX] + [("condition", one) for one in CONDITIONS] + [("loop", one) for one in LOOPS]
    every += [("bomb", one) for one in BOMBS]
    for index in range(max(args.variants, len(every))):
        kind, breaker = every[index] if index < len(every) else chance.choice(every)
        text = texts[0] if index < len(every) else chance.choice(texts)
        try:
            content = breaker(text)
        except IndexError:
            # This file has nothing to be broken in this way.
            content = breaker(texts[0])
        yield f"{kind} {index}", content if isinstance(content, bytes) else content.encode()


def checked(path):
    """What the check says, the CPU seconds that it took, and the peak MiB of its process."""
    # A process of its own starts it: a child's peak counts that of the process that it was forked from.
    code = ("import json, os, subprocess, sys\n"
            "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
            "said = child.stdout.read().decode()\n"
            "_, status, usage = os.wait4(child.pid, 0)\n"
            "print(json.dumps([said, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))")
    command = [sys.executable, "-S", "-c", code, args.bodkin, "rules", "check", "--format", "json", path]
    output = subprocess.run(command, check=True, capture_output=True, timeout=60 * args.slower)
    said, status, seconds, mib = json.loads(output.stdout)
    return json.loads(said), status, seconds, mib


def check(folder):
    worst = collections.Counter()
    count, valid = 0, set()
    for name, content in variants():
        path = os.path.join(folder, "broken.yaml")
        with open(path, "wb") as file:
            file.write(content)
        said, status, seconds, mib = checked(path)
        if status == 0 and name.startswith("bomb"):
            # Large, and right: it has to stay within bounds all the same.
            assert seconds < 5 * SECONDS_MAX * args.slower and mib < MIB_MAX, (name, seconds, mib)
            valid.add(name)
            continue
        assert status == 1 and not said["ok"], f"{name} passed: {content[-300:]}"
        error = said["errors"][0]
        assert error["file"] == path and error["line"] >= 1 and error["column"] >= 1, (name, error)
        assert error["line"] <= content.count(b"\n") + 1, (name, error)
        assert seconds < SECONDS_MAX * args.slower, f"{name} took {seconds:.2f} s: {error['message'][:200]}"
        assert mib < MIB_MAX, f"{name} took {mib:.0f} MiB: {error['message'][:200]}"
        worst["seconds"], worst["mib"] = max(worst["seconds"], seconds), max(worst["mib"], mib)
        count += 1
    print(f"{count} broken variants: all located, at most {worst['seconds']:.2f} CPU seconds and {worst['mib']:.0f} MiB each; {len(valid)} large files are right")
    return valid


def stays(folder, valid):
    """A server that is told of each of them keeps its rules and its memory."""
    rules = os.path.join(folder, "rules.yaml")
    config = os.path.join(folder, "config.yaml")
    good = open(FILES[0]).read() + rule("Counted", "evt.type = execve and proc.name = marked")
    with open(rules, "w") as file:
        file.write(good)
    with open(config, "w") as file:
        json.dump({"rules": {"files": [rules]}}, file)
    with harness.running(harness.Server(args, folder, extra=["--config", config])) as server:
        with urllib.request.urlopen(server.http + "/api/v1/rules", timeout=60) as answer:
            before = len(json.load(answer)["rules"])
        refused = 0
        for name, content in variants():
            if name in valid:
                continue
            with open(rules + ".part", "wb") as file:
                file.write(content)
            os.rename(rules + ".part", rules)
            start = time.monotonic()
            try:
                server.post("/api/v1/rules", timeout=60 * args.slower)
            except urllib.error.HTTPError as error:
                answer = json.loads(error.said)
                assert error.code == 422 and answer["errors"][0]["line"] >= 1, (name, error.code, answer)
                refused += 1
            else:
                raise AssertionError(f"{name} was taken")
            took = time.monotonic() - start
            assert took < 10 * SECONDS_MAX * args.slower, f"{name} took the server {took:.1f} s"
            with urllib.request.urlopen(server.http + "/api/v1/rules", timeout=60) as answer:
                running = json.load(answer)["rules"]
            assert len(running) == before and running[-1]["rule"] == "Counted", name
        status = open(f"/proc/{server.pid}/status").read()
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        assert server.stop()[0] == 0
    print(f"a server refused {refused} of them and kept its rules, {peak:.0f} MiB at most")


with harness.folder() as folder:
    valid = check(folder)
    if not args.check_only:
        stays(folder, valid)
