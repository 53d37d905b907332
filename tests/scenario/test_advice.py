"""What is advised, and what is told of workers that hang: adviceapp's routes were declared unwisely, each in a way of its own.

Bounds are on what is said, never on how fast this machine is; what needs evidence is given more of it until it is said.
"""
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading

import pytest

from conftest import PATIENCE, get, program_path, wait_until

PLAIN = "thread" not in os.environ.get("SANITIZERS", "")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def told(server, path):
    status, text = server.ask_control(path)
    assert status == 200
    return json.loads(text)


def advice(server, kind):
    return [a for a in told(server, "/advice") if a["kind"] == kind]


def stalls(server, kind):
    return [s for s in told(server, "/stalls") if s["kind"] == kind]


def ask_many(server, path, times, clients=1):
    """Each client asks so many times, on one connection."""
    def ask():
        c = server.http()
        for _ in range(times):
            c.request("GET", path)
            c.getresponse().read()
        c.close()

    with concurrent.futures.ThreadPoolExecutor(clients) as executor:
        for done in [executor.submit(ask) for _ in range(clients)]:
            done.result()


def load_until_advised(server, kind, path, times, clients=1, tries=20):
    for _ in range(tries):
        ask_many(server, path, times, clients)
        if found := advice(server, kind):
            return found
    raise AssertionError(f"no advice of kind {kind}:\n{server.log}")


@pytest.fixture
def server(serve):
    return serve("adviceapp", "--loops", "1")


@pytest.fixture
def gate(serve, tmp_path):
    """A server whose /gate holds its thread until let_go is called."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    server = serve("adviceapp", "--loops", "1", "--gate", fifo, "--worker-stall-ms", "100")

    def let_go(n):
        with open(fifo, "wb", buffering=0) as f:
            f.write(b"x" * n)

    server.let_go = let_go
    return server


@pytest.mark.parametrize("how, cause, remedy", [
    ("sleep", r"in clock_nanosleep" if PLAIN else r"(in clock_nanosleep|, blocked)", r"declare it \.sync$"),
    ("spin", r"on CPU", r"declare it \.sync in a pool of about as many threads as CPUs \(\d+\)$")])
def test_a_route_that_held_its_loop_four_times_is_advised_to_leave_it(server, how, cause, remedy):
    found = load_until_advised(server, "holds-loop", f"/hold?ms=30&how={how}", 1)
    assert server.metric("offloop_loop_stalls_total", route="/hold") >= 4
    assert len(found) == 1
    said = found[0]
    assert (said["name"], said["method"], said["route"], said["lane"]) == ("GET /hold", "GET", "/hold", "async")
    assert re.search(rf"^held loop 0 for \d+(\.\d)? ms *{cause}, \d+ requests? waited$", said["evidence"])
    assert re.search(remedy, said["remedy"])
    assert said["text"] == f"GET /hold {said['evidence']}: {said['remedy']}"
    server.wait_log(r'advice text="GET /hold held loop 0 .*: declare it .sync')


def test_holds_that_nobody_is_blamed_for_are_no_evidence(server):
    ask_many(server, "/hold?ms=30", 3)
    ask_many(server, "/honest", 50)
    assert advice(server, "holds-loop") == []


def test_the_log_is_told_once(server):
    load_until_advised(server, "holds-loop", "/hold?ms=30", 1)
    ask_many(server, "/hold?ms=30", 3)
    assert advice(server, "holds-loop")
    server.stop()
    assert server.log.count("advice text=") == 1


def test_a_pool_whose_threads_are_blocked_is_advised_to_grow(server):
    said = load_until_advised(server, "threads", "/query?ms=20", 6, clients=16)[0]
    assert said["pool"] == "db"
    m = re.match(r"2 threads (\d+)% blocked, queue wait p99 \d+ ms$", said["evidence"])
    assert m and int(m.group(1)) >= 50
    wanted = int(re.match(r"raise threads to about (\d+) \(\.threads\)$", said["remedy"]).group(1))
    assert 3 <= wanted <= 20
    server.wait_log(r'advice text="pool db: 2 threads \d+% blocked, queue wait p99 \d+ ms: raise threads to about \d+')


def test_a_pool_whose_threads_compute_is_told_that_more_do_not_help(server):
    if os.cpu_count() > 3:
        pytest.skip("its four threads may not be enough for these CPUs")
    said = load_until_advised(server, "threads", "/hash?ms=15", 4, clients=12)[0]
    assert said["pool"] == "crypt"
    assert re.match(r"4 threads \d+% on a CPU or waiting for one, queue wait p99 \d+ ms$", said["evidence"])
    assert re.match(r"CPU-bound: more threads than \d+ will not help$", said["remedy"])


@pytest.mark.skipif(os.environ.get("SANITIZERS", "") != "", reason="runs are as slow as hops then")
def test_a_short_route_is_advised_to_stay_on_the_loop(serve):
    """All ask at once, and one thread answers: so they wait for longer than it takes, however fast a wake-up is."""
    server = serve("adviceapp", "--loops", "1", "--pool", "1")
    clients = [server.client() for _ in range(64)]

    def burst():
        for c in clients:
            c.send(get("/short"))
        return all(c.reply().status == 200 for c in clients)

    for _ in range(200):    # one run that was interrupted is enough for none until what is looked back on is over
        assert all(burst() for _ in range(50))
        if found := advice(server, "needs-no-thread"):
            break
    [said] = found
    assert (said["name"], said["pool"], said["lane"], said["declared"]) == ("GET /short", "default", "sync", "sync")
    assert re.match(r"ran \d+ times in pool default, 99% of them for at most \S+ [mu]s and none asleep, "
                    r"having waited \S+ [mu]s for a thread on average$", said["evidence"])
    assert said["remedy"] == "declare it .async"


def test_a_route_that_sleeps_is_not_advised_to_move_to_the_loop(server):
    ask_many(server, "/query?ms=0", 70, clients=16)
    assert not [a for a in advice(server, "needs-no-thread") if a["route"] == "/query"]


def test_limits_that_refuse_often_are_named(server):
    said = load_until_advised(server, "max-inflight", "/few?ms=10", 5, clients=5)[0]
    assert said["name"] == "GET /few" and said["remedy"] == "raise its .max_inflight (1)"
    assert re.match(r"refused \d+ of \d+ requests \(\d+%\) in .*, 1 of its handlers being in flight$", said["evidence"])
    found = load_until_advised(server, "queue", "/query?ms=5", 5, clients=90)
    assert [a for a in found if a["pool"] == "db" and a["remedy"] == "raise .threads or .queue"]


def test_an_idle_server_is_given_no_advice(server):
    ask_many(server, "/honest", 5)
    ask_many(server, "/query?ms=1", 5)
    assert told(server, "/advice") == []


def test_a_worker_that_hangs_is_named_with_its_route_and_call(gate):
    with gate.client() as held:
        held.send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: [s for s in stalls(gate, "worker") if s["ms"] >= 100])
        stall = stalls(gate, "worker")[0]
        assert (stall["name"], stall["pool"], stall["loop"], stall["in"]) == ("GET /gate", "db", None, "job")
        assert stall["ongoing"] is True and stall["cause"] == "blocked"
        assert re.match(r"^read\(fd \d+, .*/gate\)$", stall["syscall"])
        if PLAIN:
            assert any(f["at"].startswith("wait_at_gate+0x") and not f["probable"] for f in stall["stack"]), stall["stack"]
        wait_until(lambda: gate.metric("offloop_pool_stalls_total", pool="db", route="/gate") == 1)     # after it is shown
        gate.wait_log(r'a route holds a thread of its pool route="GET /gate" pool=db held=.*cause=blocked.*syscall="read\(')
        wait_until(lambda: stalls(gate, "worker")[0]["ms"] > stall["ms"])
        gate.wait_log(r'(a route holds a thread.*\s.*){2}')     # at double the age
        gate.let_go(1)
        assert held.reply().status == 200
    gate.wait_log(r'a route held a thread of its pool route="GET /gate" pool=db')
    assert [s["ongoing"] for s in stalls(gate, "worker")] == [False]
    assert gate.metric("offloop_pool_stalls_total", pool="db") == 1
    assert gate.metric("offloop_loop_stalls_total", cause="blocked") == 0


def test_a_pool_that_starves_tells_what_all_wait_for(gate):
    clients = [gate.client() for _ in range(4)]
    for c in clients:
        c.send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
    found = gate.wait_log(r'all threads of a pool are busy, and requests wait waiting_for="(.*)"').group(1)
    assert re.match(r"db: 2 of 2 threads busy, 2 requests wait, oldest \d+\.\d s: "
                    r"2 in read\(fd \d+, \S+/gate\) for GET /gate$", found)
    stall = stalls(gate, "pool")[0]
    assert (stall["pool"], stall["name"], stall["ongoing"]) == ("db", None, True)
    assert stall["text"] == found
    assert gate.metric("offloop_pool_starvations_total", pool="db") == 1
    gate.let_go(4)
    assert [c.reply().status for c in clients] == [200] * 4
    wait_until(lambda: not stalls(gate, "pool")[0]["ongoing"])
    assert gate.metric("offloop_pool_starvations_total", pool="db") == 1
    assert gate.metric("offloop_pool_starvations_total", pool="default") == 0
    for c in clients:
        c.s.close()


def test_the_control_plane_answers_while_all_workers_hang(gate):
    clients = [gate.client() for _ in range(3)]
    for c in clients:
        c.send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: len(stalls(gate, "worker")) == 2)
    assert told(gate, "/advice") == []
    gate.let_go(3)
    assert [c.reply().status for c in clients] == [200] * 3
    for c in clients:
        c.s.close()


@pytest.mark.parametrize("path", ["/trace", "/trace/sync"])
def test_a_request_tells_its_trace(serve, path):
    server = serve("adviceapp", "--access-log")
    field = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert server.ask(path, headers=field)[2].decode() == f"{TRACE} {SPAN}"
    server.wait_log(rf'traced route="GET {path}" trace_id={TRACE}')
    server.wait_log(rf'request method=GET target={path} .*lane=\w+ trace_id={TRACE}')
    for bad in [f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"]:
        assert server.ask(path, headers={"traceparent": bad})[2] == b"none none"
    assert server.ask(path)[2] == b"none none"
    with server.client() as c:
        c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + f"traceparent: 00-{TRACE}-{SPAN}-01\r\n".encode() * 2 + b"\r\n")
        assert c.reply().body == b"none none"
    server.stop()
    assert server.log.count("trace_id=") == 2


def command(*args):
    done = subprocess.run([program_path("offloop"), "advice", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_command_prints_what_is_advised(server, tmp_path):
    address = f"127.0.0.1:{server.control}"
    status, out, err = command(address)
    assert (status, out) == (0, "") and "nothing that was measured" in err
    load_until_advised(server, "holds-loop", "/hold?ms=30", 1)
    status, out, err = command(address)
    assert status == 0 and err == ""
    assert re.match(r"GET /hold held loop 0 for .*: declare it \.sync\n$", out)
    assert command(address, "twice")[0] == 2
    assert command("nowhere:port")[0] == 2
    status, out, err = command(f"unix:{tmp_path}/none")
    assert (status, out) == (1, "") and err.startswith("offloop advice: ")


def test_stalls_that_are_too_few_are_told_of(server):
    """One as a rule: it may have had to compute, too, on a busy machine."""
    def counted(**labels):
        return server.metric("offloop_loop_stalls_total", **labels)

    while counted(cause="blocked", route="/hold") == 0:
        before = counted()
        ask_many(server, "/hold?ms=30", 1)
        wait_until(lambda: counted() > before)
    status, out, err = command(f"127.0.0.1:{server.control}")
    assert (status, out) == (0, "")
    assert re.match(r"offloop advice: nothing that was measured calls for a change; (1 stall|[23] stalls) seen, but a route is "
                    r"advised on from its 4th: see /stalls\n$", err), err


def test_what_is_no_control_plane_is_asked_about(server):
    status, out, err = command(f"127.0.0.1:{server.port}")
    assert (status, out) == (1, "")
    assert err.endswith("answers 404 for /advice: is it a control plane?\n") and err.count("\n") == 1


def test_advice_cannot_steer_the_terminal():
    with socket.create_server(("127.0.0.1", 0)) as s:
        def answer():
            c, _ = s.accept()
            c.recv(4096)
            c.sendall(b'HTTP/1.1 200 OK\r\n\r\n[{"text":"GET /a\\u001b[2J\\u009b1m\\u00e9\\n\\u202ecba\\u2066\\u200b\\ufeff"}]')
            c.close()
        threading.Thread(target=answer, daemon=True).start()
        assert command("127.0.0.1:%d" % s.getsockname()[1]) == (0, "GET /a?[2J?1m\u00e9??cba???\n", "")


def test_a_server_without_its_monitor_is_told_to_have_none(serve):
    server = serve("adviceapp", "--loops", "1", "--monitor", "off")
    ask_many(server, "/hold?ms=20", 5)
    status, out, err = command(f"127.0.0.1:{server.control}")
    assert (status, out, err.count("\n")) == (0, "", 1)
    assert "the monitor is off" in err


def test_a_route_that_was_moved_is_advised_to_be_declared_so(server):
    load_until_advised(server, "holds-loop", "/hold?ms=30", 1)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.control, timeout=PATIENCE)) as c:
        c.request("PATCH", "/routes", json.dumps({"route": "GET /hold", "lane": "sync"}), {"Content-Type": "application/json"})
        assert c.getresponse().status == 200
    said = advice(server, "holds-loop")[0]
    assert said["lane"] == "sync"
    assert said["remedy"] == "someone has moved it to a pool; let its declaration follow: declare it .sync"
