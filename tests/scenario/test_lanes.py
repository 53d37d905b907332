"""Every public call, asked in both lanes: /a is the loop, /s a pool; the answers must be the same."""
import concurrent.futures
import json
import os
import time

import pytest

from conftest import wait_until

LANES = ["/a", "/s"]


@pytest.mark.parametrize("lane", LANES)
def test_each_reply_arrives_as_made(app, lane):
    assert app.ask(lane + "/text")[::2] == (200, b"hello\n")
    status, headers, body = app.ask(lane + "/json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == b'{"a":"b\\"\\n","list":[1,2],"none":null}'
    assert app.ask_json(lane + "/error") == (418, {"detail": 'a "teapot"'})
    status, headers, body = app.ask(lane + "/redirect")
    assert (status, headers["Location"], body) == (303, "/a/text", b"")
    status, headers, body = app.ask(lane + "/empty")
    assert (status, body) == (204, b"") and "Content-Length" not in headers
    assert app.ask(lane + "/twice")[::2] == (200, b"second")
    assert app.ask(lane + "/status?is=599")[0] == 599


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 4096, 70000, 5_000_000])
def test_a_body_of_any_size_arrives_whole(app, lane, size):
    status, headers, body = app.ask(f"{lane}/bytes?n={size}")
    assert status == 200 and body == b"x" * size and headers["Content-Length"] == str(size)


@pytest.mark.parametrize("lane", LANES)
def test_a_header_cannot_be_split(app, lane):
    assert app.ask(lane + "/headers?value=a%0d%0aSet-Cookie:%20x=y")[2] == b"-22\n"
    assert app.ask(lane + "/headers?name=a%20b")[2] == b"-22\n"
    assert app.ask(lane + "/headers?name=Content-Length")[2] == b"-1\n"
    status, headers, _ = app.ask(lane + "/headers?name=X-One&value=two")
    assert headers["X-One"] == "two" and headers["Set-Cookie"] == "id=abc; Path=/; HttpOnly"


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("how", ["fail", "forget", "positive", "undeclared"])
def test_a_handler_that_fails_is_a_500_that_leaks_nothing(app, lane, how):
    assert app.ask_json(f"{lane}/{how}") == (500, {"detail": "Internal Server Error"})
    app.wait_log(rf"GET {lane}/{how}")


@pytest.mark.parametrize("lane", LANES)
def test_parameters_are_decoded_and_typed(app, lane):
    assert app.ask(lane + "/params/a%2Fb%20c/-7/2.5e1/x/y%3Fz")[::2] == (200, b"a/b c|-7|25|x/y?z\n")
    status, body = app.ask_json(lane + "/params/a/seven/1.5/x")
    assert status == 422
    assert body == {"detail": [{"loc": ["path", "n"], "msg": "value is not a valid integer", "type": "type_error.integer"}]}
    status, body = app.ask_json(lane + "/params/a/x/y/z")
    assert [d["loc"] for d in body["detail"]] == [["path", "n"], ["path", "f"]]
    assert app.ask(lane + "/uuid/123e4567-e89b-12d3-a456-426614174000")[0] == 200
    assert app.ask(lane + "/uuid/123")[0] == 422


@pytest.mark.parametrize("lane", LANES)
def test_query_numbers_are_bounded(app, lane):
    assert app.ask(lane + "/limit")[2] == b"10\n"
    assert app.ask(lane + "/limit?limit=250")[2] == b"250\n"
    status, body = app.ask_json(lane + "/limit?limit=251")
    assert (status, body["detail"][0]["loc"]) == (422, ["query", "limit"])
    assert app.ask(lane + "/limit?limit=")[0] == 422
    assert app.ask(lane + "/limit?limit=0")[0] == 422


@pytest.mark.parametrize("lane", LANES)
def test_a_request_can_be_read(app, lane):
    body = app.ask(lane + "/whoami/x%20y?q=1%202+3&q=4", headers={"X-Test": " v ", "Cookie": 'a=1; id="7"'})[2].decode()
    assert body.startswith(f"GET {lane}/whoami/x y {lane}/whoami/x%20y?q=1%202+3&q=4 {lane}/whoami/{{rest:path}} ")
    assert "header=v cookie=7 q=1 2 3 remote=127.0.0.1:" in body


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("route", ["/echo", "/collect"])
@pytest.mark.parametrize("size", [0, 1, 5000, 900_000])
def test_a_body_comes_back_whole(app, lane, route, size):
    data = os.urandom(size)
    assert app.ask(lane + route, method="POST", body=data)[::2] == (200, data)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("route", ["/echo", "/collect"])
def test_chunks_and_trailers_are_understood(app, lane, route):
    reply = app.raw(f"POST {lane}{route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 200 ") and reply.endswith(b"\r\n\r\nabcdefg") and b"\r\nX-Trailer: 7\r\n" in reply


@pytest.mark.parametrize("lane", LANES)
def test_a_large_upload_is_read_in_pieces(app, lane):
    assert app.ask(lane + "/count", method="POST", body=b"z" * 20_000_000)[::2] == (200, b"20000000\n")
    assert app.ask(lane + "/count?slow=1", method="POST", body=b"z" * 100_000)[::2] == (200, b"100000\n")


@pytest.mark.parametrize("lane", LANES)
def test_an_upload_nobody_reads_is_answered(app, lane):
    assert app.ask(lane + "/ignore", method="POST", body=b"z" * 50_000)[::2] == (200, b"hello\n")


@pytest.mark.parametrize("lane", LANES)
def test_a_body_over_its_limit_is_413(app, lane):
    assert app.ask_json(lane + "/small", method="POST", body=b"12345678901") == (413, {"detail": "The body is too large"})
    assert app.ask(lane + "/small", method="POST", body=b"1234567890")[0] == 200
    for route in ("/small", "/collect"):
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        reply = app.raw(f"POST {lane}{route} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunk * 2)
        assert reply.startswith(b"HTTP/1.1 413 "), reply[:200]


@pytest.mark.parametrize("lane", LANES)
def test_json_bodies_are_parsed_or_refused(app, lane):
    assert app.ask_json(lane + "/json", method="POST", body='{"a": [1, 2.5, "x"]}') == (201, {"a": [1, 2.5, "x"]})
    status, body = app.ask_json(lane + "/json", method="POST", body='{"a": ')
    assert status == 422 and body["detail"][0]["type"] == "value_error.jsondecode"
    assert app.ask(lane + "/json", method="POST", body="[" * 64 + "]" * 64)[0] == 201
    assert app.ask(lane + "/json", method="POST", body="[" * 65 + "]" * 65)[0] == 422
    assert app.ask(lane + "/json", method="POST", body="[" * 100_000)[0] == 422


@pytest.mark.parametrize("lane", LANES)
def test_validation_errors_have_fastapis_shape(app, lane):
    assert app.ask_json(lane + "/invalid") == (422, {"detail": [
        {"loc": ["body", "text"], "msg": "field required", "type": "value_error.missing"},
        {"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"},
        {"loc": ["header", "x-y"], "msg": 'no "good"', "type": "value_error"}]})


@pytest.mark.parametrize("lane", LANES)
def test_waiting_works(app, lane):
    started = time.monotonic()
    assert app.ask(lane + "/nap?ms=50")[::2] == (200, b"rested\n")
    assert time.monotonic() - started >= 0.05
    assert app.ask(lane + "/post")[2] == b"woken\n"
    assert app.ask(lane + "/post?ms=200&timeout=5")[2] == b"Connection timed out\n"


def test_offloads_run_in_the_pool_named(app):
    assert app.ask("/a/offload")[2] == b"42 6\n"
    assert app.ask("/a/offload?pool=third")[2] == b"42 6\n"
    assert app.ask("/a/offload?pool=nonesuch")[2] == b"-2 5\n"
    assert app.ask("/s/offload?pool=second")[2] == b"42 6\n"  # its own: inline
    assert app.ask("/s/offload?pool=third")[2] == b"42 6\n"   # a later one
    assert app.ask("/s/offload?pool=one")[2] == b"-35 5\n"    # an earlier one
    assert app.ask("/s/offload")[2] == b"-35 5\n"             # the default one is the first
    assert app.ask("/a/nested?pool=second&then=third")[2] == b"42\n"
    assert app.ask("/a/nested?pool=third&then=second")[2] == b"-35\n"


def test_a_mutex_admits_one_and_loses_no_update(app):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: int(app.ask(LANES[i % 2] + "/mutex")[2]), range(60)))
    assert sorted(got) == list(range(1, 61))


def test_a_semaphore_admits_as_many_as_it_has(app):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: int(app.ask(LANES[i % 2] + "/sem?ms=10")[2]), range(48)))
    assert max(got) <= 3
    stretches = lambda: app.metric("offloop_loop_hold_seconds_count", route="/a/sem")
    for ms in (1500, 9000):     # a busy machine may take longer to ask
        before = stretches()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            holders = [pool.submit(app.ask, f"/a/sem?ms={ms}") for _ in range(3)]
            wait_until(lambda: stretches() >= before + 3)   # each has it, and sleeps
            others = [app.ask(f"{lane}/sem?timeout=20")[2] for lane in LANES]
        if others == [b"timed out\n"] * 2:
            break
    assert others == [b"timed out\n"] * 2
    assert max(h.result()[2] for h in holders) == b"3\n"


@pytest.mark.parametrize("lane", LANES)
def test_streams_are_chunked_with_trailers(app, lane):
    assert app.ask(lane + "/stream?n=3&size=6")[2] == b"y" * 18
    assert app.ask(lane + "/stream?n=0")[2] == b""
    assert app.ask(lane + "/stream?n=2000&size=5000")[2] == b"y" * 10_000_000
    reply = app.raw(f"GET {lane}/stream?trailer=abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert b"Transfer-Encoding: chunked" in reply and reply.endswith(b"0\r\nX-Sum: abc\r\n\r\n")


@pytest.mark.parametrize("lane", LANES)
def test_a_stream_to_http_1_0_ends_with_the_connection(app, lane):
    reply = app.raw(f"GET {lane}/stream HTTP/1.0\r\n\r\n".encode())
    assert reply.endswith(b"\r\n\r\n" + b"y" * 18) and b"chunked" not in reply


@pytest.mark.parametrize("lane", LANES)
def test_a_stream_that_breaks_off_is_seen_to_be_incomplete(app, lane):
    reply = app.raw(f"GET {lane}/stream?n=5&broken=2&gap=5 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b"y" * 6 in reply and not reply.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("lane", LANES)
def test_head_is_get_without_its_body(app, lane):
    for path in ("/text", "/bytes?n=5000", "/stream?n=100&size=5000", "/json"):
        status, headers, body = app.ask(lane + path, method="HEAD")
        assert (status, body) == (200, b""), path
    assert app.ask(lane + "/bytes?n=5000", method="HEAD")[1]["Content-Length"] == "5000"


@pytest.mark.parametrize("lane", LANES)
def test_pipelined_requests_are_answered_in_order(app, lane):
    paths = ["/nap?ms=30", "/text", "/json", "/nap?ms=5", "/stream?n=2", "/bytes?n=9000"] * 5
    requests = "".join(f"GET {lane}{p} HTTP/1.1\r\nHost: x\r\n\r\n" for p in paths)
    reply = app.raw((requests + f"GET {lane}/text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").encode())
    import re
    bodies = re.findall(rb"rested\n|hello\n|\{\"a\"|y{6}|x{9000}", reply)
    want = [b"rested\n", b"hello\n", b'{"a"', b"rested\n", b"y" * 6, b"y" * 6, b"x" * 9000] * 5 + [b"hello\n"]
    assert bodies == want


def test_methods_and_slashes(app):
    status, headers, _ = app.ask("/a/text", method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    status, headers, body = app.ask("/a/echo", method="OPTIONS")
    assert (status, headers["Allow"], body) == (204, "POST, PUT, OPTIONS", b"")
    assert app.ask("*", method="OPTIONS")[0] == 204
    status, headers, _ = app.ask("/slash?x=1")
    assert (status, headers["Location"]) == (307, "/slash/?x=1")
    assert app.ask("/a/text/")[1]["Location"] == "/a/text"
    assert app.ask("//a/text/")[0] == 404
    assert app.ask_json("/nonesuch") == (404, {"detail": "Not Found"})
    assert app.ask("/a/../a/./text")[0] == 200


def test_a_slow_pool_does_not_delay_the_loop(app):
    """It answers many while all threads block; if it waited for them, it would answer one."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(app.ask, "/s/block?ms=1000") for _ in range(8)]
        wait_until(lambda: app.metric("offloop_pool_threads", pool="second", state="running") > 0)
        answered = 0
        while not any(s.done() for s in slow):
            assert app.ask("/a/text")[0] == 200
            answered += 1
        assert answered > 5
        assert all(s.result()[0] == 200 for s in slow)
