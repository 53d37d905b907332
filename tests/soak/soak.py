#!/usr/bin/env python3
"""soak.py: thousands of stalls drawn by lot, and honest handlers at full load: who is blamed, and is it true?

    ./dev soak [plain|asan|tsan] [--stalls N] [--minutes M] [--backend NAME] [--seed S]

The first part fires N stalls at soakapp's routes, a few at once on two loops, beside honest handlers that are busy.
Each reply says on which loop its holds were, when, and for how long; the cause is known by the route.  What the server
reported (/stalls, /metrics, the log) is held against that.  Wrong are: a route named for a time when it did not hold
that loop; a cause (cpu, blocked) that is not its own; a hold blamed that was well below the limit; a hold well over it
of which nothing is told; more victims than could be; a frame, known for certain, of another route's function; and any
word of blame for an honest handler.  On a machine that is short of CPUs a hold may be nobody's fault ("runnable",
"late"): that is counted, and told.

The second part is M minutes of honest handlers at full load on two loops, in which nobody may be blamed.

A sanitizer's runtime maps memory inside handlers and waits for the process's memory lock (seen: 18 ms in mmap).  So there, and
only there, an honest handler may have been blocked in truth: a few such are counted, and told; more are wrong.  The same
goes for a handler caught in mmap outside the holds it tells of.

The kernel charges a thread's CPU clock with more than its code: interrupts, and stops of its virtual CPU that the
hypervisor does not tell of.  An honest handler measures its own, so one that is told to have computed for as long as
it says itself has been told of truly; those are counted, and told.

It prints a table for each part and exits with 1 when anything was wrong.  Everything stays on the loopback.
"""
import argparse
import bisect
import calendar
import collections
import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))
from conftest import PATIENCE, Server, get, wait_until    # noqa: E402 (found by the line above)

WAYS = {"sleep": "sleep_us", "spin": "spin_us", "lock": "wait_for_lock", "pipe": "wait_for_pipe"}
ROUTES = [prefix + way for prefix in ("/", "/nested/") for way in WAYS]
LIMIT_MS = 10.0
GUESTS = 4                  # who fire stalls
LOADERS, DEPTH = 3, 8       # connections of honest requests, and how many are under way on each
FULL = 8                    # such connections that keep two loops busy without a pause
BESIDE = ["/nap", "/offload", "/sync"]
SANITIZED = bool(os.environ.get("SANITIZERS"))
# Victims are counted for three turns of their loop, in each of which a request may follow another on its connection.
VICTIMS_MAX = 3 * (GUESTS + LOADERS * DEPTH + len(BESIDE))


def way_of(route):
    return route.rsplit("/", 1)[1]


def cause_of(route):
    return "cpu" if way_of(route) == "spin" else "blocked"


@dataclasses.dataclass
class Hold:
    """What a handler says of itself; ms."""
    route: str
    loop: int
    begin: float
    wall: float
    cpu: float

    @property
    def end(self):
        return self.begin + self.wall


def holds_of(route, body):
    """What a reply of soakapp's tells."""
    loop, *holds = body.decode().split()
    for h in holds:
        begin, wall, cpu = (int(n) / 1000 for n in h.split(":"))
        yield Hold(route, int(loop.removeprefix("ol-loop")), begin, wall, cpu)


def overlap(hold, begin, end):
    return min(hold.end, end) - max(hold.begin, begin)


class Watcher(threading.Thread):
    """Asks for /stalls again and again, and keeps the last that was said of each."""

    def __init__(self, server, period):
        super().__init__(daemon=True)
        self.server, self.period = server, period
        self.done = threading.Event()
        self.seen = {}
        self.failure = None

    def run(self):
        control = http.client.HTTPConnection("127.0.0.1", self.server.control, timeout=PATIENCE)
        with contextlib.closing(control):
            try:
                while not self.done.wait(self.period):
                    self.look(control)
                self.look(control)
            except Exception as e:      # of a thread: told by finish
                self.failure = e

    def look(self, control):
        control.request("GET", "/stalls")
        for stall in json.loads(control.getresponse().read()):
            self.seen[stall["id"]] = stall

    def finish(self):
        """All stalls, once the last one is over, but for what was taken back: that is seen as going on for good."""
        wait_until(lambda: not any(s["ongoing"] for s in json.loads(self.server.ask_control("/stalls")[1])))
        time.sleep(0.3)     # victims are counted for a fifth of a second
        self.done.set()
        self.join()
        if self.failure:
            raise self.failure
        return list(self.seen.values())


class Crowd:
    """Threads that go on until told to end; what fails in one is told when they are joined."""

    def __init__(self):
        self.over = threading.Event()
        self.threads, self.failures = [], []
        self.honest = 0
        self.overshot = []      # holds of honest handlers that the kernel charged with more CPU time than they wanted

    def start(self, fn, *args):
        def run():
            try:
                fn(*args)
            except BaseException as e:
                self.failures.append(e)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self):
        for t in self.threads:
            t.join()
        if self.failures:
            raise self.failures[0]

    def load(self, server, seed, us_max):
        """Honest requests without a pause, on connections that last a while: each new one may meet another loop."""
        lot, n = random.Random(seed), 0
        while not self.over.is_set():
            with server.client() as c:
                for _ in range(50):
                    c.send(*(get(f"/honest?us={lot.randrange(us_max)}") for _ in range(DEPTH)))
                    for _ in range(DEPTH):
                        reply = c.reply()
                        assert reply.status == 200
                        if reply.body != b"honest\n":
                            self.overshot.extend(holds_of("/honest", reply.body))
                    n += DEPTH
                    if self.over.is_set():
                        break
        self.honest += n

    def rest(self, server, path):
        while not self.over.is_set():
            assert server.ask(path)[0] == 200
            self.honest += 1

    def honest_load(self, server, seed, loaders, us_max):
        for i in range(loaders):
            self.start(self.load, server, seed * 100 + i, us_max)
        for path in BESIDE:
            self.start(self.rest, server, path)


# ---- firing stalls, and what they say of themselves

def fire(server, lot, route):
    """The holds of one request to that route; some are too short to be stalls."""
    ms = lot.randrange(1, 7) if lot.random() < 0.15 else lot.randrange(15, 70)
    status, _, body = server.ask(f"{route}?ms={ms}")
    assert status == 200
    return holds_of(route, body)


def fire_all(server, n, seed):
    """The holds of about n stalls: what is under way when the n-th has been told is seen through."""
    holds, lock = [], threading.Lock()

    def guest(i):
        lot = random.Random(seed * 100 + i)
        while True:
            more = list(fire(server, lot, lot.choice(ROUTES)))
            with lock:
                holds.extend(more)
                if sum(1 for h in holds if h.wall >= LIMIT_MS) >= n:
                    return

    guests = Crowd()
    for i in range(GUESTS):
        guests.start(guest, i)
    guests.join()
    return holds


def ages_of_stacks(server, n, seed):
    """How old stalls were when a stack was first seen of them, each asked about without a pause: an upper bound."""
    lot, ages = random.Random(seed), []
    control = http.client.HTTPConnection("127.0.0.1", server.control, timeout=PATIENCE)
    with contextlib.closing(control):
        for _ in range(n):
            over = threading.Event()
            route = lot.choice(ROUTES[:len(WAYS)])
            t = threading.Thread(target=lambda: (server.ask(f"{route}?ms=60"), over.set()), daemon=True)
            t.start()
            while not over.is_set():
                control.request("GET", "/stalls")
                now = [s for s in json.loads(control.getresponse().read()) if s["ongoing"] and s["stack"]]
                if now:
                    ages.append(now[0]["ms"])
                    break
            t.join()
            time.sleep(0.05)
    return ages


# ---- holding one against the other

def began(stall):
    """Milliseconds of the machine's clock."""
    whole, ms = stall["time"].rstrip("Z").split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(ms)


class Truth:
    """The holds of each loop by when they began; they do not overlap, a loop being one thread."""

    def __init__(self, holds):
        self.loops = collections.defaultdict(list)
        for h in sorted(holds, key=lambda h: h.begin):
            self.loops[h.loop].append(h)
        self.begins = {loop: [h.begin for h in hs] for loop, hs in self.loops.items()}

    def of(self, stall):
        """The hold that shares most of the stall's time; None when none has a part in it worth a word."""
        begin, end = began(stall), began(stall) + 1 + stall["ms"]
        if stall["loop"] not in self.loops:
            return None
        i = bisect.bisect(self.begins[stall["loop"]], end)
        near = self.loops[stall["loop"]][max(0, i - 64):i]
        best = max(near, key=lambda h: overlap(h, begin, end), default=None)
        return best if best and overlap(best, begin, end) >= 0.5 * min(best.wall, stall["ms"]) else None

    def pairs(self):
        """How many holds met one on another loop."""
        a, b = (self.loops.get(i, []) for i in (0, 1))
        return sum(1 for h in a if any(overlap(h, o.begin, o.end) > 0 for o in b))


def functions_of(frames):
    return {f["at"].split("+")[0] for f in frames}


def own_functions(route):
    return {WAYS[way_of(route)], f"once_{way_of(route)}", f"nested_{way_of(route)}"}


def strangers(stall, certain=False):
    """Functions on the stack that are another route's; if certain, before the first frame that is only probable: what
    comes after it hangs on a guess."""
    others = set().union(*(own_functions(r) for r in ROUTES)) - own_functions(stall["route"])
    frames = stall["stack"]
    if certain:
        frames = itertools.takewhile(lambda f: not f["probable"], frames)
    return functions_of(frames) & others


def judge(stall, truth):
    """What is wrong with what was said of it, in words, or None; for a stall that names a route."""
    hold = truth.of(stall)
    if not hold or hold.route != stall["route"]:
        return f"named {stall['route']}, when {hold.route if hold else 'nobody'} held the loop"
    if stall["cause"] != cause_of(hold.route):
        return f"{stall['cause']}, but it is {cause_of(hold.route)}"
    if hold.wall < LIMIT_MS - 2:
        return f"blamed for {hold.wall:.1f} ms"
    if not 0 <= stall["victims"] <= VICTIMS_MAX:
        return f"{stall['victims']} victims"
    if strangers(stall, certain=True):
        return f"its stack has {strangers(stall, certain=True)}"
    return None


SAMPLE = re.compile(r'offloop_loop_stalls_total\{route="([^"]*)",cause="([^"]*)"\} (\S+)')


def counts(server):
    """Stalls by (route, cause), as /metrics has them."""
    return {(m[0], m[1]): int(float(m[2])) for m in SAMPLE.findall(server.ask_control("/metrics")[1])}


def blamed(counted):
    return {key: n for key, n in counted.items() if key[1] in ("cpu", "blocked")}


def by_sanitizer(key, n, seconds):
    """Whether so many of a (route, cause) are what a sanitizer's own work makes of honest handlers in that time."""
    return SANITIZED and key[0] in ["/honest", *BESIDE] and key[1] == "blocked" and n <= 2 + seconds / 5


def in_sanitizer(s):
    """Whether the stall's thread was seen to map memory, which none of soakapp's handlers does itself."""
    return SANITIZED and s["cause"] == "blocked" and re.match(r"(mmap|munmap|madvise|mprotect)\b", s["syscall"] or "")


def charged(stalls, overshot):
    """Stalls told of honest handlers as "cpu" whose own CPU clock jumped ahead as far, by what they say themselves."""
    truth = Truth(h for h in overshot if h.cpu >= LIMIT_MS - 1)
    return [s for s in stalls if s["name"] and (s["route"], s["cause"]) == ("/honest", "cpu") and truth.of(s)]


def without_excused(names, excused):
    """What is left of [((route, cause), what to say of it)]."""
    return [text for key, text in names if key not in excused]


LINE = re.compile(r'a route h(?:eld|olds) its loop route="GET ([^"]*)".* cause=(\w+)')


def told(server):
    """(route, cause) of each line of the log that blames somebody."""
    return LINE.findall(server.log)


@dataclasses.dataclass
class Report:
    """A part's table, and what was wrong."""
    rows: list
    wrong: list

    def print(self, title):
        print(f"\n{title}\n")
        for name, value in [*self.rows, ("wrong", len(self.wrong))]:
            print(f"  {name:<44} {value}")
        for w in self.wrong[:20]:
            print(f"  WRONG: {w}")
        sys.stdout.flush()


def share(n, total):
    return f"{n} ({100 * n / total if total else 0:.1f} %)"


def quantiles(values):
    if not values:
        return "none"
    values = sorted(values)
    return f"median {statistics.median(values):.1f}, 99 % {values[int(len(values) * 0.99)]:.1f}, most {values[-1]:.1f}"


def soak_stalls(server, n, seed=1, stacks=True, probes=0):
    """The first part, on a server of soakapp's with two loops."""
    crowd, watcher = Crowd(), Watcher(server, 0.1)
    crowd.honest_load(server, seed, LOADERS, 200)
    watcher.start()
    holds = fire_all(server, n, seed)
    long = [h for h in holds if h.wall >= LIMIT_MS + 2]
    with contextlib.suppress(AssertionError):   # told below
        wait_until(lambda: sum(counts(server).values()) >= len(long), 10)
    stalls = watcher.finish()
    counted, lines = counts(server), told(server)
    ages = ages_of_stacks(server, probes, seed)
    crowd.over.set()
    crowd.join()

    truth = Truth(holds)
    loops = [s for s in stalls if s["kind"] == "loop"]
    named = [s for s in loops if s["name"]]
    ended = [s for s in named if not s["ongoing"]]
    excused = {key: n for key, n in blamed(counted).items() if by_sanitizer(key, n, 0)}
    mapped = [s for s in named if in_sanitizer(s) and not truth.of(s)]
    if len(mapped) > 2 + len(long) // 1000:
        mapped = []
    wrong = [f"{why}: {json.dumps(s)}" for s in named if (why := judge(s, truth)) and s not in mapped
             and ((s["route"], s["cause"]) not in excused or truth.of(s))]
    odd = [(key, f"/metrics: {n} of {key}") for key, n in blamed(counted).items()]
    odd += [(line, f"the log: {line}") for line in lines]
    wrong += without_excused([o for o in odd if o[0][0] not in ROUTES or o[0][1] != cause_of(o[0][0])], excused)
    if sum(counted.values()) < len(long):
        wrong.append(f"/metrics counts {sum(counted.values())} stalls, of {len(long)} holds over the limit")
    if not ended:
        wrong.append("nothing was blamed")
    nobody = collections.Counter(s["cause"] for s in loops if not s["name"] and truth.of(s))
    beside = collections.Counter(s["cause"] for s in loops if not s["name"] and not truth.of(s))
    true = [s for s in ended if s["route"] in ROUTES]
    old = [s for s in true if s["ms"] >= 40]
    rows = [("holds of a loop", len(holds)), ("over the limit by 2 ms", len(long)),
            ("at once with one on the other loop", truth.pairs()), ("honest requests beside", crowd.honest),
            ("blamed on a route", len(ended))]
    rows += [(f"  {key[0]} {key[1]} (/metrics)", n) for key, n in sorted(blamed(counted).items())]
    rows += [("blamed in the log, where lines are limited", len(lines))]
    rows += [(f"a stall, but nobody's fault: {cause}", share(nobody[cause], len(long))) for cause in ("runnable", "late")]
    rows += [(f"others that are nobody's fault: {cause}", n) for cause, n in beside.items()]
    rows += [(f"honest {key[0]} held up by the sanitizer", n) for key, n in excused.items()]
    rows += [("held up by the sanitizer's own mmap", len(mapped))] if SANITIZED else []
    rows += [("victims", sum(s["victims"] for s in ended))]
    if stacks:
        own = [s for s in old if functions_of(s["stack"]) & own_functions(s["route"])]
        rows += [("of 40 ms and more with a stack", share(sum(1 for s in old if s["stack"]), len(old))),
                 ("  with the handler or what it called", share(len(own), len(old))),
                 ("with another's, after a probable frame", sum(1 for s in true if strangers(s)))]
    if probes:
        rows += [(f"age at a stack's first sight, ms ({len(ages)} of {probes})", quantiles(ages))]
    return Report(rows, wrong)


def soak_honest(server, seconds, seed=1):
    """The second part: nobody may be blamed."""
    before = blamed(counts(server))
    mark = len(told(server))
    crowd, watcher = Crowd(), Watcher(server, 0.5)
    known = {s["id"] for s in json.loads(server.ask_control("/stalls")[1])}
    watcher.start()
    crowd.honest_load(server, seed + 50, FULL, 1000)
    load = []
    for _ in range(int(seconds)):
        time.sleep(1)
        load.append(sum(server.metric("offloop_loop_utilization_ratio", loop=i) for i in (0, 1)))
    crowd.over.set()
    crowd.join()
    stalls = [s for s in watcher.finish() if s["id"] not in known]
    more = {key: n - before.get(key, 0) for key, n in blamed(counts(server)).items() if n != before.get(key, 0)}
    excused = {key: n for key, n in more.items() if by_sanitizer(key, n, seconds)}
    proven = charged(stalls, crowd.overshot)
    if proven and more.get(("/honest", "cpu")) == len(proven):
        excused["/honest", "cpu"] = len(proven)
    odd = [((s["route"], s["cause"]), f"blamed: {json.dumps(s)}") for s in stalls if s["name"]]
    odd += [(key, f"/metrics: {n} of {key}") for key, n in more.items()]
    odd += [(line, f"the log: {line}") for line in told(server)[mark:]]
    wrong = without_excused(odd, excused)
    nobody = collections.Counter(s["cause"] for s in stalls if not s["name"])
    rows = [("seconds", int(seconds)), ("honest requests", crowd.honest),
            ("loops busy, of 2 (median)", f"{statistics.median(load):.2f}")]
    rows += [(f"stalls that are nobody's fault: {cause}", nobody[cause]) for cause in ("runnable", "late")]
    rows += [(f"honest {key[0]} held up by the sanitizer", n) for key, n in excused.items() if key[1] == "blocked"]
    rows += [("CPU clocks that jumped ahead by 5 ms and more", len(crowd.overshot)),
             ("  of which told as cpu, truly", len(proven))]
    return Report(rows, wrong)


def main():
    p = argparse.ArgumentParser(prog="dev soak", description=__doc__.split("\n")[0])
    p.add_argument("--stalls", type=int, default=10000, metavar="N", help="how many; 0: without that part (%(default)s)")
    p.add_argument("--minutes", type=float, default=10, metavar="M", help="of honest load; 0: without (%(default)s)")
    p.add_argument("--backend", default="auto", choices=("auto", "uring", "libevent"))
    p.add_argument("--seed", type=int, default=int(time.time()), help="of the lots (by default the time)")
    p.add_argument("--no-stacks", action="store_true", help="they are not promised under ThreadSanitizer")
    args = p.parse_args()
    wrong = 0
    print(f"seed {args.seed}, backend {args.backend}")
    server = Server("soakapp", "--loops", "2", "--backend", args.backend)
    try:
        if args.stalls:
            probes = 0 if args.no_stacks else min(100, 10 + args.stalls // 50)
            report = soak_stalls(server, args.stalls, args.seed, not args.no_stacks, probes)
            report.print(f"{args.stalls} stalls")
            wrong += len(report.wrong)
        if args.minutes:
            report = soak_honest(server, args.minutes * 60, args.seed)
            report.print(f"{args.minutes:g} minutes of honest handlers")
            wrong += len(report.wrong)
    except BaseException:
        print("the end of its log:", server.log[-3000:])
        raise
    finally:
        server.stop()
    print(f"\n{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
