"""The servers of the scenarios, and one browser for all tests of the page."""
import importlib.util
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


@pytest.fixture
def page(request, serve, browser):
    """The dashboard of a server of its own, open; page.server is that server.  Its arguments may be the test's."""
    browser.server = serve("testapp", *getattr(request, "param", ("--loops", "2")))
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
