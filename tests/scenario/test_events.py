"""Server-sent events as a client sees them: parsed, in silence, behind, and gone."""
import time

import pytest
from conftest import get, wait_until

LANES = ("/a", "/s")


class Events:
    """A small client: the events of a stream, and the comments, in the order they came."""

    def __init__(self, client, path):
        self.c = client.send(get(path))
        assert self.c._line() == b"HTTP/1.1 200 OK"
        self.headers = {}
        while line := self.c._line().decode():
            name, value = line.split(": ", 1)
            self.headers[name.lower()] = value
        self.text = b""
        self.ended = False
        self.retry = None

    def _more(self):
        n = int(self.c._line(), 16)
        self.text += self.c._bytes(n)
        assert self.c._line() == b""
        self.ended = n == 0

    def next(self):
        """(event, id, data), ":" for a comment, or None at the end."""
        fields = {}
        data = []
        while True:
            while b"\n" not in self.text:
                if self.ended:
                    assert self.text == b"" and not fields and not data
                    return None
                self._more()
            line, self.text = self.text.split(b"\n", 1)
            if line.startswith(b":"):
                assert not fields and not data, "a comment in the midst of an event"
                fields["comment"] = True
            elif line:
                name, _, value = line.decode().partition(": ")
                if name == "data":
                    data.append(value)
                else:
                    fields[name] = value
            elif "comment" in fields:
                return ":"
            elif "retry" in fields:
                self.retry = int(fields.pop("retry"))
            else:
                return fields.get("event"), fields.get("id"), "\n".join(data)


@pytest.fixture
def app(serve):
    return serve("streamapp", "--loops", "1", "--pool", "2")


def seen(app):
    return app.ask_json("/seen")[1]


@pytest.mark.parametrize("lane", LANES)
def test_events_arrive_as_they_were_sent(app, lane):
    with app.client() as c:
        e = Events(c, f"{lane}/events?n=3&lines=2")
        assert e.headers["content-type"] == "text/event-stream"
        assert e.headers["cache-control"] == "no-cache"
        assert e.headers["x-accel-buffering"] == "no"
        for i in range(3):
            assert e.next() == ("tick", str(i), "line\nline")
        assert e.retry == 1500
        app.ask("/open?gate=1")
        assert e.next() == ("end", None, "bye")
        assert e.next() is None
        assert c.send(get("/a/ping")).reply().body == b"pong\n"


@pytest.mark.parametrize("lane", LANES)
def test_a_silent_stream_gets_comments(serve, lane):
    app = serve("streamapp", "--loops", "1", "--pool", "2", "--events-keepalive", "50ms", "--write-timeout", "100ms",
                "--write-grace", "100ms", "--write-rate-min", "1M")
    with app.client() as c:
        started = time.monotonic()      # before the server can have begun to wait
        e = Events(c, f"{lane}/events?n=1")
        assert e.next() == ("tick", "0", "line")
        for _ in range(4):
            assert e.next() == ":"
        assert time.monotonic() - started >= 0.15
        app.ask("/open?gate=1")
        while (event := e.next()) == ":":
            pass
        assert event == ("end", None, "bye")
        assert e.next() is None
    assert app.metric("offloop_timeouts_write_rate_total") == 0     # silence is nobody's fault


def test_a_thread_that_blocks_gets_its_comments_too(serve):
    app = serve("streamapp", "--loops", "1", "--pool", "2", "--events-keepalive", "20ms")
    with app.client() as c:
        e = Events(c, "/s/blocked")
        for _ in range(3):
            assert e.next() == ":"
        app.ask("/open?gate=2")
        while (event := e.next()) == ":":
            pass
        assert event == (None, None, "bye")


@pytest.mark.parametrize("lane", LANES)
def test_no_comment_stands_in_the_midst_of_an_event(serve, lane):
    """Events larger than the pipe, read in small pieces and with pauses."""
    app = serve("streamapp", "--loops", "1", "--pool", "2", "--events-keepalive", "5ms")
    app.ask("/open?gate=1")
    with app.client(rcvbuf=65536) as c:
        e = Events(c, f"{lane}/events?n=3&lines=30000")
        for i in range(3):
            time.sleep(0.02)
            while (event := e.next()) == ":":
                pass
            assert event == ("tick", str(i), "\n".join(["line"] * 30000))


@pytest.mark.parametrize("lane", LANES)
def test_a_client_that_has_gone_without_a_word_is_noticed(serve, lane):
    """A FIN right behind the request may be a half-close, so that alone cancels nothing: the comment finds nobody there."""
    app = serve("streamapp", "--loops", "1", "--pool", "2", "--events-keepalive", "50ms")
    with app.client() as c:
        c.send(get(f"{lane}/events?n=0"))
    wait_until(lambda: seen(app)["cancelled"] == 1)
    wait_until(lambda: app.metric("offloop_loop_requests_in_flight") == 0)


def test_head_of_an_event_stream_has_no_events(app):
    app.ask("/open?gate=1")
    for lane in LANES:
        with app.client() as c:
            assert c.send(get(f"{lane}/events", method="HEAD")).reply(head=True).headers["cache-control"] == "no-cache"
            assert c.send(get("/a/ping")).reply().body == b"pong\n"
