"""offloop lab: the models side by side, measured, with nothing left behind."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios

import pytest

from conftest import BACKEND, PATIENCE, SANITIZER, program_path, wait_until


def servers_of(lab):
    """The servers that this process has started and that run."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if parent == lab and b"lab\0serve\0" in f.read():
                    found.add(int(pid))
        except OSError:
            pass
    return found


def runs(pid):
    """Whether it is there, and more than an entry that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Lab:
    def __init__(self, folder, *args, prefix=()):
        self.json, self.html = folder / "lab.json", folder / "lab.html"
        self.process = subprocess.Popen(
            [*prefix, program_path("offloop"), "lab", "--backend", BACKEND, "--json", str(self.json), "--out", str(self.html),
             *map(str, args)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)

    def end(self, expect=0):
        out, self.said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == expect, out + self.said
        assert not SANITIZER.search(self.said), self.said
        self.report = json.loads(self.json.read_text())
        return self.report

    def cell(self, subject, workload):
        return next(c for c in self.report["cells"] if (c["subject"], c["workload"]) == (subject, workload))


@pytest.fixture
def lab(tmp_path):
    started = []

    def start(*args, **kwargs):
        started.append(Lab(tmp_path, *args, **kwargs))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_a_tiny_run_says_what_it_measured(lab):
    run = lab("--rounds", 1, "--secs", 0.1, "--only", "hybrid,asgi", "--workloads", "trivial,wrong-lane")
    report = run.end()
    assert report["offloop_lab"] == 1 and report["stopped"] is False
    assert report["machine"]["cpus"] == len(os.sched_getaffinity(0))
    assert [s["name"] for s in report["subjects"]] == ["hybrid", "asgi"]
    assert all(s["installed"] and "lab serve" in s["command"] for s in report["subjects"])
    assert [w["name"] for w in report["workloads"]] == ["trivial", "wrong-lane"]
    assert [(c["workload"], c["subject"], c["status"]) for c in report["cells"]] == [
        (w, s, "measured") for w in ("trivial", "wrong-lane") for s in ("hybrid", "asgi")]
    for cell in report["cells"]:
        round_, = cell["rounds"]
        assert round_["errors"] == 0 and round_["requests"] > 0 and round_["rps"] > 0
        assert 0 < round_["p50_ms"] <= round_["p90_ms"] <= round_["p99_ms"] <= round_["p999_ms"] <= round_["max_ms"]
        assert round_["cpu_us"] > 0 and round_["memory_kb"] > 500 and round_["foreign"] >= 0
        assert 0 < round_["cpus"] < report["plan"]["server_cpu_count"] + 0.1 and 0 < round_["load_cpus"] < 1.1
        assert cell["median"]["rps"] == round_["rps"] and cell["spread"]["rps"] == [round_["rps"]] * 2
    # A handler that blocks for 50 ms on the loop holds up everybody beside it.
    assert run.cell("asgi", "wrong-lane")["median"]["fast"]["p99_ms"] >= 40
    assert len(run.said.splitlines()) >= 4
    assert {v["workload"] for v in report["verdicts"]} == {"trivial", "wrong-lane"}
    assert 0 < report["limits"]["rate"]["fair"] < report["limits"]["rate"]["yes"] < 1
    page = run.html.read_text()
    data = page.split('<script type="application/json" id="data">', 1)[1].split("</script>", 1)[0]
    assert json.loads(data)["verdicts"] == report["verdicts"]


def do_not_wait(cell):
    """Whether fast requests do not wait for those beside them that block: then most of them take far less, in some round."""
    return any(r["fast"]["p50_ms"] < r["beside"]["p50_ms"] / 2 for r in cell["rounds"])


def test_a_blocking_handler_costs_only_the_models_that_run_it_inline(lab):
    for rounds in (1, 5):       # on a busy machine fast ones wait for a CPU
        run = lab("--rounds", rounds, "--secs", 0.1, "--only", "asgi,tornado,tornado+offload", "--workloads", "mixed")
        run.end()
        if do_not_wait(run.cell("tornado+offload", "mixed")):
            break
    for inline in ("asgi", "tornado"):
        assert run.cell(inline, "mixed")["path"] == "GET / beside GET /block50"
        assert run.cell(inline, "mixed")["median"]["fast"]["p99_ms"] >= 50
    assert run.cell("tornado+offload", "mixed")["path"] == "GET / beside GET /offload50"
    assert do_not_wait(run.cell("tornado+offload", "mixed")), run.cell("tornado+offload", "mixed")


def test_the_guard_cures_a_handler_in_the_wrong_lane(lab):
    """On a machine that blames nobody for a while it takes longer to learn than a round gives it: then it is given more."""
    for rounds in (1, 12):
        run = lab("--rounds", rounds, "--secs", 0.1, "--only", "hybrid,hybrid+guard", "--workloads", "trivial,wrong-lane")
        report = run.end()
        if do_not_wait(run.cell("hybrid+guard", "wrong-lane")):
            break
    assert [(c["workload"], c["subject"]) for c in report["cells"]] == [
        ("trivial", "hybrid"), ("wrong-lane", "hybrid"), ("wrong-lane", "hybrid+guard")]
    assert report["subjects"][1]["workloads"] == ["wrong-lane"] and report["subjects"][1]["as"] == "hybrid"
    assert run.cell("hybrid", "wrong-lane")["median"]["fast"]["p99_ms"] >= 40
    assert not do_not_wait(run.cell("hybrid", "wrong-lane"))
    assert do_not_wait(run.cell("hybrid+guard", "wrong-lane")), run.cell("hybrid+guard", "wrong-lane")


def test_a_sample_lasts_until_there_are_replies_enough(lab):
    run = lab("--rounds", 1, "--secs", 0.05, "--only", "asgi", "--workloads", "block10")
    run.end()
    only = run.cell("asgi", "block10")["rounds"][0]
    assert only["requests"] >= 64 and only["p50_ms"] >= 100


def test_connections_that_rest_are_counted(lab):
    run = lab("--rounds", 2, "--secs", 0.05, "--only", "hybrid", "--workloads", "idle", "--idle", 300)
    run.end()
    cell = run.cell("hybrid", "idle")
    assert cell["status"] == "measured", cell
    assert [r["idle"]["held"] for r in cell["rounds"]] == [300, 300]
    assert run.report["workloads"][0]["idle"] == 300
    assert run.report["plan"]["idle_asked"] == 300


def test_slow_clients_are_there_while_fast_ones_are_measured(lab):
    for secs in (0.8, 8):       # on a busy machine an upload may take longer
        run = lab("--rounds", 1, "--secs", secs, "--only", "hybrid", "--workloads", "slow")
        run.end()
        only = run.cell("hybrid", "slow")["rounds"][0]
        if only["beside"]["requests"] > 0:
            break
    assert only["fast"]["requests"] == only["requests"] > 0 and only["errors"] == 0
    assert only["beside"]["requests"] > 0 and only["beside"]["p50_ms"] >= 300


def test_a_stopped_run_leaves_a_report_and_no_process(lab):
    run = lab("--rounds", 50, "--secs", 0.2, "--only", "hybrid,wsgi", "--workloads", "trivial,cpu")
    wait_until(lambda: len(servers_of(run.process.pid)) == 2)
    servers = servers_of(run.process.pid)
    run.process.send_signal(signal.SIGINT)
    report = run.end(128 + signal.SIGINT)
    assert report["stopped"] is True
    assert len(report["cells"]) == 4
    for cell in report["cells"]:
        assert cell["status"] in ("measured", "missing")
        assert cell["status"] == "measured" or "stopped" in cell["why"]
    assert not any(map(runs, servers))


def test_a_server_that_dies_is_a_cell_that_says_how(lab):
    run = lab("--rounds", 50, "--secs", 0.2, "--only", "asgi", "--workloads", "cpu")
    wait_until(lambda: servers_of(run.process.pid))
    os.kill(servers_of(run.process.pid).pop(), signal.SIGKILL)
    run.end(1)
    assert run.said.endswith("offloop lab: nothing could be measured: each cell of the report says why\n"), run.said
    cell = run.cell("asgi", "cpu")
    assert cell["status"] == "failed" and cell["rounds"] == []
    # and then the last line it said, if any
    assert cell["why"].startswith(("it ended under the load by signal 9", "it ended at its start by signal 9")), cell["why"]


def test_a_line_that_changes_in_place_fits_the_terminal(tmp_path):
    lab, terminal = pty.fork()
    if lab == 0:
        fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("4H", 20, 40, 0, 0))
        os.chdir(tmp_path)
        os.execl(program_path("offloop"), "offloop", "lab", "--backend", BACKEND, "--rounds", "1", "--secs", "0.05",
                 "--only", "tornado+offload", "--workloads", "block10")
    said = b""
    with contextlib.suppress(OSError):      # the end of a terminal
        while piece := os.read(terminal, 4096):
            said += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(lab, 0)[1]) == 0, said
    in_place = [line for line in said.decode().split("\r\x1b[K") if "done, " in line]
    line, = in_place
    assert len(line) == 39 and re.match(r"0 of 1 done, \d+ s: tornado\+offload un", line), line


def test_servers_do_not_outlive_a_lab_that_is_killed(lab):
    run = lab("--rounds", 50, "--only", "hybrid", "--workloads", "trivial")
    wait_until(lambda: servers_of(run.process.pid))
    servers = servers_of(run.process.pid)
    run.process.kill()
    run.process.communicate()
    wait_until(lambda: not any(map(runs, servers)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_neither_peers_nor_their_files_outlive_the_lab(how, lab, tmp_path, monkeypatch):
    """The peer is a shell that tells a version, and then does nothing, in two processes."""
    python, folders, pids = tmp_path / "python", tmp_path / "folders", tmp_path / "python.pids"
    folders.mkdir()
    python.write_text("#!/bin/sh\n[ $2 = -c ] && exec echo flask 9, gunicorn 9\nsleep 1000 &\necho $! $$ >$0.pids\nwait\n")
    python.chmod(0o700)
    monkeypatch.setenv("PYTHON", str(python))
    monkeypatch.setenv("TMPDIR", str(folders))
    run = lab("--peers", "--only", "flask-sync", "--workloads", "trivial")
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    assert list(folders.glob("*/*/app_flask.py"))
    run.process.send_signal(how)
    run.process.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(map(runs, pids.read_text().split())) and not list(folders.iterdir()))


def test_a_servers_port_is_kept_for_it_until_it_is_there(lab, tmp_path, monkeypatch):
    """The peer is a shell that tells a version, and then how it was started."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ $2 = -c ] && exec echo flask 9, gunicorn 9\necho "$@" >$0.started\nexec sleep 1000\n')
    python.chmod(0o700)
    monkeypatch.setenv("PYTHON", str(python))
    run = lab("--peers", "--only", "flask-sync", "--workloads", "trivial")
    started = tmp_path / "python.started"
    wait_until(lambda: started.exists() and started.read_text().endswith("\n"))
    port = int(re.search(r"127\.0\.0\.1:(\d+)", started.read_text()).group(1))
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):     # as servers do, with SO_REUSEADDR
        pass
    run.process.terminate()
    run.process.communicate(timeout=PATIENCE)


def test_without_room_for_peers_files_nothing_is_measured(tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", "--peers"], capture_output=True, text=True, timeout=PATIENCE,
                          cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "none")}, check=False)
    assert done.returncode == 1, done.stderr
    assert "no folder for the files of --peers: No such file" in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def without_uring(lab, backend, *args, prefix=()):
    """A run where io_uring is forbidden, as in a container."""
    deny = program_path("tests/deny_uring")
    if BACKEND != "uring" or subprocess.run([deny, "true"], check=False).returncode == 77:
        pytest.skip("it is io_uring that is taken away")
    return lab("--rounds", 1, "--secs", 0.05, "--workloads", "trivial", "--backend", backend,
               *(args or ("--only", "hybrid")), prefix=[*prefix, deny])


def test_a_server_that_cannot_start_is_a_cell_that_says_why(lab):
    run = without_uring(lab, "uring")
    run.end(1)
    cell = run.cell("hybrid", "trivial")
    assert cell["status"] == "failed" and cell["rounds"] == []
    assert "it ended at its start" in cell["why"] and "use --backend libevent" in cell["why"]


def test_servers_are_quoted_though_the_lab_has_no_streams(lab):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    run = without_uring(lab, "uring", "--only", "hybrid,asgi,wsgi", prefix=closed)
    run.end(1)
    assert all("use --backend libevent" in cell["why"] for cell in run.report["cells"]), run.report["cells"]


def test_the_machine_is_said_to_have_io_uring_or_why_not(lab):
    run = without_uring(lab, "auto")
    machine = run.end()["machine"]
    assert machine["io_uring"] is False and machine["io_uring_why"].startswith("no io_uring: ")


@pytest.mark.parametrize("args, why", [
    (["--only", "hybird"], "did you mean hybrid?"),
    (["--workloads", "trivial,idel"], "did you mean idle?"),
    (["--only", "node"], "give --peers, too"),
    (["--secs", "0"], "0.05 to 60"),
    (["--rounds"], "its value is missing"),
    (["--sece", "1"], "did you mean --secs?"),
    (["extra"], "one argument too many"),
])
def test_wrong_options_are_refused_in_one_line(args, why, tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", *args], capture_output=True, text=True, timeout=PATIENCE,
                          cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert why in done.stderr and done.stderr.startswith("offloop lab: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", "--json", str(tmp_path / "none" / "lab.json")],
                          capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "No such file" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args, status, why", [
    (["--out", "/dev/null"], 1, "no ordinary file"),
    (["--json", "/dev/null"], 1, "no ordinary file"),
    (["--json", "n" * 256], 1, "File name too long"),
    (["--out", "missing/"], 1, "No such file"),
    (["--out", "same", "--json", "./same"], 2, "one file"),
])
def test_files_that_cannot_be_are_told_before_anything_is_measured(args, status, why, tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", *args], capture_output=True, text=True, timeout=PATIENCE,
                          cwd=tmp_path, check=False)
    assert done.returncode == status, done.stderr
    assert why in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lost, kept", [("json", "html"), ("html", "json")])
def test_one_file_that_cannot_be_written_does_not_cost_the_other(lost, kept, tmp_path):
    folders = {name: tmp_path / name for name in ("json", "html")}
    for folder in folders.values():
        folder.mkdir()
    python, go = tmp_path / "python", tmp_path / "python.go"
    python.write_text("#!/bin/sh\n>$0.asked\nwhile [ ! -e $0.go ]; do sleep 0.01; done\nexit 1\n")
    python.chmod(0o700)
    run = subprocess.Popen([program_path("offloop"), "lab", "--backend", BACKEND, "--rounds", "1", "--secs", "0.2", "--peers",
                            "--only", "asgi,flask-sync", "--workloads", "trivial", "--json", folders["json"] / "file",
                            "--out", folders["html"] / "file"], stderr=subprocess.PIPE, text=True,
                           env={**os.environ, "PYTHON": str(python)})
    wait_until(lambda: (tmp_path / "python.asked").exists())
    folders[lost].rmdir()
    go.touch()
    said = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 1 and f"cannot write {folders[lost]}/file: No such file" in said, said
    assert f"{folders[kept]}/file is written" in said
    assert [f.name for f in folders[kept].iterdir()] == ["file"]


def test_a_file_may_have_the_longest_name_there_is(lab, tmp_path):
    run = lab("--rounds", 1, "--secs", 0.05, "--only", "asgi", "--workloads", "trivial", "--out", "n" * 255)
    run.end()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["lab.json", "n" * 255]


def test_a_lab_that_asks_for_versions_can_be_stopped(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho >>$0.asked\nsleep 1000\n")
    python.chmod(0o700)
    run = subprocess.Popen([program_path("offloop"), "lab", "--peers"], stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                           env={**os.environ, "PYTHON": str(python)})
    wait_until(lambda: (tmp_path / "python.asked").exists())
    run.terminate()
    said = run.communicate(timeout=4)[1]    # less than the five seconds that a program has
    assert run.returncode == 128 + signal.SIGTERM and "stopped before anything was measured" in said, said
    assert not SANITIZER.search(said)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["python", "python.asked"]


def test_arguments_that_are_no_utf8_do_not_cost_the_run(tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", "--rounds", "1", "--secs", "0.05", "--only", "asgi",
                           "--workloads", "trivial", "--backend", BACKEND, "--json", b"\xe9.json"],
                          capture_output=True, timeout=PATIENCE, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / os.fsdecode(b"\xe9.json")).read_text())
    assert report["command"].endswith("--json ?.json")


def test_a_run_says_at_its_start_how_long_it_takes(lab):
    run = lab("--rounds", 2, "--secs", 0.05, "--only", "hybrid", "--workloads", "trivial,cpu")
    run.end()
    first = run.said.splitlines()[0]
    assert first.startswith("offloop lab: 2 cells, each 2 rounds of 0.05 s: about ") and first.endswith(" s")


def test_a_peer_can_be_laid_out_to_be_started_by_hand(tmp_path):
    def peer(*args):
        return subprocess.run([program_path("offloop"), "lab", "peer", *args], capture_output=True, text=True,
                              timeout=PATIENCE, cwd=tmp_path, check=False)

    done = peer("node", "here")
    if "not installed" in done.stderr:
        assert done.returncode == 1 and not list(tmp_path.iterdir())
        return
    assert done.returncode == 0 and done.stdout.startswith("cd here && ") and "app_node.js 8000" in done.stdout
    assert [f.name for f in (tmp_path / "here").iterdir()] == ["app_node.js"]
    again = peer("node", "here")
    assert again.returncode == 1 and "File exists" in again.stderr


@pytest.mark.parametrize("args, why", [([], "expected NAME and DIR"), (["nod", "x"], "did you mean node?"),
                                       (["zzzzzzzz", "x"], "there are fastapi")])
def test_a_peer_that_is_not_known_is_refused_in_one_line(args, why, tmp_path):
    done = subprocess.run([program_path("offloop"), "lab", "peer", *args], capture_output=True, text=True,
                          timeout=PATIENCE, cwd=tmp_path, check=False)
    assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_app_can_be_run_by_hand(serve):
    app = serve(["offloop", "lab", "serve"], "--model", "asgi")
    for path in ("/", "/sync", "/block10", "/offload10", "/block50", "/offload50", "/wrong50"):
        status, _, body = app.ask(path)
        assert (status, body) == (200, b"Hello, World!\n")
    assert app.ask("/upload", method="POST", body=b"12345")[2] == b"5 bytes\n"
    assert len(app.ask("/big")[2]) == 1 << 20
    assert app.ask("/cpu")[2] == app.ask("/cpu")[2]
