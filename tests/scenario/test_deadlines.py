"""Deadlines and departures against a whole server: who answers, what the work that goes on keeps, and who is told.

Work ends when it is let go (/let-go), so what runs and what waits is certain; deadlines are short, and waited for.
"""
import json
import socket
import time

import pytest

from conftest import get, post, wait_until


@pytest.fixture
def app(serve):
    return serve("queueapp", "--loops", "1")


def pool(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def runs(app, name, running, queued=0):
    wait_until(lambda: (pool(app, name)["running"], pool(app, name)["queued"]) == (running, queued))


def deadlines(app):
    return tuple(app.metric(f"offloop_deadlines_{where}_total") for where in ("queued", "running", "streaming"))


def told(app):
    return int(app.ask("/told")[2])


def test_a_504_leaves_thread_and_place_with_the_work_until_it_returns(app):
    with app.client() as c:
        c.send(get("/timed/hold"))
        r = c.reply()
        assert (r.status, r.body) == (504, b'{"detail":"The request took too long"}')
        assert r.headers["content-type"] == "application/json"
        assert pool(app, "narrow")["running"] == 1
        assert c.send(get("/told")).reply().status == 200       # the same connection goes on
        assert c.send(get("/timed/hold")).reply().status == 503 # its .max_inflight of 1 is taken
        waits = app.client().send(get("/note/behind"))
        runs(app, "narrow", 1, 1)
        app.ask("/let-go")
        assert waits.reply().status == 200
        runs(app, "narrow", 0)
        assert app.metric("offloop_replies_late_total") == 1
        app.ask("/let-go")
        assert c.send(get("/timed/hold")).reply().body == b"held\n"
    assert deadlines(app) == (0, 1, 0)
    assert app.metric("offloop_pool_rejected_total", pool="narrow", reason="max_inflight") == 1


def test_a_deadline_in_the_queue_costs_no_thread(app):
    held = app.client().send(get("/hold"))
    runs(app, "narrow", 1)
    with app.client() as c:
        assert c.send(get("/timed/note/never")).reply().status == 504
        assert (pool(app, "narrow")["queued"], pool(app, "narrow")["dropped"]) == (0, 1)
        app.ask("/let-go")
        assert held.reply().body == b"held\n"
        assert c.send(get("/note/after")).reply().status == 200
    assert app.ask("/order")[2] == b"after,"
    assert deadlines(app) == (1, 0, 0)
    assert app.metric("offloop_pool_dropped_total", pool="narrow", reason="deadline") == 1
    assert app.metric("offloop_replies_late_total") == 0
    assert app.metric("http_server_request_duration_seconds_count", route="/timed/note/{name}", status=504) == 1


def test_a_handler_on_the_loop_is_told(app):
    with app.client() as c:
        assert c.send(get("/timed/nap")).reply().status == 504
        wait_until(lambda: told(app) == 1)
        assert c.send(get("/told")).reply().body == b"1\n"
    assert deadlines(app) == (0, 1, 0)


@pytest.mark.parametrize("lane", ["async", "sync"])
def test_a_stream_is_broken_off_and_the_client_can_tell(app, lane):
    with app.client() as c:
        c.send(get(f"/timed/stream/{lane}"))
        with pytest.raises((EOFError, ConnectionResetError)):
            c.reply()
    wait_until(lambda: told(app) == 1)
    assert deadlines(app) == (0, 0, 1)


@pytest.mark.parametrize("lane", ["async", "sync"])
def test_a_stream_for_head_gets_a_504(app, lane):
    with app.client() as c:
        r = c.send(get(f"/timed/stream/{lane}", method="HEAD")).reply(head=True)
        assert r.status == 504
        assert c.send(get("/told")).reply().status == 200
    assert deadlines(app) == (0, 1, 0)


def test_a_body_that_is_still_read_is_left(app):
    with app.client() as c:
        c.send(post("/timed/upload", b"", length=10), b"01234")
        assert c.reply().status == 504
        wait_until(lambda: told(app) == 1)
        assert c.send(b"56789", get("/told")).reply().body == b"1\n"
    assert deadlines(app) == (0, 1, 0)


def test_the_access_log_tells_what_was_sent(serve):
    app = serve("queueapp", "--loops", "1", "--access-log")
    assert app.ask("/timed/nap")[0] == 504
    app.wait_log(r"target=/timed/nap status=504 bytes=38 duration")


# ---- ol_cancelled


def test_a_handler_is_told_of_its_deadline(app):
    assert app.ask("/timed/poll")[0] == 504
    wait_until(lambda: told(app) == 1)


def test_a_handler_is_told_of_a_departure(app):
    c = app.client().send(get("/poll"))
    runs(app, "wide", 1)
    assert told(app) == 0
    c.reset()
    wait_until(lambda: told(app) == 1)
    runs(app, "wide", 0)
    assert app.metric("offloop_requests_departed_total") == 1
    wait_until(lambda: app.metric("offloop_replies_discarded_total") == 1)
    assert deadlines(app) == (0, 0, 0)


def test_a_handler_is_told_that_the_grace_is_over(serve):
    app = serve("queueapp", "--loops", "1", "--grace", "200ms")
    c = app.client().send(get("/poll"))
    runs(app, "wide", 1)
    begun = time.monotonic()
    app.stop(expect=1)              # it names the handler as stuck, and yet the process ends
    assert time.monotonic() - begun < 20
    assert "GET /poll: 1 request" in app.log
    c.s.close()


def test_work_that_waits_when_the_grace_is_over_is_dropped(serve):
    app = serve("queueapp", "--loops", "1", "--grace", "10ms")
    app.client().send(get("/hold"))
    runs(app, "narrow", 1)
    app.client().send(get("/note/never"))
    runs(app, "narrow", 1, 1)
    app.stop(expect=1)


# ---- departures


@pytest.mark.parametrize("how", ["reset", "close"])
def test_queued_work_of_a_client_that_left_costs_no_thread(app, how):
    held = app.client().send(get("/hold"))
    runs(app, "narrow", 1)
    c = app.client().send(get("/note/never"))
    runs(app, "narrow", 1, 1)
    if how == "reset":
        c.reset()
    else:
        time.sleep(0.15)            # a FIN right behind the request is a half-close, and is answered
        c.s.shutdown(socket.SHUT_WR)
    runs(app, "narrow", 1)
    app.ask("/let-go")
    assert held.reply().body == b"held\n"
    assert app.ask("/order")[2] == b""
    assert app.metric("offloop_pool_dropped_total", pool="narrow", reason="client_left") == 1
    assert app.metric("offloop_pool_dropped_total") == 1
    c.s.close()
