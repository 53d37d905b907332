"""Middleware around routes, and how errors look where the app has a say in it."""
import json

import pytest

from conftest import get

LANES = pytest.mark.parametrize("lane", ["a", "s"])
KEY = {"X-Key": "1"}


@pytest.fixture
def chain(serve):
    return serve("chainapp")


def problem(chain, path, **kwargs):
    status, headers, body = chain.ask(path, **kwargs)
    assert headers["Content-Type"] == "application/problem+json"
    said = json.loads(body)
    assert said["status"] == status
    return status, said["title"], said["instance"]


@LANES
def test_an_apps_middleware_is_around_every_route(chain, lane):
    for n, path in enumerate([f"/{lane}/slot", f"/{lane}/slot?error=410", f"/{lane}/slot?fail=1", f"/{lane}/slot?stream=2",
                              f"/{lane}/slot?pull=10", f"/guarded/{lane}"], start=1):
        assert chain.ask(path)[1]["X-Request"] == str(n), path
    assert "X-Request" not in chain.ask("/none")[1]     # no route, nothing is around it


@LANES
def test_a_mounts_middleware_answers_for_its_routes(chain, lane):
    status, headers, body = chain.ask(f"/guarded/{lane}")
    assert (status, json.loads(body)) == (403, {"detail": "No key"})
    assert "X-Seen" not in headers
    status, headers, body = chain.ask(f"/guarded/{lane}", headers=KEY)
    assert (status, body, headers["X-Seen"]) == (200, b"worked\n", "200")
    assert chain.ask(f"/guarded/{lane}/greet", headers={**KEY, "X-User": "me"})[2] == b"Hello, me!\n"
    assert chain.ask(f"/guarded/{lane}/greet", headers=KEY)[0] == 401


@LANES
def test_middleware_finds_a_reply_whatever_happened_inside(chain, lane):
    assert chain.ask(f"/guarded/{lane}?fail=1", headers=KEY)[1]["X-Seen"] == "other"
    assert problem(chain, f"/guarded/{lane}?outrage=1", headers=KEY)[0] == 500
    chain.wait_log(r"middleware failed.*route=\"?GET /guarded/")


@LANES
def test_middleware_that_insists_on_a_field_breaks_a_stream_off(chain, lane):
    c = chain.client().send(get(f"/guarded/{lane}?stream=2", "X-Key: 1"))
    with pytest.raises((EOFError, ConnectionResetError)):
        c.reply()
    chain.wait_log("middleware broke off its stream")


@LANES
def test_errors_look_as_the_app_says(chain, lane):
    assert problem(chain, f"/{lane}/slot?fail=1") == (500, "Internal Server Error", f"/{lane}/slot")
    assert problem(chain, f"/{lane}/slot?error=418") == (418, "as asked", f"/{lane}/slot")
    status, title, _ = problem(chain, f"/{lane}/int/x")
    assert (status, json.loads(title)[0]["loc"]) == (422, ["path", "n"])
    assert chain.ask_json(f"/{lane}/slot?error=409") == (409, {"detail": "as asked"})


def test_so_do_those_of_requests_without_a_route(chain):
    assert problem(chain, "/none") == (404, "Not Found", "/none")
    assert problem(chain, "/none", method="POST", body=b"x" * 100_000) == (404, "Not Found", "/none")
    assert problem(chain, "/stats", method="DELETE")[:2] == (405, "Method Not Allowed")
    assert chain.ask("/stats", method="DELETE")[1]["Allow"] == "GET, HEAD, OPTIONS"
    assert chain.metric("http_server_request_duration_seconds_count", route="none", status="404") == 2
    with chain.client() as c:
        for _ in range(3):
            assert c.send(get("/none")).reply().status == 404


@LANES
def test_an_error_handler_that_fails_leaves_the_default(chain, lane):
    assert chain.ask_json(f"/{lane}/slot?error=410") == (410, {"detail": "as asked"})
    chain.wait_log("error handler failed.*Numerical argument")
