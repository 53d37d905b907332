"""Worker processes: who answers, what a death costs, how many there are, and how all of them end."""
import os
import re
import signal
import socket
import threading
import time

import pytest

from conftest import BACKEND, PATIENCE, get, wait_until
from test_process import complaint, run


def workers(app):
    """{index: (pid, port of its control plane)}, of those who came last."""
    lines = re.findall(r"listening on .*control=http://127\.0\.0\.1:(\d+) .*worker=(\d+) pid=(\d+)", app.log)
    return {int(i): (int(pid), int(control)) for control, i, pid in lines}


def pids(app):
    return {pid for pid, _ in workers(app).values()}


def alive(pid):
    """Whether there is such a process, and it is no corpse."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answering(app):
    return int(app.client().send(get("/pid", "Connection: close")).reply().body)


def in_worker(app, pid, path):
    """A connection whose request is in flight in that worker."""
    while True:
        c = app.client()
        if int(c.send(get("/pid")).reply().body) == pid:
            return c.send(get(path))
        c.s.close()


def held(app, path, n=12):
    """n connections with a request in flight: [(pid, connection)]."""
    got = []
    for _ in range(n):
        c = app.client()
        got.append((int(c.send(get("/pid")).reply().body), c.send(get(path))))
    return got


# ---- serving


def test_one_port_is_served_by_all_of_them(serve):
    app = serve("workerapp", "--workers", "3")
    assert len(pids(app)) == 3 and app.process.pid not in pids(app)
    seen = set()
    wait_until(lambda: seen.add(answering(app)) or seen == pids(app))
    app.stop()
    assert app.log.count("on_stop in") == 3 and not any(alive(pid) for pid in pids(app))


def test_each_has_a_control_plane_of_its_own(serve, tmp_path):
    app = serve("workerapp", "--workers", "3", "--control", f"unix:{tmp_path}/c")
    for i in range(3):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{tmp_path}/c.{i}")
            s.sendall(get("/readyz", "Connection: close"))
            assert b" 200 " in s.recv(65536)
        assert re.search(rf"control=unix:{tmp_path}/c\.{i} .*worker={i} ", app.log)


def test_ports_of_control_planes_follow_each_other(serve):
    """Somewhere there are three free ones in a row."""
    for base in range(20000 + os.getpid() % 20000, 60000, 7):
        app = serve("workerapp", "--workers", "3", "--control", f"127.0.0.1:{base}", wait=False)
        wait_until(lambda: "serving on" in app.log or app.closed)
        if "serving on" in app.log:
            assert {i: port for i, (_, port) in workers(app).items()} == {0: base, 1: base + 1, 2: base + 2}
            return
    raise AssertionError("no free ports")


def test_one_worker_is_no_supervisor(serve):
    app = serve("workerapp", "--workers", "1", wait=False)
    app.wait_log("listening on")
    assert "worker=" not in app.log and "serving on" not in app.log


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_a_worker_that_is_stuck_keeps_nobody(serve, tmp_path, where):
    """All accept from one socket: who comes is taken by one that is free, whomever the kernel woke first."""
    app = serve("workerapp", "--workers", "2", "--loops", "1", unix=tmp_path / "s" if where == "unix" else None)
    stuck = app.client().send(get("/block?ms=60000"))
    app.wait_log("blocking in")     # who came before that may have been accepted there
    began = time.monotonic()
    for _ in range(20):
        answering(app)
    assert time.monotonic() - began < 50
    stuck.s.close()
    app.process.send_signal(signal.SIGTERM)
    app.wait_log("draining")
    assert app.stop(signum=signal.SIGTERM, expect=None) == 1


# ---- deaths


def test_a_death_costs_nobody_elses_request_and_is_made_good(serve):
    app = serve("workerapp", "--workers", "3")
    victim = workers(app)[1][0]
    crowd = held(app, "/nap?ms=1000", 24)
    while victim not in [pid for pid, _ in crowd]:
        crowd.append((victim, in_worker(app, victim, "/nap?ms=1000")))
    os.kill(victim, signal.SIGKILL)
    for pid, c in crowd:
        if pid == victim:
            assert not c.s.recv(1) if not c.was_reset() else True
        else:
            assert int(c.reply().body) == pid
    app.wait_log(rf"error a worker was killed: Killed worker=1 pid={victim} signal=9 lived=\S+ms restart_ms=100\n")
    wait_until(lambda: workers(app)[1][0] != victim)
    replacement = workers(app)[1][0]
    wait_until(lambda: answering(app) == replacement)
    app.stop()


# ---- the end


def test_load_on_all_is_answered_to_the_last_request(serve):
    """Pipelined on connections that come and go: whoever was let in has a reply, or an orderly end before it asked."""
    app = serve("workerapp", "--workers", "3")
    answered, refused, lost = [], [], []
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
                    c.send(get("/pid") * 4, get(f"/nap?ms={i % 3}", "Connection: close"))
                    for _ in range(5):
                        r = c.reply()
                        assert r.status == 200
                        answered.append(r)
                        if r.headers.get("connection") == "close":
                            break
                except (OSError, EOFError, AssertionError) as e:
                    lost.append((i, repr(e)))

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
    assert not any(alive(pid) for pid in pids(app))


# ---- what it is told


@pytest.mark.parametrize("value, line", [
    ("x", '--workers: "x" is not a whole number in 1..1024'),
    ("0", "--workers: 0 is not in 1..1024"),
    ("-1", "--workers: -1 is not in 1..1024"),
    ("1000000000", "--workers: 1000000000 is not in 1..1024"),
])
def test_a_wrong_number_of_workers_is_one_line(value, line):
    assert line in complaint(run("--workers", value, program="workerapp"), 2)
