"""HTTP/1.1 where a wire script cannot say it: how bytes are cut, how much of them there is, who closes when."""
import socket
import threading

import pytest

from conftest import get, post

CHUNKED = (b"POST /a/collect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 13\r\n\r\n")

EXAMPLES = [
    (get("/a/text"), 200),
    (b"\r\n" + get("/s/text"), 200),
    (post("/a/echo", b"some body"), 200),
    (CHUNKED, 200),
    (get("http://example.org/a/text"), 200),
    (get("*", method="OPTIONS"), 204),
    (get("/nonesuch"), 404),
    (get("/a/text", method="CONNECT"), 405),
    (get("/a/text", method="BREW"), 501),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (get("/%zz"), 400),
    (get("/a/../../x"), 400),
    (get("/a/text", " folded"), 400),
    (get("/a/text", "X : y"), 400),
    (get("/a/text", "X: a\rb"), 400),
    (get("/a/text", "Host: y"), 400),
    (post("/a/echo", b"abc", "Content-Length: 3"), 400),
    (post("/a/echo", b"abc", "Transfer-Encoding: chunked"), 400),
    (CHUNKED.replace(b"0a\r", b"0g\r"), 400),
    (CHUNKED.replace(b"X-Sum", b"X Sum"), 400),
]


def test_a_request_may_arrive_byte_by_byte(app):
    for request, status in EXAMPLES:
        with app.client() as c:
            try:
                for i in range(len(request)):
                    c.send(request[i:i + 1])
            except ConnectionError:
                assert status >= 400    # refused before its end
            assert c.reply().status == status, request


def test_a_request_may_be_cut_anywhere(app):
    with app.client() as c:
        for cut in range(1, len(CHUNKED)):
            c.send(CHUNKED[:cut])
            c.send(CHUNKED[cut:])
            r = c.reply()
            assert (r.status, r.body, r.headers["x-trailer"]) == (200, b"abc0123456789", "13"), cut


@pytest.mark.parametrize("lane", ["/a", "/s"])
def test_more_requests_than_are_read_ahead_are_answered_in_order(app, lane):
    """More than is kept unparsed, behind a slow first one; the replies wait for the client, too."""
    n = 3000
    with app.client() as c:
        sender = threading.Thread(target=lambda: c.send(
            get(f"{lane}/nap?ms=100"), *(get(f"{lane}/whoami?q={i}") for i in range(n))))
        sender.start()
        assert c.reply().body == b"rested\n"
        for i in range(n):
            assert b" q=%d " % i in c.reply().body
        sender.join()
        assert c.send(get(f"{lane}/text")).reply().status == 200


def test_lanes_and_bodies_may_be_mixed_on_one_connection(app):
    with app.client() as c:
        want = []
        for i in range(40):
            lane = "/a" if i % 3 else "/s"
            want += [b"i%d" % i, b"y" * 6 * (i % 5), b"c" * (i * 300), b"hello\n"]
            c.send(post(f"{lane}/echo", b"i%d" % i), get(f"{lane}/stream?n={i % 5}"),
                   post(f"{lane}/collect", b"c" * (i * 300)), get(f"{lane}/text"))
        assert [c.reply().body for _ in want] == want


def test_nothing_behind_a_malformed_request_is_answered(app):
    before = app.metric("offloop_requests_total")
    with app.client() as c:
        c.send(get("/a/text"), b"GET /a/text HTTP/1.1\r\nHost : x\r\n\r\n", *[get("/a/text")] * 50)
        assert [c.reply().status, c.reply().status] == [200, 400]
        assert c.ended()
    assert app.metric("offloop_requests_total") == before + 1
    assert app.metric("offloop_requests_refused_total") == 1


@pytest.mark.parametrize("lane", ["/a", "/s"])
@pytest.mark.parametrize("route", ["/small", "/ignore"])
def test_an_early_reply_outlives_an_upload_that_goes_on(app, lane, route):
    """20 MB are sent before anything is read: more than all buffers on the way can hold."""
    with app.client() as c:
        c.send(post(lane + route, b"x" * 20_000_000))
        r = c.reply()
        assert (r.status, r.headers["connection"]) == ({"/small": 413, "/ignore": 200}[route], "close")
        assert c.ended()


@pytest.mark.parametrize("lane", ["/a", "/s"])
def test_a_body_that_is_thrown_away_leaves_the_connection_in_step(app, lane):
    with app.client() as c:
        for size in (1, 5000, 65_536):
            c.send(post(lane + "/ignore", b"G" * size))
            r = c.reply()
            assert r.status == 200 and "connection" not in r.headers, size
        for _ in range(3):
            c.send(post("/nonesuch", b"2\r\nab\r\n0\r\n\r\n"))
            assert c.reply().status == 404
        assert c.send(get(lane + "/text")).reply().status == 200


def test_a_body_is_asked_for_only_when_a_handler_reads_it(app):
    with app.client() as c:
        c.send(post("/a/count", b"", "Expect: 100-continue", length=5))
        assert c.reply().status == 100
        c.send(b"12345")
        assert c.reply().body == b"5\n"
    with app.client() as c:     # it has come: no 100 is needed any more
        c.send(post("/a/count", b"12345", "Expect: 100-continue"))
        assert c.reply().status == 200
    with app.client() as c:
        c.send(post("/s/ignore", b"", "Expect: 100-continue", length=5))
        r = c.reply()
        assert (r.status, r.headers["connection"]) == (200, "close")
        assert c.ended()


@pytest.mark.parametrize("lane", ["/a", "/s"])
def test_a_reply_to_http_1_0_ends_with_the_connection(app, lane):
    with app.client() as c:
        c.send(get(lane + "/stream?n=50&size=9000", version="1.0"))
        r = c.reply()
        assert "transfer-encoding" not in r.headers and len(r.body) == 450_000
    with app.client() as c:
        c.send(get(lane + "/text", "Connection: keep-alive", version="1.0"))
        assert c.reply().headers["connection"] == "keep-alive"
        c.send(get(lane + "/stream", "Connection: keep-alive", version="1.0"))
        assert c.reply().headers["connection"] == "close"


@pytest.mark.parametrize("lane", ["/a", "/s"])
def test_what_a_handler_may_not_say_is_refused(app, lane):
    """CR, LF or NUL in a field would end it early; NUL cannot even be passed in."""
    for value in ("a%0d%0aX: y", "a%0db", "a%0ab"):
        r = app.raw(get(f"{lane}/headers?value={value.replace(' ', '%20')}", "Connection: close"))
        assert r.endswith(b"\r\n\r\n-22\n") and b"X-Test" not in r, value
    for name in ("a%0d%0ab", "a%0ab", "a:b", "a%20b", ""):
        r = app.raw(get(f"{lane}/headers?name={name}&value=v", "Connection: close"))
        assert r.endswith(b"\r\n\r\n-22\n"), name
    for name in ("Content-Length", "transfer-encoding", "Connection", "Date", "Trailer"):
        assert app.raw(get(f"{lane}/headers?name={name}", "Connection: close")).endswith(b"-1\n")


def test_a_trailer_is_sent_behind_the_last_chunk(app):
    assert app.raw(get("/a/stream?trailer=12", "Connection: close")).endswith(b"\r\n0\r\nX-Sum: 12\r\n\r\n")
    assert b"X-Sum" not in app.raw(get("/a/stream?trailer=12", version="1.0"))
    assert b"X-Sum" not in app.raw(get("/a/stream?trailer=a%0d%0ab", "Connection: close"))


def test_a_unix_socket_speaks_the_same(serve, tmp_path):
    app = serve("testapp", unix=tmp_path / "socket")
    with app.client() as c:
        assert c.send(get("/a/text")).reply().body == b"hello\n"
        assert b"remote=unix:" in c.send(get("/s/whoami")).reply().body
        assert c.send(post("/a/collect", b"x" * 300_000)).reply().body == b"x" * 300_000
        c.send(b"GET / HTTP/1.1\r\n\r\n")
        assert c.reply().status == 400 and c.ended()


def test_two_loops_share_the_connections(app):
    clients = [app.client() for _ in range(64)]
    for c in clients:
        assert c.send(get("/a/text")).reply().status == 200
    loads = [app.metric("offloop_loop_connections", loop=i) for i in range(2)]
    assert sum(loads) == 64 and min(loads) > 0
    for c in clients:
        c.s.shutdown(socket.SHUT_RDWR)
        c.s.close()
