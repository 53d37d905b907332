#!/usr/bin/env python3
"""monitor.py: how much of a CPU the monitor's thread takes from a loop under full load.

    ./dev bench monitor [--backend NAME] [--rounds N] [--seconds S]

The server (bench/refapp: one loop, and its monitor) stands on one CPU, the loader (bench/load, 64 connections) on
another.  Two figures come of the same seconds.  "Running" is from each switch to the monitor's thread until the switch
away from it, as perf records them (sched:sched_switch; perf(1) and the right to trace are needed).  "Charged" is what
/proc and top(1) show.  They differ because Linux begins to count for a thread that is woken and is to run next when it
is woken, though the thread on that CPU must first come out of the kernel: a loop on io_uring, which sends a batch of
replies in one system call, takes some 100 microseconds for that, in which it goes on with its work.  (wakeup_preempt,
kernel/sched/core.c: the clock is not read again at the switch.)
"""
import argparse
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from run import HERE, Server, Trouble, cpus, pinned

SWITCH = re.compile(r"\s([0-9.]+):\s+sched:sched_switch:.* prev_pid=(\d+) .* next_pid=(\d+) ")


def monitor_of(pid):
    for comm in pathlib.Path(f"/proc/{pid}/task").glob("*/comm"):
        if comm.read_text() == "ol-monitor\n":
            return int(comm.parent.name)
    raise Trouble("the server has no monitor")


def charged(pid, thread):
    return int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def looks(text, thread):
    """Seconds on a CPU, one for each time the thread ran."""
    since, times = None, []
    for at, left, came in SWITCH.findall(text):
        if int(left) == thread and since is not None:
            times.append(float(at) - since)
        since = float(at) if int(came) == thread else None
    return times


def record(cpu, seconds, output):
    """Traces; then the trace as text."""
    tracer = subprocess.run(["perf", "record", "-q", "-e", "sched:sched_switch", "-C", str(cpu), "-o", output, "--",
                             "sleep", str(seconds)], capture_output=True, text=True, check=False)
    if tracer.returncode:
        raise Trouble(f"perf may not trace here: {(tracer.stderr.strip() or 'no reason given').splitlines()[0]}")
    return subprocess.run(["perf", "script", "-i", output, "-F", "time,event,trace"], capture_output=True, text=True,
                          check=True).stdout


def sample(options, backend):
    """Per cent of a CPU while running, and as charged, and how often a second it ran."""
    server_cpu, load_cpu = cpus()
    server = Server(options.build / "bench" / "refapp", ["--loops", "1", "--control", "off"], backend, server_cpu)
    loader = None
    try:
        time.sleep(0.3)     # it reads the names of what is on stacks first
        thread = monitor_of(server.process.pid)
        loader = subprocess.Popen([options.build / "bench" / "load", "--port", str(server.port), "--connections", "64",
                                   "--seconds", str(options.seconds + 2)], preexec_fn=pinned({load_cpu}),
                                  stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        with tempfile.NamedTemporaryFile() as output:
            begun, before = time.monotonic(), charged(server.process.pid, thread)
            text = record(server_cpu, options.seconds, output.name)
            used, took = charged(server.process.pid, thread) - before, time.monotonic() - begun
        times = looks(text, thread)
    finally:
        if loader:
            loader.kill()
            loader.wait()
        failed = server.stop()
    if failed or not times:
        raise Trouble(failed or "perf has not seen the monitor run")
    return sum(times) / options.seconds * 100, used / took * 100, len(times) / options.seconds


def spread(per_cent):
    return f"{statistics.median(per_cent):.2f} % [{min(per_cent):.2f}-{max(per_cent):.2f}]"


def main():
    parser = argparse.ArgumentParser(prog="./dev bench monitor", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("--backend", choices=["uring", "libevent"], help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 1 <= options.rounds <= 100 or not 0.5 <= options.seconds <= 60:
        raise Trouble("--rounds takes 1 to 100, --seconds 0.5 to 60")
    if not shutil.which("perf"):
        raise Trouble("perf is needed: apt-get install linux-perf")
    backends = [options.backend] if options.backend else ["uring", "libevent"]
    taken = {b: [] for b in backends}
    for _ in range(options.rounds):
        for backend in backends:
            taken[backend].append(sample(options, backend))
    print(f"{platform.system()} {platform.release()}, {len(os.sched_getaffinity(0))} CPUs\n")
    print("| the monitor, of one CPU | running | charged | times a second |\n|---|---|---|---|")
    for backend, samples in taken.items():
        running, charge, rate = zip(*samples)
        print(f"| {backend} | {spread(running)} | {spread(charge)} | {statistics.median(rate):.0f} |")


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"bench: {trouble}")
