"""A headless Chromium, and the few words of its DevTools protocol that the tests need.

The protocol is JSON over a WebSocket (RFC 6455); the client half of that which is needed here is a page of code, so no
package is.  Everything the browser says about the page is kept: the requests it makes, errors, console messages.
"""
import base64
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

PATIENCE = 15
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find():
    """The program, or None."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next((p for p in map(shutil.which, NAMES) if p), None)


class WebSocket:
    def __init__(self, url):
        where = urllib.parse.urlsplit(url)
        self.s = socket.create_connection((where.hostname, where.port), timeout=PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self.s.sendall(f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\n"
                       f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self._receive()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        assert b" 101 " in head, head

    def _receive(self):
        piece = self.s.recv(1 << 16)
        if not piece:
            raise EOFError("the browser has gone")
        return piece

    def _take(self, n):
        while len(self.rest) < n:
            self.rest += self._receive()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        n = len(data)
        length = bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big") if n < 65536 \
            else b"\xff" + n.to_bytes(8, "big")
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.s.sendall(b"\x81" + length + mask + masked)

    def receive(self, seconds):
        """One message; None when none comes in time."""
        message = b""
        while True:
            self.s.settimeout(seconds if not self.rest and not message else PATIENCE)
            try:
                first, second = self._take(2)
            except (TimeoutError, socket.timeout):
                return None
            n = second & 127
            if n > 125:
                n = int.from_bytes(self._take(2 if n == 126 else 8), "big")
            data = self._take(n)
            if first & 15 in (0, 1):
                message += data
                if first & 0x80:
                    return message.decode()

    def close(self):
        self.s.close()


class Browser:
    """One page of one browser."""

    def __init__(self, program=None):
        self.home = tempfile.mkdtemp(prefix="offloop-chromium-")
        self.log = pathlib.Path(self.home) / "log"      # a file: a pipe that nobody reads would stop the browser
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program or find(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update",
                 "--disable-extensions", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
                 f"--user-data-dir={self.home}", "about:blank"],
                stdout=log, stderr=log, env={**os.environ, "HOME": self.home})
        self.ids, self.replies = 0, {}
        self.requests, self.errors = [], []
        try:
            self.socket = WebSocket(self._page_url(self._listening()))
        except BaseException:
            self.close()
            raise
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def _listening(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(rb"DevTools listening on ws://([\d.]+:\d+)/", self.log.read_bytes())
            if found:
                return found.group(1).decode()
            time.sleep(0.02)
        raise AssertionError("no DevTools:\n" + self.log.read_text(errors="replace"))

    def _page_url(self, address):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with urllib.request.urlopen(f"http://{address}/json/list", timeout=PATIENCE) as reply:
                for target in json.load(reply):
                    if target["type"] == "page":
                        return target["webSocketDebuggerUrl"]
            time.sleep(0.05)
        raise AssertionError("the browser opened no page")

    def _hear(self, seconds):
        text = self.socket.receive(seconds)
        if text is None:
            return False
        message = json.loads(text)
        params = message.get("params", {})
        method = message.get("method")
        if "id" in message:
            self.replies[message["id"]] = message
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"].get("exception", {}).get("description", params)))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        return True

    def call(self, method, **params):
        self.ids += 1
        self.socket.send(json.dumps({"id": self.ids, "method": method, "params": params}))
        end = time.monotonic() + PATIENCE
        while self.ids not in self.replies:
            assert time.monotonic() < end, f"no answer to {method}"
            self._hear(PATIENCE)
        reply = self.replies.pop(self.ids)
        assert "error" not in reply, f"{method}: {reply['error']}"
        return reply["result"]

    def run(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression, seconds=PATIENCE):
        """Polls an expression until it is true; how long that took."""
        start = time.monotonic()
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() - start < seconds, f"it never came true: {expression}\n{self.errors}"
            time.sleep(0.02)
        return time.monotonic() - start

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def dark(self, dark):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.requests.clear()
        self.errors.clear()
        self.run("window.left = true")          # so that what is waited for is not the page before
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && !window.left")

    def press(self, key):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "PageUp": 33, "ArrowLeft": 37, "ArrowRight": 39}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                      **(text if kind == "keyDown" else {}))

    def picture(self, path, whole=True):
        extra = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            extra = {"captureBeyondViewport": True,
                     "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", **extra)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        if hasattr(self, "socket"):
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
