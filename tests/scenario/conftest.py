"""Servers for the scenarios.

TEST_BUILD is the folder of a build, OFFLOOP_BACKEND the backend to run on (both set by ./dev test).  `serve` starts a program
on a free port and waits until it is ready; at the end of the test it is stopped by SIGTERM and must then have exited with 0
within its grace, without a word from a sanitizer.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TEST_BUILD", ROOT / "build"))
BACKEND = os.environ.get("OFFLOOP_BACKEND", "libevent")
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed")
# Sanitized builds are slower, and so are machines under load: bounds on waiting, never on speed.
PATIENCE = 60


def program_path(name):
    """A program of the build: beside it, or among its tests."""
    return next((p for p in (BUILD / name, BUILD / "tests" / name) if p.exists()), BUILD / name)


def promtool():
    """The program, as ./dev has fetched it or as it is installed; None: it is not here."""
    tools = ROOT / "build" / "tools"
    local = next((p for p in (tools / "bin" / "promtool", tools / "usr" / "bin" / "promtool") if p.exists()), None)
    return str(local) if local else shutil.which("promtool")


class Server:
    def __init__(self, program, *args, env=None, unix=None, prefix=(), wait=True, cwd=None, preexec=None):
        self.args = [str(a) for a in args]
        self.unix = unix
        command = [program] if isinstance(program, (str, os.PathLike)) else [str(a) for a in program]
        where = ["--unix", str(unix)] if unix else ["--port", "0"]
        if not any(a == "--control" for a in self.args):
            self.args = ["--control", "127.0.0.1:0", *self.args]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOOP_")}
        environment.update(env or {})
        # A process that ends with requests stuck cannot join their threads, which is no leak worth a word.
        environment["TSAN_OPTIONS"] = environment.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"
        backend = [] if "--backend" in self.args or "OFFLOOP_BACKEND" in environment else ["--backend", BACKEND]
        self.process = subprocess.Popen(
            [*prefix, str(program_path(command[0])), *command[1:], *where, *backend, *self.args],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=cwd, preexec_fn=preexec)
        self.log = ""
        self.terminated = False
        self.changed = threading.Condition()
        self.closed = False
        self.reading = threading.Event()
        self.reading.set()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.port = self.control = None
        if wait:
            self.wait_ready()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.log += line.decode("utf-8", "replace")
                self.changed.notify_all()
            self.reading.wait()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def wait_log(self, pattern, seconds=PATIENCE):
        """The match of a regular expression in the log, once it is there."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                found = re.search(pattern, self.log)
                if found:
                    return found
                if self.closed or time.monotonic() > end:
                    raise AssertionError(f"no {pattern!r} in the log:\n{self.log}")
                self.changed.wait(0.5)

    def wait_workers(self):
        """All workers serve, and each has said so: on a busy machine its line comes behind the supervisor's."""
        workers = self.wait_log(r"serving on .*workers\W+(\d+)").group(1)
        self.wait_log(rf"(?s)(?:listening on .*?){{{workers}}}")

    def wait_ready(self):
        if "--workers" in self.args:
            self.wait_workers()
        line = self.wait_log(r"listening.*").group(0)
        if not self.unix:
            self.port = int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1))
        control = re.search(r"control\S*[= ]\S*?127\.0\.0\.1:(\d+)", line)
        self.control = int(control.group(1)) if control else None
        end = time.monotonic() + PATIENCE
        while self.control and time.monotonic() < end:
            if self.ask_control("/readyz")[0] == 200:
                return
            time.sleep(0.01)

    def ask_control(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.control, timeout=PATIENCE)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def metric(self, name, **labels):
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.ask_control("/metrics")[1].splitlines():
            m = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if m and m.group(1) == name:
                have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(2) or ""))
                if all(have.get(k) == str(v) for k, v in labels.items()):
                    total += float(m.group(3))
        return total

    def connect(self, rcvbuf=None):
        s = socket.socket(socket.AF_UNIX if self.unix else socket.AF_INET)
        s.settimeout(PATIENCE)
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.connect(str(self.unix) if self.unix else ("127.0.0.1", self.port))
        if not self.unix:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def client(self, **kwargs):
        return Client(self.connect(**kwargs))

    def http(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port or 0, timeout=PATIENCE)
        if self.unix:
            c.sock = self.connect()
        return c

    def ask(self, path, method="GET", body=None, headers=None):
        """(status, headers, body) on a connection of its own."""
        c = self.http()
        try:
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read()
        finally:
            c.close()

    def ask_json(self, path, **kwargs):
        status, _, body = self.ask(path, **kwargs)
        return status, json.loads(body)

    def raw(self, data, shut=False):
        """All that comes back for these bytes until the server closes."""
        with self.connect() as s:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            return read_all(s)

    def terminate(self):
        """SIGTERM, and the server has taken notice."""
        self.terminated = True
        self.process.send_signal(signal.SIGTERM)
        self.wait_log("draining")

    def stop(self, expect=0, signum=None):
        """Waits for the end, after SIGTERM or signum; after terminate() without another signal."""
        if self.process.poll() is None and (signum or not self.terminated):
            self.terminated = True
            self.process.send_signal(signum or signal.SIGTERM)
        self.reading.set()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not stop:\n" + self.log)
        self.reader.join(PATIENCE)
        assert not SANITIZER.search(self.log), self.log
        if expect is not None:
            assert code == expect, f"exit status {code}:\n{self.log}"
        return code


def get(path, *fields, method="GET", version="1.1", body=b"", length=None):
    """The bytes of a request; fields as "Name: value"."""
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *fields]
    if body or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(path, body=b"", *fields, **kwargs):
    return get(path, *fields, method="POST", body=body, **kwargs)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Client:
    """A connection byte for byte: sends what it is told, and reads one reply at a time."""

    def __init__(self, sock):
        self.s = sock
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, *data):
        self.s.sendall(b"".join(data))
        return self

    def half_close(self):
        self.s.shutdown(socket.SHUT_WR)

    def reset(self):
        """Leaves without a FIN."""
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()

    def _more(self):
        piece = self.s.recv(65536)
        if not piece:
            raise EOFError(self.rest)
        self.rest += piece

    def _line(self):
        while b"\r\n" not in self.rest:
            self._more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def _bytes(self, n):
        while len(self.rest) < n:
            self._more()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def _chunks(self):
        body = b""
        while (n := int(self._line(), 16)) > 0:
            body += self._bytes(n)
            assert self._line() == b""
        while self._line():
            pass
        return body

    def reply(self, head=False):
        """The next reply, with its body; EOFError when the connection ends before it does."""
        status = int(self._line().split(b" ")[1])
        headers = {}
        while line := self._line():
            name, value = line.decode("latin-1").split(": ", 1)
            headers[name.lower()] = value
        if head or status in (100, 204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self._bytes(int(headers["content-length"]))
        else:
            body = self.rest + read_all(self.s)
            self.rest = b""
        return Reply(status, headers, body)

    def ended(self):
        """Waits for an orderly end: nothing more comes, and no reset."""
        return self.rest == b"" and self.s.recv(1) == b""

    def was_reset(self):
        """Reads on to the end: whether that was a reset."""
        try:
            while self.s.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return False


def read_all(s):
    got = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return got
        if not piece:
            return got
        got += piece


def wait_until(condition, seconds=PATIENCE):
    """Polls a condition that must come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def freeze(pid):
    """Stops a process, and returns when each of its threads has stopped: the signal reaches them one after the other."""
    def halted(stat):
        try:
            return stat.read_text().rsplit(")", 1)[1].split()[0] == "T"
        except (FileNotFoundError, ProcessLookupError):     # the thread has ended since it was listed
            return True

    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(halted(stat) for stat in pathlib.Path("/proc", str(pid), "task").glob("*/stat")))


def have_uring():
    return subprocess.run([str(BUILD / "tests" / "have_uring")], check=False).returncode == 0


@pytest.fixture
def serve(request):
    """serve(program, *args): a Server that is stopped, and must end well, after the test."""
    servers = []

    def start(program, *args, **kwargs):
        s = Server(program, *args, **kwargs)
        servers.append(s)
        return s

    yield start
    for s in servers:
        if s.process.poll() is None or not getattr(s, "ended", False):
            s.stop(expect=None if s.process.poll() is not None else 0)


@pytest.fixture
def app(serve):
    return serve("testapp", "--loops", "2")
