"""How a pool's queue is served, as clients see it: time-outs, priorities, overload, fairness; and what is told of it.

What waits does so behind /hold, which ends when it is let go, so the order of a queue is certain.
"""
import json
import re
import threading
import time

import pytest

from conftest import PATIENCE, get, wait_until


@pytest.fixture
def app(serve):
    return serve("queueapp", "--loops", "1")


def pool(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def queued(app, name, n):
    wait_until(lambda: pool(app, name)["queued"] == n)


def runs(app, name, n):
    """A job ends behind its reply."""
    wait_until(lambda: pool(app, name)["running"] == n)


def hold(app, path="/hold", name="narrow"):
    runs(app, name, 0)
    c = app.client().send(get(path))
    runs(app, name, 1)
    return c


def wait_in_order(app, name, *paths):
    """Requests that queue, each behind the one before."""
    clients, n = [], pool(app, name)["queued"]
    for path in paths:
        clients.append(app.client().send(get(path)))
        n += 1
        queued(app, name, n)
    return clients


def order(app):
    return app.ask("/order")[2].decode().split(",")[:-1]


def refused(app, name, reason):
    return app.metric("offloop_pool_rejected_total", pool=name, reason=reason)


# ---- time-outs


def test_who_waits_too_long_gets_a_503_and_never_runs(app):
    held = hold(app)
    patient, = wait_in_order(app, "narrow", "/note/patient")
    begun = time.monotonic()
    r = app.client().send(get("/impatient/x")).reply()
    assert time.monotonic() - begun >= 0.1
    assert (r.status, int(r.headers["retry-after"]) >= 1) == (503, True)
    assert r.body == b'{"detail":"The request waited too long for a thread"}'
    assert pool(app, "narrow")["queued"] == 1
    app.ask("/let-go")
    assert (held.reply().status, patient.reply().status) == (200, 200)
    assert refused(app, "narrow", "queue_timeout") == pool(app, "narrow")["rejected"] == 1
    wait_until(lambda: app.ask("/impatient/y")[0] == 200)       # a thread may need longer to get a CPU
    assert order(app) == ["patient", "y"]
    assert pool(app, "narrow")["dropped"] == 0


def test_the_servers_time_out_is_that_of_pools_without_their_own(serve):
    app = serve("queueapp", "--loops", "1", "--pool", "1", "--queue-timeout", "500ms")
    held = hold(app, "/default/hold", "default")
    assert app.ask("/default/note/never")[0] == 503
    app.ask("/let-go")
    assert held.reply().status == 200
    assert refused(app, "default", "queue_timeout") == 1
    assert pool(app, "default")["queue_timeout"] == pool(app, "narrow")["queue_timeout"] == 500


def test_no_time_out_at_all(serve):
    app = serve("queueapp", "--loops", "1", "--queue-timeout", "0")
    held = hold(app)
    waits, = wait_in_order(app, "narrow", "/note/a")
    assert app.ask("/impatient/x")[0] == 503        # its own goes on
    app.ask("/let-go")
    assert (held.reply().status, waits.reply().status) == (200, 200)
    assert pool(app, "narrow")["queue_timeout"] == 0


def test_retry_after_follows_the_queue(app):
    for _ in range(3):
        assert app.ask("/block?ms=300")[0] == 200
    held = hold(app)
    waiting = [app.client().send(get(f"/note/{i}")) for i in range(32)]
    queued(app, "narrow", 32)
    status, headers, _ = app.ask("/note/over")
    assert status == 503
    assert 2 <= int(headers["Retry-After"]) <= 600
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, *waiting])
    assert refused(app, "narrow", "queue_full") == 1


# ---- order


def test_first_come_first_served_within_a_priority_and_high_before_normal(app):
    held = hold(app)
    waiting = wait_in_order(app, "narrow", "/note/a", "/note/b", "/high/A", "/note/c", "/high/B")
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, *waiting])
    assert order(app) == ["A", "B", "a", "b", "c"]


def test_normal_ones_are_not_starved(app):
    held = hold(app)
    waiting = wait_in_order(app, "narrow", "/note/a", "/note/b", *[f"/high/{i}" for i in range(12)])
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, *waiting])
    assert order(app).index("a") <= 8


def test_a_slow_pool_never_delays_another(app):
    held = hold(app)
    waiting = [app.client().send(get(f"/note/{i}")) for i in range(32)]
    queued(app, "narrow", 32)
    for i in range(20):
        assert app.ask(f"/wide/note/w{i}")[0] == 200
        runs(app, "wide", 0)
    assert order(app) == [f"w{i}" for i in range(20)]
    assert pool(app, "wide")["waited"] == 0
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, *waiting])


def test_an_overloaded_pool_serves_the_newest_first_and_sheds_the_oldest(app):
    wait_until(lambda: app.ask("/shed/note/first")[0] == 200)       # its thread may need an interval to start
    shed = refused(app, "shed", "codel")
    held = hold(app, "/shed/hold", "shed")
    old = [app.client().send(get(f"/shed/note/old{i}")) for i in (1, 2)]
    for c in old:                   # nobody has been served for an interval, so these have waited too long
        r = c.reply()
        assert (r.status, int(r.headers["retry-after"]) >= 1) == (503, True)
        assert r.body == b'{"detail":"The pool is overloaded"}'
    assert pool(app, "shed")["overloaded"] is True
    assert refused(app, "shed", "codel") == shed + 2
    app.ask("/let-go")
    assert held.reply().status == 200
    wait_until(lambda: app.ask("/shed/note/new")[0] == 200)
    assert order(app) == ["first", "new"]
    assert pool(app, "narrow")["overloaded"] is False


def test_loops_share_a_pool_fairly(serve):
    """One loop has flooded the pool: a request of the other waits for what was there before it, no longer."""
    app = serve("queueapp", "--loops", "2")
    by_loop = {"ol-loop0": [], "ol-loop1": []}
    while len(by_loop["ol-loop0"]) < 26 or not by_loop["ol-loop1"]:
        c = app.client()
        by_loop[c.send(get("/loop")).reply().body.decode()].append(c)
        assert sum(map(len, by_loop.values())) < 1000
    flood, other = by_loop["ol-loop0"][:25], by_loop["ol-loop1"][0]
    held = by_loop["ol-loop0"][25].send(get("/hold"))
    wait_until(lambda: pool(app, "narrow")["running"] == 1)
    for c in flood[:10]:
        c.send(get("/note/flood"))
    queued(app, "narrow", 10)
    other.send(get("/note/other"))
    queued(app, "narrow", 11)
    for c in flood[10:]:
        c.send(get("/note/flood"))
    queued(app, "narrow", 26)
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, other, *flood])
    assert order(app).index("other") == 10
    for c in by_loop["ol-loop0"] + by_loop["ol-loop1"]:
        c.s.close()


# ---- what is told


def test_routes_and_pools_show_their_discipline(serve):
    app = serve("queueapp", "--loops", "1", "--codel", "--codel-target", "7ms", "--codel-interval", "70ms",
                "--pool-spares", "3", "--queue-timeout", "5")
    routes = {r["route"]: r for r in json.loads(app.ask_control("/routes")[1])}
    shown = {route: tuple(routes[route][k] for k in ("timeout", "queue_timeout", "priority"))
             for route in ("/hold", "/high/{name}", "/impatient/{name}", "/timed/hold", "/timed/nap", "/order")}
    assert shown == {
        "/hold": (0, 5000, "normal"), "/high/{name}": (0, 5000, "high"), "/impatient/{name}": (0, 100, "normal"),
        "/timed/hold": (200, 5000, "normal"), "/timed/nap": (200, 0, None), "/order": (0, 0, None)}
    keys = ("spares", "blocked", "queue_timeout", "codel", "overloaded", "codel_target", "codel_interval")
    pools = {p["name"]: tuple(p[k] for k in keys) for p in json.loads(app.ask_control("/pools")[1])}
    assert pools["default"] == (3, 0, 5000, True, False, 7, 70)
    assert pools["narrow"] == (0, 0, 5000, False, False, 5, 100)
    assert pools["wide"] == (2, 0, 5000, False, False, 5, 100)
    assert pools["shed"] == (0, 0, 5000, True, False, 5, 100)


@pytest.mark.parametrize("args, what", [
    (("--codel-target", "0"), "--codel-target"), (("--codel-interval", "x"), "--codel-interval"),
    (("--pool-spares", "10001"), "--pool-spares: 10001 is not in 0..10000"),
    (("--queue-timeout", "86401"), "--queue-timeout"),
    (("--codel", "--codel-target", "2", "--codel-interval", "1"),
     'pool "default": a CoDel target of 2000 ms is not below its interval of 1000 ms')])
def test_what_cannot_be_is_refused_at_start(serve, args, what):
    app = serve("queueapp", *args, wait=False)
    assert app.process.wait(PATIENCE) != 0
    app.reader.join(PATIENCE)
    assert what in app.log


def test_an_app_may_look_at_its_pools(app):
    held = hold(app)
    waiting = wait_in_order(app, "narrow", "/note/a", "/note/b")
    wait_until(lambda: app.ask_json("/look?pool=narrow")[1]["oldest_ms"] > 0)
    seen = app.ask_json("/look?pool=narrow")[1]
    assert seen["threads"] == seen["running"] + seen["blocked"] + seen["idle"] + seen["starting"] == 1
    assert (seen["limit"], seen["queue_max"], seen["running"], seen["queued"]) == (1, 32, 1, 2)
    assert seen["oldest_ms"] < PATIENCE * 1000
    app.ask("/let-go")
    assert all(c.reply().status == 200 for c in [held, *waiting])
    assert app.ask_json("/look")[1]["limit"] == 40 == app.ask_json("/look?pool=default")[1]["limit"]
    assert app.ask("/look?pool=nonesuch")[2] == b"ENOENT"
    older = app.ask_json("/look?pool=wide&known=16")[1]     # size, limit and queue_max
    assert (older["limit"], older["queue_max"], older["threads"]) == (4, 32, 0x55555555)


POOL_METRICS = {
    "offloop_pool_threads": {"state": {"running", "blocked", "idle", "starting"}},
    "offloop_pool_limit": {},
    "offloop_pool_queued": {},
    "offloop_pool_queue_wait_seconds_count": {"route": {"/note/{name}", "/hold", "/wide/outside"}},
    "offloop_pool_run_seconds_count": {"route": {"/note/{name}", "/hold", "/wide/outside"}},
    "offloop_pool_rejected_total": {"reason": {"queue_full", "max_inflight", "streams", "queue_timeout", "codel"}},
    "offloop_pool_dropped_total": {"reason": {"client_left", "deadline", "shutdown"}},
}


def samples(text, name):
    """[(labels, value)]"""
    return [(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(1))), float(m.group(2)))
            for m in re.finditer(rf"^{name}\{{(.*)\}} (\S+)$", text, re.M)]


def test_states_of_threads_add_up_under_churn_and_all_is_there(serve):
    app = serve("queueapp", "--loops", "2", "--pool-idle", "20ms")
    held = hold(app)
    waits, = wait_in_order(app, "narrow", "/note/a")
    over = threading.Event()

    def load():
        c = app.http()
        while not over.is_set():
            c.request("GET", "/wide/outside")
            c.getresponse().read()
        c.close()

    loads = [threading.Thread(target=load) for _ in range(8)]
    for t in loads:
        t.start()
    try:
        for i in range(40):
            text = app.ask_control("/metrics")[1]
            for name, total in (("narrow", 1), ("wide", 6), ("shed", 0)):
                states = {labels["state"]: n for labels, n in samples(text, "offloop_pool_threads")
                          if labels["pool"] == name}
                assert set(states) == POOL_METRICS["offloop_pool_threads"]["state"]
                assert sum(states.values()) <= total, states
            p = pool(app, "wide")
            assert p["threads"] == p["running"] + p["blocked"] + p["idle"] + p["starting"] <= 6, p
            if i == 20:
                time.sleep(0.03)    # some go to sleep and end
    finally:
        over.set()
        for t in loads:
            t.join(PATIENCE)
    app.ask("/let-go")
    assert (held.reply().status, waits.reply().status) == (200, 200)
    wait_until(lambda: pool(app, "narrow")["done"] == 2)
    text = app.ask_control("/metrics")[1]
    for name, labels in POOL_METRICS.items():
        found = samples(text, name)
        assert {l["pool"] for l, _ in found} >= {"narrow", "wide"}, name
        for label, values in labels.items():
            assert {l[label] for l, _ in found} >= values, name
