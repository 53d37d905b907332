"""No circle of pools that offload to each other can stand still: each way through them is walked.

A way is a lane a request runs in and up to three pools, each offloaded to from the one before.  Pools have one thread each, and
each thread is held until every connection has a request in some queue: then all of them go at once, and each answer is known
beforehand: 0 for what ran, -EDEADLK for a pool before that of the caller.
"""
import errno
import http.client
import itertools
import json
import random

import pytest

from conftest import PATIENCE, get, wait_until

POOLS = ["default", "a", "b", "c", "d", "background"]
WAYS = [way for n in (1, 2, 3) for way in itertools.product(POOLS, repeat=n)]
CLIENTS = 32


def outcome(lane, way):
    """What each step of a way gives, as the reply says it: pools are refused backwards, and nothing else is."""
    given = []
    for pool in way:
        if lane != "async" and POOLS.index(pool) < POOLS.index(lane):
            given.append(-errno.EDEADLK)
            break
        given.append(0)
        lane = pool
    return " ".join(map(str, given))


def pools(app):
    return {p["name"]: p for p in json.loads(app.ask_control("/pools")[1])}


def queued(app):
    return sum(p["queued"] for p in pools(app).values())


def patch(app, name, **sizes):
    c = http.client.HTTPConnection("127.0.0.1", app.control, timeout=PATIENCE)
    try:
        c.request("PATCH", f"/pools/{name}", json.dumps(sizes), {"Content-Type": "application/json"})
        assert c.getresponse().status == 200
    finally:
        c.close()


def hold(app, names=POOLS):
    """Takes the one thread of each pool."""
    holders = [app.client().send(get(f"/hold/{name}")) for name in names]
    wait_until(lambda: all(pools(app)[name]["running"] == 1 for name in names))
    return holders


def let_go(app, holders):
    assert app.ask(f"/let-go?n={len(holders)}")[0] == 200
    for c in holders:
        assert c.reply().body == b"0"
        c.s.close()


def deal(app, asked):
    """Hands the requests to so many connections, each all of its own at once: (client, its requests)."""
    random.Random(1).shuffle(asked)
    hands = [asked[i::CLIENTS] for i in range(CLIENTS)]
    return [(app.client().send(*[get(path) for path, _ in hand]), hand) for hand in hands]


def path_of(lane, way):
    return f"/{lane}?to={'.'.join(way)}"


@pytest.mark.parametrize("loops", ["1", "2"])
def test_every_way_ends(serve, loops):
    app = serve("offloadapp", "--loops", loops)
    asked = [(path_of(lane, way), outcome(lane, way)) for lane in ["async", *POOLS] for way in WAYS]
    holders = hold(app)
    hands = deal(app, asked)
    wait_until(lambda: queued(app) == CLIENTS)
    let_go(app, holders)
    for c, hand in hands:
        for path, expected in hand:
            assert c.reply().body.decode() == expected, path
        c.s.close()
    assert queued(app) == 0
    wait_until(lambda: all(p["running"] == 0 for p in pools(app).values()))     # a reply may come before its job is booked


def test_every_way_ends_from_work_behind_a_reply(serve):
    app = serve("offloadapp", "--loops", "2", "--background-queue", "10000", "--queue", "10000")
    for name in "abcd":
        patch(app, name, queue=10000)
    asked = [(f"/after/{lane}?to={'.'.join(way)}", "0") for lane in POOLS for way in WAYS]
    holders = hold(app)
    for c, hand in deal(app, asked):        # the replies come while every thread is held
        for path, expected in hand:
            assert c.reply().body.decode() == expected, path
        c.s.close()
    let_go(app, holders)
    wait_until(lambda: app.metric("offloop_after_run_total") == len(asked))
    told = sorted(app.ask("/results")[2].decode().splitlines())
    assert told == sorted(f"/after/{lane} {'.'.join(way)}: {outcome(lane, way)}" for lane in POOLS for way in WAYS)
    assert app.metric("offloop_after_failed_total") == app.metric("offloop_after_dropped_total") == 0


def fits(given, expected):
    """What a way gave, where any step may also have met a full queue."""
    given, expected = given.split(), expected.split()
    if given[-1:] == [str(-errno.EAGAIN)]:
        return given[:-1] == expected[:len(given) - 1]
    return given == expected


def test_every_way_ends_though_queues_are_full(serve):
    app = serve("offloadapp", "--loops", "2", "--queue", "1", "--background-queue", "1")
    for name in "abcd":
        patch(app, name, queue=1)
    asked = [(path_of(lane, way), outcome(lane, way)) for lane in ["async", *POOLS] for way in WAYS]
    holders = hold(app)
    hands = deal(app, asked)
    wait_until(lambda: all(p["queued"] == 1 for p in pools(app).values()))
    let_go(app, holders)
    answers = {200: 0, 503: 0}
    full = 0
    for c, hand in hands:
        for path, expected in hand:
            r = c.reply()
            answers[r.status] += 1
            full += r.status == 503 or r.body.decode().endswith(str(-errno.EAGAIN))
            assert r.status == 503 or fits(r.body.decode(), expected), path
        c.s.close()
    assert answers[200] and full >= CLIENTS - 2 * len(POOLS)


def test_every_way_ends_while_pools_are_resized(serve):
    app = serve("offloadapp", "--loops", "2")
    asked = [(path_of(lane, way), outcome(lane, way)) for lane in ["async", *POOLS] for way in WAYS]
    for name in POOLS:
        patch(app, name, threads=8)
    hands = deal(app, asked)
    for threads in (1, 3, 2, 1):
        for name in POOLS:
            patch(app, name, threads=threads)
    for c, hand in hands:
        for path, expected in hand:
            assert c.reply().body.decode() == expected, path
        c.s.close()
    wait_until(lambda: all(p["threads"] <= 1 for p in pools(app).values()))


def test_a_client_that_leaves_frees_whoever_waits_for_a_queue(serve):
    """A fiber, a worker, and a worker that works for a fiber or for another worker."""
    app = serve("offloadapp", "--loops", "2")
    holders = hold(app, ["d"])
    ways = {"/async": ["d"], "/a": ["d"], "/default": ["c", "d"], "/async ": ["b", "d"]}
    left = [app.client().send(get(path_of(lane.strip("/ "), way))) for lane, way in ways.items()]
    wait_until(lambda: pools(app)["d"]["queued"] == 4)
    for c in left:
        c.reset()
    wait_until(lambda: app.metric("offloop_requests_departed_total") == 4)
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == len(holders))
    gone = -errno.ECANCELED
    assert sorted(app.ask("/results")[2].decode().splitlines()) == [
        f"/a d: {gone}", f"/async b.d: 0 {gone}", f"/async d: {gone}", f"/default c.d: 0 {gone}"]
    assert pools(app)["d"]["queued"] == 0
    assert app.metric("offloop_pool_dropped_total", pool="d", reason="client_left") == 4
    let_go(app, holders)
