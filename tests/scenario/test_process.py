"""The program as its operator meets it: options, the port, what the system forbids or runs out of, and how it dies."""
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BACKEND, PATIENCE, ROOT, Client, get, program_path, wait_until

SANITIZED = bool(os.environ.get("SANITIZERS"))
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOOP_")}


def run(*args, env=None, program="testapp"):
    """(status, stdout, stderr) of a program that is to end by itself."""
    done = subprocess.run([str(program_path(program)), *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          env={**ENVIRONMENT, **(env or {})}, check=False)
    return done.returncode, done.stdout, done.stderr


def complaint(result, status):
    """The one line of a program that did not start."""
    assert result[0] == status, result
    assert result[1] == "" and result[2].count("\n") == 1, result
    return result[2]


# ---- what it is told


@pytest.mark.parametrize("args, line", [
    (["--prot", "80"], "unknown option --prot: did you mean --port?"),
    (["--nonesuch"], "unknown option --nonesuch"),
    (["--port"], "--port: a value is missing"),
    (["--port", "http"], '--port: "http" is not a whole number'),
    (["--port", "65536"], "--port: 65536 is not in 0..65535"),
    (["--head-timeout", "soon"], '--head-timeout: "soon" is not a time'),
    (["--body-max", "-1"], "--body-max:"),
    (["--backend", "epoll"], '--backend: "epoll" is not one of auto|uring|libevent'),
    (["--access-log=maybe"], "--access-log"),
    (["80"], 'unexpected argument "80"'),
    (["--config", "/nonesuch.json"], "/nonesuch.json: No such file"),
    (["--control", "nowhere"], "--control:"),
])
def test_a_wrong_option_is_one_line(args, line):
    assert line in complaint(run(*args), 2)


def test_a_wrong_variable_or_file_is_one_line(tmp_path):
    assert "OFFLOOP_PROT: did you mean OFFLOOP_PORT?" in complaint(run(env={"OFFLOOP_PROT": "80"}), 2)
    file = tmp_path / "config.json"
    for text, line in (('{"port": "x"}', 'port: must be a whole number'), ('{"prot": 80}', 'did you mean "port"?'),
                       ('{"port": 80', "config.json:1"), ("[]", "must be an object")):
        file.write_text(text)
        assert line in complaint(run("--config", file), 2)


def test_flags_win_over_the_environment_and_that_over_the_file(serve, tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"pool": 3, "queue": 4, "loops": 1, "greeting": "from the file"}')
    app = serve("testapp", "--pool", "5", "--config", file, env={"OFFLOOP_POOL": "6", "OFFLOOP_QUEUE": "7"})
    assert "pool name=default threads=5 queue=7" in app.log
    assert "on_start: from the file" in app.log and " loops=1 " in app.log


def test_help_and_version_are_for_reading():
    status, out, err = run("--help")
    assert status == 0 and err == "" and "\nLimits\n" in out and "\nOf testapp\n" in out and "--greeting WORD" in out
    assert max(map(len, out.splitlines())) <= 100
    status, out, err = run("--version")
    assert status == 0 and re.fullmatch(r"testapp \(offloop \d+\.\d+\.\d+\)\n", out)


def test_an_app_that_does_not_start_is_one_line():
    result = run("--port", "0", "--control", "off", "--fail-start")
    assert result[0] == 1 and "on_start: No such file or directory" in result[2]


# ---- where it listens


def test_a_port_in_use_is_one_line(serve):
    app = serve("testapp", "--loops", "2")
    line = complaint(run("--port", app.port, "--control", "off", "--loops", "2"), 1)
    assert f"port {app.port}" in line and "in use" in line
    line = complaint(run("--port", "0", "--control", f"127.0.0.1:{app.control}"), 1)
    assert "--control" in line and "in use" in line
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "in use" in complaint(run("--port", other.getsockname()[1], "--control", "off"), 1)
    assert app.ask("/a/text")[0] == 200


def test_an_address_that_is_not_ours_is_one_line():
    assert "192.0.2.1 port 0" in complaint(run("--host", "192.0.2.1", "--port", "0", "--control", "off"), 1)
    assert "cannot listen on" in complaint(run("--unix", "/nonesuch/socket", "--control", "off"), 1)
    assert "cannot listen on" in complaint(run("--unix", "/" + "x" * 200, "--control", "off"), 1)


def test_it_listens_on_ipv6_and_on_names(serve):
    if not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    app = serve("testapp", "--host", "::1", wait=False)
    port = int(app.wait_log(r"http://\[::1\]:(\d+)").group(1))
    with socket.create_connection(("::1", port)) as s:
        s.sendall(get("/a/whoami", "Connection: close"))
        assert b"remote=[::1]:" in s.recv(65536)
    app = serve("testapp", "--host", "localhost", wait=False)   # whichever of its addresses comes first here
    host, port = app.wait_log(r"listening on http://(\S+):(\d+)").groups()
    with socket.create_connection((host.strip("[]"), int(port))) as s:
        s.sendall(get("/a/text", "Connection: close"))
        assert b" 200 " in s.recv(65536)


def test_the_start_line_says_what_holds(serve):
    app = serve("testapp", "--loops", "2", "--grace", "7")
    name = {"uring": "io_uring"}.get(BACKEND, BACKEND)
    assert f" loops=2 backend={name} connections_max=" in app.log and "grace_ms=7000" in app.log


# ---- apps in shared objects


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory):
    cc = os.environ.get("CC") or "cc"
    if not shutil.which(cc.split()[0]):
        pytest.skip("no compiler here")
    out = tmp_path_factory.mktemp("app") / "app.so"
    subprocess.run([*cc.split(), "-shared", "-fPIC", "-D_GNU_SOURCE", f"-I{ROOT}/include", f"{ROOT}/tests/testapp.c",
                    "-o", str(out)], check=True)
    return out


def test_offloop_run_serves_a_shared_object(serve, shared_app):
    app = serve(["offloop", "run", shared_app], "--loops", "1", "--greeting", "good day")
    assert app.ask("/a/text")[2] == app.ask("/s/text")[2] == b"hello\n"
    assert "on_start: good day" in app.log
    app = serve(["offloop", "run", f"{shared_app}:app"], "--loops", "1")
    assert app.ask("/a/text")[0] == 200


def test_offloop_run_serves_a_shared_object_in_workers(serve, shared_app):
    app = serve(["offloop", "run", shared_app], "--workers", "2", "--greeting", "good day")
    assert app.ask("/a/text")[2] == app.ask("/s/text")[2] == b"hello\n"
    app.stop()
    assert app.log.count("on_start: good day") == app.log.count("on_stop") == 2


def test_offloop_run_says_what_a_file_is_that_it_cannot_load(tmp_path):
    (tmp_path / "empty.so").write_bytes(b"")
    for target, line in (("/bin/sh", "/bin/sh is a program, which is started by itself: a shared object is made by cc -shared"),
                         (f"{ROOT}/tests/testapp.c", "testapp.c is no shared object: a shared object is made by"),
                         (tmp_path / "empty.so", "is no shared object"), (tmp_path, "directory")):
        assert line in complaint(run("run", target, program="offloop"), 2)


def test_offloop_run_says_what_is_missing(shared_app):
    for target, line in ((f"{shared_app}:nonesuch", 'has no symbol "nonesuch"'), ("./nonesuch.so", "nonesuch.so"),
                         (f"{ROOT}/README.md", "README.md"), (f"{shared_app}:", "expected APP.so")):
        assert line in complaint(run("run", target, program="offloop"), 2)
    assert "--nonesuch" in complaint(run("run", shared_app, "--nonesuch", program="offloop"), 2)
    assert run("run", shared_app, "--help", program="offloop")[0] == 0
    assert run("nonesuch", program="offloop")[0] == 2


# ---- what the system forbids or runs out of


def test_without_io_uring_it_runs_on_libevent_and_says_so(serve):
    deny = program_path("tests/deny_uring")
    if subprocess.run([deny, "true"], check=False).returncode == 77:
        pytest.skip("no seccomp here")
    app = serve("testapp", "--backend", "auto", prefix=[str(deny)])
    lines = [line for line in app.log.splitlines() if "libevent" in line and "warn" in line]
    assert len(lines) == 1 and "running on libevent: no io_uring: setup: Operation not permitted" in lines[0]
    assert "backend=libevent" in app.log
    assert app.ask("/a/text")[0] == app.ask("/s/text")[0] == 200
    done = subprocess.run([deny, program_path("testapp"), "--backend", "uring", "--port", "0", "--control", "off"],
                          capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT, check=False)
    assert "--backend uring: setup: Operation not permitted" in complaint((done.returncode, done.stdout, done.stderr), 1)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_few_descriptors_bound_the_connections(serve):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))  # noqa: E731
    app = serve("testapp", "--loops", "1", preexec=limit)
    bound = int(app.wait_log(r"--connections-max 10000 lowered to (\d+)").group(1))
    crowd = [app.client() for _ in range(bound + 20)]
    assert app.ask_control("/readyz")[0] == 200
    for c in crowd:
        assert c.send(get("/a/text", "Connection: close")).reply().status == 200
        c.s.close()


def test_a_full_descriptor_table_recovers(serve):
    """Accepting rests, without a spin, and goes on when there is room; who was let in is served meanwhile."""
    app = serve("testapp", "--loops", "1", "--connections-max", "20")
    inside = [app.client() for _ in range(4)]
    for c in inside:
        c.send(get("/a/nap?ms=60000"))     # not idle, so not closed to make room
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 4)
    before = resource.prlimit(app.process.pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{app.process.pid}/fd"))
    resource.prlimit(app.process.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    held = []
    while "cannot accept connections for now" not in app.log:
        for c in held:      # an accept that was armed has still the old limit: over the bound it is armed anew
            c.s.close()
        held = [app.client() for _ in range(40)]
        for c in held[:20]:
            c.send(get("/a/text", "Connection: close"))
        time.sleep(0.1)
    app.wait_log("cannot accept connections for now.*Too many open files")
    used = cpu_seconds(app.process.pid)
    time.sleep(0.5)
    assert cpu_seconds(app.process.pid) - used < 0.25
    for c in inside:
        c.reset()
    for c in held:
        if c not in held[:20]:
            c.send(get("/a/text", "Connection: close"))
        assert c.reply().status == 200
        c.s.close()
    resource.prlimit(app.process.pid, resource.RLIMIT_NOFILE, before)
    assert app.ask("/s/text")[0] == 200
    assert app.metric("offloop_accept_errors_total") > 0


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's threads need memory of their own")
def test_a_pool_that_cannot_start_a_thread_says_so_and_recovers(serve):
    app = serve("testapp", "--loops", "1")
    before = resource.prlimit(app.process.pid, resource.RLIMIT_AS)
    with open(f"/proc/{app.process.pid}/statm", encoding="ascii") as f:
        used = int(f.read().split()[0]) * resource.getpagesize()
    resource.prlimit(app.process.pid, resource.RLIMIT_AS, (used + (1 << 20), before[1]))
    with app.client() as c:
        c.send(get("/s/text"))
        app.wait_log("cannot start a thread for now.* pool=second")
        assert app.ask("/a/text")[0] == 200
        resource.prlimit(app.process.pid, resource.RLIMIT_AS, before)
        assert c.reply().status == 200


# ---- its log


def test_a_log_nobody_reads_stops_nobody_and_counts_what_it_drops(serve):
    app = serve("testapp", "--loops", "1", "--access-log")
    app.reading.clear()
    with app.client() as c:
        batch = get("/a/text?" + "x" * 1500) * 50
        while app.metric("offloop_log_dropped_total") == 0:
            c.send(batch)
            for _ in range(50):
                assert c.reply().status == 200
        for _ in range(100):
            assert c.send(get("/s/text")).reply().status == 200
    assert app.ask_control("/livez")[0] == 200
    app.reading.set()
    app.wait_log("dropped")


def is_served(path):
    """Whether somebody listens: the path is there a moment before."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def test_a_log_whose_reader_has_gone_stops_nobody(tmp_path):
    """Nor does SIGPIPE end the process."""
    reader, writer = os.pipe()
    with subprocess.Popen([program_path("testapp"), "--unix", tmp_path / "s", "--control", "off", "--access-log", "--backend",
                           BACKEND], stderr=writer, env=ENVIRONMENT) as process:
        os.close(writer)
        wait_until(lambda: is_served(tmp_path / "s"))
        os.close(reader)
        for _ in range(50):
            with Client(socket.socket(socket.AF_UNIX)) as c:
                c.s.connect(str(tmp_path / "s"))
                assert c.send(get("/a/text"), get("/s/text")).reply().status == c.reply().status == 200
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_nothing_else_gets_the_number_of_a_closed_standard_stream(tmp_path):
    """Lines of the log would be written to it."""
    command = [program_path("testapp"), "--unix", tmp_path / "s", "--control", "off", "--backend", BACKEND]
    with subprocess.Popen(command, env=ENVIRONMENT, preexec_fn=lambda: os.closerange(0, 3)) as process:
        wait_until((tmp_path / "s").exists)
        streams = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert streams == ["/dev/null"] * 3


@pytest.mark.parametrize("format_", ["text", "json"])
def test_the_access_log_tells_of_each_request(serve, format_):
    app = serve("testapp", "--loops", "1", "--access-log", "--log-format", format_)
    app.ask("/a/text?q=%22")
    app.ask("/s/params/a/1/2/x")
    app.ask("/nonesuch")
    app.raw(b"GET / HTTP/1.1\r\n\r\n")
    if format_ == "text":
        app.wait_log(r'request method=GET target="/a/text\?q=%22" status=200 bytes=6 .*route=/a/text lane=async')
        app.wait_log(r"status=200 .*route=/s/params/\{name\}/\{n:int\}/\{f:float\}/\{rest:path\} lane=sync")
        app.wait_log(r"target=/nonesuch status=404")
        app.wait_log(r"status=400 .*remote=127\.0\.0\.1:\d+")
    else:
        def statuses():
            lines = [json.loads(line) for line in app.log.splitlines() if line.startswith("{")]
            return sorted(line["status"] for line in lines if "status" in line)

        wait_until(lambda: len(statuses()) == 4)    # a sync request's may come after the next one's
        assert statuses() == [200, 200, 400, 404]


# ---- how it dies


def test_a_stack_that_fits_is_fine_in_both_lanes(app):
    for lane in ("/a", "/s"):
        assert app.ask(lane + "/deep?kb=64")[2] == b"came back\n"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer reports it in its own way")
def test_a_stack_overflow_names_its_route(serve):
    app = serve("testapp", "--loops", "2")
    with app.client() as c:
        c.send(get("/a/deep?kb=2000"))
        assert app.process.wait(PATIENCE) == -signal.SIGSEGV
    app.wait_log("stack overflow in GET /a/deep")


def test_an_abort_is_an_abort(serve):
    app = serve("testapp", "--loops", "2")
    with app.client() as c:
        c.send(get("/s/crash"))
        assert app.process.wait(PATIENCE) == -signal.SIGABRT
