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
import signal
import socket
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


class Server:
    def __init__(self, program, *args, env=None, unix=None, prefix=(), wait=True, cwd=None):
        self.args = [str(a) for a in args]
        self.unix = unix
        where = ["--unix", str(unix)] if unix else ["--port", "0"]
        if not any(a == "--control" for a in self.args):
            self.args = ["--control", "127.0.0.1:0", *self.args]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOOP_")}
        environment.update(env or {})
        backend = [] if "--backend" in self.args or "OFFLOOP_BACKEND" in environment else ["--backend", BACKEND]
        self.process = subprocess.Popen(
            [*prefix, str(program_path(program)), *where, *backend, *self.args],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=cwd)
        self.log = ""
        self.changed = threading.Condition()
        self.closed = False
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

    def wait_ready(self):
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

    def connect(self):
        if self.unix:
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(self.unix))
        else:
            s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(PATIENCE)
        return s

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

    def stop(self, expect=0, signum=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signum)
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
