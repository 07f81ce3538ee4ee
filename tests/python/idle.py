"""What an idle agent costs: CPU of `bodkin-agent` and of the server behind it, and what they hold in memory."""

import os
import time

import harness

parser = harness.arguments(__doc__)
parser.add_argument("--settle", type=float, default=10.0, help="seconds before the measurement")
parser.add_argument("--seconds", type=float, default=60.0, help="seconds of the measurement")
parser.add_argument("--cpu-max", type=float, help="percent of one CPU that the agent may use")
parser.add_argument("--memory-max", type=float, help="MiB that the agent may hold")
args = parser.parse_args()


def cpu_seconds(pid):
    """User and system time of a process so far."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    """MiB that a process holds."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def threads(pid):
    """CPU seconds by thread name."""
    seconds = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        name = open(f"/proc/{pid}/task/{thread}/comm").read().strip()
        seconds[name] = seconds.get(name, 0.0) + cpu_seconds(f"{pid}/task/{thread}")
    return seconds


with harness.folder() as folder:
    server = harness.Server(args, folder)
    with harness.running(server), harness.running(harness.Agent(args, folder, server.flight)) as agent:
        time.sleep(args.settle)
        processes = (agent.pid, server.pid)
        before, by_thread = [cpu_seconds(pid) for pid in processes], threads(agent.pid)
        rows = server.sql("SELECT count(*) FROM events")[0][0]
        time.sleep(args.seconds)
        percent = [100 * (cpu_seconds(pid) - start) / args.seconds for pid, start in zip(processes, before)]
        rows = server.sql("SELECT count(*) FROM events")[0][0] - rows
        held = [memory(pid) for pid in processes]
        print(f"agent {percent[0]:.2f} % of one CPU, {held[0]:.1f} MiB; server {percent[1]:.2f} %, {held[1]:.1f} MiB; {rows / args.seconds:.0f} events/s, {len(os.listdir('/proc'))} entries in /proc")
        for name, seconds in sorted(threads(agent.pid).items(), key=lambda item: -item[1]):
            used = seconds - by_thread.get(name, 0.0)
            if used > 0:
                print(f"  {name:16} {100 * used / args.seconds:.2f} %")
        assert args.cpu_max is None or percent[0] <= args.cpu_max, f"the agent used {percent[0]:.2f} % of one CPU"
        assert args.memory_max is None or held[0] <= args.memory_max, f"the agent held {held[0]:.1f} MiB"
