"""Pools while they run: resized up and down from everywhere, apart from each other, and the limits of single routes.

Handlers wait until they are let go (/hold, /let-go): what runs and what waits is certain, and nothing hangs on speed.
"""
import http.client
import json
import re
import signal
import threading

import pytest

from conftest import PATIENCE, get, post, wait_until

JSON = {"Content-Type": "application/json"}


def pool(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def patch(app, name, body, headers=JSON):
    """(status, headers, parsed body)"""
    c = http.client.HTTPConnection("127.0.0.1", app.control, timeout=PATIENCE)
    try:
        c.request("PATCH", f"/pools/{name}", body if isinstance(body, (str, bytes)) else json.dumps(body), headers)
        r = c.getresponse()
        return r.status, dict(r.getheaders()), json.loads(r.read())
    finally:
        c.close()


def ask_many(app, n, path):
    return [app.client().send(get(path)) for _ in range(n)]


def runs(app, name, running, queued=0):
    """Waits until so many run and wait in a pool."""
    def seen():
        p = pool(app, name)
        return (p["running"], p["queued"]) == (running, queued)

    wait_until(seen)


def let_go(app, clients, n=None):
    """Lets n of them (all) end; each was answered by its handler."""
    assert app.ask(f"/let-go?n={len(clients) if n is None else n}")[0] == 200
    for c in clients:
        assert c.reply().body == b"held\n"
        c.s.close()


# ---- sizes


@pytest.mark.parametrize("how", ["patch", "call"])
def test_raising_starts_waiting_requests_at_once(app, how):
    clients = ask_many(app, 20, "/s/hold")
    runs(app, "second", 8, 12)
    assert pool(app, "second")["waited"] == 12
    if how == "patch":
        status, _, shown = patch(app, "second", {"threads": 15})
        assert (status, shown["name"], shown["limit"], shown["queue"]) == (200, "second", 15, 1024)
    else:
        assert app.ask("/a/resize?pool=second&threads=15")[2] == b"0\n"
    runs(app, "second", 15, 5)      # though none of the eight has ended
    let_go(app, clients)
    runs(app, "second", 0)


def test_lowering_interrupts_nobody_and_starts_nobody_before_its_time(app):
    clients = ask_many(app, 8, "/s/hold")
    runs(app, "second", 8)
    assert patch(app, "second", {"threads": 2})[2]["limit"] == 2
    waiting = ask_many(app, 3, "/s/hold")
    runs(app, "second", 8, 3)
    for left in range(7, 1, -1):
        assert app.ask("/let-go?n=1")[0] == 200
        runs(app, "second", left, 3)
    assert app.ask("/let-go?n=1")[0] == 200
    runs(app, "second", 2, 2)
    let_go(app, clients + waiting, n=4)
    runs(app, "second", 0)
    wait_until(lambda: pool(app, "second")["threads"] <= 2)


def test_a_patch_moves_the_queues_bound(app):
    first = ask_many(app, 1, "/one/insist")
    runs(app, "one", 1)
    held = ask_many(app, 1, "/one?ms=0")
    runs(app, "one", 1, 1)
    assert app.ask("/one?ms=0")[0] == 503
    assert patch(app, "one", {"queue": 3})[2]["queue"] == 3
    held += ask_many(app, 2, "/one?ms=0")
    runs(app, "one", 1, 3)
    assert app.ask("/one?ms=0")[0] == 503
    assert patch(app, "one", {"queue": 1, "threads": 1})[0] == 200
    assert pool(app, "one")["queued"] == 3          # who waits goes on waiting
    assert app.ask("/one?ms=0")[0] == 503
    app.ask("/let-go?insisting=1")
    for c in first + held:
        assert c.reply().status == 200
        c.s.close()
    assert pool(app, "one")["rejected"] == 3
    assert app.metric("offloop_pool_rejected_total", pool="one", reason="queue_full") == 3


def test_a_resize_is_logged_with_who_and_from_and_to(app):
    patch(app, "second", {"threads": 80, "queue": 512})
    line = app.wait_log(r".*pool resized.*").group(0)
    assert re.search(r"name=second by=127\.0\.0\.1:\d+ threads_from=8 threads_to=80 queue_from=1024 queue_to=512", line)
    assert app.ask("/s/resize?threads=41")[2] == b"0\n"
    app.wait_log(r"name=default by=ol_pool_resize threads_from=40 threads_to=41 queue_from=1024 queue_to=1024")


def test_the_start_lines_say_what_threads_may_cost_in_stack(app):
    total = 0
    for name, threads in (("default", 40), ("one", 1), ("second", 8), ("third", 4), ("background", 4)):
        line = app.wait_log(rf"name={name} threads={threads} queue=\d+ stack_bytes=(\d+) stack_bytes_max=(\d+)")
        each, most = int(line.group(1)), int(line.group(2))
        assert each >= 16384 and most == threads * each
        total += most
    assert int(app.wait_log(r"listening.* pool_stack_bytes_max=(\d+)").group(1)) == total


def test_ol_pool_resize_refuses_what_cannot_be(app):
    for query, rc in (("pool=nonesuch", b"ENOENT\n"), ("threads=10001", b"EINVAL\n"), ("queue=10000001", b"EINVAL\n"),
                      ("pool=one", b"0\n"), ("pool=third&threads=10000&queue=10000000", b"0\n")):
        assert app.ask("/a/resize?" + query)[2] == rc, query
    assert (pool(app, "one")["limit"], pool(app, "one")["queue"]) == (1, 1)
    assert (pool(app, "third")["limit"], pool(app, "third")["queue"]) == (10000, 10000000)


def test_a_pool_can_be_resized_by_a_request_on_it(app):
    clients = ask_many(app, 7, "/s/hold")
    runs(app, "second", 7)
    assert app.ask("/s/resize?pool=second&threads=1")[2] == b"0\n"
    runs(app, "second", 7)
    assert app.ask("/a/resize?pool=second&threads=9")[2] == b"0\n"
    clients += ask_many(app, 3, "/s/hold")
    runs(app, "second", 9, 1)
    let_go(app, clients)


INTEGER = ("value is not a valid integer", "type_error.integer")
TOO_SMALL = ("ensure this value is greater than or equal to 1", "value_error.number.not_ge")
EXTRA = ("extra fields not permitted", "value_error.extra")


def too_large(most):
    return f"ensure this value is less than or equal to {most}", "value_error.number.not_le"


@pytest.mark.parametrize("body, wrong", [
    ({"threads": 0}, [("threads", *TOO_SMALL)]),
    ({"threads": -1}, [("threads", *TOO_SMALL)]),
    ({"queue": 0}, [("queue", *TOO_SMALL)]),
    ({"threads": 10001}, [("threads", *too_large(10000))]),
    ({"queue": 10000001}, [("queue", *too_large(10000000))]),
    ({"queue": 2**32 + 5}, [("queue", *too_large(10000000))]),
    ({"threads": "80"}, [("threads", *INTEGER)]),
    ({"threads": 80.5}, [("threads", *INTEGER)]),
    ({"threads": True}, [("threads", *INTEGER)]),
    ({"threads": None, "queue": 7}, [("threads", *INTEGER)]),
    ({"threads": 80, "thread": 1}, [("thread", *EXTRA)]),
    ({"threads": 0, "queue": [], "x\"y": {}}, [("threads", *TOO_SMALL), ("queue", *INTEGER), ("x\"y", *EXTRA)]),
    ({}, [(None, "give threads, queue, or both", "value_error.missing")]),
    ([], [(None, "value is not a valid dict", "type_error.dict")]),
    (80, [(None, "value is not a valid dict", "type_error.dict")]),
])
def test_a_patch_that_is_wrong_is_422_and_changes_nothing(app, body, wrong):
    before = pool(app, "second")
    status, headers, said = patch(app, "second", body)
    assert (status, headers["Content-Type"]) == (422, "application/json")
    assert said == {"detail": [{"loc": ["body"] + ([name] if name else []), "msg": msg, "type": kind}
                               for name, msg, kind in wrong]}
    assert pool(app, "second") == before
    assert "pool resized" not in app.log


@pytest.mark.parametrize("body", ["", "threads=80", '{"threads": 80', '{"threads": 99999999999999999999}', "[" * 100])
def test_a_patch_that_is_not_json_is_422(app, body):
    status, _, said = patch(app, "second", body)
    assert status == 422 and said["detail"][0]["type"] == "value_error.jsondecode"
    assert pool(app, "second")["limit"] == 8


def test_patches_of_other_kinds_are_refused(app):
    assert patch(app, "nonesuch", {"threads": 1})[0] == 404
    for type_ in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/a+json", ""):
        status, headers, _ = patch(app, "second", {"threads": 1}, {"Content-Type": type_})
        assert (status, headers["Accept-Patch"]) == (415, "application/json"), type_
    assert patch(app, "second", {"threads": 1}, {})[0] == 415
    for host in ("evil.example", "192.0.2.1"):
        assert patch(app, "second", {"threads": 1}, {**JSON, "Host": host})[0] == 403
    assert patch(app, "second", {"threads": 1}, {"Content-Type": "text/plain", "Host": "evil.example"})[0] == 403
    assert patch(app, "second", b" " * 5000 + b"{}")[0] == 413
    assert pool(app, "second")["limit"] == 8 and "pool resized" not in app.log
    for type_ in ("application/json; charset=utf-8", "Application/JSON", "application/json ;q=1"):
        assert patch(app, "second", {"threads": 9}, {"Content-Type": type_})[0] == 200, type_


def test_signals_resize_the_default_pool_by_one(serve):
    app = serve("testapp", "--pool", "2")
    clients = ask_many(app, 4, "/default/hold")
    runs(app, "default", 2, 2)
    app.process.send_signal(signal.SIGTTIN)
    app.wait_log(r"name=default by=SIGTTIN threads_from=2 threads_to=3 ")
    runs(app, "default", 3, 1)
    for threads in (2, 1):
        app.process.send_signal(signal.SIGTTOU)
        app.wait_log(rf"name=default by=SIGTTOU threads_from={threads + 1} threads_to={threads} ")
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log(r"SIGTTOU: pool \S*default\S* stays at 1 threads")
    assert pool(app, "default")["limit"] == 1
    runs(app, "default", 3, 1)
    let_go(app, clients)
    assert patch(app, "default", {"threads": 10000})[0] == 200
    app.process.send_signal(signal.SIGTTIN)
    app.wait_log(r"SIGTTIN: pool \S*default\S* stays at 10000 threads")
    app.stop()          # they are no second signal


def test_signals_still_resize_while_the_server_drains(app):
    held = app.client().send(get("/default/hold"))
    runs(app, "default", 1)
    app.terminate()
    app.process.send_signal(signal.SIGTTIN)
    app.wait_log(r"by=SIGTTIN threads_from=40 threads_to=41 ")
    held.reset()
    app.stop()


def test_a_slow_pool_never_delays_another(serve):
    app = serve("testapp", "--pool", "1", "--queue", "1", "--loops", "1")
    held = ask_many(app, 100, "/s/hold") + ask_many(app, 2, "/default/hold")
    insists = app.client().send(get("/one/insist"))
    runs(app, "second", 8, 92)
    runs(app, "default", 1, 1)
    runs(app, "one", 1)
    with app.client() as c:         # three pools make no step; loop and fourth pool answer as ever
        for _ in range(20):
            assert c.send(get("/a/offload?pool=third&ms=0")).reply().body == b"42 1\n"
            assert c.send(get("/a/text")).reply().body == b"hello\n"
    runs(app, "third", 0)           # a job ends behind the reply that it led to
    p = pool(app, "third")
    assert (p["done"], p["queued"], p["rejected"]) == (20, 0, 0)
    runs(app, "second", 8, 92)
    app.ask("/let-go?insisting=1")
    assert insists.reply().status == 200
    insists.s.close()
    let_go(app, held)


def test_the_states_of_threads_add_up_at_every_look(app):
    over = threading.Event()

    def load():
        while not over.is_set():
            app.ask("/s/block?ms=1")

    loads = [threading.Thread(target=load) for _ in range(6)]
    for t in loads:
        t.start()
    try:
        for i in range(60):
            patch(app, "second", {"threads": 1 + i % 7})
            p = pool(app, "second")
            assert p["threads"] == p["running"] + p["blocked"] + p["idle"] + p["starting"], p
            text = app.ask_control("/metrics")[1]
            states = dict(re.findall(r'offloop_pool_threads\{pool="second",state="(\w+)"\} (\d+)', text))
            assert set(states) == {"running", "blocked", "idle", "starting"}
            assert sum(map(int, states.values())) <= 8
    finally:
        over.set()
        for t in loads:
            t.join(PATIENCE)


def test_the_cap_of_streams_follows_a_resize(app):
    """Half of the threads, rounded up."""
    def uploads(n):
        return [app.client().send(post("/s/count", b"", length=2), b"x") for _ in range(n)]

    held = uploads(4)
    runs(app, "second", 4)
    with app.client() as c:
        assert c.send(post("/s/count", b"xy")).reply().status == 503
        patch(app, "second", {"threads": 11})
        held += uploads(2)
        runs(app, "second", 6)
        r = c.send(post("/s/count", b"xy")).reply()
        assert (r.status, r.headers["retry-after"]) == (503, "1")
        patch(app, "second", {"threads": 2})        # interrupts none of the six
        for _ in range(5):
            assert held.pop().send(b"y").reply().body == b"2\n"
        assert c.send(post("/s/count", b"xy")).reply().status == 503
        assert held.pop().send(b"y").reply().body == b"2\n"
        assert c.send(post("/s/count", b"xy")).reply().body == b"2\n"
    assert app.metric("offloop_pool_rejected_total", pool="second", reason="streams") == 3
    assert pool(app, "second")["rejected"] == 3


def test_a_cap_of_streams_that_was_asked_for_stays(serve):
    app = serve("testapp", "--sync-streams-max", "1")
    patch(app, "second", {"threads": 20})
    with app.client() as holds, app.client() as c:
        holds.send(post("/s/count", b"", length=2), b"x")
        runs(app, "second", 1)
        assert c.send(post("/s/count", b"xy")).reply().status == 503
        assert holds.send(b"y").reply().body == b"2\n"


def test_a_token_is_held_until_the_work_has_returned(app):
    """Its client has left, the work has not."""
    left = app.client().send(get("/one/insist"))
    runs(app, "one", 1)
    waits = app.client().send(get("/one?ms=0"))
    runs(app, "one", 1, 1)
    left.reset()
    wait_until(lambda: app.metric("offloop_requests_departed_total") == 1)
    assert (pool(app, "one")["running"], pool(app, "one")["queued"]) == (1, 1)
    assert app.ask("/one?ms=0")[0] == 503
    app.ask("/let-go?insisting=1")
    assert waits.reply().status == 200
    waits.s.close()


# ---- .max_inflight


@pytest.mark.parametrize("path, label", [("/capped/a", None), ("/capped/s", "third")])
def test_max_inflight_is_503_and_exact(app, path, label):
    """Three at a time, on two loops."""
    clients = ask_many(app, 40, path)
    wait_until(lambda: app.metric("offloop_route_rejected_total", route=path, reason="max_inflight") == 37)
    wait_until(lambda: app.metric("offloop_requests_shed_total") == 37)
    assert app.metric("offloop_pool_rejected_total", reason="max_inflight") == (37 if label else 0)
    app.ask("/let-go?n=3")
    replies = [c.reply() for c in clients]
    assert sorted(r.status for r in replies) == [200] * 3 + [503] * 37
    assert {r.headers["retry-after"] for r in replies if r.status == 503} == {"1"}
    if label:
        runs(app, label, 0)     # a job ends behind its reply
        assert (pool(app, label)["done"], pool(app, label)["rejected"]) == (3, 37)
    for _ in range(5):      # the places were given back
        clients[0].send(get(path))
        app.ask("/let-go?n=1")
        assert clients[0].reply().status == 200
    for c in clients:
        c.s.close()


@pytest.mark.parametrize("path", ["/capped/a", "/capped/s"])
def test_max_inflight_is_given_back_by_those_who_leave(app, path):
    for _ in range(4):
        clients = ask_many(app, 3, path)
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 3)
        assert app.ask(path)[0] == 503
        for c in clients:
            c.reset()
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)


def test_max_inflight_counts_the_work_and_not_its_client(app):
    left = app.client().send(get("/capped/insist"))
    runs(app, "third", 1)
    left.reset()
    wait_until(lambda: app.metric("offloop_requests_departed_total") == 1)
    assert app.ask("/capped/insist")[0] == 503
    app.ask("/let-go?insisting=2")
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)
    assert app.ask("/capped/insist")[0] == 200


def test_a_body_that_comes_slowly_takes_no_place_of_its_route(app):
    with app.client() as slow, app.client() as quick:
        slow.send(post("/capped/body", b"", length=2), b"x")
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 1)
        assert quick.send(post("/capped/body", b"xy")).reply().body == b"xy"
        assert slow.send(b"y").reply().body == b"xy"


def test_a_job_that_is_taken_back_gives_its_place_back(app):
    """Queued behind others of its pool when its client leaves."""
    patch(app, "third", {"threads": 1})
    first = app.client().send(get("/capped/insist"))
    runs(app, "third", 1)
    for _ in range(3):
        queued = ask_many(app, 3, "/capped/s")
        runs(app, "third", 1, 3)
        assert app.ask("/capped/s")[0] == 503
        for c in queued:
            c.reset()
        runs(app, "third", 1)
    app.ask("/let-go?insisting=1")
    assert first.reply().status == 200
    first.s.close()


def test_what_spare_threads_may_cost_is_told_too(serve):
    s = serve("queueapp")
    line = s.wait_log(r"name=wide threads=4 queue=\d+ stack_bytes=(\d+) stack_bytes_max=(\d+)")
    assert int(line.group(2)) == (4 + 2) * int(line.group(1))
