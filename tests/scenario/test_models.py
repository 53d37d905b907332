"""--model: the same app under other frameworks' concurrency, as a client sees it: who waits for whom."""
import json
import os
import re
import select
import signal
import socket

import pytest

from conftest import get, post, wait_until

MODELS = ["hybrid", "asgi", "tornado", "wsgi", "wsgi-sync"]


@pytest.fixture
def gated(serve, tmp_path):
    """gated(model, *args): a server, and let_go(n) for those of its threads that are at the gate."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)

    def start(model, *args):
        s = serve("modelapp", "--gate", fifo, "--model", model, *args)
        s.let_go = lambda n=1: os.write(fd, b"." * n)
        return s

    yield start
    os.close(fd)


def at_gate(s, n=1):
    """n handlers have come to the gate, which is where they block."""
    wait_until(lambda: s.log.count("at the gate") >= n)


def silent(*clients):
    """No reply has come; a short look, which a server that answered would have been fast enough for."""
    return not select.select([c.s for c in clients], [], [], 0.15)[0]


def ask(s, *paths):
    """A client each, whose request is sent."""
    return [s.client().send(get(path)) for path in paths]


# ---- lanes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model,threads", [
    ("hybrid", ["ol-loop", "ol-other", "ol-default", "ol-loop"]), ("asgi", ["ol-loop0"] * 4), ("tornado", ["ol-loop0"] * 4),
    ("wsgi", ["ol-default"] * 4), ("wsgi-sync", ["ol-default"] * 4)])
def test_handlers_run_where_the_model_has_them(gated, model, threads):
    s = gated(model)
    paths = ["/where/async", "/where/sync", "/where/adaptive", "/where/nonesuch"]
    assert [s.ask(p)[0] for p in paths] == [200, 200, 200, 404]
    for path, thread in zip(paths, threads):
        assert s.ask(path)[2].decode().startswith(thread), path


@pytest.mark.parametrize("model,lanes,pool", [("asgi", {"async"}, None), ("tornado", {"async"}, None),
                                              ("wsgi", {"sync"}, "default"), ("wsgi-sync", {"sync"}, "default")])
def test_the_control_plane_tells_the_lane_that_holds_and_the_one_declared(gated, model, lanes, pool):
    s = gated(model)
    s.ask("/where/sync")
    routes = {r["route"]: r for r in json.loads(s.ask_control("/routes")[1])}
    assert {r["lane"] for r in routes.values()} == lanes
    assert {r["pool"] for r in routes.values()} == {pool}
    assert [routes[f"/where/{x}"]["declared"] for x in ("async", "sync", "adaptive")] == ["async", "sync", "adaptive"]
    assert f"--model {model}" in routes["/hello"]["fixed"]
    lane = lanes.pop()
    wait_until(lambda: s.metric("http_server_request_duration_seconds_count", route="/where/sync", lane=lane) == 1)
    assert s.metric("offloop_route_lane", route="/where/sync", lane=lane) == 1


def test_a_route_of_a_model_cannot_be_moved(gated):
    import http.client
    s = gated("asgi")
    c = http.client.HTTPConnection("127.0.0.1", s.control, timeout=60)
    c.request("PATCH", "/routes", json.dumps({"route": "GET /where/sync", "lane": "sync"}),
              {"Content-Type": "application/json"})
    r = c.getresponse()
    assert r.status == 409 and "--model asgi" in json.loads(r.read())["detail"]
    c.close()
    assert s.ask("/where/sync")[2].startswith(b"ol-loop")


def patch_pool(s, name, sizes):
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", s.control, timeout=60)
    c.request("PATCH", f"/pools/{name}", json.dumps(sizes), {"Content-Type": "application/json"})
    r = c.getresponse()
    told = json.loads(r.read())
    c.close()
    return r.status, told


POOLS = ["default", "one", "second", "third", "background"]
WORKING = {"hybrid": POOLS, "asgi": [], "tornado": POOLS, "wsgi": ["default"], "wsgi-sync": ["default"]}
RESIZED = {**WORKING, "wsgi-sync": []}


@pytest.mark.parametrize("model", MODELS)
def test_a_pool_is_told_of_where_it_has_work_and_resized_where_that_helps(serve, model):
    s = serve("testapp", "--model", model)
    assert re.findall(r" pool +name=(\w+)", s.log) == WORKING[model]
    pools = json.loads(s.ask_control("/pools")[1])
    assert [p["name"] for p in pools] == WORKING[model]
    assert [p["name"] for p in pools if p["fixed"] is None] == RESIZED[model]
    metrics = s.ask_control("/metrics")[1]
    assert set(re.findall(r'^offloop_pool_\w+\{pool="(\w+)"', metrics, re.M)) == set(WORKING[model])
    for name in POOLS:
        may = name in RESIZED[model]
        status, told = patch_pool(s, name, {"threads": 4})
        assert status == (200 if may else 409), name
        assert told["limit"] == 4 if may else f"--model {model}, in which this pool " in told["detail"], name
        assert s.ask(f"/a/resize?threads=5&pool={name}")[2] == (b"0\n" if may else b"ENOTSUP\n"), name
        assert (s.metric("offloop_pool_limit", pool=name) == 5) == may, name
    assert patch_pool(s, "nonesuch", {"threads": 4})[0] == 404
    assert patch_pool(s, "one", {"threads": 0})[0] == 422
    s.process.send_signal(signal.SIGTTIN)
    s.wait_log("by=SIGTTIN threads_from=5 threads_to=6" if "default" in RESIZED[model] else
               rf"warn .*SIGTTIN: pool \S*default\S* stays as it is: the server runs --model {model}, ")
    assert s.log.count("pool resized") == 2 * len(RESIZED[model]) + ("default" in RESIZED[model])


@pytest.mark.parametrize("model,line", [
    ("asgi", "model asgi: 13 endpoints on 1 loop, ol_offload too"),
    ("tornado", "model tornado: 13 endpoints on 1 loop, ol_offload to its pools"),
    ("wsgi", "model wsgi: 13 endpoints on pool default, 7 threads"),
    ("wsgi-sync", "model wsgi-sync: 13 endpoints on one thread, one connection at a time")])
def test_the_log_says_what_the_model_has_changed(gated, model, line):
    assert line in gated(model, "--pool", "7").log


@pytest.mark.parametrize("model", MODELS)
def test_a_handler_keeps_the_stack_it_was_written_for(gated, model):
    assert gated(model).ask("/deep")[2] == b"came back\n"


@pytest.mark.parametrize("model", MODELS)
def test_a_pool_nobody_declared_is_unknown_in_every_model(gated, model):
    assert gated(model).ask("/offload/nonesuch")[2] == b"1\n"


# ---- hybrid ----------------------------------------------------------------------------------------------------------

def test_hybrid_is_as_it_was_declared(gated):
    s = gated("hybrid", "--guard", "warn")
    [reading, offloading] = ask(s, "/read/sync", "/offload")
    at_gate(s, 2)
    assert s.ask("/hello")[0] == 200
    s.let_go(2)
    assert [c.reply().body for c in (reading, offloading)] == [b"let go\n"] * 2
    assert "model " not in s.log


# ---- asgi, tornado ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model,path", [("asgi", "/read/sync"), ("asgi", "/read/async"), ("asgi", "/offload"),
                                        ("tornado", "/read/sync"), ("tornado", "/read/async")])
def test_what_blocks_stops_all_others(gated, model, path):
    s = gated(model)
    other = s.client().send(get("/hello"))
    assert other.reply().status == 200
    [blocking] = ask(s, path)
    at_gate(s)
    other.send(get("/hello"))
    [new] = ask(s, "/where/sync")
    assert silent(blocking, other, new)
    s.let_go()
    assert [c.reply().status for c in (blocking, other, new)] == [200] * 3


def test_tornado_goes_on_while_a_pool_does_what_was_offloaded(gated):
    s = gated("tornado")
    [offloading] = ask(s, "/offload")
    at_gate(s)
    assert s.ask("/hello")[0] == s.ask("/where/sync")[0] == 200
    assert silent(offloading)
    s.let_go()
    assert offloading.reply().body == b"let go\n"


@pytest.mark.parametrize("model", ["asgi", "tornado"])
def test_what_waits_as_it_should_lets_the_others_go_on(gated, model):
    s = gated(model)
    [staying] = ask(s, "/stay")
    s.wait_log("stays")
    assert s.ask("/where/sync")[0] == 200
    assert silent(staying)
    staying.s.close()


@pytest.mark.parametrize("model", ["asgi", "tornado"])
@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_work_for_after_the_reply_holds_the_loop_but_not_the_reply(gated, model, fields):
    s = gated(model)
    other = s.client().send(get("/hello"))
    other.reply()
    c = s.client().send(get("/after", *fields))
    assert c.reply().body == b"later\n"
    at_gate(s)
    other.send(get("/hello"))
    c.send(get("/hello"))
    assert silent(other)
    s.let_go()
    assert other.reply().status == 200
    if not fields:
        assert c.reply().status == 200


def test_work_for_after_the_reply_is_waited_for_at_the_end(gated):
    s = gated("asgi")
    assert s.ask("/after")[0] == 200
    at_gate(s)
    s.terminate()
    s.let_go()
    assert s.stop() == 0
    assert "background work failed" not in s.log


# ---- wsgi ------------------------------------------------------------------------------------------------------------

def test_wsgi_runs_as_many_as_it_has_threads_and_the_next_waits(gated):
    s = gated("wsgi", "--pool", "2")
    running = ask(s, "/read/async", "/read/sync")
    at_gate(s, 2)
    [waiting] = ask(s, "/hello")
    wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 1)
    assert silent(waiting, *running)
    s.let_go()
    assert waiting.reply().status == 200
    s.let_go()
    assert [c.reply().status for c in running] == [200, 200]


@pytest.mark.parametrize("path,sign", [("/stay", "stays"), ("/offload", "at the gate"), ("/after", "at the gate")])
def test_wsgi_holds_a_thread_whatever_a_request_waits_in(gated, path, sign):
    s = gated("wsgi", "--pool", "1")
    [first] = ask(s, path)
    s.wait_log(sign)
    [waiting] = ask(s, "/hello")
    wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 1)
    assert silent(waiting)
    s.let_go()
    if path == "/stay":
        first.reset()
    assert waiting.reply().status == 200


def test_wsgi_keeps_connections_alive_without_holding_threads(gated):
    s = gated("wsgi", "--pool", "1")
    clients = [s.client() for _ in range(3)]
    for _ in range(2):
        for c in clients:
            assert c.send(get("/hello")).reply().headers.get("connection") is None


def running(s):
    return s.metric("offloop_pool_threads", pool="default", state="running")


@pytest.mark.parametrize("begin,rest", [
    (b"GET /hello HTTP/1.1\r\nHo", b"st: x\r\n\r\n"),
    (post("/length", b"12345")[:-3], b"345")])
def test_wsgi_holds_a_thread_for_who_is_slow_to_ask(gated, begin, rest):
    s = gated("wsgi", "--pool", "2", "--queue", "2")
    slow = [s.client().send(begin), s.client().send(begin)]
    wait_until(lambda: running(s) == 2)
    waiting = ask(s, "/hello", "/hello")
    wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 2)
    assert silent(*slow, *waiting)
    assert s.client().send(get("/hello")).reply().status == 503
    slow[0].send(rest)      # there is no place left in the queue, but it is in
    assert [c.reply().status for c in [slow[0], *waiting]] == [200] * 3
    slow[1].send(rest)
    assert slow[1].reply().status == 200
    wait_until(lambda: running(s) == 0)


@pytest.mark.parametrize("how", ["times out", "leaves"])
def test_wsgi_has_its_thread_back_when_a_slow_client_is_given_up(gated, how):
    s = gated("wsgi", "--pool", "1", "--head-timeout", "300ms" if how == "times out" else "60")
    slow = s.client().send(b"GET /hello HTTP/1.1\r\nHo")
    if how == "leaves":
        wait_until(lambda: running(s) == 1)
    [waiting] = ask(s, "/hello")
    if how == "leaves":
        wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 1)
        slow.s.close()
    assert waiting.reply().status == 200
    if how == "times out":
        assert slow.reply().status == 408
    wait_until(lambda: running(s) == 0)


def test_wsgi_holds_a_thread_for_who_is_slow_to_read(gated):
    s = gated("wsgi", "--pool", "1")
    slow = s.client(rcvbuf=4096).send(get("/large"))
    assert slow.s.recv(1000, socket.MSG_WAITALL).startswith(b"HTTP/1.1 200")
    [waiting] = ask(s, "/hello")
    wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 1)
    assert silent(waiting)
    slow.reset()
    assert waiting.reply().status == 200
    wait_until(lambda: running(s) == 0)


def test_wsgi_ends_while_clients_hold_its_threads(gated):
    s = gated("wsgi", "--pool", "1", "--head-timeout", "1500ms", "--linger-timeout", "50ms")
    slow = [s.client().send(b"GET /hello HTTP/1.1\r\nHo") for _ in range(3)]
    wait_until(lambda: s.metric("offloop_pool_queued", pool="default") == 2)
    s.terminate()
    assert s.stop() == 0
    assert {c.reply().status for c in slow} == {408}


# ---- wsgi-sync -------------------------------------------------------------------------------------------------------

def test_wsgi_sync_serves_one_connection_and_the_others_wait_in_the_backlog(gated):
    s = gated("wsgi-sync")
    clients = [*ask(s, "/read/async")]
    at_gate(s)
    clients += ask(s, "/read/sync", "/hello")
    assert silent(*clients)
    assert s.metric("offloop_loop_connections") == 1
    for n, c in enumerate(clients[:2], 1):
        at_gate(s, n)
        assert silent(*clients)
        assert s.log.count("at the gate") == n
        s.let_go()
        reply = c.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert c.ended()
        c.s.close()
        clients = [x for x in clients if x is not c]
    assert clients[0].reply().headers["connection"] == "close"


def test_wsgi_sync_answers_one_request_a_connection_and_does_not_wait_for_its_client_to_leave(gated):
    s = gated("wsgi-sync", "--linger-timeout", "1000")
    first = s.client().send(get("/hello"), get("/hello"))
    assert first.reply().status == 200
    assert first.ended()
    assert s.ask("/hello")[0] == 200
    first.s.close()


def test_wsgi_sync_is_held_by_a_slow_client_until_its_time_is_over(gated):
    s = gated("wsgi-sync", "--head-timeout", "400ms")
    slow = s.client().send(b"GET /hello HTTP/1.1\r\nHo")
    wait_until(lambda: s.metric("offloop_loop_connections") == 1)
    [other] = ask(s, "/hello")
    assert other.reply().status == 200
    assert not silent(slow) and slow.reply().status == 408


def test_wsgi_sync_is_held_by_work_for_after_the_reply(gated):
    s = gated("wsgi-sync")
    [first] = ask(s, "/after")
    assert first.reply().body == b"later\n"
    at_gate(s)
    [second] = ask(s, "/hello")
    assert silent(second)
    assert s.metric("offloop_connections_accepted_total") == 1
    s.let_go()
    assert second.reply().status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_wsgi_sync_loses_nobody_when_it_drains(gated, workers):
    s = gated("wsgi-sync", *(["--workers", workers] if workers > 1 else []))
    clients = ask(s, *["/read/sync"] * workers)
    at_gate(s, workers)
    clients += ask(s, "/read/sync", "/read/async", "/hello")
    s.terminate()
    assert silent(*clients)
    s.let_go(workers + 2)
    assert [c.reply().status for c in clients] == [200] * (workers + 3)
    for c in clients:
        c.s.close()
    assert s.stop() == 0


def test_wsgi_sync_has_as_many_connections_as_worker_processes_and_who_is_free_takes_the_next(gated):
    s = gated("wsgi-sync", "--workers", "2")
    blocking = ask(s, "/read/sync")
    at_gate(s)
    assert [s.ask("/hello")[0] for _ in range(8)] == [200] * 8
    blocking += ask(s, "/read/async")
    at_gate(s, 2)
    [waiting] = ask(s, "/hello")
    assert silent(waiting, *blocking)
    s.let_go()
    assert waiting.reply().status == 200
    s.let_go()
    assert [c.reply().status for c in blocking] == [200] * 2


# ---- apps of some size -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("model", MODELS)
def test_work_left_for_later_is_done_in_every_model(serve, model):
    s = serve("afterapp", "--model", model)
    for lane in ("/a", "/s"):
        assert s.ask(f"{lane}/leave?work=abc")[2] == b"0\n"
    wait_until(lambda: sorted(s.ask("/ran")[2].decode()) == list("aabbcc"))


@pytest.mark.parametrize("model", MODELS)
def test_the_demo_answers_alike_in_every_model(serve, tmp_path, model):
    s = serve("atlas", "--data", tmp_path, "--model", model)
    assert json.loads(s.ask("/countries/de")[2])["alpha_3"] == "DEU"
    assert s.ask("/countries/xx")[0] == 404
    status, headers, body = s.ask("/notes", method="POST", body=b'{"text": "in every model"}',
                                  headers={"Content-Type": "application/json"})
    assert status == 201
    assert s.ask_json(headers["Location"]) == (200, json.loads(body))
    assert s.ask("/notes", method="POST", body=b"{", headers={"Content-Type": "application/json"})[0] == 422
    assert len(s.ask_json("/countries?q=ger")[1]) > 1
    assert len(s.ask("/export/languages")[2].splitlines()) > 1000
