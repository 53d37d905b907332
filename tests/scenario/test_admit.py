"""The examples of admit hooks: a rate limit, and shedding what matters least."""
import http.client
import json
import os

from conftest import PATIENCE, get, post, wait_until


def ask_from(app, address, path="/"):
    c = http.client.HTTPConnection("127.0.0.1", app.port, timeout=PATIENCE, source_address=(address, 0))
    try:
        c.request("GET", path)
        r = c.getresponse()
        return r.status, dict(r.getheaders()), r.read()
    finally:
        c.close()


def test_an_address_gets_its_burst_and_then_429(serve):
    app = serve("tests/examples/ratelimit", "--rate", "0.01", "--burst", "3", "--loops", "2")
    for _ in range(3):
        assert app.ask("/")[0] == 200
    status, headers, body = app.ask("/")
    assert (status, json.loads(body)) == (429, {"detail": "Too many requests"})
    assert 90 <= int(headers["Retry-After"]) <= 100
    with app.client() as c:     # the body is not waited for
        assert c.send(post("/", length=100)).reply().status == 429
        assert c.send(b"x" * 100, get("/")).reply().status == 429
    assert ask_from(app, "127.0.0.2")[0] == 200
    assert app.metric("offloop_requests_refused_by_admit_total") == 3


def test_tokens_come_back(serve):
    app = serve("tests/examples/ratelimit", "--rate", "20", "--burst", "1")
    wait_until(lambda: app.ask("/")[0] == 429)
    wait_until(lambda: app.ask("/")[0] == 200)


def test_a_rate_that_cannot_be_is_refused(serve):
    app = serve("tests/examples/ratelimit", "--rate", "0", wait=False)
    app.wait_log("--rate must be above 0")
    app.terminated = True       # it ends by itself
    app.stop(expect=1)


def test_reports_are_shed_before_orders(serve, tmp_path):
    fifo = tmp_path / "report"
    os.mkfifo(fifo)
    app = serve("tests/examples/shed", "--report", fifo, "--patience-low", "20", "--patience", "600000")

    def pool():
        return app.ask_json("/pool")[1]

    reports = [app.client().send(get("/report")) for _ in range(2)]     # both threads wait for the fifo's writer
    wait_until(lambda: pool()["running"] == 2)
    orders = [app.client().send(post("/order"))]
    wait_until(lambda: pool()["oldest_ms"] >= 20)
    status, headers, _ = app.ask("/report")
    assert (status, headers["Retry-After"]) == (503, "1")
    orders.append(app.client().send(post("/order")))
    wait_until(lambda: pool()["queued"] == 2)
    fifo.write_text("all well\n")
    assert sorted(c.reply().status for c in reports + orders) == [200, 200, 201, 201]
    wait_until(lambda: pool()["running"] == 0)
    reports.append(app.client().send(get("/report")))
    wait_until(lambda: pool()["running"] == 1)
    fifo.write_text("all well\n")
    assert reports[-1].reply().body == b"all well\n"
    for c in reports + orders:
        c.s.close()
    assert app.metric("offloop_requests_refused_by_admit_total") == 1
