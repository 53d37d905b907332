"""Every limit: its default is in --help, its flag moves it, and who is over it gets the status it should."""
import json
import re
import select
import subprocess
import threading
import time

import pytest

from conftest import program_path, PATIENCE, get, post, wait_until

LANES = ["/a", "/s"]

DEFAULTS = {
    "pool": "40", "queue": "1024", "background": "4", "background-queue": "1024", "pool-idle": "10", "sync-streams-max": "0", "grace": "30",
    "connections-max": "10000", "requests-max": "10000", "fibers-max": "10000",
    "target-max": "8k", "head-max": "16k", "fields-max": "100", "body-max": "1M", "body-total-max": "256M",
    "head-timeout": "10", "body-grace": "5", "body-rate-min": "240", "keepalive-timeout": "75", "write-timeout": "30",
    "linger-timeout": "5",
}


def test_each_default_stands_in_the_help():
    text = subprocess.run([program_path("testapp"), "--help"], capture_output=True, check=True, text=True).stdout
    for name, value in DEFAULTS.items():
        assert re.search(rf"^  --{name} [A-Z]+ .*\[{value}\]$", text, re.M), name


def close_of(reply):
    return reply.headers.get("connection")


# ---- heads


def test_target_max_is_414(serve):
    app = serve("testapp", "--target-max", "100")
    with app.client() as c:
        assert c.send(get("/" + "a" * 99)).reply().status == 404
        r = c.send(get("/" + "a" * 100)).reply()
        assert (r.status, close_of(r)) == (414, "close") and c.ended()


def test_head_max_is_431(serve):
    app = serve("testapp", "--head-max", "1000")
    fits = 1000 - len(get("/a/text", "X: "))
    with app.client() as c:
        assert c.send(get("/a/text", "X: " + "v" * fits)).reply().status == 200
        r = c.send(get("/a/text", "X: " + "v" * (fits + 1))).reply()
        assert (r.status, close_of(r)) == (431, "close") and c.ended()


def test_fields_max_is_431(serve):
    app = serve("testapp", "--fields-max", "4")
    with app.client() as c:
        assert c.send(get("/a/text", "A: 1", "B: 2", "C: 3")).reply().status == 200
        r = c.send(get("/a/text", "A: 1", "B: 2", "C: 3", "D: 4")).reply()
        assert (r.status, close_of(r)) == (431, "close") and c.ended()


def test_head_timeout_is_408(serve):
    app = serve("testapp", "--head-timeout", "300ms")
    with app.client() as c:
        started = time.monotonic()
        r = c.send(get("/a/text")[:-1]).reply()
        assert (r.status, close_of(r)) == (408, "close") and c.ended()
        assert time.monotonic() - started > 0.25
    with app.client() as c:     # each request has its own time
        for _ in range(5):
            c.send(get("/a/text")[:-1])
            time.sleep(0.07)
            assert c.send(b"\n").reply().status == 200
        c.send(get("/a/text")[:5])
        assert c.reply().status == 408
    with app.client() as c:     # one that trickles is not given more
        for byte in get("/a/text", "X: " + "v" * 200):
            c.send(bytes([byte]))
            if select.select([c.s], [], [], 0.02)[0]:
                break
        assert c.reply().status == 408
    with app.client() as c:     # who says nothing is told nothing
        assert c.ended()
    assert app.metric("offloop_timeouts_head_total") == 3


def test_a_head_has_its_time_after_a_body_that_was_thrown_away(serve):
    app = serve("testapp", "--head-timeout", "300ms")
    with app.client() as c:
        c.send(post("/nonesuch", b"", length=10))
        assert c.reply().status == 404
        c.send(b"x" * 10, get("/a/text")[:5])
        assert c.reply().status == 408 and c.ended()


# ---- bodies


@pytest.mark.parametrize("lane", LANES)
def test_body_max_is_413_and_a_route_may_have_its_own(serve, lane):
    app = serve("testapp", "--body-max", "1000")
    for route, most in (("/echo", 1000), ("/collect", 1000), ("/small", 10)):
        with app.client() as c:
            assert c.send(post(lane + route, b"x" * most)).reply().status == 200
            assert c.send(post(lane + route, b"x" * (most + 1))).reply().status == 413
        with app.client() as c:
            chunked = post(lane + route, b"", "Transfer-Encoding: chunked")
            assert c.send(chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (most, b"x" * most)).reply().status == 200
            assert c.send(chunked, b"%x\r\n%s\r\n" % (most + 1, b"x" * (most + 1))).reply().status == 413
    with app.client() as c:     # told before it is sent
        r = c.send(post(lane + "/echo", b"", "Expect: 100-continue", length=1001)).reply()
        assert (r.status, close_of(r)) == (413, "close")
    with app.client() as c:
        assert c.send(post(lane + "/count", b"x" * 100_000)).reply().body == b"100000\n"


def test_body_rate_min_is_408(serve):
    app = serve("testapp", "--body-grace", "400ms", "--body-rate-min", "500", "--sync-streams-max", "8")
    routes = [lane + route for lane in LANES for route in ("/echo", "/count", "/collect")]
    slow = [app.client().send(post(route, b"", length=1000), b"x" * 10) for route in routes]
    fast = [app.client().send(post(route, b"", length=1000)) for route in routes]
    for _ in range(10):     # at the rate it may take any time
        for c in fast:
            c.send(b"x" * 100)
        time.sleep(0.05)
    for s, f in zip(slow, fast):
        r = s.reply()
        assert (r.status, close_of(r)) == (408, "close") and s.ended()
        assert f.reply().status == 200
        s.s.close()
        f.s.close()
    assert app.metric("offloop_timeouts_body_total") == len(routes)


def test_a_body_may_come_at_any_rate_when_none_is_asked_for(serve):
    app = serve("testapp", "--body-grace", "50ms", "--body-rate-min", "0")
    with app.client() as c:
        c.send(post("/a/echo", b"", length=2))
        time.sleep(0.3)
        c.send(b"x")
        time.sleep(0.3)
        assert c.send(b"x").reply().status == 200


@pytest.mark.parametrize("lane", LANES)
def test_a_slow_body_is_counted_once_while_its_handler_goes_on(serve, lane):
    app = serve("testapp", "--body-grace", "100ms", "--body-rate-min", "1000")
    with app.client() as c:
        c.send(post(lane + "/count?slow=600", b"", length=1000), b"x")
        assert c.reply().status == 408
    assert app.metric("offloop_timeouts_body_total") == 1


@pytest.mark.parametrize("lane", LANES)
def test_a_handler_that_does_not_read_is_not_the_clients_fault(serve, lane):
    """The body's time stands still while the server takes none of it."""
    app = serve("testapp", "--body-grace", "300ms", "--body-rate-min", "10000000")
    with app.client() as c:
        sent = threading.Thread(target=lambda: c.send(post(lane + "/count?slow=2", b"x" * 250_000)))
        sent.start()
        r = c.reply()
        assert (r.status, r.body) == (200, b"250000\n")
        sent.join()


def test_body_total_max_is_503(serve):
    app = serve("testapp", "--body-total-max", "10000", "--loops", "1")
    with app.client() as first, app.client() as second:
        first.send(post("/a/echo", b"x" * 6000, length=6001))
        wait_until(lambda: app.metric("offloop_received_bytes_total") > 6000)
        r = second.send(post("/a/echo", b"x" * 6000)).reply()
        assert (r.status, r.headers["retry-after"], close_of(r)) == (503, "1", "close") and second.ended()
        assert first.send(b"x").reply().status == 200
        assert first.send(post("/s/collect", b"x" * 10_001)).reply().status == 503
    with app.client() as c:     # what was taken has been given back
        for _ in range(5):
            assert c.send(post("/a/echo", b"x" * 9000), post("/s/collect", b"x" * 9000)).reply().status == 200
            assert c.reply().status == 200


# ---- idle and stalled connections


def test_keepalive_timeout_closes(serve):
    app = serve("testapp", "--keepalive-timeout", "300ms")
    for path in ("/a/text", "/s/text"):
        with app.client() as c:
            started = time.monotonic()
            assert c.send(get(path)).reply().status == 200
            assert c.ended()
            assert time.monotonic() - started > 0.25
    with app.client() as c:     # a request on its way is not idle
        assert c.send(get("/a/nap?ms=600")).reply().status == 200
    assert app.metric("offloop_timeouts_head_total") == 0


def test_write_timeout_resets_who_does_not_read(serve):
    app = serve("testapp", "--write-timeout", "300ms")
    stalled = [app.client(rcvbuf=4096).send(get(lane + path)) for lane in LANES
               for path in ("/bytes?n=30000000", "/stream?n=3000&size=10000")]
    wait_until(lambda: app.metric("offloop_timeouts_write_total") == len(stalled))
    for c in stalled:
        assert c.was_reset()
        c.s.close()
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)
    wait_until(lambda: app.metric("offloop_loop_connections") == 0)


def test_a_slow_reader_is_not_a_stalled_one(serve):
    app = serve("testapp", "--write-timeout", "400ms")
    readers = [app.client(rcvbuf=16384).send(get(path, version="1.0"))
               for path in ("/a/bytes?n=1000000", "/s/stream?n=100&size=10000")]
    totals = [0, 0]
    while any(pieces := [c.s.recv(50_000) for c in readers]):
        totals = [t + len(p) for t, p in zip(totals, pieces)]
        time.sleep(0.02)
    assert min(totals) > 1_000_000
    for c in readers:
        c.s.close()
    assert app.metric("offloop_timeouts_write_total") == 0


# ---- how many at a time


def test_connections_over_the_limit_wait_and_are_served(serve):
    app = serve("testapp", "--connections-max", "3", "--loops", "1")
    held = [app.client() for _ in range(3)]
    for c in held:
        c.send(get("/a/nap?ms=60000"))
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 3)
    late = [app.client() for _ in range(5)]
    for c in late:
        c.send(get("/s/text"))
    assert app.ask_control("/readyz")[0] == 200
    assert app.metric("offloop_loop_connections") == 3
    for c in held:
        c.reset()
    for c in late:
        r = c.reply()
        assert r.body == b"hello\n"
    for c in late:
        c.s.close()


def test_keep_alive_does_not_keep_others_out(serve):
    """While connections wait, one that has been answered makes room."""
    app = serve("testapp", "--connections-max", "2", "--loops", "1")
    clients = [app.client() for _ in range(12)]
    threads = []
    got = []

    def use(c):
        got.append(c.send(get("/s/block?ms=5")).reply().status)

    for c in clients:
        threads.append(threading.Thread(target=use, args=(c,)))
        threads[-1].start()
    for t in threads:
        t.join(PATIENCE)
    assert got == [200] * 12
    for c in clients:
        c.s.close()


def test_new_connections_are_not_closed_to_make_room(serve):
    """Their clients have been let in, and may be about to ask."""
    app = serve("testapp", "--connections-max", "2", "--loops", "1")
    clients = [app.client() for _ in range(6)]
    wait_until(lambda: app.metric("offloop_loop_connections") == 2)
    for c in clients:
        assert c.send(get("/a/text")).reply().status == 200
        assert app.metric("offloop_loop_connections") <= 2
        c.s.close()


def test_as_many_connections_as_may_be_are_kept_alive(serve):
    app = serve("testapp", "--connections-max", "2", "--loops", "1")
    with app.client() as one, app.client() as two:
        for _ in range(5):
            for c in (one, two):
                r = c.send(get("/a/text")).reply()
                assert (r.status, close_of(r)) == (200, None)


@pytest.mark.parametrize("path", ["/a/nap?ms=60000", "/s/nap?ms=60000"])
def test_requests_max_is_503(serve, path):
    app = serve("testapp", "--requests-max", "2", "--loops", "1")
    held = [app.client() for _ in range(2)]
    for c in held:
        c.send(get(path))
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 2)
    with app.client() as c:
        r = c.send(get("/a/text")).reply()
        assert (r.status, r.headers["retry-after"], close_of(r)) == (503, "1", None)
        for h in held:
            h.reset()
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)
        assert c.send(get("/a/text")).reply().status == 200
    assert app.metric("offloop_requests_shed_total") == 1


def test_fibers_max_is_503(serve):
    app = serve("testapp", "--fibers-max", "2", "--loops", "1")
    held = [app.client() for _ in range(2)]
    for c in held:
        c.send(get("/a/nap?ms=60000"))
    wait_until(lambda: app.metric("offloop_loop_fibers") == 2)
    with app.client() as c:
        r = c.send(get("/a/text")).reply()
        assert (r.status, r.headers["retry-after"], close_of(r)) == (503, "1", None)
        assert c.send(get("/s/text")).reply().status == 200
        for h in held:
            h.reset()
        wait_until(lambda: app.metric("offloop_loop_fibers") == 0)
        assert c.send(get("/a/text")).reply().status == 200


def pool_of(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def test_a_full_queue_is_503(serve):
    """The pool has one thread and room for one more."""
    app = serve("testapp", "--loops", "1")
    with app.client() as runs, app.client() as waits, app.client() as c:
        runs.send(get("/one/insist"))
        wait_until(lambda: pool_of(app, "one")["running"] == 1)
        waits.send(get("/one?ms=1"))
        wait_until(lambda: pool_of(app, "one")["queued"] == 1)
        r = c.send(get("/one?ms=1")).reply()
        assert (r.status, r.headers["retry-after"], close_of(r)) == (503, "1", None)
        assert c.send(get("/s/text")).reply().status == 200
        assert c.send(get("/let-go?insisting=1")).reply().status == 200
        assert runs.reply().status == 200 and waits.reply().status == 200
        assert c.send(get("/one?ms=1")).reply().status == 200
    assert pool_of(app, "one")["rejected"] == 1


def test_queue_and_pool_size_the_default_pool(serve):
    app = serve("testapp", "--pool", "3", "--queue", "7", "--loops", "1")
    assert (pool_of(app, "default")["limit"], pool_of(app, "default")["queue"]) == (3, 7)
    assert (pool_of(app, "one")["limit"], pool_of(app, "one")["queue"]) == (1, 1)


def test_idle_threads_end(serve):
    app = serve("testapp", "--pool-idle", "200ms")
    assert app.ask("/s/text")[0] == 200
    assert pool_of(app, "second")["started"] == 1
    wait_until(lambda: pool_of(app, "second")["threads"] == 0)
    assert app.ask("/s/text")[0] == 200


def test_sync_streams_max_is_503(serve):
    app = serve("testapp", "--sync-streams-max", "1", "--loops", "1")
    with app.client() as holds, app.client() as c:
        holds.send(post("/s/count", b"", length=2), b"x")
        wait_until(lambda: pool_of(app, "second")["running"] == 1)
        r = c.send(post("/s/count", b"xy")).reply()
        assert (r.status, r.headers["retry-after"]) == (503, "1")
        assert c.send(get("/s/text")).reply().status == 200         # only streams hold threads
        assert c.send(post("/a/count", b"xy")).reply().status == 200
        assert holds.send(b"y").reply().body == b"2\n"
        assert c.send(post("/s/count", b"xy")).reply().status == 200


def test_linger_timeout_ends_an_upload_after_an_early_error(serve):
    app = serve("testapp", "--linger-timeout", "200ms")
    with app.client() as c:
        c.send(post("/a/small", b"x", length=100_000_000))
        assert c.reply().status == 413 and c.ended()
        with pytest.raises(ConnectionError):
            while True:
                c.send(b"x" * 1000)
                time.sleep(0.01)
