"""What handlers need: acquired and released in one job on one thread, whatever happens to the request.

Who holds something waits until it is let go (/hold, /let-go), so that what is held is certain.
"""
import json

import pytest

from conftest import get, wait_until

LANES = pytest.mark.parametrize("lane", ["a", "s"])


@pytest.fixture
def chain(serve):
    return serve("chainapp", "--loops", "2")


def stats(app):
    return app.ask_json("/stats")[1]


def pool(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def ask_many(app, n, path, *fields):
    return [app.client().send(get(path, *fields)) for _ in range(n)]


def all_released(app, acquired):
    def seen():
        s = stats(app)
        return (s["acquired"], s["released"], s["out"]) == (acquired, acquired, 0)

    wait_until(seen)
    assert stats(app)["elsewhere"] == 0


def test_ten_connections_serve_a_hundred_clients_on_forty_threads(chain):
    # https://github.com/fastapi/fastapi/issues/3205: there, each dependency and its release is a job of its own.
    clients = ask_many(chain, 100, "/db?hold=1")
    wait_until(lambda: pool(chain, "work")["running"] == 40 and stats(chain)["out"] == 10)
    wait_until(lambda: stats(chain)["handled"] == 10)
    assert chain.ask("/let-go?n=100")[0] == 200
    for c in clients:
        assert c.reply().body == b"by a real connection\n"
        c.s.close()
    all_released(chain, 100)
    assert stats(chain)["most"] == 10
    assert stats(chain)["handled"] == 100


@pytest.mark.parametrize("path", ["/db", "/s/slot", "/s/greet", "/s/int/5", "/db?fail=1", "/s/slot?slow-release=1",
                                  "/s/slot?stream=3", "/db?pull=3000"])
def test_all_of_a_request_is_one_job_on_one_thread(chain, path):
    before = pool(chain, "work")["done"]
    for _ in range(5):
        chain.ask(path, headers={"X-User": "me"})
    wait_until(lambda: pool(chain, "work")["running"] == 0)
    assert pool(chain, "work")["done"] == before + 5
    assert stats(chain)["elsewhere"] == 0
    assert stats(chain)["handled"] + 5 * ("greet" in path) == 5


@LANES
def test_slots_are_never_over_granted_and_all_come_back(chain, lane):
    clients = ask_many(chain, 30, f"/{lane}/slot?hold=1")
    wait_until(lambda: stats(chain)["out"] == 10)
    assert chain.ask("/let-go?n=30")[0] == 200
    for c in clients:
        assert c.reply().body == b"worked\n"
        c.s.close()
    all_released(chain, 30)
    assert stats(chain)["most"] == 10


@LANES
def test_what_a_need_answers_is_the_reply_and_nothing_is_held(chain, lane):
    status, body = chain.ask_json(f"/{lane}/greet")
    assert (status, body) == (401, {"detail": "Who are you?"})
    assert stats(chain)["acquired"] == 0
    assert chain.ask(f"/{lane}/greet", headers={"X-User": "me"})[2] == b"Hello, me!\n"
    all_released(chain, 1)


def test_releases_equal_acquires_after_failures_and_streams(chain):
    paths = [f"/{where}?{what}" for where in ("db", "a/slot", "s/slot")
             for what in ("fail=1", "error=418", "stream=100", "pull=100000", "x=1")]
    for path in paths:
        chain.ask(path)
    for path in ("/db", "/a/slot", "/s/slot"):
        for what in ("stream=2&break=1", "pull=5&break=1"):
            c = chain.client().send(get(f"{path}?{what}"))
            with pytest.raises((EOFError, ConnectionResetError)):
                c.reply()
            c.s.close()
    all_released(chain, len(paths) + 6)
    assert stats(chain)["closed"] == 6


@pytest.mark.parametrize("path", ["/db", "/a/slot", "/s/slot"])
def test_what_a_client_that_left_held_is_released(chain, path):
    holders = ask_many(chain, 10, f"{path}?hold=1")
    wait_until(lambda: stats(chain)["out"] == 10)
    waiting = ask_many(chain, 5, f"{path}?hold=1")
    if path != "/a/slot":
        wait_until(lambda: pool(chain, "work")["running"] == 15)
    for c in waiting + holders:
        c.reset()
    wait_until(lambda: chain.metric("offloop_requests_departed_total") == 15)
    wait_until(lambda: pool(chain, "work")["running"] == 0)
    wait_until(lambda: chain.metric("offloop_loop_requests_in_flight") == 0)    # a fiber that is told goes on a turn later
    s = stats(chain)
    assert s["out"] == 0 and s["acquired"] == s["released"] and s["elsewhere"] == 0
    assert 10 <= s["acquired"] <= 15
    c = chain.client().send(get(f"{path}?stream=100000"))
    assert c.s.recv(100)
    c.reset()
    all_released(chain, s["acquired"] + 1)


@pytest.mark.parametrize("path", ["/db/soon", "/a/slot/soon", "/s/slot/soon"])
def test_what_was_held_past_a_deadline_is_released(chain, path):
    """A thread may be so slow to begin that the deadline comes before it holds anything: then they are asked for again."""
    for _ in range(20):
        before = stats(chain)["acquired"]
        for c in ask_many(chain, 3, f"{path}?hold=1"):
            assert c.reply().status == 504
            c.s.close()
        wait_until(lambda: chain.metric("offloop_loop_requests_in_flight") == 0)
        s = stats(chain)
        assert (s["out"], s["released"], s["elsewhere"]) == (0, s["acquired"], 0)
        if s["acquired"] == before + 3:
            return
    raise AssertionError(s)


def test_a_need_is_overridden_in_a_test(serve):
    app = serve("chainapp", env={"CHAINAPP_FAKE": "1"})
    assert app.ask("/db")[2] == b"by a fake\n"
    assert app.ask("/s/slot")[2] == b"worked\n"
    assert stats(app)["acquired"] == 1      # the slot


@LANES
def test_values_go_with_the_request_through_lanes_and_pools(chain, lane):
    said = b"from the handler, from a pool, from a pool, from a pool; tester\n"
    for _ in range(3):
        assert chain.ask(f"/{lane}/values", headers={"User-Agent": "tester"})[2] == said
    assert stats(chain)["elsewhere"] == 0
