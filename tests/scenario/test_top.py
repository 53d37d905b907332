"""offloop top: what a running server does, in a terminal or as plain text."""
import concurrent.futures
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from conftest import PATIENCE, program_path, wait_until


def run(*args, env=None):
    done = subprocess.run([program_path("offloop"), "top", *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": "", **(env or {})}, check=False)
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """The command on a terminal of its own; `screen` is what a person would see."""

    def __init__(self, *args, columns=100, lines=40, env=None, stdin=None):
        self.master, slave = pty.openpty()
        self.sized(columns, lines)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [program_path("offloop"), "top", *map(str, args)], stdin=slave if stdin is None else stdin, stdout=slave,
            stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "", **(env or {})},
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))
        self.slave, self.seen = slave, b""

    def sized(self, columns, lines):
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds=0.05):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                break
            self.seen += piece
            seconds = 0.05
        return self.seen

    def screen(self):
        """The last whole picture, line by line, without colours."""
        pictures = self.read().decode("utf-8", "replace").split("\033[H")
        whole = [p for p in pictures if "\033[?7h" in p]
        last = re.sub(r"\033\[[?\d;]*[A-Za-z]", "", whole[-1]) if whole else ""
        return last.split("\r\n")

    def wait(self, condition):
        wait_until(lambda: condition("\n".join(self.screen())))

    def press(self, key):
        os.write(self.master, key)

    def end(self):
        """Its exit status; the terminal is as it was."""
        code = self.process.wait(PATIENCE)
        self.read()
        assert b"\033[?25h" in self.seen and self.seen.rstrip().endswith(b"\033[?1049l")
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    opened = []

    def start(*args, **kwargs):
        opened.append(Terminal(*args, **kwargs))
        return opened[-1]

    yield start
    for t in opened:
        t.close()


@pytest.fixture
def control(app):
    return f"127.0.0.1:{app.control}"


def load(app, path, until):
    def ask():
        while not until.is_set():
            app.ask(path)
    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_where_there_is_no_terminal_it_prints_plain_text_once(app, control):
    stop = threading.Event()
    threads = [load(app, "/a/text", stop), load(app, "/one?ms=5", stop)]
    try:
        wait_until(lambda: app.metric("http_server_request_duration_seconds_count", route="/one") > 0)
        status, text, error = run(control)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert (status, error) == (0, "")
    assert "\033" not in text and text.count("ROUTE") == 1
    assert re.search(r"^offloop \S+ on \w+ at 127\.0\.0\.1:\d+, up ", text)
    assert re.search(r"requests [1-9]\S*/s", text)
    assert re.search(r"^one +\S* +\d +1 ", text, re.M), text
    routes = text[text.index("ROUTE"):].splitlines()[1:]
    assert {" ".join(line.split()[:2]) for line in routes[:2]} == {"GET /a/text", "GET /one"}     # by load
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_narrow_line_is_broken_between_what_belongs_together(control):
    """However narrow: a percentile stands with what it is of, and what the first line says is not cut off."""
    widths = list(range(44, 144, 9))
    with concurrent.futures.ThreadPoolExecutor(len(widths)) as executor:
        told = list(executor.map(lambda width: run(control, env={"COLUMNS": str(width)})[1], widths))
    for width, text in zip(widths, told):
        head = text.split("\n\n", 1)[0]
        assert all(len(line) <= width for line in text.splitlines()), text
        assert re.search(rf"^offloop \S+ on \w+\s+at {control},\s+up \d+ [^\n]+\s+\d\d:\d\d:\d\d$", head, re.M), head
        for together in (r"requests \S+/s   p50 .*   p99 ", r"\basync \S+/s   p99 ", r"\bsync \S+/s   p99 ", "turned away "):
            assert re.search(together, head), head


def test_it_prints_as_often_as_it_is_told(control):
    start = time.monotonic()
    status, text, _ = run("-n", 2, control)
    assert status == 0 and text.count("ROUTE") == 2 and time.monotonic() - start >= 1.9


def test_a_unix_socket_will_do(serve, tmp_path):
    where = f"unix:{tmp_path}/control"
    app = serve("testapp", "--loops", "1", "--control", where)
    wait_until(lambda: os.path.exists(f"{tmp_path}/control"))
    status, text, _ = run(where)
    assert status == 0 and f"at {where}" in text
    app.stop()
    assert run(where)[0] == 1


def stall(app, times=1):
    """Blocks a loop so often that it was seen; a machine that stands still meanwhile hides who did it."""
    def seen():
        return [s for s in json.loads(app.ask_control("/stalls")[1])
                if s["name"] == "GET /a/block" and s["cause"] == "blocked" and not s["ongoing"]]
    while len(seen()) < times:
        assert app.ask("/a/block?ms=60")[0] == 200


def test_it_shows_a_stall_with_its_stack(app, control):
    stall(app)
    text = run(control)[1]
    assert re.search(r"^GET /a/block +\d\d:\d\d:\d\d blocked +[\d.]+ ms", text, re.M), text
    if not os.environ.get("SANITIZERS"):
        assert re.search(r"^  block\b.*", text, re.M), text


def test_it_shows_advice(app, control):
    stall(app, 4)
    text = run(control)[1]
    assert re.search(r"^ADVICE\n  GET /a/block held loop \d.*: declare it \.sync", text, re.M), text


def test_what_goes_wrong_is_told_in_one_line():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free = s.getsockname()[1]       # and stays so: it is bound, and nobody listens
        said = [run(f"127.0.0.1:{free}"), run("unix:/nonesuch/socket"), run("nonsense"), run("-n", "0"), run("a:1", "b:2")]
    assert [s[0] for s in said] == [1, 1, 2, 2, 2]
    assert all(s[1] == "" and s[2].count("\n") == 1 and s[2].startswith("offloop top: ") for s in said)
    assert said[0][2].endswith(f"cannot connect to 127.0.0.1:{free}: Connection refused: "
                               "is a server running with --control?\n")
    assert "HOST:PORT" in said[2][2]


@contextlib.contextmanager
def serving(answer_for):
    """The address of a server that answers ten questions by what answer_for says for a path."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        def answer():
            with contextlib.suppress(OSError):
                for _ in range(10):
                    c, _ = s.accept()
                    c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + answer_for(c.recv(4096).split(b" ")[1]))
                    c.close()
        threading.Thread(target=answer, daemon=True).start()
        yield "127.0.0.1:%d" % s.getsockname()[1]


@pytest.mark.parametrize("reply, word", [
    (b"SSH-2.0-x\r\n", "does not speak HTTP"), (b"", "does not speak HTTP"),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "cut off"),
    (b"HTTP/1.1 200 OK\r\n\r\n{}", "no figures"), (b"HTTP/1.1 200 OK\r\n\r\nnull", "no figures")])
def test_what_is_no_control_plane_is_told_so(reply, word):
    with socket.create_server(("127.0.0.1", 0)) as s:
        def answer():
            c, _ = s.accept()
            c.recv(4096)
            c.sendall(reply)
            c.close()
        thread = threading.Thread(target=answer)
        thread.start()
        status, _, error = run("127.0.0.1:%d" % s.getsockname()[1])
        thread.join()
    assert status == 1 and word in error and error.count("\n") == 1


@pytest.mark.parametrize("body", [b"{}", b"null", b"5", b"nonsense"])
def test_what_is_no_list_is_told_so(body):
    with serving(lambda path: b"offloop_loop_connections{loop=\"0\"} 1\n" if path == b"/metrics" else body) as address:
        status, text, error = run(address)
    assert (status, text) == (1, "") and error.count("\n") == 1
    assert "for /pools is no list" in error


def test_numbers_that_are_none_are_left_out():
    page = b'offloop_loop_connections{loop="0"} 1\nhttp_server_request_duration_seconds_count{route="/a"} -nan\n' \
           b'offloop_requests_total 1e400\noffloop_loop_busy_seconds_total{loop="0"} NaN\n'
    with serving(lambda path: page if path == b"/metrics" else b"[]") as address:
        status, text, error = run(address)
    assert (status, error) == (0, "")
    assert "nan" not in text.lower() and "inf" not in text.lower(), text


WAITS = "db: 2 of 2 threads busy, 7 requests wait, oldest 2.1 s: 2 in read(fd 17, socket 10.0.0.5:5432) for GET /report"


@contextlib.contextmanager
def serving_stalls():
    """A loop's, a worker's and a pool's, as a server tells of them; and a loop's that nobody is blamed for."""
    def one(kind, **more):
        return {"kind": kind, "time": "2026-11-22T11:59:02.387Z", "loop": None, "pool": None, "name": None, "ms": 2100,
                "victims": 0, "ongoing": False, "stack": [], "text": None, **more}

    answers = {b"/metrics": b'offloop_loop_connections{loop="0"} 1\n', b"/stalls": json.dumps([
        one("pool", pool="db", cause="unknown", text=WAITS, ongoing=True),
        one("worker", pool="a-long-name-for-a-pool", name="GET /report", cause="blocked",
            stack=[{"at": "read+0x1", "probable": False}]),
        one("pool", pool="second", cause="unknown", text=WAITS.replace("db", "second")),
        one("loop", loop=1, name="GET /hold", cause="cpu", victims=3), one("loop", loop=12, cause="late")]).encode()}
    with serving(lambda path: answers.get(path, b"[]")) as address:
        yield address


def test_a_stall_tells_its_loop_or_its_pool_and_what_a_starved_pool_waits_for():
    with serving_stalls() as address:
        status, text, error = run(address, env={"COLUMNS": "80"})
    assert (status, error) == (0, "")
    lines = text[text.index("STALL  "):text.index("ROUTE")].rstrip().splitlines()
    assert max(map(len, lines)) == 80
    rows = [[line[:28].rstrip(), *re.split(" {2,}", re.sub(r" \d\d:\d\d:\d\d ", "  ", line[28:]).strip())]
            for line in lines[1:] if not line.startswith(" ")]
    assert rows == [["pool db", "starved", "2.10 s+ pool db", "-"], ["GET /report", "blocked", "2.10 s pool a-long…", "-"],
                    ["pool second", "starved", "2.10 s pool second", "-"], ["GET /hold", "cpu", "2.10 s loop 1", "3"],
                    ["(no route)", "late", "2.10 s loop 12", "0"]]
    assert lines[0].split() == ["STALL", "AT", "CAUSE", "HELD", "WHERE", "VICTIMS"]
    assert " ".join(line.strip() for line in lines[2:4]) == WAITS
    assert lines[5] == "  read+0x1"
    assert lines[7] == f"  {WAITS.replace('db', 'second')[:77]}…"


def test_on_a_low_screen_what_a_starved_pool_waits_for_takes_a_line(terminal):
    with serving_stalls() as address:
        t = terminal("-n", "1", address, columns=80, lines=24)
        t.wait(lambda s: "ROUTE" in s)
        assert t.end() == 0
    lines = t.screen()
    at = next(i for i, line in enumerate(lines) if line.startswith("pool db"))
    assert lines[at + 1] == f"  {WAITS[:77]}…" and lines[at + 2].startswith("GET /report")


def test_names_cannot_steer_the_terminal():
    page = b'offloop_build_info{version="\x1b[2J\xc2\x9b1m\xe2\x80\xae\\\\n",backend="x"} 1\n' \
           b'offloop_loop_connections{loop="0"} 1\n'
    with serving(lambda path: page if path == b"/metrics" else b"[]") as address:
        status, text, error = run(address)
    assert (status, error) == (0, "")
    assert "\033" not in text and "\x9b" not in text and "\u202e" not in text and "?[2J?1m?\\n" in text


def test_a_route_has_its_own_figures_whatever_it_is_called():
    """Also one whose name must be escaped, is longer than most, or is the beginning of another."""
    names = ["/a", "/ab", '/a"b\\', "/" + "x" * 600]
    asked = iter(range(1, 3))

    def page():
        n = next(asked)
        return 'offloop_loop_connections{loop="0"} 1\n' + "".join(
            'http_server_request_duration_seconds_bucket{status="200",route="%s",lane="async",le="+Inf"} %d\n' %
            (name.replace("\\", "\\\\").replace('"', '\\"'), 1000 * n * (i + 1)) for i, name in enumerate(names))

    answers = {b"/metrics": lambda: page().encode(), b"/routes": lambda: json.dumps(
        [{"route": name, "method": "GET", "lane": "async"} for name in names]).encode()}
    with serving(lambda path: answers.get(path, lambda: b"[]")()) as address:
        status, text, error = run(address, env={"COLUMNS": "1000"})
    assert (status, error) == (0, "")
    rows = [line.split() for line in text.split("ROUTE", 1)[1].splitlines() if line.startswith("GET ")]
    rates = [float(row[3]) for row in rows]
    assert [row[1][:5] for row in rows] == ["/xxxx", '/a"b\\', "/ab", "/a"]        # the busiest first
    assert [round(rate / rates[3]) for rate in rates] == [4, 3, 2, 1], rates


def test_a_percentile_is_told_as_what_it_is_at_most():
    """A bucket's bound, or what is more than the last one: no number that nobody has measured."""
    asked = iter(range(1, 3))
    counts = {"0.25": 0, "0.5": 99, "2.5": 100, "+Inf": 100}

    def page():
        n = next(asked)
        return 'offloop_loop_connections{loop="0"} 1\n' + "".join(
            'offloop_pool_run_seconds_bucket{pool="db",le="%s"} %d\n' % (le, n * c) +
            'offloop_pool_queue_wait_seconds_bucket{pool="db",le="%s"} %d\n' % (le, n * 100 if le == "+Inf" else 0) +
            'offloop_loop_lag_seconds_bucket{loop="0",le="%s"} %d\n' % (le, n * c) for le, c in counts.items())

    answers = {b"/metrics": lambda: page().encode(), b"/pools": lambda: b'[{"name": "db"}]'}
    with serving(lambda path: answers.get(path, lambda: b"[]")()) as address:
        status, text, error = run(address)
    assert (status, error) == (0, "")
    assert re.search(r"^0 .*  <500 ms  +<500 ms  +<2\.5 s ", text, re.M), text
    assert re.search(r"^db .* >2\.5 s  +<500 ms ", text, re.M), text


def test_how_busy_a_loop_was_is_of_its_own_pages_alone():
    """By what the counters have grown since the first of them; the share that is told beside them is of another time."""
    times = iter([(1, 1), (1.9, 1.1), (2.1, 1.9)])

    def page():
        busy, idle = next(times)
        return (f'offloop_loop_connections{{loop="0"}} 1\noffloop_loop_utilization_ratio{{loop="0"}} 0.01\n'
                f'offloop_loop_busy_seconds_total{{loop="0"}} {busy}\n'
                f'offloop_loop_idle_seconds_total{{loop="0"}} {idle}\n').encode()

    with socket.create_server(("127.0.0.1", 0)) as s:
        def answer():
            for _ in range(15):
                c, _ = s.accept()
                body = page() if c.recv(4096).split(b" ")[1] == b"/metrics" else b"[]"
                c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)
                c.close()
        threading.Thread(target=answer, daemon=True).start()
        status, text, error = run("-n", 2, "127.0.0.1:%d" % s.getsockname()[1])
    assert (status, error) == (0, "")
    assert re.findall(r"^0 .*? (\d+\.\d %)", text, re.M) == ["90.0 %", "55.0 %"], text


def test_an_adaptive_routes_requests_are_among_the_lanes_rates(serve):
    app = serve("laneapp", "--loops", "1")
    stop = threading.Event()
    asking = load(app, "/work", stop)
    try:
        wait_until(lambda: app.metric("http_server_request_duration_seconds_count", route="/work") > 0)
        status, text, _ = run(f"127.0.0.1:{app.control}")
    finally:
        stop.set()
        asking.join()
    assert status == 0
    assert re.search(r"\b(async|sync) +[1-9]\S*/s", text), text


def test_on_a_terminal_it_fills_the_screen_until_q(terminal, control):
    t = terminal(control)
    t.wait(lambda s: "ROUTE" in s)
    assert b"\033[?1049h" in t.seen
    assert len(t.screen()) <= t.lines
    first = t.screen()[0]
    t.wait(lambda s: first not in s)        # the clock goes on
    t.press(b"q")
    assert t.end() == 0


def test_ctrl_c_and_signals_restore_the_terminal(terminal, control):
    for end in (lambda t: t.press(b"\x03"), lambda t: t.process.send_signal(signal.SIGTERM)):
        t = terminal(control)
        t.wait(lambda s: "ROUTE" in s)
        end(t)
        assert t.end() == 0


def test_input_that_cannot_be_read_is_asked_for_once(terminal, control):
    """It is always ready, so who asks again and again does nothing else."""
    directory = os.open("/", os.O_RDONLY)
    t = terminal("-n", 2, control, stdin=directory)
    os.close(directory)
    while os.waitid(os.P_PID, t.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        t.read()
    _, t.process.returncode, used = os.wait4(t.process.pid, 0)
    assert t.process.returncode == 0
    assert used.ru_utime + used.ru_stime < 0.4, used    # of the second that it waits


@pytest.mark.parametrize("columns, lines", [(30, 10), (60, 20), (80, 24), (200, 60)])
def test_no_picture_is_wider_or_higher_than_the_terminal(app, terminal, control, columns, lines):
    app.ask("/a/block?ms=30")
    t = terminal("-n", "2", control, columns=columns, lines=lines)
    t.wait(lambda s: "offloop" in s)
    assert t.end() == 0
    shown = t.screen()
    assert len(shown) <= lines and all(len(line) <= columns for line in shown), shown


def test_it_follows_the_size_of_the_window(terminal, control):
    t = terminal(control)
    t.wait(lambda s: "LAG P50" in s)
    t.sized(40, 20)
    t.wait(lambda s: "LAG P50" not in s and "P99" in s)
    assert all(len(line) <= 40 for line in t.screen())
    t.press(b"q")
    assert t.end() == 0


def test_colours_may_be_left_out(app, terminal, control):
    stall(app)
    coloured, plain = terminal("-n", "1", control), terminal("-n", "1", control, env={"NO_COLOR": "1"})
    for t in (coloured, plain):
        t.wait(lambda s: "ROUTE" in s)
        assert t.end() == 0
    assert b"\033[31m" in coloured.seen and not re.search(rb"\033\[\d+m", plain.seen)


def test_a_lost_server_is_told_of_and_found_again(serve, terminal, tmp_path):
    where = f"unix:{tmp_path}/control"
    app = serve("testapp", "--loops", "1", "--control", where)
    wait_until(lambda: os.path.exists(f"{tmp_path}/control"))
    t = terminal(where)
    t.wait(lambda s: "ROUTE" in s)
    app.stop()
    t.wait(lambda s: re.search(r"since \d\d:\d\d:\d\d cannot connect", s) and "ROUTE" in s)
    serve("testapp", "--loops", "1", "--control", where)
    t.wait(lambda s: "cannot connect" not in s)
    t.press(b"q")
    assert t.end() == 0
