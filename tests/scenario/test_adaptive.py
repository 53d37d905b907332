"""Routes that change their lane: by what is measured of them, by the guard, and by hand.

laneapp replies with where it ran.  Budgets are wide here, so that a slow machine is no reason for a route to move, and what must
be too long for them takes as long as it takes: a handler sleeps, or waits at a gate that the test opens.
"""
import http.client
import json
import os
import re
import threading
import time

import pytest

from conftest import PATIENCE, get, wait_until

RUNS = 5
STALL_MS = 50
SANITIZED = bool(os.environ.get("SANITIZERS"))
OPTIONS = ["--loops", "1", "--adaptive-runs", RUNS, "--adaptive-us", 1000000, "--stall-ms", STALL_MS]
# Asked for at most so often until it is promoted: under a sanitizer, or on a busy machine, a run may sleep behind a lock that no
# handler knows of.
TRIES = 400


@pytest.fixture
def app(serve):
    return serve("laneapp", *OPTIONS)


@pytest.fixture
def guarded(serve):
    return serve("laneapp", *OPTIONS, "--guard", "demote")


def route(server, name):
    method, path = name.split()
    return next(r for r in json.loads(server.ask_control("/routes")[1]) if (r["method"], r["route"]) == (method, path))


def evidence(server, name):
    return route(server, name)["evidence"]


def pin(server, **body):
    c = http.client.HTTPConnection("127.0.0.1", server.control, timeout=PATIENCE)
    try:
        c.request("PATCH", "/routes", body=json.dumps(body), headers={"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    finally:
        c.close()


def where(server, path):
    status, _, body = server.ask(path)
    assert status == 200, body
    return body.split()[0].decode()


def promote(server, path="/work"):
    """Asks until the loop serves it; how many runs in the pool that took."""
    for i in range(TRIES):
        if where(server, path) == "loop":
            return i
    raise AssertionError(route(server, "GET " + path.split("?")[0]))


def demote(server, path="/work"):
    assert where(server, f"{path}?how=sleep&ms={STALL_MS * 2}") == "loop"
    assert where(server, path) == "pool"


def test_a_short_route_comes_to_the_loop_and_stays(app):
    assert route(app, "GET /work") | {"evidence": None} == {
        "method": "GET", "route": "/work", "lane": "sync", "declared": "adaptive", "pinned": None, "fixed": None,
        "evidence": None, "pool": "default", "requests": 0, "timeout": 0, "queue_timeout": 30000, "priority": "normal"}
    assert app.metric("offloop_route_lane", route="/work", lane="sync") == 1
    assert app.metric("offloop_route_lane", route="/work", lane="async") == 0
    assert promote(app) >= RUNS
    assert {where(app, "/work") for _ in range(20)} == {"loop"}
    now = route(app, "GET /work")
    assert (now["lane"], now["declared"]) == ("async", "adaptive")
    assert now["evidence"]["runs"] == RUNS and now["evidence"]["to_async"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", now["evidence"]["last_change"]["time"])
    assert re.fullmatch(r"it proved short: 5 runs never slept, 0 of them over 1000000 us", now["evidence"]["last_change"]["why"])
    assert app.metric("offloop_route_lane", route="/work", lane="sync") == 0
    assert app.metric("offloop_route_lane", route="/work", lane="async") == 1
    assert app.metric("offloop_route_moves_total", route="/work", lane="async") == 1
    app.wait_log(r'route moved route="GET /work" from=sync to=async why="it proved short: 5 runs .* runs=5 p99_at_most=\S+ over_budget=0')


def test_requests_are_counted_in_the_lane_they_ran_in(app):
    def counted(lane):
        return app.metric("http_server_request_duration_seconds_count", route="/work", lane=lane)

    runs = promote(app)
    wait_until(lambda: (counted("sync"), counted("async")) == (runs, 1))
    for _ in range(3):
        assert where(app, "/work") == "loop"
    assert (counted("sync"), counted("async")) == (runs, 4)
    assert app.metric("http_server_request_duration_seconds_count", route="/work") == runs + 4


def test_one_that_sleeps_in_between_stays_in_the_pool(app):
    for _ in range(4):
        for _ in range(RUNS - 1):
            assert where(app, "/work") == "pool"
        assert where(app, "/work?how=sleep&ms=1") == "pool"
        assert evidence(app, "GET /work")["runs"] == 0


@pytest.mark.parametrize("how", ["nap&ms=2", "offload&ms=2", "offload&pool=narrow&ms=2"])
def test_waiting_as_it_should_is_not_blocking(app, how):
    """What suspends on the loop holds nobody there, so in the pool it does not count; not even work for the very same pool."""
    promote(app, f"/work?how={how}")
    assert evidence(app, "GET /work")["over_budget"] == 0


def test_one_that_computes_for_too_long_stays_in_the_pool(serve):
    app = serve("laneapp", "--loops", "1", "--adaptive-runs", RUNS, "--adaptive-us", 20000)
    for _ in range(RUNS * 2):
        assert where(app, "/work?how=spin&ms=40") == "pool"
    assert evidence(app, "GET /work")["runs"] == 0


def test_errors_and_refusals_prove_nothing(app):
    for _ in range(RUNS * 3):
        assert app.ask("/work?status=404")[2] == b"pool\n"
        assert app.ask("/polite?refuse=401")[0] == 401
        assert app.ask("/polite")[0] == 200
    assert evidence(app, "GET /work")["runs"] == evidence(app, "GET /polite")["runs"] == 0
    promote(app, "/polite?please=1")


def test_the_first_long_hold_brings_it_back_and_then_it_takes_twice_as_many_runs(app):
    for needed in (RUNS, 2 * RUNS, 4 * RUNS):
        assert evidence(app, "GET /work")["runs_needed"] == needed
        assert promote(app) >= needed - 1       # demote() has asked once
        demote(app)
    was = evidence(app, "GET /work")
    assert (was["to_async"], was["to_sync"]) == (3, 3)
    assert app.metric("offloop_route_moves_total", route="/work", lane="sync") == 3
    assert re.match(r"it held a loop for \d+\.\d ms, blocked; allowed are 50.0 ms", was["last_change"]["why"])
    app.wait_log(r'route moved route="GET /work" from=async to=sync why=".*" hold=\S+ cause=blocked holds=1')


def test_computing_brings_it_back_too(app):
    promote(app)
    where(app, f"/work?how=spin&ms={STALL_MS * 10}")
    wait_until(lambda: route(app, "GET /work")["lane"] == "sync")
    assert "computing" in evidence(app, "GET /work")["last_change"]["why"]


def test_a_hold_that_lasts_is_no_reason_for_the_next_request_to_join_it(app):
    """The route moves while its first long hold still goes on."""
    for _ in range(TRIES):
        if app.ask("/gate/adaptive?ms=0")[2] == b"loop\n":
            break
    else:
        raise AssertionError(route(app, "GET /gate/adaptive"))
    held = threading.Thread(target=app.ask, args=("/gate/adaptive?ms=3000",))
    held.start()
    wait_until(lambda: route(app, "GET /gate/adaptive")["lane"] == "sync")
    assert held.is_alive()
    held.join()


@pytest.mark.parametrize("path", ["/deep", "/deep?elsewhere=1"])
def test_what_fits_a_fiber_in_the_pool_fits_one_on_the_loop(app, path):
    """200 KiB of its own; and 1 MiB of what it offloads, which has a thread's stack in either lane."""
    assert app.ask(path)[2] == b"pool 1\n"
    promote(app, path)
    assert app.ask(path)[2] == b"loop 1\n"


@pytest.mark.skipif(SANITIZED, reason="sanitizers report an overflow themselves")
def test_what_does_not_fit_a_fiber_is_found_out_in_the_pool(serve):
    app = serve("laneapp", *OPTIONS)
    app.terminated = True
    with pytest.raises((http.client.HTTPException, OSError)):
        app.ask("/deeper")
    app.wait_log("stack overflow in GET /deeper")
    app.process.wait(PATIENCE)


@pytest.mark.skipif("thread" in os.environ.get("SANITIZERS", ""), reason="stacks are promised in plain and ASan builds")
def test_a_worker_is_looked_at_on_its_fiber_too(serve):
    app = serve("laneapp", *OPTIONS, "--worker-stall-ms", 50)
    held = threading.Thread(target=app.ask, args=("/gate/adaptive",))
    held.start()
    stalls = lambda: [s for s in json.loads(app.ask_control("/stalls")[1]) if s["route"] == "/gate/adaptive"]
    wait_until(lambda: stalls() and any("wait_at_gate" in f["at"] for f in stalls()[0]["stack"]))
    app.ask("/open")
    held.join()


def test_places_are_held_in_whichever_lane(app):
    """.max_inflight and the pool's queue while in the pool; then .max_inflight alone."""
    asked = [threading.Thread(target=app.ask, args=("/narrow?how=gate",)) for _ in range(2)]
    for t in asked:
        t.start()
    wait_until(lambda: app.metric("offloop_pool_queued", pool="narrow") == 1)
    assert app.ask("/narrow")[0] == 503
    for t in asked:
        app.ask("/open")
    for t in asked:
        t.join()
    promote(app, "/narrow?how=nap&ms=0")
    rejected = app.metric("offloop_route_rejected_total", route="/narrow")
    clients = [app.client() for _ in range(3)]
    for c in clients:
        c.send(get("/narrow?how=gate"))
    wait_until(lambda: app.metric("offloop_route_rejected_total", route="/narrow") == rejected + 1)
    for _ in range(2):
        app.ask("/open")
    assert sorted(c.reply().status for c in clients) == [200, 200, 503]
    assert {where(app, "/narrow") for _ in range(4)} == {"loop"}


def test_streams_and_pulled_replies_move_too(app):
    for _ in range(TRIES):
        status, _, body = app.ask("/upload", method="POST", body=b"x" * 100000)
        assert (status, body.split()[1]) == (200, b"100000")
        if body.startswith(b"loop"):
            break
    else:
        raise AssertionError(route(app, "POST /upload"))
    assert app.ask("/pull?n=1000000")[2] == b"x" * 1000000
    for _ in range(TRIES):
        assert app.ask("/pull?n=10000")[2] == b"x" * 10000
        if route(app, "GET /pull")["lane"] == "async":
            break
    assert app.ask("/pull?n=1000000")[2] == b"x" * 1000000


def test_one_that_needs_what_may_block_stays_in_the_pool_for_good(app):
    for _ in range(RUNS * 3):
        assert where(app, "/needy") == "pool"
    assert route(app, "GET /needy")["fixed"] == 'it needs "database", which may block'
    status, body = pin(app, route="GET /needy", lane="async")
    assert (status, body["detail"]) == (409, 'it needs "database", which may block')


# ---- by hand ---------------------------------------------------------------------------------------------------------

def test_a_lane_is_pinned_and_let_go_again(app):
    assert pin(app, route="GET /work", lane="async")[1] | {"evidence": None} == route(app, "GET /work") | {"evidence": None}
    assert route(app, "GET /work")["pinned"] == "async"
    assert where(app, f"/work?how=sleep&ms={STALL_MS * 2}") == where(app, "/work") == "loop"
    assert pin(app, route="GET /work", lane="sync")[0] == 200
    for _ in range(RUNS * 3):
        assert where(app, "/work") == "pool"
    status, now = pin(app, route="GET /work", lane="auto")
    assert (status, now["pinned"], now["lane"], now["evidence"]["runs"]) == (200, None, "sync", 0)
    promote(app)
    app.wait_log(r'lane pinned route="GET /work" from=sync to=async why="pinned by hand" by=127\.0\.0\.1:\d+')
    app.wait_log(r'lane unpinned route="GET /work"')


@pytest.mark.parametrize("body, loc", [
    ({}, "route"), ({"route": "GET /work"}, "lane"), ({"route": 7, "lane": "sync"}, "route"),
    ({"route": "GET /work", "lane": "up"}, "lane"), ({"route": "GET /work", "lane": None}, "lane"),
    ({"route": "GET /work", "lane": "sync", "more": 1}, "more")])
def test_what_is_wrong_with_a_wish_is_said(app, body, loc):
    status, answer = pin(app, **body)
    assert status == 422 and loc in [e["loc"][1] for e in answer["detail"]]
    assert route(app, "GET /work")["pinned"] is None


def test_only_routes_that_may_move_are_pinned(app, serve):
    assert pin(app, route="GET /nothing", lane="sync")[0] == 404
    status, body = pin(app, route="GET /sync", lane="async")
    assert (status, body["detail"]) == (409, "it is declared .sync: only .adaptive and guarded .async routes move")
    assert (route(app, "GET /async")["pool"], route(app, "GET /async")["queue_timeout"]) == (None, 0)
    assert pin(app, route="GET /async", lane="sync")[0] == 200
    assert where(app, "/async") == "pool"
    assert (route(app, "GET /async")["pool"], route(app, "GET /async")["queue_timeout"]) == ("default", 30000)
    off = serve("laneapp", *OPTIONS, "--guard", "off")
    status, body = pin(off, route="GET /async", lane="sync")
    assert status == 409 and "--guard warn" in body["detail"]


# ---- the guard -------------------------------------------------------------------------------------------------------

def stall(server, n):
    """Asks /gate, which is shut, until n holds of the loop have been counted against it: a machine that stood still,
    or a monitor without a CPU, blames nobody, so not each of them may count."""
    for _ in range(10 * n):
        if evidence(server, "GET /gate")["held"] == n:
            return
        judged = server.metric("offloop_loop_stalls_total")     # whoever is blamed
        assert where(server, f"/gate?ms={STALL_MS * 6}") == "loop"
        wait_until(lambda: server.metric("offloop_loop_stalls_total") > judged)
    raise AssertionError(evidence(server, "GET /gate"))


def test_the_guard_moves_a_route_that_blocks_so_that_its_fifth_request_holds_nobody(guarded):
    stall(guarded, 4)
    wait_until(lambda: route(guarded, "GET /gate")["lane"] == "sync")
    fifth = guarded.client()
    fifth.send(get("/gate"))
    wait_until(lambda: guarded.metric("offloop_pool_threads", pool="default", state="running") == 1)
    for _ in range(20):
        assert where(guarded, "/async") == "loop"       # the only loop, while the gate is shut
    assert guarded.ask("/open")[2] == b"open\n"
    assert fifth.reply().body == b"pool\n"
    now = route(guarded, "GET /gate")
    assert (now["declared"], now["lane"], now["evidence"]["to_sync"]) == ("async", "sync", 1)
    guarded.wait_log(r'route moved route="GET /gate" from=async to=sync .*cause=blocked holds=4')
    assert pin(guarded, route="GET /gate", lane="auto")[0] == 200
    assert where(guarded, "/gate?ms=0") == "loop"


def blamed_on_nobody(server):
    """Holds that the monitor could not judge, as on a machine that stands still: they count against no route."""
    return server.metric("offloop_loop_stalls_total", route="none")


HOLD_MS = STALL_MS * 2


def check_four_held_the_loop(server, lanes):
    assert lanes[-1] == "pool", lanes
    held = lanes.count("loop")
    assert lanes == ["loop"] * held + ["pool"] * (len(lanes) - held)
    wait_until(lambda: server.metric("offloop_loop_stalls_total") == held)
    assert 4 <= held <= 4 + blamed_on_nobody(server), lanes
    assert evidence(server, "GET /gate")["held"] == 4


def test_requests_that_follow_at_once_find_the_route_moved_after_the_fourth_hold(guarded):
    """Each is sent when the one before has been answered, sooner than the monitor looks."""
    with guarded.client() as c:
        lanes = [c.send(get(f"/gate?ms={HOLD_MS}")).reply().body.decode().strip() for _ in range(8)]
    check_four_held_the_loop(guarded, lanes)


def test_pipelined_requests_find_the_route_moved_after_the_fourth_hold(guarded):
    with guarded.client() as c:
        c.send(*[get(f"/gate?ms={HOLD_MS}") for _ in range(8)])
        check_four_held_the_loop(guarded, [c.reply().body.decode().strip() for _ in range(8)])


def test_computing_counts_at_once_too(guarded):
    """/async stands for any route; what was spent waiting for a CPU is nobody's fault, so the holds are long."""
    with guarded.client() as c:
        c.send(*[get(f"/async?how=spin&ms={STALL_MS * 4}") for _ in range(6)])
        lanes = [c.reply().body.decode().strip() for _ in range(6)]
    wait_until(lambda: guarded.metric("offloop_loop_stalls_total") == lanes.count("loop"))
    assert lanes.count("loop") <= 4 + blamed_on_nobody(guarded)
    assert evidence(guarded, "GET /async")["to_sync"] == 1


def test_other_routes_are_as_fast_as_they_were_once_the_route_has_moved(guarded):
    """All but the slowest of a hundred requests to another route, while the gate holds four of the route that blocked."""
    with guarded.client() as c:
        while c.send(get(f"/gate?ms={HOLD_MS * 3}")).reply().body == b"loop\n":
            pass
    blocked = [guarded.client().send(get("/gate")) for _ in range(4)]
    wait_until(lambda: guarded.metric("offloop_pool_threads", pool="default", state="running") == 4)
    took = []
    with guarded.client() as other:
        for _ in range(100):
            start = time.monotonic()
            assert other.send(get("/async")).reply().body == b"loop\n"
            took.append(time.monotonic() - start)
    assert sorted(took)[98] < HOLD_MS / 1000, sorted(took)
    for _ in blocked:
        guarded.ask("/open")
    for c in blocked:
        assert c.reply().body == b"pool\n"
        c.s.close()


def test_a_route_that_streams_events_is_not_moved_but_told_why(guarded):
    """In the pool each of its streams would hold a thread for as long as its client stays."""
    def held():
        return evidence(guarded, "GET /events")["held"]

    for _ in range(20):
        assert guarded.ask(f"/events?ms={STALL_MS * 3}")[2] == b"data: loop\n\n"
        if held() >= 4:
            break
    wait_until(lambda: guarded.ask("/events")[2] == b"data: loop\n\n" and held() >= 4)
    assert evidence(guarded, "GET /events")["unmoved"] == "it streams events, each of which would hold a thread"
    assert evidence(guarded, "GET /events")["to_sync"] == 0 and evidence(guarded, "GET /gate")["unmoved"] is None
    guarded.wait_log(r'guard does not move route route="GET /events" holds=4 .*remedy="let ol_offload do what blocks')
    said = lambda: [a for a in json.loads(guarded.ask_control("/advice")[1]) if a["route"] == "/events"]
    for _ in range(20):     # advice goes by what the monitor blames it for, who may be more lenient than its loop
        if said():
            break
        guarded.ask(f"/events?ms={STALL_MS * 3}")
    wait_until(said)
    assert said()[0]["remedy"] == "let ol_offload do what blocks: it streams events, so as .sync each of them would hold a thread"
    assert pin(guarded, route="GET /events", lane="sync")[0] == 200     # by hand it is moved all the same
    assert guarded.ask("/events")[2] == b"data: pool\n\n"


def test_advice_names_the_lane_a_route_is_in_beside_the_declared_one(guarded):
    said = lambda: [a for a in json.loads(guarded.ask_control("/advice")[1]) if a["route"] == "/gate"]
    for n in range(4, 24, 4):       # advice goes by what the monitor blames it for, who may be more lenient than its loop
        stall(guarded, n)
        if said():
            break
        assert pin(guarded, route="GET /gate", lane="auto")[0] == 200
    assert (said()[0]["lane"], said()[0]["declared"]) == ("sync", "async")


def test_a_pinned_route_counts_each_hold_once(app):
    """An adaptive one is measured by its loop, and seen by the monitor, too."""
    assert pin(app, route="GET /work", lane="async")[0] == 200
    for n in range(1, 4):
        assert where(app, f"/work?how=sleep&ms={STALL_MS * 3}") == "loop"
        wait_until(lambda: app.metric("offloop_loop_stalls_total") == n)
    held = app.client().send(get("/work?how=sleep&ms=1500"))        # so long that the monitor tells of it before its end
    assert held.reply().body == b"loop\n"
    wait_until(lambda: app.metric("offloop_loop_stalls_total") == 4)
    assert evidence(app, "GET /work")["held"] == 4


def test_by_default_the_guard_only_says_so(app):
    stall(app, 4)
    app.wait_log(r'guard would move route route="GET /gate" holds=4 .*cause=blocked remedy=')
    assert where(app, "/gate?ms=0") == "loop"
    assert route(app, "GET /gate")["lane"] == "async"


def test_without_a_monitor_there_is_no_guard(serve):
    app = serve("laneapp", "--guard", "demote", "--monitor", "off", wait=False)
    app.terminated = True
    app.wait_log("--guard demote acts on what the monitor sees: leave out --monitor off")
    assert app.process.wait(PATIENCE) == 1
