"""The control plane: it answers while all the rest is stuck, to those who may ask, in forms that tools understand."""
import contextlib
import json
import os
import re
import socket
import subprocess
import time

import pytest

from conftest import Client, get, promtool, wait_until

FAST = 0.05
SLOW = bool(os.environ.get("SANITIZERS"))       # nothing is promised of the speed of such builds


def ask(app, path="/livez", *fields, host=None, method="GET"):
    with Client(socket.create_connection(("127.0.0.1", app.control), timeout=60)) as c:
        line = b"" if host is None else f"Host: {host}\r\n".encode()
        version = "1.0" if host is None else "1.1"      # 1.1 needs one
        request = get(path, *fields, method=method, version=version).replace(b"Host: x\r\n", line)
        return c.send(request).reply(head=method == "HEAD")


def samples(text):
    """{(name, labels): value} of a page of metrics; no sample may be there twice."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line).groups()
        assert (name, labels) not in found, line
        found[name, labels] = float(value)
    return found


def client_of(app, loop):
    """A connection that the kernel has given to that loop."""
    while True:
        before = app.metric("offloop_loop_connections", loop=loop), app.metric("offloop_loop_connections")
        c = app.client()
        wait_until(lambda: app.metric("offloop_loop_connections") == before[1] + 1)
        if app.metric("offloop_loop_connections", loop=loop) == before[0] + 1:
            return c
        c.s.close()
        wait_until(lambda: app.metric("offloop_loop_connections") == before[1])


def fastest(app, path, tries=1 if SLOW else 5):
    """Its best of several, up to the first that is fast enough: the machine may be busy with others."""
    best = None
    for _ in range(tries):
        start = time.monotonic()
        assert app.ask_control(path)[0] == 200, path
        took = time.monotonic() - start
        best = took if best is None else min(best, took)
        if best < FAST:
            break
    return best


def test_it_answers_while_every_loop_and_every_worker_is_stuck(serve):
    """Each of its endpoints, within 50 ms, and nothing of the server has moved meanwhile."""
    app = serve("testapp", "--loops", "2", "--pool", "2", "--background", "2")
    each_loop = [client_of(app, 0), client_of(app, 1)]
    fill = {"default": ("/a/offload?ms=1500", 2), "one": ("/one?ms=1500", 1), "second": ("/s/block?ms=1500", 8),
            "third": ("/a/offload?ms=1500&pool=third", 4), "background": ("/a/offload?ms=1500&pool=background", 2)}
    stuck = []
    for path, n in fill.values():
        stuck += [app.client().send(get(path)) for _ in range(n)]
    assert sorted(fill) == sorted(p["name"] for p in json.loads(app.ask_control("/pools")[1]))
    for name, (_, n) in fill.items():
        wait_until(lambda: pool(app, name)["running"] == n)
    before = app.metric("offloop_requests_total")
    for c in each_loop:
        c.send(get("/a/block?ms=1000"), get("/a/text"))
    wait_until(lambda: app.metric("offloop_requests_total") == before + 2)
    took = {path: fastest(app, path)
            for path in ("/livez", "/readyz", "/metrics", "/stalls", "/advice", "/routes", "/pools", "/")}
    assert app.metric("offloop_requests_total") == before + 2
    assert all(pool(app, name)["running"] == n for name, (_, n) in fill.items())
    assert max(took.values()) < FAST or SLOW, took
    for c in [*each_loop, *stuck]:
        assert c.reply().status == 200
        c.s.close()


def pool(app, name):
    return next(p for p in json.loads(app.ask_control("/pools")[1]) if p["name"] == name)


def test_metrics_are_true(serve):
    app = serve("testapp", "--loops", "2")
    for _ in range(3):
        assert app.ask("/a/text")[0] == 200
    for _ in range(2):
        assert app.ask("/s/params/a/1/2/x")[0] == 200
    app.ask("/s/fail")
    app.ask("/nonesuch")
    app.ask("/a/echo", method="POST", body=b"x")
    app.raw(b"nonsense\r\n\r\n")
    wait_until(lambda: app.metric("http_server_request_duration_seconds_count") == 9)   # a worker may send before it is counted
    wait_until(lambda: app.metric("offloop_pool_run_seconds_count", pool="second") == 3)
    page = samples(app.ask_control("/metrics")[1])

    def count(route, status, method="GET", lane="async"):
        return page["http_server_request_duration_seconds_count",
                    f'route="{route}",method="{method}",status="{status}",lane="{lane}"']

    assert count("/a/text", 200) == 3
    assert count("/s/params/{name}/{n:int}/{f:float}/{rest:path}", 200, lane="sync") == 2
    assert count("/s/fail", 500, lane="sync") == 1
    assert count("/a/echo", 200, method="POST") == 1
    assert app.metric("offloop_requests_total") == 8
    assert app.metric("offloop_requests_refused_total") == 1
    assert app.metric("offloop_handler_errors_total") == 1
    assert app.metric("offloop_connections_accepted_total") == 9
    assert app.metric("offloop_loop_requests_in_flight") == 0
    assert page["offloop_pool_limit", 'pool="second"'] == 8
    assert app.metric("process_open_fds") > 5 and app.metric("process_resident_memory_bytes") > 1e6
    assert not any("%" in str(k) or "nonesuch" in str(k) for k in page)     # templates only


def test_histograms_add_up(serve):
    app = serve("testapp", "--loops", "1")
    for ms in (0, 1, 5, 20, 60):
        assert app.ask(f"/a/nap?ms={ms}")[0] == 200
    page = samples(app.ask_control("/metrics")[1])
    buckets = [(re.search(r'le="([^"]+)"', labels).group(1), v) for (name, labels), v in page.items()
               if name == "http_server_request_duration_seconds_bucket" and 'route="/a/nap"' in labels]
    values = [v for _, v in buckets]
    assert buckets[-1] == ("+Inf", 5) and values == sorted(values)
    assert [float(le) for le, _ in buckets] == sorted(float(le) for le, _ in buckets)
    total = next(v for (name, labels), v in page.items()
                 if name == "http_server_request_duration_seconds_sum" and 'route="/a/nap"' in labels)
    assert 0.085 < total < 30


@pytest.mark.skipif(not promtool(), reason="promtool is not here")
def test_promtool_accepts_the_metrics(serve):
    app = serve("testapp", "--loops", "2")
    for path in ("/a/text", "/s/text", "/a/uuid/x", "/nonesuch", "/s/params/a/1/2/x", "/a/offload", "/one?ms=1"):
        app.ask(path)
    app.raw(b"nonsense\r\n\r\n")
    done = subprocess.run([promtool(), "check", "metrics"], input=app.ask_control("/metrics")[1], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_routes_and_pools_are_json(serve):
    app = serve("testapp", "--loops", "1")
    app.ask("/a/text")
    routes = json.loads(app.ask_control("/routes")[1])
    by_name = {(r["method"], r["route"]): r for r in routes}
    assert len(by_name) == len(routes) > 60
    text = by_name["GET", "/a/text"]
    assert text.pop("evidence") == {"holds": 0, "held": 0, "to_async": 0, "to_sync": 0, "last_change": None,
                                    "unmoved": None}
    assert text == {"method": "GET", "route": "/a/text", "lane": "async", "pool": None, "requests": 1, "timeout": 0,
                    "queue_timeout": 0, "priority": None, "declared": "async", "pinned": None, "fixed": None}
    assert by_name["GET", "/one"]["lane"] == "sync" and by_name["GET", "/one"]["pool"] == "one"
    pools = json.loads(app.ask_control("/pools")[1])
    assert [(p["name"], p["limit"], p["queue"]) for p in pools] == [
        ("default", 40, 1024), ("one", 1, 1), ("second", 8, 1024), ("third", 4, 1024),
        ("background", 4, 1024)]
    assert all(p["running"] == p["queued"] == 0 for p in pools)


def test_pools_show_what_waits(serve):
    app = serve("queueapp", "--loops", "1")
    with app.client() as runs, app.client() as waits:
        runs.send(get("/hold"))
        wait_until(lambda: pool(app, "narrow")["running"] == 1)
        waits.send(get("/note/x"))
        wait_until(lambda: pool(app, "narrow")["queued"] == 1)
        wait_until(lambda: pool(app, "narrow")["oldest_queued_seconds"] > 0.05)
        assert app.ask("/let-go")[0] == 200
        assert runs.reply().status == waits.reply().status == 200
    wait_until(lambda: pool(app, "narrow")["done"] == 2)


HOSTS = [
    ("127.0.0.1", 200), ("127.0.0.1:9190", 200), ("localhost", 200), ("LOCALHOST:80", 200), ("[::1]:9190", 200),
    ("127.9.9.9", 200), (None, 200), ("example.org", 403), ("127.0.0.1.example.org", 403), ("localhost.example.org", 403),
    ("10.0.0.1", 403), ("[2001:db8::1]", 403), ("rebind.localhost.evil", 403), ("a" * 300, 403)]


def test_a_foreign_host_is_refused(serve):
    app = serve("testapp", "--loops", "1")
    for host, status in HOSTS:
        for path in ("/", "/livez", "/metrics", "/pools"):
            r = ask(app, path, host=host)
            assert r.status == status, (host, path)
            assert status == 200 or b"offloop_" not in r.body


def test_silent_connections_do_not_keep_others_out_for_long(serve):
    app = serve("testapp", "--loops", "1", "--head-timeout", "3600", "--linger-timeout", "3600")
    crowd = [socket.create_connection(("127.0.0.1", app.control)) for _ in range(90)]
    for s in crowd[::2]:
        with contextlib.suppress(ConnectionError):      # the oldest have given way by now
            s.sendall(b"GET /li")
    assert ask(app, "/livez").status == 200
    for s in crowd:
        s.close()


def test_it_can_be_on_a_unix_socket_or_off(serve, tmp_path):
    app = serve("testapp", "--control", f"unix:{tmp_path}/control")
    with Client(socket.socket(socket.AF_UNIX)) as c:
        c.s.connect(f"{tmp_path}/control")
        assert c.send(get("/readyz")).reply().body == b"ready\n"
    app.stop()
    assert not os.path.exists(tmp_path / "control")
    app = serve("testapp", "--control", "off")
    assert " control=off " in app.log and app.ask("/livez")[0] == 404


def test_it_speaks_http_as_strictly(serve):
    app = serve("testapp", "--loops", "1")
    assert ask(app, "/nonesuch", host="localhost").status == 404
    assert ask(app, "/livez", host="localhost", method="POST").status == 405
    assert ask(app, "/metrics", host="localhost", method="HEAD").body == b""
    assert ask(app, "/livez", " folded", host="localhost").status == 400
    assert ask(app, "/livez", host="localhost").headers["cache-control"] == "no-store"
    assert ask(app, "/livez", host="a b").status == 400
