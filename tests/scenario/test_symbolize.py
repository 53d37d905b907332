"""`offloop symbolize` puts names where a build id and an address stand."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, program_path

SOURCE = """
static int handler_of_the_app(void) { return 1; }
int (*const table[])(void) = { handler_of_the_app };
int main(void) { return table[0](); }
"""

OFFLOOP = program_path("offloop")
pytestmark = [
    pytest.mark.skipif(not OFFLOOP.exists(), reason=f"no offloop in {BUILD}"),
    pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("readelf"), reason="no compiler or no readelf"),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("symbolize")
    (folder / "app.c").write_text(SOURCE)
    subprocess.run(["gcc", "-Wl,--build-id=sha1", "-o", folder / "app", folder / "app.c"], check=True)
    subprocess.run(["strip", "-o", folder / "stripped", folder / "app"], check=True)
    return folder


def tool(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, text=True).stdout


def place(app):
    """The build id of the app, and where its handler begins."""
    build_id = re.search(r"Build ID: ([0-9a-f]+)", tool("readelf", "-n", app / "app")).group(1)
    return build_id, int(re.search(r"([0-9a-f]+) \w handler_of_the_app", tool("nm", app / "app")).group(1), 16)


def symbolize(text, *files):
    return subprocess.run([OFFLOOP, "symbolize", *files], input=text, capture_output=True, text=True, timeout=30)


def test_lines_and_json_get_names(app):
    build_id, at = place(app)
    line = f"held the loop: {build_id}+{at + 3:#x} (app)\n"
    stalls = json.dumps({"frames": [f"{build_id}+{at:#x} (app)", "read+0x1c (libc.so.6)"]})
    done = symbolize(line + stalls, app / "app")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.split("\n")
    assert first == "held the loop: handler_of_the_app+0x3 (app)"
    assert json.loads(second) == {"frames": ["handler_of_the_app+0x0 (app)", "read+0x1c (libc.so.6)"]}


def test_of_two_files_with_one_build_id_the_fuller_one_is_asked(app):
    build_id, at = place(app)
    assert symbolize(f"{build_id}+{at:#x}", app / "stripped", app / "app").stdout == "handler_of_the_app+0x0"
    assert symbolize(f"{build_id}+{at:#x}", app / "app", app / "stripped").stdout == "handler_of_the_app+0x0"


def test_what_is_no_place_is_left_as_it_is(app):
    build_id, at = place(app)
    text = f"x{build_id}+{at:#x} {build_id}+0x {build_id}+{at} {build_id}+0xffffffff {build_id[:6]}+{at:#x}\n\nend"
    done = symbolize(text, app / "app")
    assert (done.returncode, done.stdout) == (0, text)


def test_a_build_id_found_nowhere_is_told_once(app):
    unknown = "00112233445566778899aabbccddeeff00112233"
    text = f"{unknown}+0x10 {unknown}+0x20\n"
    done = symbolize(text, app / "app")
    assert (done.returncode, done.stdout) == (1, text)
    assert done.stderr == (
        f"offloop symbolize: no file has the build id {unknown}: name it, or install its debug symbols\n"
    )


@pytest.mark.parametrize(
    "name, why",
    [("missing", "No such file or directory"), ("app.c", "not an ELF file of this machine's kind")],
)
def test_a_file_that_cannot_be_used_is_refused(app, name, why):
    done = symbolize("", app / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"offloop symbolize: {app / name}: {why}\n"


def test_a_file_without_build_id_is_refused(app):
    subprocess.run(["gcc", "-Wl,--build-id=none", "-o", app / "nameless", app / "app.c"], check=True)
    done = symbolize("", app / "nameless")
    assert done.returncode == 2
    assert "has no build id" in done.stderr
