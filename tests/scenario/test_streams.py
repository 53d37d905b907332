"""Replies and uploads in pieces, in both lanes: pulled and written, to their end and broken off; who reads or sends slowly holds up
nobody else."""
import select
import time

import pytest
from conftest import get, wait_until

LANES = ("/a", "/s")
CHUNK_END = b"\r\n0\r\n\r\n"


@pytest.fixture
def app(serve):
    return serve("streamapp", "--loops", "1", "--pool", "2", "--queue", "4")


def seen(app):
    return app.ask_json("/seen")[1]


def letters(n):
    return (b"abcdefghijklmnopqrstuvwxyz" * (n // 26 + 1))[:n]


def idle(app):
    """No handler runs or waits for a thread."""
    return (app.metric("offloop_pool_threads", pool="default", state="running") == 0 and
            app.metric("offloop_pool_queued", pool="default") == 0)


def closed_once(app, n):
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)
    wait_until(lambda: seen(app)["closed"] >= n)
    s = seen(app)
    assert (s["opened"], s["closed"]) == (n, n)


# ---- pulled


@pytest.mark.parametrize("lane", LANES)
def test_a_pulled_reply_arrives_whole(app, lane):
    for n, piece in ((0, 10), (1, 10), (100_000, 1), (3_000_000, 1 << 20)):
        with app.client() as c:
            r = c.send(get(f"{lane}/pulled?n={n}&piece={piece}")).reply()
            assert (r.status, r.headers["transfer-encoding"]) == (200, "chunked")
            assert r.body == letters(n)
            assert c.send(get("/a/ping")).reply().body == b"pong\n"      # the connection goes on
    closed_once(app, 4)


@pytest.mark.parametrize("lane", LANES)
def test_a_pulled_reply_for_http_1_0_ends_with_the_connection(app, lane):
    with app.client() as c:
        r = c.send(get(f"{lane}/pulled?n=200000", version="1.0")).reply()
        assert "transfer-encoding" not in r.headers
        assert r.body == letters(200_000)
    closed_once(app, 1)


@pytest.mark.parametrize("lane", LANES)
def test_head_is_not_pulled(app, lane):
    with app.client() as c:
        assert c.send(get(f"{lane}/pulled", method="HEAD")).reply(head=True).status == 200
        assert c.send(get("/a/ping")).reply().body == b"pong\n"
    closed_once(app, 1)
    assert seen(app)["pulls"] == 0


@pytest.mark.parametrize("lane", LANES)
def test_a_pulled_reply_that_breaks_off_looks_incomplete(app, lane):
    got = app.raw(get(f"{lane}/pulled?n=1000000&fail=50000"))
    assert got.startswith(b"HTTP/1.1 200") and not got.endswith(CHUNK_END)
    got = app.raw(get(f"{lane}/pulled?n=1000000&fail=0", "Connection: close"))
    assert got.startswith(b"HTTP/1.1 500")          # nothing had been sent: an error can be
    closed_once(app, 2)


@pytest.mark.parametrize("lane", LANES)
def test_a_pulled_reply_that_is_replaced_is_closed(app, lane):
    with app.client() as c:
        assert c.send(get(f"{lane}/pulled?then=text")).reply().body == b"another\n"
        assert c.send(get(f"{lane}/pulled?then=error")).reply().status == 500
    closed_once(app, 2)
    assert seen(app)["pulls"] == 0


@pytest.mark.parametrize("lane", LANES)
def test_a_pulled_reply_has_its_trailer(app, lane):
    got = app.raw(get(f"{lane}/pulled?n=10&trailer", "Connection: close"))
    assert got.endswith(b"\r\na\r\nabcdefghij\r\n0\r\nX-Sum: 26\r\n\r\n")


@pytest.mark.parametrize("lane", LANES)
def test_a_client_that_leaves_midway_ends_the_pulling(app, lane):
    with app.client(rcvbuf=4096) as c:
        c.send(get(f"{lane}/pulled?n={1 << 40}"))
        c.s.recv(1000)
        c.reset()
    closed_once(app, 1)


def test_slow_readers_of_pulled_replies_hold_no_thread(serve):
    """64 clients that read nothing, on a pool of two threads, where 58 have a place.  Before a client is behind its socket fills,
    and its stream needs a thread again and again, so a few of them may do so at once."""
    app = serve("streamapp", "--loops", "1", "--pool", "2", "--queue", "56")
    slow = []
    for _ in range(64):
        c = app.client(rcvbuf=4096).send(get(f"/s/pulled?n={1 << 40}&piece=65536"))
        assert c.s.recv(12) == b"HTTP/1.1 200"
        slow.append(c)
        wait_until(lambda: idle(app))
    for _ in range(5):
        assert app.ask("/s/ping")[2] == b"pong\n"
    with app.client() as c:
        assert c.send(get("/s/pulled?n=1000000")).reply().body == letters(1_000_000)
    for c in slow:      # those who read on get on
        for _ in range(5):
            assert c.s.recv(65536)
    for c in slow:
        c.reset()
    closed_once(app, 65)


# ---- written


def test_a_sync_producer_whose_client_is_slow_blocks_only_itself(app):
    with app.client(rcvbuf=4096) as slow:
        slow.send(get("/s/written?n=100000&piece=4000"))
        wait_until(lambda: seen(app)["writes"] > 16)
        assert app.ask("/s/ping")[2] == b"pong\n"
        assert seen(app)["writes"] < 100_000
        slow.reset()
    wait_until(lambda: seen(app)["cancelled"] == 1)


def test_an_async_producer_whose_client_is_slow_suspends(app):
    slow = [app.client(rcvbuf=4096).send(get("/a/written?n=100000&piece=4000")) for _ in range(8)]
    for c in slow:
        assert c.s.recv(12) == b"HTTP/1.1 200"
    assert app.ask("/a/ping")[2] == b"pong\n"
    for c in slow:
        c.reset()
    wait_until(lambda: seen(app)["cancelled"] == 8)


def test_small_writes_leave_together(app):
    """10,000 writes of 10 bytes.  A worker writes while the loop sends, so how many leave together is up to both; test_stream.c
    has them take turns as it wants.  A fiber is alone with its loop: it fills the pipe, and that leaves whole."""
    for lane in LANES:
        got = app.raw(get(f"{lane}/written?n=10000&piece=10", "Connection: close"))
        assert got.count(b"w") == 100_000
        assert got.endswith(CHUNK_END)
    assert app.raw(get("/a/written?n=10000&piece=10", "Connection: close")).count(b"w\r\n") <= 8


def test_who_reads_too_slowly_is_reset(serve):
    app = serve("streamapp", "--pool", "2", "--write-rate-min", "300k", "--write-grace", "300ms", "--write-timeout", "60")
    assert len(app.ask("/s/written?n=2500&piece=4000")[2]) == 10_000_000
    slow = app.client(rcvbuf=4096).send(get("/s/written?n=100000000&piece=4000"))
    with pytest.raises(ConnectionResetError):
        while slow.s.recv(4096):
            time.sleep(0.05)
    slow.s.close()
    wait_until(lambda: seen(app)["cancelled"] == 1)         # its thread is free again
    assert app.metric("offloop_timeouts_write_rate_total") == 1
    assert app.metric("offloop_timeouts_write_total") == 0


# ---- uploads


@pytest.mark.parametrize("lane", LANES)
def test_an_upload_that_nobody_reads_is_not_taken_in(serve, tmp_path, lane):
    """The sender is held up: the server takes a pipe's 64 KiB and what it may hold unparsed, whatever is sent."""
    app = serve("streamapp", "--loops", "1", "--pool", "2", unix=tmp_path / "s")
    total, sent = 32 << 20, 0
    piece = bytes(65536)
    with app.client() as c:
        c.send(get(f"{lane}/upload", method="POST", length=total))
        wait_until(lambda: seen(app)["reading"] == 1)
        c.s.setblocking(False)
        while sent < total and select.select([], [c.s], [], 0.3)[1]:
            try:
                sent += c.s.send(piece)
            except BlockingIOError:
                pass
        assert sent < 4 << 20, "the sender was never held up"
        assert app.metric("offloop_received_bytes_total") < 300_000
        assert app.ask(f"{lane}/ping")[2] == b"pong\n"
        assert app.ask("/open?gate=0")[0] == 200
        c.s.settimeout(60)
        while sent < total:
            sent += c.s.send(piece[:total - sent])
        assert c.reply().body == b"%d\n" % total


@pytest.mark.parametrize("lane", LANES)
def test_a_chunked_upload_is_read_in_pieces(app, lane):
    assert app.ask("/open?gate=0")[0] == 200
    with app.client() as c:
        c.send(get(f"{lane}/upload", "Transfer-Encoding: chunked", method="POST"))
        for i in range(1, 6):
            c.send(b"1000\r\n", bytes(4096), b"\r\n")
            wait_until(lambda n=i: seen(app)["taken"] == 4096 * n)
        assert c.send(b"0\r\n\r\n").reply().body == b"20480\n"


def test_nothing_is_left_of_an_upload_whose_client_leaves(app):
    for lane in LANES:
        with app.client() as c:
            c.send(get(f"{lane}/upload", method="POST", length=1 << 20), bytes(100_000))
            wait_until(lambda: seen(app)["waiting"] == 1)
            c.reset()
        wait_until(lambda: seen(app)["waiting"] == 0)
    wait_until(lambda: seen(app)["cancelled"] == 2)     # counted after it has stopped waiting
