"""The same scenarios on FastAPI and on offloop, side by side, and a table of what came of them.

The apps are fastapi_app.py and offloop_app.c.  Their handlers wait at a gate until they are let go, so what runs and
what waits is known, not timed: the limiter's own count here, the control plane there.  That something hangs is shown
by who waits for what; time only bounds the test.

FastAPI's half is asserted where its version is one whose behaviour is known; of another the table tells what it did.
offloop's half is asserted always.
"""
import http.client
import json
import pathlib
import select
import subprocess
import sys
import time
from importlib import metadata

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed (python3-fastapi)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (python3-uvicorn)")

OFFLOOP = "sidebyside/offloop_app"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scenario"))
from conftest import PATIENCE, Server, get, program_path, wait_until    # noqa: E402 it is found only now

THREADS, CONNECTIONS, CLIENTS = 40, 10, 100
MARKS, DEPARTED = 8, 20
PIECES = 2000
SOON = 0.5      # seconds: long after anything that is not stuck has answered
VERSIONS = {name: metadata.version(name) for name in ("fastapi", "starlette", "anyio", "uvicorn")}
KNOWN = VERSIONS["fastapi"].startswith("0.92.") and VERSIONS["anyio"].startswith("3.6.")


def fastapi_does(fact):
    """Asserts what FastAPI is known to do; newer versions may do better."""
    assert fact or not KNOWN


class Side(Server):
    """One of the two servers."""

    def __init__(self, *args):
        super().__init__(*args)
        self.held = []

    def json(self, path):
        return json.loads(self.ask(path)[2])

    def ask_many(self, n, path):
        return [self.client().send(get(path)) for _ in range(n)]

    def hold(self, n, running, queued=0):
        """n more requests for the gate: then so many run, and wait for a thread."""
        self.held += self.ask_many(n, "/hold")
        self.runs(running, queued)

    def let_go(self):
        """Opens the gate for all that hold."""
        assert self.ask(f"/let-go?n={len(self.held)}")[0] == 200
        all_end_well(self.held)
        self.held = []

    def runs(self, running, queued=0):
        """Waits until so many run and wait."""
        def seen():
            p = self.pool()
            return (p["running"], p["queued"]) == (running, queued)

        wait_until(seen)

    def queue_marks(self, n):
        """Requests behind the one that holds the only thread, each known to wait before the next is sent."""
        clients = []
        for i in range(1, n + 1):
            clients.append(self.client().send(get(f"/mark?id={i}")))
            self.runs(1, i)
        return clients

    def used(self):
        """Seconds of CPU time, and context switches of all threads, since it started."""
        pid = self.process.pid
        switches = 0
        for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
            for line in status.read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
        return time.clock_gettime(cpu_clock(pid)), switches

    def cost_of_pieces(self, path, streams):
        """CPU microseconds and context switches for each piece of that many streams, one after the other."""
        path = f"{path}?n={PIECES}"
        assert self.ask(path)[2] == b"0123456789" * PIECES    # once, so that its threads are there
        seconds, switches = self.used()
        for _ in range(streams):
            self.ask(path)
        now = self.used()
        n = streams * PIECES
        return (now[0] - seconds) / n * 1e6, (now[1] - switches) / n


class FastAPI(Side):
    def __init__(self, *args):
        super().__init__([sys.executable, HERE / "fastapi_app.py"], "--control", "off", *args)

    def pool(self):
        return self.json("/stats")

    def end(self):
        """Its threads may be stuck for ever, and it would wait for them."""
        self.process.kill()
        self.stop(expect=None)


class Offloop(Side):
    def __init__(self, *args):
        super().__init__(OFFLOOP, "--grace", "5", *args)

    def pool(self):
        return next(p for p in json.loads(self.ask_control("/pools")[1]) if p["name"] == "default")

    def patch(self, body):
        c = http.client.HTTPConnection("127.0.0.1", self.control, timeout=PATIENCE)
        try:
            c.request("PATCH", "/pools/default", json.dumps(body), {"Content-Type": "application/json"})
            return c.getresponse().status
        finally:
            c.close()

    def end(self):
        self.stop()


def cpu_clock(pid):
    """The clock of another process's CPU time, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


def all_end_well(clients):
    for c in clients:
        assert c.reply().status == 200
        c.s.close()


def answered(clients, seconds):
    """How many of them have something to read by then; ends early when all have."""
    end = time.monotonic() + seconds
    poll = select.poll()
    for c in clients:
        poll.register(c.s, select.POLLIN)
    while (n := len(poll.poll(0))) < len(clients) and time.monotonic() < end:
        time.sleep(0.01)
    return n


class Table:
    """What was seen, as a table for the README."""

    def __init__(self):
        self.rows = []
        said = subprocess.run([program_path(OFFLOOP), "--version"], capture_output=True, text=True, check=True).stdout
        self.offloop = said.split()[-1].rstrip(")")

    def row(self, *cells):
        self.rows.append(cells)

    def lines(self):
        v = VERSIONS
        yield f"| the same on both | FastAPI {v['fastapi']} (anyio {v['anyio']}) | offloop {self.offloop} |"
        yield "|---|---|---|"
        for cells in self.rows:
            yield "| " + " | ".join(cells) + " |"
        yield ""
        yield f"with starlette {v['starlette']}, uvicorn {v['uvicorn']}, Python {sys.version.split()[0]}"


@pytest.fixture(scope="module")
def table(request):
    """It is printed at the end, whatever pytest captures, each line marked: ./dev test shows those."""
    t = Table()
    yield t
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print()
        for line in t.lines():
            print("table: " + line)


@pytest.fixture
def both():
    """both(*options): the two servers with the same options."""
    sides = []

    def start(*args):
        for kind in (FastAPI, Offloop):
            sides.append(kind(*args))
        return sides

    yield start
    for side in sides:
        side.end()


def test_a_full_pool_stops_every_def_endpoint_or_one_pool(both, table):
    fast, off = both()
    for side in fast, off:
        side.hold(THREADS - 1, running=THREADS - 1)
        assert side.ask("/quick")[0] == 200
        side.hold(1, running=THREADS)
    table.row(f"{THREADS - 1} sleepers in `def` / `.sync` endpoints", "another `def` endpoint answers",
        "another `.sync` endpoint answers")

    waiting = [fast.client().send(get(path)) for path in ("/quick", "/dependent")]
    fast.runs(THREADS, 2)
    early = answered(waiting, SOON)
    fastapi_does(early == 0)
    fast.let_go()
    all_end_well(waiting)

    assert off.ask("/other/quick")[0] == 200
    off.hold(1, running=THREADS, queued=1)
    status, headers, _ = off.ask("/quick/300ms")
    assert status == 503 and int(headers["Retry-After"]) >= 1
    off.runs(THREADS, 1)
    off.let_go()
    table.row(f"{THREADS} sleepers",
        "every other `def` endpoint hangs until one ends, and so does an `async def` one with a `def` dependency"
        if early == 0 else f"{early} of 2 other endpoints answered",
        f"another pool answers; the control plane shows {THREADS} running and the queue; who waits for a thread longer "
        f"than the route's `.queue_timeout` gets 503 with `Retry-After: {headers['Retry-After']}`")


def test_a_dependency_that_waits_for_one_of_ten_connections(both, table):
    fast, off = both()

    def stuck():
        """Every thread waits for a connection, and each request that has one for a thread."""
        p = fast.pool()
        return (p["wanting"], p["unused"]) == (THREADS, CONNECTIONS)

    for _ in range(5):
        clients = fast.ask_many(CLIENTS, "/row")
        wait_until(lambda: stuck() or answered(clients, 0) == CLIENTS)
        done = answered(clients, SOON)
        for c in clients:
            c.s.close()
        if done < CLIENTS:
            assert stuck()
            break
    fastapi_does(done < CLIENTS)

    for c in off.ask_many(CLIENTS, "/row"):
        r = c.reply()
        assert (r.status, r.body) == (200, b"row")
        c.s.close()
    table.row(f"{CLIENTS} clients, a blocking dependency that hands out {CONNECTIONS} connections",
        f"deadlock after {done} answers: {THREADS} threads wait for a connection, the {CONNECTIONS} requests that have "
        "one wait for a thread" if done < CLIENTS else f"all {CLIENTS} answered",
        f"all {CLIENTS} answered: `.needs` and handler are one job on one thread")


def test_waiting_order(both, table):
    def say(order):
        how = {first_come: " (first come, first served)", first_come[::-1]: " (newest first)"}
        return " ".join(map(str, order)) + how.get(order, "")

    orders = []
    for side in both("--pool", "1"):
        side.hold(1, running=1)
        clients = side.queue_marks(MARKS)
        side.let_go()
        all_end_well(clients)
        orders.append(tuple(side.json("/served")))
    first_come = tuple(range(1, MARKS + 1))
    fastapi_does(orders[0] == first_come[::-1])
    assert orders[1] == first_come
    table.row(f"one thread, {MARKS} requests wait for it: the order served", *map(say, orders))


def test_work_for_those_who_left(both, table):
    fast, off = both("--pool", "1")
    for side in fast, off:
        side.hold(1, running=1)
        clients = side.queue_marks(DEPARTED)
        time.sleep(0.2)     # offloop takes a FIN that comes with the request for a half-close
        for i, c in enumerate(clients):
            if i % 2:
                c.s.close()
            else:
                c.reset()
    # Both have heard of it: the one who holds, and the one who asks, are still there.
    wait_until(lambda: fast.pool()["connections"] == 2)
    wait_until(lambda: off.metric("offloop_loop_connections") == 1)
    assert off.pool()["queued"] == 0
    for side in fast, off:
        side.let_go()
        side.runs(0)
    ran = [len(side.json("/served")) for side in (fast, off)]
    dropped = off.metric("offloop_pool_dropped_total", pool="default", reason="client_left")
    fastapi_does(ran[0] == DEPARTED)
    assert ran[1] == 0 and dropped == DEPARTED
    table.row(f"{DEPARTED} requests wait for a thread, their clients leave", f"{ran[0]} handlers ran for nobody",
        f"{ran[1]} ran; {dropped:.0f} counted as dropped, `client_left`")


def test_a_stream_of_small_pieces(both, table):
    def say(cost, digits):
        return f"{cost[0]:.{digits}f} µs CPU and {cost[1]:.{digits}f} context switches a piece"

    fast, off = both()
    hopped = fast.cost_of_pieces("/pieces", 2)
    written, pulled = (off.cost_of_pieces(path, 20) for path in ("/pieces/written", "/pieces/pulled"))
    fastapi_does(hopped[1] >= 0.9)
    assert written[1] < 0.5 and pulled[1] < 0.5
    table.row(f"a stream of {PIECES} pieces of 10 bytes from a `def` generator / a `.sync` handler", say(hopped, 1),
        f"`ol_write`: {say(written, 3)}; `ol_pull`: {say(pulled, 3)}")


def test_resizing_while_it_runs(both, table):
    fast, off = both("--pool", "1")
    for side in fast, off:
        side.hold(4, running=1, queued=3)
    assert off.patch({"threads": 4}) == 200
    off.runs(4)
    for side in fast, off:
        side.let_go()
    table.row("1 runs, 3 wait: more threads, from outside", "no way in; the app may set `total_tokens` in its own code",
        'by `PATCH /pools/default` with `{"threads": 4}`: 4 run')


def test_a_deadline(both, table):
    fast, off = both("--pool", "1")
    fast.hold(1, running=1)
    assert answered(fast.held, SOON) == 0
    fast.let_go()

    assert off.ask("/hold/300ms")[0] == 504
    waits = off.ask_many(1, "/quick")
    off.runs(1, 1)
    off.ask("/let-go?n=1")
    all_end_well(waits)
    table.row("a deadline for a slow endpoint", "none: the client waits as long as it takes",
        "504 after the route's `.timeout`; its thread is another's only when the handler has returned")
