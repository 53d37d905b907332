"""The README's programs, as they stand there: compiled as C11 and as C++20, run, and asked."""
import json
import os
import re
import subprocess

import pytest
from conftest import BUILD, ROOT

PROGRAMS = re.findall(r"```c\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def flags():
    kind = os.environ.get("SANITIZERS", "")
    return [f"-fsanitize={kind}"] if kind else []


def compiled(tmp_path, source, language):
    """The program built against the library of this build, as its users would."""
    file = tmp_path / ("app.c" if language == "c11" else "app.cc")
    file.write_text(source)
    tsan = "thread" in os.environ.get("SANITIZERS", "")
    compiler = {"c11": "clang" if tsan else "gcc", "c++20": "clang++" if tsan else "g++"}[language]
    program = tmp_path / "app"
    jansson = subprocess.run(["pkg-config", "--cflags", "--libs", "jansson"], capture_output=True, text=True, check=True)
    subprocess.run([compiler, f"-std={language}", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", *flags(), str(file),
                    "-o", str(program), f"-I{ROOT}/include", f"-L{BUILD}/.libs", f"-Wl,-rpath,{BUILD}/.libs", "-loffloop",
                    *jansson.stdout.split()], check=True)
    return program


def test_hello_is_at_most_twenty_lines():
    assert len(PROGRAMS) == 3
    assert len(PROGRAMS[0].splitlines()) <= 20


def test_hello_is_the_example_that_is_shipped():
    shipped = (ROOT / "tests/examples/hello.c").read_text()
    assert PROGRAMS[0] in shipped


@pytest.mark.parametrize("language", ["c11", "c++20"])
@pytest.mark.parametrize("lane", ["async", "sync"])
def test_hello_runs_in_either_lane(serve, tmp_path, language, lane):
    source = PROGRAMS[0].replace(".async =", f".{lane} =")
    s = serve(compiled(tmp_path, source, language))
    assert s.ask("/hello/world")[::2] == (200, b"Hello, world!\n")


@pytest.mark.parametrize("language", ["c11", "c++20"])
def test_the_second_program_does_what_it_says(serve, tmp_path, language):
    s = serve(compiled(tmp_path, PROGRAMS[1], language))
    assert s.ask_json("/reports/7") == (200, {"id": 7})
    assert s.ask("/nap?ms=5")[2] == b"rested\n"
    assert s.ask("/nap?ms=-1")[0] == 422
    assert s.ask("/upload", method="POST", body=b"x" * 100_000)[::2] == (201, b"100000 bytes\n")


@pytest.mark.parametrize("language", ["c11", "c++20"])
def test_the_third_program_does_what_it_says(serve, tmp_path, language):
    s = serve(compiled(tmp_path, PROGRAMS[2], language))
    status, headers, body = s.ask("/orders/7", method="POST")
    assert (status, json.loads(body)) == (201, {"order": "7"})
    assert headers["X-Served-By"] == "orders"
    s.wait_log("order 7 is confirmed")
    status, headers, body = s.ask("/ticks")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    assert body.count(b"event: tick\ndata: one\ndata: more\n\n") == 3
