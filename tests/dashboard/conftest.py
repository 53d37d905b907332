"""The servers of the scenarios, and one browser for all tests of the page."""
import contextlib
import importlib.util
import os
import pathlib
import sys

import pytest

import chromium

# the scenarios' conftest under its own name, since this file has the same
_spec = importlib.util.spec_from_file_location(
    "scenarios", pathlib.Path(__file__).resolve().parents[1] / "scenario" / "conftest.py")
scenarios = sys.modules["scenarios"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scenarios)
serve = scenarios.serve


@pytest.fixture(scope="session")
def browser():
    if not chromium.find():
        pytest.skip("no Chromium is here")
    b = chromium.Browser()
    yield b
    b.close()


@contextlib.contextmanager
def dashboard(browser, server):
    """A server's page, open; page.server is that server."""
    browser.server = server
    browser.size(1280, 900)
    browser.dark(False)
    browser.open(f"http://127.0.0.1:{browser.server.control}/")
    browser.wait("document.getElementById('state').dataset.state === 'live'")
    yield browser
    browser.run("0")
    errors, asked = list(browser.errors), {url.split("/")[2] for url in browser.requests if not url.startswith("data:")}
    browser.open("about:blank")     # before its server goes
    assert errors == []
    assert asked == {f"127.0.0.1:{browser.server.control}"}


@pytest.fixture
def page(request, serve, browser):
    """The dashboard of a server of its own.  Its arguments may be the test's."""
    with dashboard(browser, serve("testapp", *getattr(request, "param", ("--loops", "2")))) as page:
        yield page


@pytest.fixture
def hanging(serve, browser, tmp_path):
    """The dashboard of a server whose pool "db" hangs: GET /gate has both its threads, and waits for two more."""
    os.mkfifo(tmp_path / "gate")
    server = serve("adviceapp", "--loops", "1", "--gate", tmp_path / "gate", "--worker-stall-ms", "100")
    clients = [server.client().send(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(4)]
    try:
        with dashboard(browser, server) as page:
            yield page
    finally:        # else the server would wait for them as long as it may
        with open(tmp_path / "gate", "wb", buffering=0) as gate:
            gate.write(b"x" * len(clients))
    assert [c.reply().status for c in clients] == [200] * len(clients)
