"""What the agent takes: events of one producing core without loss, and what it does with more than it can take.

    benches/run agent [throughput|flood|overload|build] [--seconds 10]

`throughput` makes 1.6 million events a second, `flood` as many as one core can, `overload` several times what the agent takes.
`build` compiles files that each open some hundred headers, as those of a kernel do, without the agent and with it in turn.

Runs `bodkin-agent --output null` (everything but the sending). Needs root, BTF and a C compiler.
"""
import argparse, json, os, re, signal, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


class Agent:
    """The agent with a configuration; its figures are in its log once it has ended."""

    def __init__(self, binary, config, folder):
        path = os.path.join(folder, "agent.yaml")
        with open(path, "w") as file:
            json.dump({"agent": config}, file)
        self.log = open(os.path.join(folder, "agent.log"), "w+")
        command = [binary, "--output", "null", "--require-ebpf", "--config", path, "--data-dir", os.path.join(folder, "data")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env={**os.environ, "NO_COLOR": "1"})
        self.process.stdout.readline()
        time.sleep(1)
        self.cpu_before = self.cpu()

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def end(self):
        """Events offered, sent and lost in the kernel, rows, and losses by class."""
        cpu, memory = self.cpu() - self.cpu_before, self.memory()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        self.log.seek(0)
        text = self.log.read()
        kernel = re.search(r"offered=(\d+) sent=(\d+) lost=(\d+) delivered=(\d+)", text)
        losses = {(m[1], m[2]): int(m[3]) for m in re.finditer(r'class="(\w+)" reason="(\w+)" count=(\d+)', text)}
        rows = re.search(r"rows=(\d+) batches=(\d+)", text)
        if not kernel or not rows:
            sys.exit(f"the agent's figures are missing:\n{text}")
        offered, sent, lost, delivered = map(int, kernel.groups())
        return {"offered": offered, "sent": sent, "lost": lost, "delivered": delivered, "losses": losses, "rows": int(rows[1]), "cpu": cpu, "memory": memory}


def load(program, kind, seconds, cpu, rate=0):
    return subprocess.Popen([program, kind, str(seconds), str(cpu), str(rate)], stdout=subprocess.PIPE, text=True)


def throughput(args, program, folder):
    return one_core(args, program, folder, "throughput", 1_600_000) == 0


def flood(args, program, folder):
    one_core(args, program, folder, "flood", 0)
    return True


def one_core(args, program, folder, name, rate):
    """What one core makes; events lost."""
    agent = Agent(args.agent, {"events": ["getppid"], "flows": False}, folder)
    made = int(load(program, "getppid", args.seconds, 0, rate).communicate()[0].split()[0])
    found = agent.end()
    print(f"{name:11} made {made} in {args.seconds:g} s = {made / args.seconds / 1e6:.2f} M/s; offered {found['offered']}, "
          f"sent {found['sent']}, lost {found['lost']}, rows {found['rows']}; agent {found['cpu'] / args.seconds * 100:.0f} % "
          f"of one CPU, {found['memory']:.0f} MiB at most")
    assert found["offered"] >= made and found["offered"] == found["delivered"] + found["lost"]
    return found["lost"]


def overload(args, program, folder):
    """Both cores make events beside the agent, which stands back as its unit says (Nice=5) and cannot keep up."""
    names = ["read", "openat", "open", "connect", "socket", "getppid"]
    agent = Agent(args.agent, {"events": names, "flows": False}, folder)
    for thread in os.listdir(f"/proc/{agent.process.pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), 5)
    loads = [load(program, "mixed", args.seconds, cpu) for cpu in (0, 1)]
    counts = [list(map(int, each.communicate()[0].split())) for each in loads]
    found = agent.end()
    made, connects, programs = (sum(column) for column in zip(*counts))
    print(f"overload    made {made} calls, {connects} connects, {programs} programs; offered {found['offered']} = delivered "
          f"{found['delivered']} + lost {found['lost']}: {found['offered'] / found['delivered']:.1f} times what it takes")
    for (kind, reason), count in sorted(found["losses"].items()):
        print(f"            {kind:12}{reason:12}{count}")
    never = sum(count for (kind, _), count in found["losses"].items() if kind in ("exec", "fork", "exit", "socket"))
    assert found["offered"] == found["sent"] + found["lost"] == found["delivered"] + found["lost"], found
    return never == 0


BUILD_FILES, BUILD_HEADERS, BUILD_ROUNDS = 60, 400, 5


def build(args, program, folder):
    """The time of a build with the agent (its default set of events) beside that without."""
    for at in range(BUILD_HEADERS):
        with open(os.path.join(folder, f"part{at}.h"), "w") as file:
            file.write(f"#pragma once\n#include <stddef.h>\nstruct part{at} {{ struct part{at} *next; size_t size; int kind; }};\n"
                       f"static inline size_t size{at}(const struct part{at} *p) {{ size_t n = 0; for (; p; p = p->next) n += p->kind == {at} ? p->size : n >> 1; return n; }}\n")
    for at in range(BUILD_FILES):
        with open(os.path.join(folder, f"unit{at}.c"), "w") as file:
            file.writelines(f'#include "part{header}.h"\n' for header in range(BUILD_HEADERS))
            file.writelines(f"size_t unit{at}_{f}(const struct part{f} *p) {{ return size{f}(p) + {at}; }}\n" for f in range(40))
    with open(os.path.join(folder, "Makefile"), "w") as file:
        file.write("all: $(patsubst %.c,%.o,$(wildcard unit*.c))\n%.o: %.c\n\tcc -O2 -c -o $@ $<\n")

    def once():
        subprocess.run("rm -f unit*.o", shell=True, check=True, cwd=folder)
        begin = time.monotonic()
        subprocess.run(["make", "-s", "-j", str(os.cpu_count())], check=True, cwd=folder)
        return time.monotonic() - begin

    once()
    without, beside = [], []
    for round_ in range(BUILD_ROUNDS):
        without.append(once())
        os.makedirs(os.path.join(folder, f"agent{round_}"))
        agent = Agent(args.agent, {}, os.path.join(folder, f"agent{round_}"))
        beside.append(once())
        found = agent.end()
    slower = statistics.median(with_ / bare for with_, bare in zip(beside, without)) - 1
    print(f"build       {BUILD_FILES} files, {BUILD_HEADERS} headers each: {statistics.median(without):.2f} s without, "
          f"{statistics.median(beside):.2f} s with the agent ({slower:+.1%}, median of {BUILD_ROUNDS} pairs); {found['rows']} rows in the last, {found['lost']} lost")
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("what", nargs="?", choices=["throughput", "flood", "overload", "build"])
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "load")
        subprocess.run(["cc", "-O2", "-o", program, os.path.join(HERE, "load.c")], check=True)
        for name, run in (("throughput", throughput), ("flood", flood), ("overload", overload), ("build", build)):
            if args.what in (None, name):
                os.makedirs(os.path.join(folder, name))
                good &= run(args, program, os.path.join(folder, name))
    sys.exit(0 if good else 1)


main()
