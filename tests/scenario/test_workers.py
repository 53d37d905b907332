"""Worker processes: who answers, what a death costs, how many there are, and how all of them end."""
import json
import os
import re
import resource
import signal
import socket
import threading
import time

import pytest

from conftest import PATIENCE, freeze, get, read_all, wait_until
from test_process import complaint, run
from test_top import run as top


def workers(app):
    """{index: (pid, port of its control plane)}, of those who came last."""
    lines = re.findall(r"listening on .*control=(?:off|http://127\.0\.0\.1:(\d+)) .*pid=(\d+) worker=(\d+)\n", app.log)
    return {int(i): (int(pid), int(control or 0)) for control, pid, i in lines}


def pids(app):
    return {pid for pid, _ in workers(app).values()}


def alive(pid):
    """Whether there is such a process, and it is no corpse that waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(pid):
    """What its descriptors are, but for one that is closed at this moment, as files the monitor reads are."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return links


def accepts(app, pid):
    """Whether a worker has the listening socket: the one that it shares with its supervisor."""
    try:
        shared = set(descriptors(pid)) & set(descriptors(app.process.pid))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(s.startswith("socket:") for s in shared)


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


def finish(crowd):
    """Their replies come from where they were asked for."""
    for pid, c in crowd:
        assert int(c.reply().body) == pid
        c.s.close()


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
        assert re.search(rf"control=unix:{tmp_path}/c\.{i} .*worker={i}\n", app.log)


def test_each_control_plane_says_whose_it_is(serve, tmp_path):
    where = f"unix:{tmp_path}/c"
    serve("workerapp", "--workers", "2", "--control", where)
    for i in range(2):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{tmp_path}/c.{i}")
            s.sendall(get("/metrics", "Connection: close"))
            assert f'\noffloop_worker_info{{worker="{i}"}} 1\n'.encode() in read_all(s)
        assert re.search(rf"^offloop \S+ on \w+ worker {i} at {where}\.{i}, up ", top(f"{where}.{i}")[1])


def test_of_a_control_plane_that_cannot_listen_it_is_told_where_that_should_be(tmp_path):
    """A port that nobody has named; it is somebody else's, and the one before it is free."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            status, _, log = run("--port", "0", "--workers", "2", "--control", f"127.0.0.1:{port - 1}", program="workerapp")
        assert status == 1
        if f" port {port - 1}:" not in log:
            break
    assert f"--control: worker 1 listens 1 port further on: cannot listen on 127.0.0.1 port {port}: bind: " in log, log
    line = complaint(run("--port", "0", "--workers", "2", "--control", f"unix:{tmp_path}/none/c", program="workerapp"), 1)
    assert "--control: worker 0 listens on that path with .0 behind it: " in line and "/none/c.0" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_line_says_which_of_them_wrote_it(serve, form):
    app = serve("workerapp", "--workers", "2", "--access-log", "--log-format", form, wait=False)
    app.wait_workers()
    app.port = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)", app.log).group(1))
    answering(app)
    app.stop()
    supervisors = r"serving on|stopping|draining \d worker"
    for line in app.log.splitlines():
        if not re.search(supervisors, line):
            assert (re.search(r" worker=[01]$", line) if form == "text" else json.loads(line)["worker"] in (0, 1)), line
    assert "/pid" in app.log


def test_ports_of_control_planes_follow_each_other(serve):
    """Somewhere there are three free ones in a row."""
    for base in range(20000 + os.getpid() % 20000, 60000, 7):
        app = serve("workerapp", "--workers", "3", "--control", f"127.0.0.1:{base}", wait=False)
        wait_until(lambda: "serving on" in app.log or app.closed)
        if "serving on" in app.log:
            app.wait_workers()
            assert {i: port for i, (_, port) in workers(app).items()} == {0: base, 1: base + 1, 2: base + 2}
            return
    raise AssertionError("no free ports")


def test_one_worker_is_no_supervisor(serve):
    app = serve("workerapp", "--workers", "1", wait=False)
    app.wait_log("listening on")
    assert "worker=" not in app.log and "serving on" not in app.log


@pytest.mark.parametrize("where, model", [("tcp", "hybrid"), ("unix", "hybrid"), ("tcp", "wsgi-sync")])
def test_a_worker_that_is_stuck_keeps_nobody(serve, tmp_path, where, model):
    """All accept from one socket: who comes is taken by one that is free, whomever the kernel woke first."""
    app = serve("workerapp", "--workers", "2", "--loops", "1", "--model", model,
                unix=tmp_path / "s" if where == "unix" else None)
    stuck = app.client().send(get("/block?ms=60000"))
    app.wait_log("blocking in")     # who came before that may have been accepted there
    began = time.monotonic()
    for _ in range(20):
        answering(app)
    assert time.monotonic() - began < 50
    stuck.s.close()
    app.process.send_signal(signal.SIGTERM)
    app.wait_log("draining")
    assert app.stop(signum=signal.SIGINT, expect=None) == 1


def test_a_worker_that_is_frozen_keeps_nobody(serve):
    """Whom the kernel wakes for a client need not be able to take it.  Nor does that one miss its end."""
    app = serve("workerapp", "--workers", "3")
    frozen = workers(app)[1][0]
    freeze(frozen)
    for _ in range(10):
        assert answering(app) != frozen
    app.terminate()
    os.kill(frozen, signal.SIGCONT)
    app.stop()
    assert app.log.count("on_stop in") == 3


# ---- deaths


def test_a_death_costs_nobody_elses_request_and_is_made_good(serve):
    app = serve("workerapp", "--workers", "3")
    victim = workers(app)[1][0]
    crowd = held(app, "/nap?ms=500", 24)
    while victim not in [pid for pid, _ in crowd]:
        crowd.append((victim, in_worker(app, victim, "/nap?ms=500")))
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


def test_one_that_keeps_dying_is_tried_ever_more_seldom_while_others_serve(serve, tmp_path):
    file = tmp_path / "fail"
    app = serve("workerapp", "--workers", "2", "--fail-if", file)
    victim, survivor = workers(app)[1][0], workers(app)[0][0]
    file.touch()
    os.kill(victim, signal.SIGKILL)
    app.wait_log(r"a worker was killed: Killed worker=1 .*restart_ms=100\n")
    app.wait_log(r"on_start: Device or resource busy\n")
    app.wait_log(r"a worker has ended worker=1 pid=\d+ status=1 lived=\S+ restart_ms=200\n")
    app.wait_log(r"a worker has ended worker=1 pid=\d+ status=1 lived=\S+ restart_ms=400\n")
    assert {answering(app) for _ in range(10)} == {survivor}
    file.unlink()
    wait_until(lambda: workers(app)[1][0] != victim)
    wait_until(lambda: answering(app) == workers(app)[1][0])
    app.stop()


def test_the_status_of_one_that_has_exited_is_told(serve):
    app = serve("workerapp", "--workers", "2")
    app.client().send(get("/leave?status=7"))
    app.wait_log(r"a worker has ended worker=\d pid=\d+ status=7 lived=\S+ restart_ms=100\n")
    wait_until(lambda: len(re.findall("listening on", app.log)) == 3)
    assert app.log.count("serving on") == 1


def test_a_log_nobody_reads_keeps_no_worker_from_being_replaced(serve):
    app = serve("workerapp", "--workers", "2", "--access-log")
    first = pids(app)
    with in_worker(app, workers(app)[0][0], "/pid") as c:
        c.reply()
        app.reading.clear()
        while app.metric("offloop_log_dropped_total") == 0:     # then the pipe is full
            c.send(get("/pid?" + "x" * 1500) * 50)
            for _ in range(50):
                c.reply()
    os.kill(max(first), signal.SIGKILL)
    seen = set()
    wait_until(lambda: seen.add(answering(app)) or seen - first)
    app.reading.set()
    app.stop()


@pytest.mark.parametrize("gone", ["killed", "stopped"])
def test_no_worker_outlives_its_supervisor(serve, gone):
    """Nor is a request lost, when it was killed."""
    app = serve("workerapp", "--workers", "3")
    crowd = held(app, "/nap?ms=200")
    if gone == "killed":
        app.process.kill()
        app.wait_log("warn  the supervisor is gone: stopping")
    else:
        app.terminate()
    finish(crowd)
    wait_until(lambda: not any(alive(pid) for pid in pids(app)))
    assert app.process.wait(PATIENCE) == (-signal.SIGKILL if gone == "killed" else 0)
    app.reader.join(PATIENCE)
    with pytest.raises(OSError):
        app.connect()
    assert app.log.count("on_stop in") == 3


# ---- how many


def test_there_can_be_more_and_fewer(serve):
    app = serve("workerapp", "--workers", "2")
    app.process.send_signal(signal.SIGTTIN)
    app.wait_log("SIGTTIN: 3 workers")
    wait_until(lambda: 2 in workers(app))
    third = workers(app)[2][0]
    wait_until(lambda: answering(app) == third)
    napping = in_worker(app, third, "/nap?ms=500")
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log("SIGTTOU: 2 workers")
    app.wait_log("info  draining")
    wait_until(lambda: not accepts(app, third))
    assert third not in {answering(app) for _ in range(10)}
    finish([(third, napping)])
    wait_until(lambda: not alive(third))
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log("SIGTTOU: 1 worker\n")
    wait_until(lambda: not alive(workers(app)[1][0]))
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log("SIGTTOU: the last worker stays")
    assert answering(app) == workers(app)[0][0]
    app.process.send_signal(signal.SIGTTIN)         # the place, and the port, of one that has left
    wait_until(lambda: len(re.findall("listening on", app.log)) == 4)
    assert "restart_ms" not in app.log
    app.stop()


def test_who_leaves_loses_nobody(serve):
    """Workers come and go under load, and every request is answered."""
    app = serve("workerapp", "--workers", "2")
    over, lost, answered = threading.Event(), [], []

    def load():
        while not over.is_set():
            try:
                with app.client() as c:
                    c.send(get("/pid"), get("/nap?ms=1", "Connection: close"))
                    c.reply()
                    if c.reply().headers["connection"] == "close":
                        answered.append(c)
            except EOFError as e:       # an orderly end, announced by the first reply, is none
                lost.append(e) if e.args[0] else None
            except (OSError, KeyError) as e:
                lost.append(e)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for t in threads:
        t.start()
    for i in range(4):
        app.process.send_signal(signal.SIGTTIN)
        wait_until(lambda: app.log.count("listening on") == 3 + i)  # noqa: B023
        app.process.send_signal(signal.SIGTTOU)
        wait_until(lambda: app.log.count("on_stop in") == 1 + i)    # noqa: B023
    wait_until(lambda: len(answered) > 50)
    over.set()
    for t in threads:
        t.join()
    assert not lost
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


def test_signals_to_the_whole_group_end_it_once(serve):
    """As a terminal's Ctrl-C: workers leave it to the supervisor."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        app = serve("workerapp", "--workers", "3", preexec=os.setpgrp)
        crowd = held(app, "/nap?ms=200")
        os.killpg(app.process.pid, signum)
        finish(crowd)
        app.terminated = True
        app.stop()
        assert "second signal" not in app.log and app.log.count("on_stop in") == 3


def test_a_worker_leaves_signals_to_its_supervisor(serve):
    app = serve("workerapp", "--workers", "2", "--log-level", "debug")
    one = workers(app)[0][0]
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(one, signum)
        app.wait_log(f"{signum.name}: left to the supervisor")
    wait_until(lambda: answering(app) == one)
    os.kill(one, signal.SIGTTIN)        # its own default pool
    app.wait_log("SIGTTIN")
    assert len(workers(app)) == 2
    app.stop()


def test_a_second_signal_ends_all_at_once(serve):
    app = serve("workerapp", "--workers", "2")
    for _, c in held(app, "/nap?ms=60000", 4):
        pass
    app.terminate()
    began = time.monotonic()
    assert app.stop(signum=signal.SIGINT, expect=None) == 1
    assert time.monotonic() - began < 20        # of a grace of 30 s
    assert "second signal: ending at once" in app.log and not any(alive(pid) for pid in pids(app))


def test_an_app_in_a_worker_can_end_them_all(serve):
    app = serve("workerapp", "--workers", "3")
    crowd = held(app, "/nap?ms=200")
    assert app.client().send(get("/stop")).reply().status == 200
    app.wait_log(r"worker \d: the app asks for the end: stopping")
    finish(crowd)
    app.terminated = True
    app.stop()
    assert app.log.count("on_stop in") == 3


def test_what_is_stuck_makes_the_status_1(serve):
    app = serve("workerapp", "--workers", "2", "--grace", "300ms")
    stuck = app.client().send(get("/sync?ms=60000"))
    app.wait_log("blocking in")
    assert app.stop(expect=None) == 1
    assert "stuck: GET /sync: 1 request worker=" in app.log and app.log.count("on_stop in") == 1
    assert len(re.findall("a worker has ended .*status=1", app.log)) == 1
    stuck.s.close()


def test_one_that_does_not_end_by_itself_is_killed(serve):
    """After the grace and 5 s."""
    app = serve("workerapp", "--workers", "2", "--grace", "0")
    frozen = workers(app)[1][0]
    freeze(frozen)
    assert app.stop(expect=None) == 1
    assert f"a worker did not end within its grace: killing it worker=1 pid={frozen}\n" in app.log
    assert not alive(frozen) and app.log.count("on_stop in") == 1


def test_one_that_was_killed_as_it_left_alone_is_not_held_against_the_end(serve):
    app = serve("workerapp", "--workers", "2", "--grace", "0")
    frozen = workers(app)[1][0]
    freeze(frozen)
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log(f"a worker did not end within its grace: killing it worker=1 pid={frozen}\n")
    wait_until(lambda: not alive(frozen))
    app.stop(expect=0)


def test_the_path_of_their_unix_socket_goes_first_and_not_with_one_of_them(serve, tmp_path):
    path = tmp_path / "socket"
    app = serve("workerapp", "--workers", "2", unix=path)
    app.process.send_signal(signal.SIGTTOU)
    wait_until(lambda: "on_stop in" in app.log)
    os.kill(workers(app)[0][0], signal.SIGKILL)
    wait_until(lambda: len(re.findall("listening on", app.log)) == 3)
    napping = app.client().send(get("/nap?ms=200"))
    waiting = [app.client() for _ in range(30)]
    app.terminate()
    wait_until(lambda: not path.exists())
    for c in waiting:       # they have a second, all together
        c.send(get("/pid"))
    for c in waiting:
        assert c.reply().status == 200
        c.s.close()
    assert napping.reply().status == 200
    napping.s.close()
    app.stop()


# ---- the start


def started_badly(serve, *args):
    app = serve("workerapp", *args, wait=False)
    status = app.process.wait(PATIENCE)
    app.reader.join(PATIENCE)
    return status, app.log


def test_what_keeps_it_from_starting_is_said_once(serve, tmp_path):
    app = serve("workerapp", "--workers", "2")
    line = complaint(run("--port", app.port, "--workers", "4", "--control", "off", program="workerapp"), 1)
    assert "in use" in line
    line = complaint(run("--unix", "/nonesuch/s", "--workers", "4", "--control", "off", program="workerapp"), 1)
    assert "cannot listen on" in line
    line = complaint(run("--port", "0", "--workers", "3", "--control", "127.0.0.1:65534", program="workerapp"), 2)
    assert "the last is over 65535" in line
    line = complaint(run("--port", "0", "--workers", "4", "--control", f"127.0.0.1:{app.control}", program="workerapp"), 1)
    assert "--control" in line and "in use" in line
    file = tmp_path / "fail"
    file.touch()
    status, log = started_badly(serve, "--workers", "4", "--fail-if", file)
    assert status == 1 and log.count("on_start: Device or resource busy\n") == log.count("on_start in") == 1
    status, log = started_badly(serve, "--workers", "4", "--die-if", file)
    assert status == 1 and log.count("\n") - log.count("on_start in") == 1
    assert "worker 0 was killed before it served: Killed\n" in log


def test_it_can_be_ended_while_it_starts(serve, tmp_path):
    file = tmp_path / "wait"
    file.touch()
    app = serve("workerapp", "--workers", "3", "--wait-if", file, wait=False)
    app.wait_log("on_start in")
    app.terminate()
    file.unlink()
    app.stop()
    assert app.log.count("on_start in") == app.log.count("on_stop in") == 1 and "serving on" not in app.log


def test_cpus_are_divided_among_workers(serve):
    app = serve("workerapp", "--workers", str(len(os.sched_getaffinity(0)) + 1))
    assert re.findall(r" loops=(\d+) ", app.log) == ["1"] * (len(os.sched_getaffinity(0)) + 1)


def test_workers_hold_nothing_of_each_other_or_the_supervisor(serve):
    app = serve("workerapp", "--workers", "4", "--loops", "1", "--control", "off")
    assert len(pids(app)) == 4
    for pid in pids(app):
        links = descriptors(pid)
        assert sum(link.startswith("socket:") for link in links) == 2       # the listener, and the line
        assert sum("signalfd" in link for link in links) == 1
    app.stop()


# ---- one connection at a time


def test_the_backlog_of_workers_with_one_connection_each_is_served_to_its_end(serve):
    app = serve("workerapp", "--workers", "3", "--model", "wsgi-sync")
    crowd = [app.client().send(get("/sync?ms=20")) for _ in range(30)]
    app.wait_log("blocking in")
    app.terminate()
    assert {int(c.reply().body) for c in crowd} <= pids(app)
    for c in crowd:
        c.s.close()
    app.stop()


def test_clients_whom_dead_workers_leave_in_the_backlog_are_told_of(serve):
    app = serve("workerapp", "--workers", "2", "--model", "wsgi-sync")
    crowd = [app.client().send(get("/block?ms=60000")) for _ in range(3)]
    wait_until(lambda: app.log.count("blocking in") == 2)
    app.terminate()
    for pid in pids(app):
        os.kill(pid, signal.SIGKILL)
    assert app.stop(expect=None) == 1
    assert "warn  all workers have ended, and clients still wait: they are reset\n" in app.log
    assert [c.was_reset() for c in crowd].count(True) == 1


# ---- what it is told


@pytest.mark.parametrize("value, line", [
    ("x", '--workers: "x" is not a whole number in 1..1024'),
    ("0", "--workers: 0 is not in 1..1024"),
    ("-1", "--workers: -1 is not in 1..1024"),
    ("1000000000", "--workers: 1000000000 is not in 1..1024"),
])
def test_a_wrong_number_of_workers_is_one_line(value, line):
    assert line in complaint(run("--workers", value, program="workerapp"), 2)


def half_started(serve, tmp_path, while_halted=lambda app: None, env=None):
    """(app, gate): of two workers the first serves, and the second waits in on_start until gate is removed."""
    gate = tmp_path / "wait"
    gate.touch()
    app = serve("workerapp", "--workers", "2", "--wait-if", gate, wait=False, env=env)
    app.wait_log("on_start in")
    freeze(app.process.pid)     # so that it does not start the second before there is a gate again
    gate.unlink()
    app.wait_log("listening on .*worker=0")
    gate.touch()
    while_halted(app)
    app.process.send_signal(signal.SIGCONT)
    return app, gate


def test_a_worker_that_cannot_be_started_ends_those_that_serve_already(serve, tmp_path):
    def no_descriptors(app):
        resource.prlimit(app.process.pid, resource.RLIMIT_NOFILE, (3, 3))

    env = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}      # needs descriptors, too
    app, _ = half_started(serve, tmp_path, no_descriptors, env)
    app.wait_log("cannot start a worker: Too many open files\n")
    assert app.process.wait(PATIENCE) == 1
    app.reader.join(PATIENCE)
    assert app.log.count("on_start in") == app.log.count("on_stop in") == 1


def test_until_all_have_served_the_death_of_one_that_did_ends_them(serve, tmp_path):
    app, gate = half_started(serve, tmp_path)
    wait_until(lambda: app.log.count("on_start in") == 2)
    os.kill(workers(app)[0][0], signal.SIGKILL)
    app.wait_log("worker 0 was killed before all served: Killed\n")
    gate.unlink()
    assert app.process.wait(PATIENCE) == 1
    assert "restart_ms" not in app.log and "serving on" not in app.log


def test_all_serve_when_the_only_one_that_did_not_is_not_wanted(serve, tmp_path):
    app, gate = half_started(serve, tmp_path)
    wait_until(lambda: app.log.count("on_start in") == 2)
    app.process.send_signal(signal.SIGTTOU)
    app.wait_log(r"serving on .*workers=1 ")
    gate.unlink()
    wait_until(lambda: app.log.count("on_stop in") == 1)
    os.kill(workers(app)[0][0], signal.SIGKILL)     # and is replaced, as ever
    app.wait_log("restart_ms=100\n")
    app.wait_log(r"(?s)listening on [^\n]*worker=0\n.*listening on [^\n]*worker=0\n")
    app.stop()


def test_a_supervisor_without_a_loop_says_so_and_touches_nothing():
    env = {f"EVENT_NO{how}": "1" for how in ("EPOLL", "POLL", "SELECT")}
    status, _, said = run("--port", "0", "--workers", "2", env=env, program="workerapp")
    said = [line for line in said.splitlines() if "no event mechanism" not in line]     # libevent's own
    assert status == 1 and said == ["workerapp: the supervisor: Cannot allocate memory"]
