#!/usr/bin/env python3
"""run.py: measures offloop with the reference app, and prints Markdown tables.

    ./dev bench [--quick] [--backend NAME] [--only CASE,...] [--rounds N] [--seconds S] [--wrk] [--json FILE]

The server has one loop and stands on one CPU, the loader (bench/load, or wrk) on another.  CPU time and context
switches are the server's own, all its threads, from /proc; times are what the loader saw.  Rounds take turns among
cases and backends, so that whatever the machine does for a while hits all of them.  A sample during which other
processes used more than 0.12 of a CPU is repeated, up to four times, and the quietest is taken.  The tables show
medians, and least to most in brackets; read CPU a request first, since it moves least.  Everything stays on the
loopback and ends by itself: after about three minutes, with --quick half a minute, and at most twice that where
samples must be repeated.

It exits with 1 when a request failed or the server did not end well.
"""
import argparse
import json
import math
import os
import pathlib
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
FOREIGN_MAX = 0.12
TRIES = 4
IDLE = 10000
IDLE_FILES = IDLE + 400     # what a process that has them all needs: loops, pool and listener too

CASES = {
    # name: (what it says, loader options, what runs beside it, the server has both CPUs)
    "text": ("/", {"path": "/"}, None, False),
    "pipelined": ("/, pipelined ×16", {"path": "/", "pipeline": 16}, None, False),
    "json": ("/json", {"path": "/json"}, None, False),
    "sync": ("/sync", {"path": "/sync"}, None, False),
    "sleep10": ("/sleep10, 200 connections", {"path": "/sleep10", "connections": 200}, None, False),
    "alone": ("/, 8 connections", {"path": "/", "connections": 8}, None, False),
    "beside-sleep50": ("/, 8, beside 64 on /sleep50", {"path": "/", "connections": 8},
                       {"path": "/sleep50", "connections": 64}, False),
    "beside-bad50": ("/, 8, beside 4 on /bad50", {"path": "/", "connections": 8},
                     {"path": "/bad50", "connections": 4}, False),
    "close": ("/, a connection per request", {"path": "/", "close": True}, None, False),
    "cpu": ("/cpu, 16 connections, one CPU", {"path": "/cpu", "connections": 16}, None, False),
    "cpu-2": ("/cpu, 16 connections, two CPUs", {"path": "/cpu", "connections": 16}, None, True),
}

WRK_SCRIPT = """
local depth, path = %d, "%s"
function init() request_text = string.rep(wrk.format("GET", path), depth) end
function request() return request_text end
function done(s, l)
    local e = s.errors
    io.stderr:write(string.format(
        '{"requests": %%d, "seconds": %%f, "errors": {"connect": %%d, "reset": %%d, "status": %%d, "timeout": %%d}, ' ..
        '"p50_us": %%f, "p90_us": %%f, "p99_us": %%f, "max_us": %%f, "bytes": %%d}\\n', s.requests, s.duration / 1e6,
        e.connect, e.read + e.write, e.status, e.timeout, l:percentile(50), l:percentile(90), l:percentile(99), l.max,
        s.bytes))
end
"""


class Trouble(Exception):
    """What ends the run: one line for the user."""


def field(path, name):
    """The number behind `name:` in a file of /proc."""
    with open(path) as f:
        return next((int(line.split()[1]) for line in f if line.startswith(name + ":")), 0)


def cpus():
    """Where the server stands, and the loader."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


def pinned(cpu):
    return lambda: os.sched_setaffinity(0, cpu)


def machine_busy():
    """CPU seconds this machine has spent, whoever for."""
    with open("/proc/stat") as f:
        user, nice, system, _idle, _wait, irq, softirq = (int(n) for n in f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def own_seconds():
    """CPU seconds of this process and of the loaders it has waited for."""
    return sum(os.times()[:4])


class Server:
    """A program of bench/ on one backend and CPU, which listens."""

    def __init__(self, program, arguments, backend, cpu):
        self.name, self.backend = f"{program.name} on {backend}", backend
        self.port = self._free_port()
        self.errors = tempfile.TemporaryFile()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOOP_")}
        self.process = subprocess.Popen(
            [program, *arguments, "--port", str(self.port), "--backend", backend],
            preexec_fn=pinned({cpu}), env=environment, stdout=subprocess.DEVNULL, stderr=self.errors)
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def _free_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def _wait_ready(self):
        for _ in range(1000):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise Trouble(f"{self.name} did not start: {self._said()}") from None
                time.sleep(0.01)
        raise Trouble(f"{self.name} does not listen")

    def _said(self):
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace").strip() or f"status {self.process.poll()}"

    def move(self, where):
        """Puts every thread on these CPUs; threads to come inherit it."""
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                os.sched_setaffinity(int(thread), where)
            except ProcessLookupError:
                pass

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            times = f.read().rpartition(")")[2].split()
        return (int(times[11]) + int(times[12])) / TICK

    def switches(self):
        total = 0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                status = f"/proc/{self.process.pid}/task/{thread}/status"
                total += field(status, "voluntary_ctxt_switches") + field(status, "nonvoluntary_ctxt_switches")
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def resident(self):
        """Bytes of memory, exactly."""
        return field(f"/proc/{self.process.pid}/smaps_rollup", "Rss") * 1024

    def stop(self):
        """SIGTERM, which must end it with 0; else what went wrong."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(35)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        return None if status == 0 else f"{self.name} ended with status {status}: {self._said()}"


class Refapp(Server):
    """The reference app, which answers as it should."""

    def __init__(self, build, backend, cpu):
        super().__init__(build / "bench" / "refapp",
                         ["--loops", "1", "--pool", "40", "--connections-max", str(IDLE + 200), "--pool-idle", "600",
                          "--log-level", "error"], backend, cpu)
        try:
            for path in ("/", "/json", "/sync", "/sleep10", "/sleep50", "/bad50", "/cpu"):
                self._check(path)
        except BaseException:
            self.stop()
            raise

    def _check(self, path):
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        want = {"/json": b'{"message":"Hello, World!"}', "/cpu": body}.get(path, b"Hello, World!")
        if not head.startswith(b"HTTP/1.1 200 ") or body != want:
            raise Trouble(f"{self.name} answers {path} with {answer[:80]!r}")


class Loader:
    def __init__(self, build, cpu, wrk):
        self.cpu, self.wrk = cpu, wrk
        self.load = build / "bench" / "load"
        self.script = tempfile.NamedTemporaryFile("w", suffix=".lua") if wrk else None

    def start(self, port, seconds, path="/", connections=64, pipeline=1, close=False):
        if self.wrk:
            self.script.seek(0)
            self.script.truncate()
            self.script.write(WRK_SCRIPT % (pipeline, path))
            self.script.flush()
            command = [self.wrk, "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "-s", self.script.name]
            command += ["-H", "Connection: close"] if close else []
            command.append(f"http://127.0.0.1:{port}{path}")
            result = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        else:
            command = [self.load, "--port", str(port), "--seconds", str(seconds), "--path", path, "--connections",
                       str(connections), "--pipeline", str(pipeline)] + (["--close"] if close else [])
            result = {"stdout": subprocess.PIPE}
        process = subprocess.Popen(command, preexec_fn=pinned({self.cpu}), **result)
        if self.wrk:
            time.sleep(0.05)    # it has read the script by then, and another may be written
        return process

    @staticmethod
    def result(process):
        out, err = process.communicate()
        try:
            return json.loads((out or err).splitlines()[-1])
        except (ValueError, IndexError):
            raise Trouble(f"the loader said: {(out or err or b'')[-200:]!r}") from None


class Bench:
    def __init__(self, options):
        self.options = options
        self.cpu, self.load_cpu = cpus()
        self.loader = Loader(options.build, self.load_cpu, options.wrk)
        self.samples = {}       # (case, backend): list
        self.idle = {}          # backend: what 10,000 connections cost
        self.skipped = []
        self.failed = []
        self.taken = self.noisy = 0
        self.repeats_left = options.rounds * len(options.cases) * len(options.backends)

    # ---- one sample

    def sample(self, server, loads, beside):
        """One run of the loader, and what the server and others used meanwhile."""
        seconds = self.options.seconds
        background = self.loader.start(server.port, seconds + 0.4, **beside) if beside else None
        try:
            if background:
                time.sleep(0.2)
            began, busy, own = time.monotonic(), machine_busy(), own_seconds()
            cpu, switches = server.cpu_seconds(), server.switches()
            row = self.loader.result(self.loader.start(server.port, seconds, **loads))
            used = server.cpu_seconds() - cpu
            switches = server.switches() - switches
            if background:
                row["beside"] = self.loader.result(background)
                background = None
            elapsed = time.monotonic() - began
            used_all = server.cpu_seconds() - cpu
            foreign = (machine_busy() - busy - used_all - (own_seconds() - own)) / elapsed
        finally:
            if background:
                background.kill()
                background.wait()
        requests = max(1, row["requests"])
        row.update(foreign=max(0.0, foreign), rps=row["requests"] / row["seconds"], utilization=used / row["seconds"])
        if not beside:
            row.update(cpu_request_us=used * 1e6 / requests, switches=switches / requests)
        return row

    def quiet_sample(self, server, loads, beside):
        best = None
        for _ in range(TRIES):
            row = self.sample(server, loads, beside)
            if best is None or row["foreign"] < best["foreign"]:
                best = row
            if best["foreign"] <= FOREIGN_MAX or self.repeats_left <= 0:
                break
            self.repeats_left -= 1
        self.taken += 1
        self.noisy += best["foreign"] > FOREIGN_MAX
        return best

    def measure(self, case, server):
        what, loads, beside, two = CASES[case]
        if two:
            server.move({self.cpu, self.load_cpu})
        row = self.quiet_sample(server, loads, beside)
        if two:
            server.move({self.cpu})
        self.samples.setdefault((case, server.backend), []).append(row)
        errors = sum(row["errors"].values()) + (sum(row["beside"]["errors"].values()) if beside else 0)
        if errors:
            self.failed.append(f"{what} on {server.backend}: {errors} requests failed: {row['errors']}")

    # ---- idle connections

    def measure_idle(self, server):
        """The server's memory before and after 10,000 connections, each of which has had one answer."""
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        before, began = server.resident(), time.monotonic()
        clients = []
        try:
            for _ in range(IDLE):
                client = socket.create_connection(("127.0.0.1", server.port), 10)
                clients.append(client)
                client.sendall(request)
                if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
                    raise OSError("closed before its answer")
            opened = time.monotonic() - began
            after, cpu = server.resident(), server.cpu_seconds()
            time.sleep(1)
            idle_cpu = server.cpu_seconds() - cpu
            # The first and the last still answer: none was closed to make room.
            for client in (clients[0], clients[-1]):
                client.sendall(request)
                if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
                    raise OSError("an idle connection no longer answers")
            self.idle[server.backend] = {
                "before_bytes": before, "after_bytes": after, "connection_bytes": (after - before) / IDLE,
                "idle_cpu": idle_cpu, "opened_per_s": IDLE / opened}
        except OSError as error:
            self.failed.append(f"idle connections on {server.backend}: number {len(clients)}: {error}")
        finally:
            for client in clients:
                client.close()

    def idle_cases(self, servers):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < IDLE_FILES:
            self.skipped.append(
                f"{IDLE:,} idle connections: RLIMIT_NOFILE permits {hard} open files, {IDLE_FILES} are needed")
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE_FILES), hard))
        for server in servers:
            progress(f"idle connections: {server.backend}")
            self.measure_idle(server)

    # ---- all

    def run(self):
        servers = []
        try:
            for backend in self.options.backends:
                try:
                    servers.append(Refapp(self.options.build, backend, self.cpu))
                except Trouble as trouble:
                    if backend != "uring" or len(self.options.backends) == 1:
                        raise
                    self.skipped.append(str(trouble))
            for server in servers:  # warm caches, and the pool's threads
                for path in ("/", "/sync"):
                    self.loader.result(self.loader.start(server.port, 0.2, path=path))
            for number in range(self.options.rounds):
                for case in self.options.cases:
                    progress(f"round {number + 1} of {self.options.rounds}: {CASES[case][0]}")
                    for server in servers if number % 2 == 0 else reversed(servers):
                        self.measure(case, server)
            if self.options.idle:
                self.idle_cases(servers)
        finally:
            progress("")
            self.failed += filter(None, [server.stop() for server in servers])


# ---- what is printed

def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def figure(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    """The median, and the least and the most."""
    if not values:
        return "–"
    middle = figure(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({figure(min(values))}–{figure(max(values))})"


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def print_table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---|---|" + "---:|" * (len(head) - 2))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def case_rows(bench):
    for case in bench.options.cases:
        for backend in bench.options.backends:
            rows = bench.samples.get((case, backend))
            if rows:
                yield [CASES[case][0], backend] + [
                    spread([row[key] for row in rows if key in row])
                    for key in ("cpu_request_us", "rps", "p50_us", "p99_us", "switches")] + [
                        str(sum(sum(row["errors"].values()) for row in rows))]


def derived_rows(bench):
    """What follows from two cases: the hop, what blocking costs others, and what a second CPU gives."""
    for backend in bench.options.backends:
        def rows(case):
            return bench.samples.get((case, backend))
        if rows("text") and rows("sync"):
            hops = [b["cpu_request_us"] - a["cpu_request_us"] for a, b in zip(rows("text"), rows("sync"))]
            yield ["the hop: /sync − /, CPU µs", backend, spread(hops)]
        for case, other in (("beside-sleep50", "64 on /sleep50"), ("beside-bad50", "4 on /bad50")):
            if rows("alone") and rows(case):
                ratio = median(rows(case), "p50_us") / max(0.1, median(rows("alone"), "p50_us"))
                yield [f"p50 of / beside {other}, against alone", backend, f"× {figure(ratio)}"]
        if rows("cpu") and rows("cpu-2"):
            yield ["/cpu: two CPUs against one, req/s", backend,
                   f"× {figure(median(rows('cpu-2'), 'rps') / max(0.1, median(rows('cpu'), 'rps')))}"]


def idle_rows(bench):
    for backend, cost in bench.idle.items():
        yield [f"{IDLE:,} idle connections", backend, f"{cost['before_bytes'] / 2**20:.1f}",
               f"{cost['after_bytes'] / 2**20:.1f}", figure(cost["connection_bytes"]),
               f"{100 * cost['idle_cpu']:.0f} %"]


def command_output(*command):
    try:
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine(options, program="refapp", *arguments):
    """The machine, and the program that is measured, which --version behind these arguments makes tell its own."""
    with open("/proc/cpuinfo") as f:
        names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    libraries = [(name, command_output("pkg-config", "--modversion", module))
                 for name, module in (("liburing", "liburing"), ("libevent", "libevent_core"), ("jansson", "jansson"))]
    return {
        "cpu": f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} CPUs",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libraries": ", ".join(f"{name} {version}" for name, version in
                               [(platform.libc_ver()[0], platform.libc_ver()[1]), *libraries] if version),
        "program": command_output(str(options.build / "bench" / program), *arguments, "--version"),
        "commit": command_output("git", "describe", "--always", "--dirty"),
        "loader": "wrk" if options.wrk else "bench/load",
    }


def report(bench, about):
    options = bench.options
    for name, value in about.items():
        if value:
            print(f"- {name}: {value}")
    where = f"server on CPU {bench.cpu}, loader on CPU {bench.load_cpu}"
    print(f"- {options.rounds} rounds of {options.seconds} s; 64 connections where nothing else is said; {where}\n")
    print_table(["case", "backend", "CPU µs/request", "req/s", "p50 µs", "p99 µs", "switches/request", "errors"],
                list(case_rows(bench)))
    derived = list(derived_rows(bench))
    if derived:
        print_table(["derived", "backend", "value"], derived)
    if bench.idle:
        print_table(
            ["memory of the process", "backend", "MiB before", "MiB after", "bytes/connection", "CPU while idle"],
            list(idle_rows(bench)))
    for line in bench.skipped:
        print(f"skipped: {line}")
    if bench.noisy:
        print(f"{bench.noisy} of {bench.taken} samples were taken while others used more than {FOREIGN_MAX} of a CPU.")
    if bench.cpu == bench.load_cpu:
        print("Server and loader shared one CPU: requests per second and times mean little.")
    for line in bench.failed:
        print(f"FAILED: {line}")


def write_json(bench, about, path):
    cases = [{"case": case, "backend": backend, "samples": rows} for (case, backend), rows in bench.samples.items()]
    document = {"machine": about, "cases": cases, "idle": bench.idle, "skipped": bench.skipped, "failed": bench.failed}
    path.write_text(json.dumps(document, indent=1) + "\n")


# ---- the command line

def read_options():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures offloop with its reference app.")
    parser.add_argument("--quick", action="store_true", help="about half a minute")
    parser.add_argument("--backend", choices=("uring", "libevent"), help="only this one")
    parser.add_argument("--only", metavar="CASE,...", help="only these of: " + ", ".join([*CASES, "idle"]))
    parser.add_argument("--rounds", type=int, metavar="N", help="samples of each case [5, quick 2]")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each sample [1.4, quick 0.5]")
    parser.add_argument("--wrk", action="store_true", help="load with wrk instead of bench/load; whole seconds only")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write every sample there too")
    parser.add_argument("--build", metavar="DIR", type=pathlib.Path, default=HERE.parent / "build", help="[build]")
    o = parser.parse_args()
    o.build = o.build.resolve()
    o.backends = [o.backend] if o.backend else ["uring", "libevent"]
    wanted = o.only.split(",") if o.only else [*CASES, "idle"]
    for name in wanted:
        if name not in CASES and name != "idle":
            parser.error(f"--only: there is no case {name!r}")
    o.cases = [case for case in CASES if case in wanted]
    o.idle = "idle" in wanted
    o.rounds = o.rounds if o.rounds is not None else 2 if o.quick else 5
    o.seconds = o.seconds if o.seconds is not None else 0.5 if o.quick else 1.4
    if not 1 <= o.rounds <= 100 or not 0.05 <= o.seconds <= 59:
        parser.error("--rounds is in 1..100 and --seconds in 0.05..59")
    if o.wrk:
        o.wrk = shutil.which("wrk")
        if not o.wrk:
            parser.error("wrk is not installed")
        o.seconds = float(math.ceil(o.seconds))
    for program in ("refapp", "load"):
        if not (o.build / "bench" / program).exists():
            parser.error(f"{o.build / 'bench' / program} is missing: ./dev bench builds it")
    return o


def main():
    options = read_options()
    bench = Bench(options)
    about = machine(options)
    try:
        bench.run()
    except Trouble as trouble:
        sys.exit(f"bench: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
    report(bench, about)
    if options.json:
        write_json(bench, about, options.json)
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
