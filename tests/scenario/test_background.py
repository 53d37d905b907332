"""Work behind the reply (ol_after): its order, its bounds and its end; and handlers that say they block.

Work that is to take long waits at a gate (/let-go), so that what runs and what waits is certain.
"""
import re

import pytest

from conftest import get, wait_until
from test_pools import patch, pool, runs

LANES = ["/a", "/s"]


@pytest.fixture
def app(serve):
    return serve("afterapp", "--loops", "2")


def ran(app):
    return app.ask("/ran")[2].decode()


def waits_to_run(app, letters):
    wait_until(lambda: ran(app) == letters)


def background(app):
    return app.metric("offloop_loop_requests_in_background")


# ---- order


@pytest.mark.parametrize("lane", LANES)
def test_work_runs_in_the_order_left(app, lane):
    assert app.ask(f"{lane}/leave?work=abcdefgh")[2] == b"0\n"
    waits_to_run(app, "abcdefgh")
    assert app.ask(f"{lane}/leave?work=ij&pool=work")[2] == b"0\n"
    waits_to_run(app, "abcdefghij")
    wait_until(lambda: app.metric("offloop_after_run_total") == 10)
    assert app.ask(f"{lane}/leave?work=k&pool=nonesuch")[2] == b"-2\n"


@pytest.mark.parametrize("lane", LANES)
def test_the_next_request_is_answered_while_work_runs(app, lane):
    with app.client() as c:
        assert c.send(get(f"{lane}/leave?work=Gb")).reply().body == b"0\n"
        wait_until(lambda: background(app) == 1)
        c.send(get(f"{lane}/leave?work=c"), get("/ran"))
        assert c.reply().body == b"0\n"
        assert c.reply().status == 200
        waits_to_run(app, "c")          # beside it, on another thread
        wait_until(lambda: background(app) == 1 and app.metric("offloop_loop_requests_in_flight") == 0)
        c.send(get("/let-go?n=1")).reply()
        waits_to_run(app, "cGb")
        assert c.send(get(f"{lane}/leave?work=d")).reply().body == b"0\n"
    waits_to_run(app, "cGbd")
    wait_until(lambda: background(app) == 0)


@pytest.mark.parametrize("lane", LANES)
def test_the_requests_memory_is_still_there(app, lane):
    """Its header fields, its values, what it has allocated; the connection has seen many others since."""
    with app.client() as c:
        for i in range(3):
            c.send(get(f"{lane}/leave?work=G", f"X-Tag: {i}-{'t' * 3000}")).reply()
        wait_until(lambda: background(app) == 3)
        for _ in range(200):
            assert c.send(get("/ran")).reply().body == b""
    app.ask("/let-go?n=3")
    waits_to_run(app, "GGG")            # each has compared; one that saw something else has aborted


def test_the_pool_is_shown_and_sized_as_others_are(serve):
    app = serve("afterapp", "--loops", "1", "--background", "1", "--background-queue", "3")
    app.wait_log(r"name=background threads=1 queue=3 stack_bytes=")
    assert app.ask("/a/leave?work=GG")[2] == app.ask("/s/leave?work=GG")[2] == b"0\n"
    runs(app, "background", 1, 1)
    assert app.ask("/a/leave?work=G")[2] == b"-11\n"
    assert app.metric("offloop_pool_rejected_total", pool="background", reason="queue_full") == 1
    assert patch(app, "background", {"threads": 2})[0] == 200
    runs(app, "background", 2)          # at once
    app.ask("/let-go?n=4")
    waits_to_run(app, "GGGG")
    runs(app, "background", 0)
    assert app.metric("offloop_pool_run_seconds_count", pool="background", route="/a/leave") == 1
    assert (pool(app, "background")["limit"], pool(app, "background")["queue"]) == (2, 3)


# ---- bounds


@pytest.mark.parametrize("lane", LANES)
def test_what_was_accepted_runs_and_the_others_were_refused(serve, lane):
    """A thousand pieces for a queue of ten."""
    app = serve("afterapp", "--loops", "2", "--background", "1", "--background-queue", "10")
    taken, full = map(int, app.ask(f"{lane}/many?n=1000")[2].split())
    assert (taken, full) == (11, 989)
    waits_to_run(app, "m" * 11)
    for _ in range(20):
        with app.client() as c:
            c.send(*[get(f"{lane}/many?n=50")] * 20)
            for _ in range(20):
                n, m = map(int, c.reply().body.split())
                assert n + m == 50
                taken += n
                full += m
    wait_until(lambda: app.metric("offloop_after_run_total") == taken)
    assert len(ran(app)) == taken
    assert app.metric("offloop_pool_rejected_total", pool="background", reason="queue_full") == full
    assert app.metric("offloop_after_dropped_total") == app.metric("offloop_after_failed_total") == 0


def test_work_does_not_count_against_requests_max(serve):
    app = serve("afterapp", "--loops", "1", "--requests-max", "2")
    for _ in range(20):
        assert app.ask("/a/leave?work=G")[2] == b"0\n"
    assert background(app) == 20
    assert app.ask("/let-go?n=20")[0] == 200
    waits_to_run(app, "G" * 20)


# ---- failures


def test_a_failure_is_logged_with_its_route_and_counted(app):
    assert app.ask("/s/leave?work=aFb")[2] == b"0\n"
    waits_to_run(app, "aFb")
    line = app.wait_log(r"background work failed.*").group(0)
    assert "GET /s/leave" in line and "Input/output error" in line
    wait_until(lambda: app.metric("offloop_after_failed_total") == 1)
    wait_until(lambda: app.metric("offloop_after_run_total") == 3)
    assert app.metric("offloop_handler_errors_total") == 0


@pytest.mark.parametrize("lane", LANES)
def test_nothing_runs_when_the_handler_fails(app, lane):
    for _ in range(300):                # and the places come back: there are not that many
        assert app.ask(f"{lane}/fail?work=abcd")[0] == 500
    assert app.ask(f"{lane}/leave?work=e")[2] == b"0\n"
    waits_to_run(app, "e")
    wait_until(lambda: app.metric("offloop_after_dropped_total") == 1200)


def test_a_client_that_resets_takes_no_work_with_it(app):
    """Whatever a handler has left runs, at whichever moment its client went."""
    for _ in range(30):
        app.client().send(get("/s/leave?work=ab")).reset()
    wait_until(lambda: app.metric("offloop_connections_accepted_total") == 30)
    wait_until(lambda: app.metric("offloop_loop_connections") == app.metric("offloop_loop_requests_in_flight") == 0)
    wait_until(lambda: background(app) == 0)

    def all_are_booked():               # a worker books its job when others know already what came of it
        handled = app.metric("offloop_pool_run_seconds_count", pool="work")
        return len(ran(app)) == app.metric("offloop_after_run_total") == 2 * handled

    wait_until(all_are_booked)


# ---- the end


def test_a_drain_waits_for_work(app):
    """Also for what has not begun, and for what a request leaves while the server drains."""
    for _ in range(3):
        assert app.ask("/a/leave?work=Gab")[2] == b"0\n"
    wait_until(lambda: pool(app, "background")["running"] == 3)
    with app.client() as last, app.client() as gate:
        assert gate.send(get("/ran")).reply().body == b""
        gate.send(get("/let-go?n=3")[:-2])      # all but its end
        last.send(get("/s/leave?work=z")[:-2])
        wait_until(lambda: app.metric("offloop_loop_heads_pending") == 2)
        app.terminate()
        assert last.send(b"\r\n").reply().body == b"0\n"
        app.wait_log("ran z")
        assert len(re.findall(r"ran \w", app.log)) == 1
        gate.send(b"\r\n").reply()
    app.stop()
    assert sorted(re.findall(r"ran (\w)", app.log)) == sorted("GabGabGabz")
    assert "stuck" not in app.log


def test_work_that_waits_is_told_when_the_grace_is_over(serve):
    """It ends with -ECANCELED, and what stands behind it does not begin; the server was not able to end well."""
    app = serve("afterapp", "--loops", "1", "--grace", "300ms", "--background", "1")
    assert app.ask("/a/leave?work=Gab")[2] == app.ask("/s/leave?work=cd")[2] == b"0\n"
    runs(app, "background", 1, 1)
    app.stop(expect=1)
    assert "stuck: GET /a/leave: 1 request" in app.log and "stuck: GET /s/leave: 1 request" in app.log
    assert not re.search(r" ran \w", app.log)
    assert re.search(r"background work failed.*GET /a/leave.*Operation canceled", app.log)


def test_stuck_work_is_named_and_the_process_ends(serve):
    app = serve("afterapp", "--loops", "1", "--grace", "200ms")
    assert app.ask("/s/leave?work=S")[2] == b"0\n"
    waits_to_run(app, "S")
    app.stop(expect=1)
    assert "stuck: GET /s/leave: 1 request" in app.log
    assert "1 request is stuck: ending without it" in app.log


# ---- handlers that say they block


def at_gate(app, n, path):
    return [app.client().send(get(path)) for _ in range(n)]


def through(app, clients):
    app.ask(f"/let-go?n={len(clients)}")
    for c in clients:
        assert c.reply().body == b"through\n"
        c.s.close()


@pytest.mark.parametrize("kind", ["blocking", "forgetful"])
def test_handlers_that_block_let_others_run_within_the_spares(app, kind):
    """A pool of one thread with two spares."""
    for _ in range(2):                  # what was left open is closed by the return
        clients = at_gate(app, 5, f"/spared/{kind}")
        wait_until(lambda: (pool(app, "spared")["blocked"], pool(app, "spared")["queued"]) == (3, 2))
        p = pool(app, "spared")
        assert (p["running"], p["threads"], p["limit"]) == (0, 3, 1)
        assert p["threads"] == p["running"] + p["blocked"] + p["idle"] + p["starting"]
        assert app.metric("offloop_pool_threads", pool="spared", state="blocked") == 3
        through(app, clients)
        wait_until(lambda: pool(app, "spared")["running"] == pool(app, "spared")["blocked"] == 0)
        assert app.ask("/most")[2] == b"3\n"


@pytest.mark.parametrize("path", ["/spared/silent", "/narrow/blocking", "/narrow/silent"])
def test_without_a_word_or_without_spares_nothing_changes(app, path):
    name = path.split("/")[1]
    clients = at_gate(app, 4, path)
    wait_until(lambda: pool(app, name)["queued"] == 3 and pool(app, name)["threads"] == 1)
    through(app, clients)
    assert app.ask("/most")[2] == b"1\n"


def test_on_a_loop_both_do_nothing(app):
    clients = at_gate(app, 4, "/loop/blocking")
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 4)
    assert all(p == 0 for p in (pool(app, name)["blocked"] for name in ("default", "spared", "narrow")))
    through(app, clients)
    assert app.ask("/most")[2] == b"4\n"
