#!/usr/bin/env python3
"""growth.py: how the cost of a request grows, and whether no faster than the data structures promise.

    ./dev bench growth [--rounds N] [--seconds S] [--only QUESTION,...] [--backend NAME] [--out DIR]

Six questions: CPU per request against the number of routes, of connections, of pool threads, of requests that wait in
a pool's queue, of header fields, and of bytes in a body.  For each one knob is turned and everything else held.  The
server (bench/growapp, anew for each sample) stands on one CPU, the loader (bench/load) on another; the CPU is that of
all the server's threads, to the nanosecond, from when every connection has had its first reply.  Rounds go through all
points in turn, so that whatever the machine does for a while hits all of them; a point is the median, its bar least to
most.

Each series has a promise.  "flat": from its cheapest point on, the cost must not grow with more than the 0.15th power
of the knob (ten times as many: at most 1.4 times the cost; caches are allowed to be caches).  "linear": what a point
costs beyond the first must not grow with more than the 1.5th power (bytes that no cache holds cost more each).  Written
are doc/growth.json, with every sample, and doc/growth-QUESTION.svg; the exit status is 1 when a promise was broken or a
request failed.  Where a process may not open files enough, numbers of connections are skipped, which the verdict says;
the promise is then neither kept (null in the JSON) nor broken, if what was seen keeps it.  It takes two minutes.
"""
import argparse
import json
import math
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys

from run import HERE, Server, Trouble, cpus, figure, machine, pinned, progress

FLAT_MAX, LINEAR_MAX = 0.15, 1.5
FILES = 24000       # descriptors: two for each of 10,000 connections, were they in one process
HELD_US = 1000      # how long a queued handler holds its thread

# A series: name, promise, and for a value of the knob the server's options, the loader's, and idle connections.
# A question: title, the knob's name, how its axis is cut, its series and values.
QUESTIONS = {
    "routes": ("CPU per request against the number of routes", "routes", "log", [
        ("all routes in turn", "flat", lambda n: ([str(n)], {"path": "/area-{}/items/7", "vary": n}, 0)),
        ("one route", "flat", lambda n: ([str(n)], {"path": "/area-00000/items/7"}, 0)),
    ], [1, 10, 100, 1000, 10000]),
    "connections": ("CPU per request against the number of connections", "connections", "log", [
        ("all of them busy", "flat", lambda n: (["0"], {"connections": n}, 0)),
        ("idle, beside 64 busy", "flat", lambda n: (["0"], {"connections": 64}, n)),
    ], [1, 10, 100, 1000, 10000]),
    "threads": ("CPU per request against the number of pool threads", "threads allowed", "log", [
        ("trivial handler, 64 clients", "flat", lambda n: (["0", "--pool", str(n)], {"path": "/sync"}, 0)),
        ("10 ms handler, all threads at work", "flat",
         lambda n: (["0", "--pool", str(n)], {"path": "/sleep/10000", "connections": 2 * n}, 0)),
    ], [1, 4, 16, 64, 256]),
    "queue": ("CPU per request against the length of the queue", "requests waiting", "log", [
        (f"{HELD_US // 1000} ms handler, 8 threads", "flat",
         lambda n: (["0", "--pool", "8"], {"path": f"/sleep/{HELD_US}", "connections": 8 + n}, 0)),
    ], [1, 10, 100, 1000, 4000]),
    "fields": ("CPU per request against the number of header fields", "header fields of 30 bytes", "linear", [
        ("GET /", "linear", lambda n: (["0"], {"fields": n}, 0)),
    ], [1, 10, 25, 50, 75, 95]),
    "body": ("CPU per request against the size of the body", "bytes", "log-log", [
        ("received", "linear", lambda n: (["0"], {"path": "/take", "body": n, "connections": 16}, 0)),
        ("sent", "linear", lambda n: (["0"], {"path": f"/bytes/{n}", "connections": 16}, 0)),
    ], [1, 1024, 8192, 65536, 262144, 1048576]),
}


# ---- one sample

class Growapp(Server):
    """bench/growapp with these arguments, ready."""

    def __init__(self, options, arguments, cpu):
        super().__init__(options.build / "bench" / "growapp",
                         [arguments[0], "--connections-max", "20000", "--requests-max", "20000", "--queue", "20000",
                          "--pool-idle", "600", "--queue-timeout", "60", *arguments[1:]], options.backend, cpu)

    def cpu_ns(self):
        total = 0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{thread}/schedstat") as f:
                    total += int(f.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total


def idle_connections(port, n):
    """n connections, each of which has had one reply."""
    held = []
    for _ in range(n):
        client = socket.create_connection(("127.0.0.1", port), 10)
        held.append(client)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
            raise Trouble("an idle connection was refused")
    return held


def sample(options, series, value):
    """CPU microseconds per request, requests that were answered, and those that failed."""
    server_cpu, load_cpu = cpus()
    arguments, load, idle = series[2](value)
    server = Growapp(options, arguments, server_cpu)
    held, loader = [], None
    try:
        held = idle_connections(server.port, idle)
        command = [options.build / "bench" / "load", "--port", str(server.port), "--seconds", str(options.seconds),
                   "--announce", *(word for k, v in load.items() for word in ("--" + k, str(v)))]
        loader = subprocess.Popen(command, preexec_fn=pinned({load_cpu}), stdout=subprocess.PIPE, text=True)
        if loader.stdout.readline() != "begun\n":
            raise Trouble(f"the loader could not begin with {value} of {series[0]}")
        before = server.cpu_ns()
        result = json.loads(loader.stdout.readline())
        used = server.cpu_ns() - before
        loader.wait()
    finally:
        if loader and loader.poll() is None:
            loader.kill()
            loader.wait()
        for client in held:
            client.close()
        failed = server.stop()
    if failed:
        raise Trouble(failed)
    return used / 1000 / max(1, result["requests"]), result["requests"], sum(result["errors"].values())


def raise_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    return want


# ---- what it means

def exponent(promise, points):
    """With what power of the knob the cost grows: from its cheapest point on; or, where it grows at all, what is added
    to the first point's.  0 where that is too little to tell."""
    first = points[0][1]
    if promise == "flat":
        points = points[min(range(len(points)), key=lambda i: points[i][1]):]
    else:
        points = [(x, y - first) for x, y in points if y >= 1.25 * first]
    if len(points) < 2:
        return 0.0
    (x0, y0), (x1, y1) = points[0], points[-1]
    return math.log(y1 / y0) / math.log(x1 / x0)


def judge(promise, points):
    """(kept, a sentence) for medians [(value, cost)]."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    power = exponent(promise, points)
    if promise == "flat":
        low = min(y for _, y in points)
        return power <= FLAT_MAX, f"flat: {figure(low)} µs at best, {figure(y1)} µs with {x1:,}"
    each = (y1 - y0) / (x1 - x0) * 1000
    return power <= LINEAR_MAX, f"linear: {figure(y0)} µs, and {figure(each)} ns for each"


def results(samples, skipped):
    out = {}
    for name, (title, knob, axis, series, _values) in QUESTIONS.items():
        rows = []
        for label, promise, _ in series:
            points = [(v, [cost for cost, _, _ in taken]) for (q, s, v), taken in samples.items()
                      if q == name and s == label]
            if points:
                kept, words = judge(promise, [(v, statistics.median(costs)) for v, costs in points])
                left_out = sorted(v for q, s, v in skipped if q == name and s == label)
                if left_out:
                    kept = kept and None    # so far as was seen
                    words += f"; skipped for want of files: {', '.join(f'{v:,}' for v in left_out)}"
                rows.append({"series": label, "promise": promise, "kept": kept, "verdict": words, "skipped": left_out,
                             "points": [
                    {"value": v, "cpu_us": statistics.median(c), "least": min(c), "most": max(c), "samples": c}
                    for v, c in points]})
        if rows:
            out[name] = {"title": title, "knob": knob, "axis": axis, "series": rows}
    return out


# ---- plots

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 72, 24, 92, 56
STYLE = """
svg { background: #ffffff; font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
text { fill: #24292f } .dim { fill: #57606a } .title { font-size: 17px; font-weight: 600 }
.grid { stroke: #d0d7de } .axis { stroke: #57606a } .s0 { --c: #0860ca } .s1 { --c: #b35900 }
.line { fill: none; stroke: var(--c); stroke-width: 2 } .bar { stroke: var(--c); stroke-width: 1.5; opacity: .55 }
.dot { fill: var(--c) } .name { fill: var(--c); font-weight: 600 }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117 } text { fill: #e6edf3 } .dim { fill: #9198a1 } .grid { stroke: #30363d }
.axis { stroke: #9198a1 } .s0 { --c: #58a6ff } .s1 { --c: #f0883e } .name { fill: var(--c) } }
"""


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def short(n):
    for size, unit in ((1 << 20, " MiB"), (1 << 10, " KiB")):
        if n >= size and n % size == 0:
            return f"{n // size}{unit}"
    return f"{n:,}"


def steps(top):
    """Values for the grid from 0 to a round number not below top."""
    size = 10 ** math.floor(math.log10(top))
    step = next(s * size for s in (0.1, 0.2, 0.25, 0.5, 1, 2) if top / (s * size) <= 6)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


class Plot:
    def __init__(self, answer):
        self.answer = answer
        rows = [p for s in answer["series"] for p in s["points"]]
        self.values = sorted({p["value"] for p in rows})
        self.log_x, self.log_y = answer["axis"] != "linear", answer["axis"] == "log-log"
        top = max(p["most"] for p in rows)
        if self.log_y:
            low, high = math.floor(math.log10(min(p["least"] for p in rows))), math.ceil(math.log10(top))
            self.ticks = [10.0 ** i for i in range(low, high + 1)]
        else:
            self.ticks = steps(top * 1.05)

    def x(self, value):
        low, high = self.values[0], self.values[-1]
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(value)
        else:
            low = 0
        return LEFT + 14 + (WIDTH - LEFT - RIGHT - 28) * (value - low) / max(1e-9, high - low)

    def y(self, cost):
        low, high = self.ticks[0], self.ticks[-1]
        if self.log_y:
            low, high, cost = math.log(low), math.log(high), math.log(cost)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (cost - low) / (high - low)

    def axes(self):
        for tick in self.ticks:
            y = self.y(tick)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="dim" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>'
        yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        for value in self.values:
            x = self.x(value)
            yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}"/>'
            yield f'<text class="dim" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{short(value)}</text>'
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escaped(self.answer["knob"])}</text>'
        yield (f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
               'CPU per request, µs</text>')

    def series(self, number, row):
        points = [(self.x(p["value"]), self.y(p["cpu_us"]), self.y(p["least"]), self.y(p["most"]))
                  for p in row["points"]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        broken = " — BROKEN" if row["kept"] is False else ""
        yield f'<g class="s{number}"><polyline class="line" points="{line}"/>'
        for x, y, least, most in points:
            yield f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{least:.1f}" y2="{most:.1f}"/>'
            yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        yield (f'<circle class="dot" cx="{LEFT - 48}" cy="{48 + 20 * number}" r="4"/>'
               f'<text x="{LEFT - 38}" y="{52 + 20 * number}"><tspan class="name">{escaped(row["series"])}</tspan>'
               f'<tspan class="dim">  {escaped(row["verdict"])}{broken}</tspan></text></g>')

    def text(self):
        yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
               f'height="{HEIGHT}" role="img"><title>{escaped(self.answer["title"])}</title><style>{STYLE}</style>')
        yield f'<text class="title" x="{LEFT - 54}" y="26">{escaped(self.answer["title"])}</text>'
        yield from self.axes()
        for number, row in enumerate(self.answer["series"]):
            yield from self.series(number, row)
        yield "</svg>"


# ---- the command line

def read_options():
    parser = argparse.ArgumentParser(prog="./dev bench growth", description="How the cost of a request grows.")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="samples of each point [3]")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="of each sample [0.5]")
    parser.add_argument("--only", metavar="QUESTION,...", help="of: " + ", ".join(QUESTIONS))
    parser.add_argument("--backend", choices=("auto", "uring", "libevent"), default="auto", help="[auto]")
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, default=HERE.parent / "doc", help="[doc]")
    parser.add_argument("--build", metavar="DIR", type=pathlib.Path, default=HERE.parent / "build", help="[build]")
    o = parser.parse_args()
    o.build, o.wrk = o.build.resolve(), None
    o.only = o.only.split(",") if o.only else list(QUESTIONS)
    for name in o.only:
        if name not in QUESTIONS:
            parser.error(f"--only: there is no question {name!r}")
    if not 1 <= o.rounds <= 20 or not 0.05 <= o.seconds <= 5:
        parser.error("--rounds is in 1..20 and --seconds in 0.05..5")
    for program in ("growapp", "load"):
        if not (o.build / "bench" / program).exists():
            parser.error(f"{o.build / 'bench' / program} is missing: ./dev bench growth builds it")
    return o


def take(options, samples, skipped, failures):
    files = raise_files()
    for number in range(options.rounds):
        for name in options.only:
            _, knob, _, rows, values = QUESTIONS[name]
            for series in rows:
                for value in values:
                    if name == "connections" and value + 400 > files:
                        skipped.add((name, series[0], value))
                        continue
                    progress(f"round {number + 1} of {options.rounds}: {value:,} {knob}")
                    cost, answered, failed = sample(options, series, value)
                    samples.setdefault((name, series[0], value), []).append((cost, answered, failed))
                    if failed or not answered:
                        failures.append(f"{value:,} {knob}, {series[0]}: {answered} answered, {failed} failed")
    progress("")


def main():
    options, samples, skipped, failures = read_options(), {}, set(), []
    try:
        take(options, samples, skipped, failures)
    except Trouble as trouble:
        sys.exit(f"growth: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
    answers = results(samples, skipped)
    print("| question | series | medians, CPU µs/request | verdict |\n|---|---|---|---|")
    for answer in answers.values():
        for row in answer["series"]:
            costs = ", ".join(f"{p['value']:,}: {figure(p['cpu_us'])}" for p in row["points"])
            print(f"| {answer['knob']} | {row['series']} | {costs} | {row['verdict']}"
                  f"{' BROKEN' if row['kept'] is False else ''} |")
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(options, "growapp", "0"), "rounds": options.rounds, "seconds": options.seconds,
                "answers": answers}
    (options.out / "growth.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    for name, answer in answers.items():
        (options.out / f"growth-{name}.svg").write_text("\n".join(Plot(answer).text()) + "\n")
    for line in failures:
        print(f"FAILED: {line}")
    broken = any(row["kept"] is False for answer in answers.values() for row in answer["series"])
    sys.exit(1 if failures or broken else 0)


if __name__ == "__main__":
    main()
