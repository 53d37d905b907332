"""The end of a server: what was accepted is answered, what is stuck is named, nobody who was let in is reset."""
import ctypes
import os
import signal
import socket
import struct
import threading
import time

import pytest

from conftest import get, post, wait_until


def test_a_server_at_rest_ends_at_once(serve):
    app = serve("testapp", "--loops", "2")
    app.stop()
    assert "on_stop" in app.log


def test_every_request_that_was_begun_is_answered(serve):
    """In each lane, at each stage: half a head, half a body, running, queued, streaming, pipelined."""
    app = serve("testapp", "--loops", "2", "--sync-streams-max", "8")
    stages = [
        (get("/a/text")[:3], get("/a/text")[3:]),
        (get("/s/text")[:-1], b"\n"),
        (post("/a/echo", b"ab", length=4), b"cd"),
        (post("/a/collect", b"ab", length=4), b"cd"),
        (post("/s/count", b"ab", length=4), b"cd"),
        (get("/a/nap?ms=400"), b""),
        (get("/s/block?ms=400"), b""),
        (get("/a/offload?ms=400&pool=third"), b""),
        (get("/a/stream?n=8&gap=50"), b""),
        (get("/s/stream?n=8&gap=50"), b""),
        (get("/a/nap?ms=200") + get("/s/nap?ms=200"), b""),
    ] + [(get("/one?ms=200"), b"")] * 2
    clients = []
    for first, _ in stages * 3:
        clients.append(app.client())
        clients[-1].send(first)
    used = app.client()     # one that is known to be kept alive
    assert used.send(get("/a/text")).reply().status == 200
    sent = sum(len(first) for first, _ in stages * 3) + len(get("/a/text"))
    wait_until(lambda: app.metric("offloop_received_bytes_total") == sent)
    app.terminate()
    used.send(get("/a/text"))
    for c, (_, rest) in zip(clients, stages * 3):
        c.send(rest)
    r = used.reply()
    assert r.status == 200 and r.headers.get("connection", "close") == "close" and used.ended()
    for c, (first, _) in zip(clients, stages * 3):
        r = c.reply()
        assert r.status in ((200, 503) if b"/one" in first else (200,)), first
        c.s.close()
    app.stop()
    assert "on_stop" in app.log and "stuck" not in app.log


def may_filter():
    """Whether this process may attach a filter to a socket, by which a draining server turns deaf."""
    accept_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF))
    with socket.socket() as s:
        try:
            s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(accept_all)))
        except PermissionError:
            return False
    return True


@pytest.mark.skipif(not may_filter(), reason="this process may not filter its sockets: a client may be reset")
def test_load_is_answered_to_the_last_request(serve):
    """Connections come and go all the time: each that was made is served, and the rest are refused, none is reset."""
    app = serve("testapp", "--loops", "2")
    answered, refused, lost = [], [], []
    paths = ["/a/text", "/s/text", "/a/nap?ms=5", "/s/block?ms=5"]
    ending = threading.Event()

    def load(i):
        while True:
            try:
                c = app.client()
            except OSError as e:
                refused.append(e)
                if ending.is_set():
                    return
                continue
            with c:
                try:
                    for n in range(1 + i % 3):
                        r = c.send(get(paths[(i + n) % 4])).reply()
                        assert r.status == 200
                        answered.append(r)
                        if r.headers.get("connection") == "close":
                            assert c.ended()
                            break
                except (OSError, EOFError, AssertionError) as e:
                    lost.append((i, n, repr(e)))

    threads = [threading.Thread(target=load, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    wait_until(lambda: len(answered) > 500)
    ending.set()
    app.terminate()
    for t in threads:
        t.join()
    app.stop()
    assert not lost
    assert all(isinstance(e, (ConnectionRefusedError, TimeoutError)) for e in refused), refused


def test_completed_handshakes_are_not_reset(serve):
    """Clients that were let in just before the end, most of them still in the kernel's backlog."""
    app = serve("testapp", "--loops", "2")
    clients = [app.client() for _ in range(300)]
    app.terminate()
    for c in clients:
        c.send(get("/a/text"))
    for c in clients:
        r = c.reply()           # one whose loop had not heard of the end may have been kept; it ends within a second
        assert r.status == 200 and r.headers.get("connection", "close") == "close" and c.ended()
        c.s.close()
    app.stop()


def test_connections_over_the_bound_are_served_too(serve):
    app = serve("testapp", "--loops", "1", "--connections-max", "1")
    held = app.client().send(get("/a/nap?ms=300"))
    wait_until(lambda: app.metric("offloop_requests_total") == 1)
    late = [app.client().send(get("/a/text")) for _ in range(20)]
    app.terminate()
    assert [c.reply().status for c in [held, *late]] == [200] * 21
    app.stop()


def test_idle_connections_get_a_second_and_an_end(serve):
    app = serve("testapp", "--loops", "2")
    with app.client() as used, app.client() as fresh:
        assert used.send(get("/a/text")).reply().status == 200
        wait_until(lambda: app.metric("offloop_loop_connections") == 2)
        started = time.monotonic()
        app.terminate()
        assert used.ended() and fresh.ended()
        assert time.monotonic() - started > 0.5
        app.stop()


def test_readiness_ends_before_service_does(serve):
    app = serve("testapp", "--loops", "1")
    with app.client() as c, app.client() as lets_go:
        c.send(get("/a/hold"))
        lets_go.send(get("/let-go?n=1")[:-1])       # its connection is kept for the rest
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == app.metric("offloop_loop_heads_pending") == 1)
        assert app.ask_control("/readyz")[0] == 200
        app.terminate()
        wait_until(lambda: app.ask_control("/readyz")[0] == 503)
        assert app.ask_control("/livez")[0] == 200
        lets_go.send(b"\n")
        assert c.reply().status == lets_go.reply().status == 200
    app.stop()


def test_what_is_stuck_is_named(serve):
    app = serve("testapp", "--loops", "2", "--grace", "1")
    paths = ["/s/block", "/s/block", "/a/nap", "/s/nap", "/a/offload", "/one"]
    stuck = [app.client().send(get(path + "?ms=60000")) for path in paths]
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == len(paths))
    stuck.append(app.client().send(get("/a/block?ms=60000")))
    wait_until(lambda: app.metric("offloop_requests_total") == len(paths) + 1)
    assert app.stop(expect=None) == 1
    for path in paths[1:] + ["/a/block"]:
        assert f"stuck: GET {path}: {'2 requests' if path == '/s/block' else '1 request'}\n" in app.log
    assert "7 requests are stuck" in app.log and "on_stop" not in app.log
    for c in stuck:
        c.s.close()


def test_a_stuck_worker_alone_keeps_it_from_ending_well(serve):
    app = serve("testapp", "--loops", "1", "--grace", "1")
    with app.client() as c:
        c.send(get("/s/block?ms=60000"))
        wait_until(lambda: app.metric("offloop_pool_threads", pool="second", state="running") == 1)
        c.reset()
        wait_until(lambda: app.metric("offloop_loop_connections") == 0)
        assert app.stop(expect=None) == 1
    assert "stuck: GET /s/block: 1 request\n" in app.log


def test_a_request_that_never_becomes_whole_is_named_too(serve):
    """A head has no route yet."""
    app = serve("testapp", "--loops", "1", "--grace", "500ms")
    with app.client() as head, app.client() as body:
        head.send(b"GET /a/te")
        body.send(post("/a/echo", b"a", length=2))
        wait_until(lambda: app.metric("offloop_requests_total") == 1)
        assert app.stop(expect=None) == 1
    assert "stuck: POST /a/echo: 1 request\n" in app.log
    assert "stuck: heads that are not complete: 1 request\n" in app.log


def test_a_reply_nobody_reads_is_named(serve):
    app = serve("testapp", "--loops", "1", "--grace", "500ms")
    with app.client(rcvbuf=4096) as c:
        c.send(get("/a/bytes?n=50000000"))
        wait_until(lambda: app.metric("offloop_sent_bytes_total") > 0)
        assert app.stop(expect=None) == 1
    assert "stuck: GET /a/bytes: 1 request\n" in app.log


def test_half_a_head_on_the_control_plane_leaves_nothing_behind(serve):
    app = serve("testapp")
    with socket.create_connection(("127.0.0.1", app.control), timeout=60) as asker:
        asker.sendall(b"GET /metr")
        wait_until(lambda: app.ask_control("/livez")[0] == 200)
        assert app.stop() == 0                          # and no word of a leak


def test_a_second_signal_ends_it_at_once(serve):
    app = serve("testapp", "--loops", "1")
    with app.client() as c:
        c.send(get("/s/block?ms=60000"))
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 1)
        app.terminate()
        started = time.monotonic()
        assert app.stop(expect=None, signum=signal.SIGINT) == 1
        assert time.monotonic() - started < 20      # of a grace of 30 s
    assert "second signal" in app.log


@pytest.mark.parametrize("program, args", [("testapp", ()), ("workerapp", ("--workers", "2"))])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_sent_twice_at_once_loses_nothing(serve, program, args, signum):
    """As timeout(1) does, to its child and to their group."""
    app = serve(program, *args)
    path = "/nap?ms=300" if args else "/a/nap?ms=300"
    with app.client() as c:
        c.send(get(path))
        began = time.monotonic()
        app.process.send_signal(signum)
        app.wait_log("stopping")
        app.process.send_signal(signum)
        if time.monotonic() - began > 0.3:
            app.process.kill()
            app.process.wait()
            pytest.skip("this machine is too busy to send two signals at once")
        assert c.reply().status == 200
    app.terminated = True
    app.stop()
    assert "second signal" not in app.log


def test_a_signal_that_is_repeated_ends_it_at_once(serve):
    app = serve("testapp", "--loops", "1")
    with app.client() as c:
        c.send(get("/s/block?ms=60000"))
        wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 1)
        started = time.monotonic()
        while app.process.poll() is None:
            app.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert 0.5 <= time.monotonic() - started < 20       # of a grace of 30 s
        app.terminated = True
        assert app.stop(expect=None) == 1
    assert "SIGTERM, the second signal" in app.log


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_either_signal_drains(serve, signum):
    app = serve("testapp")
    app.stop(signum=signum)
    assert "on_stop" in app.log


def test_an_app_can_stop_its_server(serve):
    app = serve("testapp", "--loops", "2")
    r = app.client().send(get("/s/stop")).reply()
    assert r.body == b"stopping\n"
    app.terminated = True
    app.stop()


def test_a_successor_takes_the_port(serve):
    app = serve("testapp", "--loops", "2")
    assert app.ask("/a/text")[0] == 200
    app.stop()
    successor = serve("testapp", "--port", app.port)
    assert successor.port == app.port and successor.ask("/a/text")[0] == 200


def test_the_path_of_a_unix_socket_goes_first(serve, tmp_path):
    path = tmp_path / "socket"
    app = serve("testapp", "--loops", "2", unix=path)
    c = app.client().send(get("/a/nap?ms=500"))
    waiting = [app.client() for _ in range(50)]
    wait_until(lambda: app.metric("offloop_requests_total") == 1)
    app.terminate()
    wait_until(lambda: not os.path.exists(path))
    for w in waiting:       # they have a second, all together
        w.send(get("/s/text"))
    successor = serve("testapp", unix=path)
    assert successor.ask("/a/text")[0] == 200
    for w in waiting:
        assert w.reply().status == 200
    assert c.reply().status == 200
    app.stop()
    assert successor.ask("/a/text")[0] == 200       # and its path is still there
    successor.stop()
    assert not os.path.exists(path)


def test_a_socket_file_left_behind_is_replaced_and_one_in_use_is_not(serve, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    app = serve("testapp", unix=path)
    assert app.ask("/a/text")[0] == 200
    second = serve("testapp", unix=path, wait=False)
    assert second.process.wait(60) == 1
    assert app.ask("/a/text")[0] == 200
