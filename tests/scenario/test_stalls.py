"""What holds a loop, and who waits behind it: told while it lasts, by route, cause and stack; and nobody told of falsely.

stallapp's routes block, each in a way of its own.  Bounds are on what is reported, never on how fast this machine is: on a busy
one a loop may also have to wait for a CPU, for which no route is to blame.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import sys
import time

import pytest

from conftest import PATIENCE, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "soak"))
import soak     # noqa: E402 (found by the line above)

PLAIN = "thread" not in os.environ.get("SANITIZERS", "")


@pytest.fixture
def stalls(serve):
    return serve("stallapp", "--loops", "1")


@pytest.fixture
def gate(serve, tmp_path):
    """A server whose /gate holds the loop until let_go is called."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    server = serve("stallapp", "--loops", "1", "--gate", fifo)

    def let_go():
        with open(fifo, "wb", buffering=0) as f:
            f.write(b"x")

    server.let_go = let_go
    return server


def latest(server):
    status, text = server.ask_control("/stalls")
    assert status == 200
    return json.loads(text)


def of_route(server, route):
    return [s for s in latest(server) if s["route"] == route]


def ended(server, route, n=1):
    """The stalls of a route, newest first, once n of them are over; they are counted before."""
    wait_until(lambda: len([s for s in of_route(server, route) if not s["ongoing"]]) >= n)
    return of_route(server, route)


def provoke(server, path, n=1):
    """The n stalls, newest first, that asking for path has led to.  A machine that stood still meanwhile, or a monitor without a
    CPU, blames nobody, so then it is asked again: a bounded number of times, since it must be found in the end."""
    route = path.split("?")[0]
    for _ in range(20):
        known = {s["id"] for s in latest(server)}
        counted = server.metric("offloop_loop_stalls_total")
        assert server.ask(path)[0] == 200
        wait_until(lambda: server.metric("offloop_loop_stalls_total") >= counted + n)
        wait_until(lambda: not any(s["ongoing"] for s in latest(server)))   # which is written after it was counted
        new = [s for s in of_route(server, route) if s["id"] not in known]
        if len(new) == n:
            return new
    raise AssertionError(f"{path} was not found out: {latest(server)}")


def told_of(server, path, behind=0):
    """The stall at a gate, once the log tells that it goes on: from then on it stays what it is told as, however late the monitor
    is.  Of a hold that is over sooner a monitor that lacked a CPU cannot say that the loop did not.  behind: a place in the log."""
    told = re.compile(rf'a route holds (its loop|a thread of its pool) route="GET {path}"')
    wait_until(lambda: told.search(server.log, behind))
    wait_until(lambda: [s for s in of_route(server, path) if s["state"] == "sleeping"])
    return of_route(server, path)[0]


def threads(server):
    """(name, folder) of each thread of the server's process."""
    tasks = pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()
    return [((t / "comm").read_text().strip(), t) for t in tasks]


def monitor_of(server):
    return next(folder for name, folder in threads(server) if name == "ol-monitor")


@pytest.mark.parametrize("how, cause", [("sleep", "blocked"), ("spin", "cpu"), ("lock", "blocked"), ("pipe", "blocked")])
def test_what_holds_a_loop_is_named_with_its_cause(stalls, how, cause):
    stall = provoke(stalls, f"/block?ms=80&how={how}")[0]
    assert (stall["name"], stall["method"], stall["cause"], stall["in"]) == ("GET /block", "GET", cause, "handler")
    assert stall["ms"] >= 75 and stall["ongoing"] is False and stall["loop"] == 0
    parts = stall["parts"]
    own = {"cpu": parts["cpu_ms"], "blocked": parts["blocked_ms"]}
    assert own[cause] >= 60 and own[cause] == max(own.values())
    assert abs(stall["ms"] - sum(v for k, v in parts.items() if k != "late_ms")) < 1
    assert stalls.metric("offloop_loop_stalls_total", route="/block", cause=cause) == len(of_route(stalls, "/block"))
    assert stalls.metric("offloop_loop_hold_seconds_sum", route="/block") >= 0.075
    line = stalls.wait_log(r'a route held its loop route="GET /block".*').group(0)
    assert f"cause={cause}" in line and "loop=0" in line
    held = re.search(r" held=(\d+\.\d+)ms", line).group(1)
    assert float(held) in [s["ms"] for s in of_route(stalls, "/block")]     # to the microsecond


def test_a_stall_is_told_while_it_goes_on(gate):
    with gate.client() as held:
        held.send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: of_route(gate, "/gate"))
        stall = of_route(gate, "/gate")[0]
        assert stall["ongoing"] is True and stall["cause"] == "blocked" and stall["name"] == "GET /gate"
        if PLAIN:
            assert any(f["at"].startswith("wait_at_gate+0x") and not f["probable"] for f in stall["stack"]), stall["stack"]
        wait_until(lambda: of_route(gate, "/gate")[0]["ms"] > stall["ms"])
        line = gate.wait_log(r'a route holds its loop route="GET /gate".*').group(0)
        assert "cause=blocked" in line and "victims" not in line
        assert gate.metric("offloop_loop_stalls_total", route="/gate", cause="blocked") == 1
        assert gate.metric("offloop_loop_busy_seconds_total", loop=0) >= 1      # as old as it is when the log tells of it
        assert 0 < gate.metric("offloop_loop_utilization_ratio", loop=0) <= 1
        gate.let_go()
        assert held.reply().status == 200
    wait_until(lambda: not of_route(gate, "/gate")[0]["ongoing"])
    assert len(of_route(gate, "/gate")) == 1
    assert gate.metric("offloop_loop_stalls_total", route="/gate", cause="blocked") == 1


@pytest.mark.skipif(not PLAIN, reason="ThreadSanitizer holds signals back, and its calls stand on the stack")
@pytest.mark.parametrize("route, cause, inside, function", [
    ("/block?how=pipe", "blocked", r"^read\(fd \d+, pipe\)$", "block"),
    ("/block?how=sleep", "blocked", r"^clock_nanosleep", "block"),
    ("/block?how=lock", "blocked", r"^futex\(", "block"),
    ("/block?how=spin&ms=150", "cpu", None, "block"),
    ("/post", "blocked", r"^clock_nanosleep", "block_posted"),
    ("/hook", "blocked", r"^clock_nanosleep", "release_late")])
def test_a_stall_shows_where_it_is(stalls, route, cause, inside, function):
    for _ in range(20):
        stall = provoke(stalls, route)[0]
        assert stall["cause"] == cause
        late = cause == "cpu" or stall["parts"]["late_ms"] > 0
        told = stall["stack"] and (stall["syscall"] or cause == "cpu")
        if told or not late:    # one that runs answers at a tick of its own, if it, and who looks, has a CPU by then
            break
    assert re.search(inside, stall["syscall"]) if inside else stall["syscall"] is None
    places = [frame["at"] for frame in stall["stack"]]
    assert any(place.startswith(function + "+0x") for place in places), places
    stalls.wait_log(r"a route held its loop.*" + re.escape(function + "+0x"))


def test_requests_that_wait_behind_it_are_its_victims(gate):
    """Three come by connections that were open, two by new ones, while the loop is held.  A loop that gets to those only 20 ms
    after the hold is too late for them to be counted, so then it is held again."""
    for n in range(1, 6):
        waiting = [gate.client() for _ in range(3)]
        for c in waiting:
            c.send(b"GET /honest/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.reply().status == 200
        with gate.client() as held:
            behind = len(gate.log)
            held.send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
            told_of(gate, "/gate", behind)
            waiting += [gate.client() for _ in range(2)]
            for c in waiting:
                c.send(b"GET /honest/2 HTTP/1.1\r\nHost: x\r\n\r\n")
            gate.let_go()
            assert [c.reply().status for c in [held, *waiting]] == [200] * 6
        for c in waiting:
            c.s.close()
        victims = [s["victims"] for s in ended(gate, "/gate", n)]
        if victims[0] == 5:
            break
    assert victims[0] == 5
    assert gate.metric("offloop_loop_stall_victims_total", route="/gate") == sum(victims)
    gate.wait_log(r'a route held its loop route="GET /gate".*victims=5')


def test_each_stretch_of_a_handler_is_judged_by_itself(stalls):
    both = sorted(provoke(stalls, "/twice", 2), key=lambda s: s["time"])     # the first may be recorded after the second
    assert [s["cause"] for s in both] == ["blocked", "cpu"]
    assert all(55 <= s["ms"] for s in both)
    assert stalls.metric("offloop_loop_hold_seconds_count", route="/twice") % 2 == 0


@pytest.mark.parametrize("route, where", [("/post", "ol_post"), ("/hook", "hook")])
def test_other_code_of_the_app_on_the_loop_is_seen_as_well(stalls, route, where):
    stall = provoke(stalls, route)[0]
    assert (stall["name"], stall["in"], stall["cause"]) == (f"GET {route}", where, "blocked")


def test_two_loops_are_held_by_two_routes_at_once(serve):
    server = serve("stallapp", "--loops", "2")
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        replies = [executor.submit(server.ask, p) for p in ("/block?ms=150", "/twice") * 4]
        assert all(r.result()[0] == 200 for r in replies)
    wait_until(lambda: server.metric("offloop_loop_stalls_total") >= 12)
    for stall in latest(server):
        if stall["route"]:
            assert stall["route"] in ("/block", "/twice")
            assert stall["parts"]["blocked_ms"] < 130 or stall["route"] == "/block"


def test_honest_handlers_are_never_blamed(stalls):
    """Under load, together with waiting that does not block: whatever the loop had to wait for, no route is named."""
    end = time.monotonic() + 1

    def client(n):
        with stalls.client() as c:
            while time.monotonic() < end:
                c.send(b"GET /honest/%d HTTP/1.1\r\nHost: x\r\n\r\n" % n * 8)
                assert all(c.reply().status == 200 for _ in range(8))

    with concurrent.futures.ThreadPoolExecutor(6) as executor:
        work = [executor.submit(client, n) for n in range(5)]
        work.append(executor.submit(lambda: [stalls.ask("/nap")[0] for _ in range(5)]))
        for w in work:
            w.result()
    assert [s for s in latest(stalls) if s["name"]] == []
    assert stalls.metric("offloop_loop_stalls_total", cause="cpu") == 0
    assert stalls.metric("offloop_loop_stalls_total", cause="blocked") == 0
    assert stalls.metric("offloop_loop_hold_seconds_count", route="/honest/{n:int}") > 100
    assert "route held" not in stalls.log


def test_a_starved_host_blames_no_route(stalls):
    """The process is stopped for a while, in the middle of handlers: nobody watched, and nobody is to blame."""
    import signal
    end = time.monotonic() + 1

    def client():
        with stalls.client() as c:
            while time.monotonic() < end:
                c.send(b"GET /honest/1 HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
                assert all(c.reply().status == 200 for _ in range(50))

    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        work = [executor.submit(client) for _ in range(2)]
        for _ in range(8):
            time.sleep(0.05)
            stalls.process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            stalls.process.send_signal(signal.SIGCONT)
        for w in work:
            w.result()
    assert [s for s in latest(stalls) if s["name"]] == []


@pytest.mark.parametrize("guard, ms", [("warn", 6), ("demote", 5)])
def test_a_short_stop_in_the_middle_of_a_short_sleep_blames_no_route(serve, guard, ms):
    """Shorter than two looks of the monitor, wherever it begins: within a look, or between two.  A guarded route's holds are
    judged by its loop itself, to which having slept is having blocked: so there its sleep is well below the limit."""
    import random
    import signal
    server = serve("stallapp", "--loops", "1", "--guard", guard)
    with server.client() as c:
        for n in range(48):
            c.send(b"GET /block?ms=%d HTTP/1.1\r\nHost: x\r\n\r\n" % ms)
            time.sleep(random.uniform(ms / 2000, ms / 1000))
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(0.012)
            server.process.send_signal(signal.SIGCONT)
            assert c.reply().status == 200
            time.sleep(0.005 * (n % 3))     # the monitor sleeps meanwhile, or not
    assert [s for s in latest(server) if s["name"]] == []
    assert "route moved" not in server.log


def test_an_idle_process_does_not_wake_for_it(stalls):
    """The monitor's thread neither uses a CPU nor is scheduled."""
    assert stalls.ask("/honest/1")[0] == 200
    stat = monitor_of(stalls) / "schedstat"
    status = monitor_of(stalls) / "status"

    def figures():
        return stat.read_text().split()[::2], re.findall(r"ctxt_switches:\s*(\d+)", status.read_text())

    def rests():
        before = figures()
        time.sleep(0.1)
        return "State:\tS" in status.read_text() and before == figures()    # and did not merely wait for a CPU

    wait_until(rests)
    before = figures()
    time.sleep(0.5)
    assert figures() == before


def held_at(serve, tmp_path, path, *args):
    """(stall, server): of a server whose loop, or worker, is held at its gate until the server is let go."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    server = serve("stallapp", "--loops", "1", "--gate", fifo, "--worker-stall-ms", "100", *args)
    with server.client() as held:
        held.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        stall = told_of(server, path)
        with open(fifo, "wb", buffering=0) as f:
            f.write(b"x")
        assert held.reply().status == 200
    return stall, server


@pytest.mark.parametrize("path", ["/gate", "/work"])
def test_after_privileges_were_dropped_it_is_said_why_there_is_no_stack(serve, tmp_path, path):
    """Loops and workers begin after on_start, and the kernel keeps from them where they sleep; the rest is known."""
    stall, server = held_at(serve, tmp_path, path, "--drop", "secret")
    assert (stall["name"], stall["cause"], stall["state"], stall["stack"]) == (f"GET {path}", "blocked", "sleeping", [])
    assert re.match(r"privileges were dropped before this thread began, .*PR_SET_DUMPABLE", stall["no_stack"])
    assert stall["syscall"] is None or re.match(r"the kernel's \w+$", stall["syscall"])
    server.wait_log(r'a route h(olds|eld) .*no_stack="privileges were dropped')


@pytest.mark.skipif(not PLAIN, reason="ThreadSanitizer holds signals back")
def test_after_privileges_were_dropped_what_computes_has_a_stack(serve):
    server = serve("stallapp", "--loops", "1", "--drop", "secret")
    for _ in range(20):
        stall = provoke(server, "/block?how=spin&ms=150")[0]
        if stall["stack"]:      # it answers at a tick of its own, if it has a CPU by then
            break
    assert stall["cause"] == "cpu" and stall["no_stack"] is None
    assert any(frame["at"].startswith("block+0x") for frame in stall["stack"]), stall["stack"]


@pytest.mark.skipif(not PLAIN, reason="ThreadSanitizer's calls stand on the stack")
@pytest.mark.parametrize("path", ["/gate", "/work"])
def test_an_app_that_dropped_privileges_may_let_the_kernel_tell(serve, tmp_path, path):
    stall, _ = held_at(serve, tmp_path, path, "--drop", "dumpable")
    assert stall["no_stack"] is None and re.match(r"read\(fd \d+, .*/gate\)$", stall["syscall"])
    assert any(frame["at"].startswith("wait_at_gate+0x") for frame in stall["stack"]), stall["stack"]


def test_without_the_monitor_there_is_no_thread_and_no_figure(serve):
    server = serve("stallapp", "--loops", "1", "--monitor", "off")
    assert "ol-monitor" not in [name for name, _ in threads(server)]
    assert server.ask("/block?ms=30")[0] == 200
    assert latest(server) == []
    assert "offloop_loop_stalls_total" not in server.ask_control("/metrics")[1]
    assert server.metric("offloop_loop_lag_seconds_count", loop=0) > 0


def test_the_limit_is_an_option(serve):
    server = serve("stallapp", "--loops", "1", "--stall-ms", "400")
    assert server.ask("/block?ms=100")[0] == 200
    assert provoke(server, "/block?ms=500")[0]["ms"] >= 495
    assert all(s["ms"] >= 400 for s in latest(server))


def test_json_lines_say_the_same(serve):
    server = serve("stallapp", "--loops", "1", "--log-format", "json")
    for n in range(1, 20):      # a line for each stall, of which some may be nobody's
        assert server.ask("/block?ms=60")[0] == 200
        server.wait_log(r'(?s)(?:"held":.*){%d}' % n)
        if "a route held its loop" in server.log:
            break
    line = json.loads(server.wait_log(r'\{[^\n]*a route held its loop[^\n]*\}').group(0))
    assert (line["route"], line["cause"], line["level"]) == ("GET /block", "blocked", "warn")
    assert line["held"] >= 0.055 and line["blocked"] >= 0.05 and line["victims"] >= 0


def test_control_answers_while_every_loop_is_held(serve):
    server = serve("stallapp", "--loops", "2")
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        replies = [executor.submit(server.ask, "/block?ms=250") for _ in range(8)]
        wait_until(lambda: len({s["loop"] for s in latest(server) if s["ongoing"]}) == 2 or all(r.done() for r in replies))
        for path in ("/livez", "/metrics", "/routes", "/pools"):
            assert server.ask_control(path)[0] == 200
        assert all(r.result(PATIENCE)[0] == 200 for r in replies)


def test_many_stalls_drawn_by_lot_are_told_as_they_were(serve):
    """A sample of ./dev soak: what each reply says of its holds against what the server tells of them."""
    report = soak.soak_stalls(serve("soakapp", "--loops", "2"), 100, stacks=PLAIN)
    report.print("100 stalls")
    assert report.wrong == []


def test_nobody_is_blamed_at_full_load(serve):
    """Another: honest handlers of all lanes on two loops that have all they can do."""
    report = soak.soak_honest(serve("soakapp", "--loops", "2"), 5)
    report.print("5 seconds of honest handlers")
    assert report.wrong == []
