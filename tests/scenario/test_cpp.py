"""The example in C++: exceptions end in its handlers, in both lanes."""
import json

import pytest


@pytest.fixture
def cpp(serve):
    return serve("tests/examples/cpp")


def test_strings_and_resources_of_cpp_work(cpp):
    assert cpp.ask_json("/words?text=to+be+or+not+to+be") == (200, {"to": 2, "be": 2, "or": 1, "not": 1})
    assert cpp.ask_json("/words?text=be") == (200, {"be": 3})
    status, body = cpp.ask_json("/words")
    assert (status, body["detail"][0]["loc"]) == (422, ["query", "text"])
    assert cpp.ask("/words?text=%FF")[0] == 400


@pytest.mark.parametrize("path", ["/sum", "/async/sum", "/adaptive/sum"])
def test_an_exception_of_the_handlers_is_its_answer(cpp, path):
    assert cpp.ask(path, method="POST", body=json.dumps({"numbers": [1, 2, 3]}))[::2] == (200, b"6\n")
    assert cpp.ask_json(path, method="POST", body='{"numbers": [1, "x"]}') == (
        400, {"detail": "number 1 is not an integer"})
    assert cpp.ask(path, method="POST", body="{")[0] == 422


@pytest.mark.parametrize("path", ["/greet", "/sync/greet"])
def test_needs_and_middleware_work_in_cpp(cpp, path):
    status, headers, body = cpp.ask(path, headers={"X-Name": "you"})
    assert (status, body) == (200, b"Hello, you!\n")
    assert headers["Server-Timing"].startswith("handler;dur=")
    status, headers, _ = cpp.ask(path)
    assert status == 401 and "Server-Timing" in headers


@pytest.mark.parametrize("path", ["/unforeseen", "/sync/unforeseen"])
def test_an_exception_nobody_foresaw_is_a_500_and_a_line_in_the_log(cpp, path):
    assert cpp.ask_json(path) == (500, {"detail": "Internal Server Error"})
    cpp.wait_log("a secret of the program's")
    assert cpp.ask("/words?text=on")[0] == 200
