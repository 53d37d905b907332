"""Clients that leave, half-close, trickle or never read: running work is told, queued work is dropped, nothing is left over."""
import json
import threading
import time

import pytest

from conftest import get, post, wait_until

LANES = ["/a", "/s"]


def settled(app):
    """Nothing is in flight any more, on any loop.  A connection may be gone before its handler has: that is told when its client
    leaves, and ends a turn of the loop later; and what a loop runs it counts once a turn."""
    for gauge in ("connections", "requests_in_flight", "fibers"):
        wait_until(lambda: app.metric("offloop_loop_" + gauge) == 0)


def pool_of(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


# ---- resets


@pytest.mark.parametrize("lane", LANES)
def test_running_work_sees_that_its_client_was_reset(app, lane):
    with app.client() as c:
        c.send(get(lane + "/cancelled?ms=60000"))
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 1)
        if lane == "/s":    # a job that no thread has begun would be taken back
            wait_until(lambda: app.metric("offloop_pool_threads", pool="second", state="running") == 1)
        c.reset()
    app.wait_log("saw that the client left")
    settled(app)
    assert app.metric("offloop_requests_departed_total") == 1
    assert app.metric("offloop_replies_discarded_total") == 1


WAITS = ["/nap?ms=60000", "/post?timeout=60000&ms=20", "/post?timeout=60000&ms=300", "/stream?n=1000000&gap=1",
         "/stream?n=1000&size=100000", "/bytes?n=50000000"]


@pytest.mark.parametrize("lane", LANES)
def test_a_wait_ends_when_the_client_is_reset(app, lane):
    for n, path in enumerate(WAITS):
        with app.client() as c:
            c.send(get(lane + path))
            wait_until(lambda: app.metric("offloop_requests_total") == n + 1)
            time.sleep(0.05)        # some are cut in the middle of a reply
            c.reset()
        settled(app)
    assert app.ask(lane + "/text")[0] == 200


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("how", ["reset", "half_close", "close"])
def test_an_upload_that_breaks_off_ends_its_request(app, lane, how):
    for route in ("/echo", "/count", "/collect", "/count?slow=1"):
        for sent in (0, 1, 70_000, 300_000):
            with app.client() as c:
                c.send(post(lane + route, b"x" * sent, length=400_000))
                if how == "close":
                    c.s.close()
                else:
                    getattr(c, how)()
                if how == "half_close":
                    c.was_reset()   # or closed: there is nothing to answer
    wait_until(lambda: app.metric("offloop_connections_accepted_total") == 16)  # who leaves at once may not be known yet
    settled(app)


@pytest.mark.parametrize("lane", LANES)
def test_offloaded_work_is_told_or_taken_back(app, lane):
    """The pool "one" has one thread: the second request's work is queued when its client leaves."""
    with app.client() as busy, app.client() as queued:
        busy.send(get("/one/insist"))
        wait_until(lambda: pool_of(app, "one")["running"] == 1)
        queued.send(get("/a/offload?pool=one&ms=60000"))
        wait_until(lambda: pool_of(app, "one")["queued"] == 1)
        queued.reset()
        wait_until(lambda: pool_of(app, "one")["queued"] == 0)
        app.ask("/let-go?insisting=1")
        assert busy.reply().body == b"insisted\n"
    settled(app)


def test_queued_work_is_dropped_when_its_client_leaves(app):
    with app.client() as runs, app.client() as waits:
        runs.send(get("/one/insist"))
        wait_until(lambda: pool_of(app, "one")["running"] == 1)
        waits.send(get("/one?ms=60000"))
        wait_until(lambda: pool_of(app, "one")["queued"] == 1)
        waits.reset()
        wait_until(lambda: pool_of(app, "one")["queued"] == 0)
        app.ask("/let-go?insisting=1")
        assert runs.reply().status == 200
    settled(app)
    wait_until(lambda: pool_of(app, "one")["running"] == 0)     # a job ends behind its reply
    assert (pool_of(app, "one")["dropped"], pool_of(app, "one")["done"]) == (1, 1)


# ---- half-closes


@pytest.mark.parametrize("lane", LANES)
def test_a_request_whose_sender_closes_its_half_at_once_is_answered(app, lane):
    for path in ("/text", "/nap?ms=300", "/stream?n=5&gap=50", "/bytes?n=3000000", "/block?ms=300"):
        reply = app.raw(get(lane + path), shut=True)
        assert reply.startswith(b"HTTP/1.1 200 OK\r\n"), path
        assert reply.endswith((b"\r\n0\r\n\r\n", b"\n", b"x" * 1000)), path
    assert app.metric("offloop_requests_departed_total") == 0


@pytest.mark.parametrize("lane", LANES)
def test_pipelined_requests_before_a_half_close_are_answered(app, lane):
    reply = app.raw(get(lane + "/nap?ms=200") * 3 + get(lane + "/text"), shut=True)
    assert reply.count(b"HTTP/1.1 200 OK") == 4 and reply.endswith(b"hello\n")


@pytest.mark.parametrize("lane", LANES)
def test_an_upload_may_end_with_a_half_close(app, lane):
    """Its FIN may come long after the head, and before a slow handler has taken what came with it."""
    for route in ("/echo", "/collect", "/count?slow=1"):
        with app.client() as c:
            c.send(post(lane + route, b"x" * 10, length=300_000))
            time.sleep(0.2)
            c.send(b"x" * 299_990)
            c.half_close()
            r = c.reply()
            assert r.status == 200 and (len(r.body) == 300_000 or r.body == b"300000\n"), route


@pytest.mark.parametrize("lane", LANES)
def test_a_late_half_close_cancels_and_is_answered(app, lane):
    with app.client() as c:
        c.send(get(lane + "/cancelled?ms=60000"))
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 1)
        if lane == "/s":    # as above
            wait_until(lambda: app.metric("offloop_pool_threads", pool="second", state="running") == 1)
        time.sleep(0.2)
        c.half_close()
        r = c.reply()
        assert (r.status, r.body) == (200, b"cancelled\n")
        assert c.ended()
    settled(app)


def test_a_late_half_close_drops_queued_work(app):
    with app.client() as runs, app.client() as waits:
        runs.send(get("/one/insist"))
        wait_until(lambda: pool_of(app, "one")["running"] == 1)
        waits.send(get("/one?ms=60000"))
        wait_until(lambda: pool_of(app, "one")["queued"] == 1)
        time.sleep(0.2)
        waits.half_close()
        assert waits.reply().status == 503 and waits.ended()
        app.ask("/let-go?insisting=1")
        assert runs.reply().status == 200
    assert pool_of(app, "one")["dropped"] == 1


@pytest.mark.parametrize("lane", LANES)
def test_a_half_close_is_seen_behind_unread_requests(app, lane):
    """So much was sent behind the request that receiving has stopped; a reset is seen all the same."""
    with app.client() as c:
        c.send(get(lane + "/cancelled?ms=60000"))
        if lane == "/s":    # as above
            wait_until(lambda: app.metric("offloop_pool_threads", pool="second", state="running") == 1)
        c.s.settimeout(0.3)
        try:
            c.send(*[get("/a/text", "X: " + "x" * 1000)] * 20000)
        except OSError:
            pass
        c.reset()
    app.wait_log("saw that the client left")
    settled(app)


def test_a_connection_without_a_request_may_go_in_any_way(app):
    for how in ("reset", "half_close"):
        for start in (b"", b"\r\n", b"GET /", get("/a/text")[:-1]):
            with app.client() as c:
                c.send(start)
                getattr(c, how)()
                if how == "half_close":
                    assert c.was_reset() in (True, False)
    settled(app)
    assert app.metric("offloop_requests_total") == 0


# ---- clients that are slow


def test_many_tricklers_keep_nobody_from_being_served(app):
    """Each sends a byte in turn; one request after the other is served meanwhile."""
    request = post("/s/echo", b"0123456789", "X: " + "x" * 50)
    slow = [app.client() for _ in range(50)]
    with app.client() as c:
        for i in range(len(request)):
            for s in slow:
                s.send(request[i:i + 1])
            assert c.send(get("/s/text")).reply().status == 200
    for s in slow:
        assert s.reply().body == b"0123456789"
        s.s.close()
    settled(app)


def test_clients_that_never_read_hold_no_worker_for_buffered_replies(serve):
    """Their replies are finished in memory: the pool of eight threads serves others."""
    app = serve("testapp", "--loops", "1")
    dead = [app.client(rcvbuf=4096) for _ in range(20)]
    for c in dead:
        c.send(get("/s/bytes?n=5000000"))
    wait_until(lambda: pool_of(app, "second")["done"] == 20)
    with app.client() as c:
        for _ in range(20):
            assert c.send(get("/s/text")).reply().status == 200
    for c in dead:
        c.reset()
    settled(app)


def test_streams_nobody_reads_wait_and_end_with_their_clients(serve):
    app = serve("testapp", "--loops", "1")
    dead = [app.client(rcvbuf=4096) for _ in range(40)]
    for i, c in enumerate(dead):
        c.send(get(("/a", "/s")[i % 8 == 0] + "/stream?n=100000&size=10000"))
    with app.client() as c:
        for _ in range(20):
            assert c.send(get("/a/text")).reply().status == 200
            assert c.send(get("/s/text")).reply().status == 200
    for c in dead:
        c.reset()
    settled(app)


def test_a_crowd_leaves_all_at_once(serve):
    app = serve("testapp", "--loops", "2")
    paths = ["/a/nap?ms=60000", "/s/cancelled?ms=60000", "/a/stream?n=100000&gap=1", "/a/offload?ms=20&pool=third",
             "/a/mutex", "/s/mutex", "/a/sem?ms=50", "/a/post?ms=50", "/one?ms=50", "/s/bytes?n=100000"]
    crowd = [(paths[i % len(paths)], app.client()) for i in range(200)]
    for path, c in crowd:
        c.send(get(path))
    wait_until(lambda: app.metric("offloop_requests_total") == len(crowd))

    def leave(part):
        for i, (path, c) in enumerate(part):
            if i % 3 or "60000" in path:    # a close may be taken for a half-close, after which a nap goes on
                c.reset()
            else:
                c.s.close()

    threads = [threading.Thread(target=leave, args=(crowd[i::4],)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    settled(app)
    assert app.ask("/a/mutex")[0] == 200 and app.ask("/s/sem")[0] == 200 and app.ask("/one?ms=1")[0] == 200
