"""The lab's endpoints for Tornado: handlers run on the loop.  /block... stop it, as they would; /offload... and /sync are
handed to an executor of 40 threads.  What computes for a millisecond stays on the loop, as in most handlers: an executor is
for what blocks, and one of threads would compute no faster, since they share the interpreter's lock.

app_tornado.py PORT PROCESSES
"""
import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.process import fork_processes
from tornado.web import Application, RequestHandler

from lab_work import BIG, HELLO, block, compute, counted


class Handler(RequestHandler):
    def reply(self, text):
        self.set_header("Content-Type", "text/plain")
        self.finish(text)


def inline(fn, *args):
    class Inline(Handler):
        async def get(self):
            self.reply(fn(*args))
    return Inline


def offloaded(executor, fn, *args):
    class Offloaded(Handler):
        async def get(self):
            self.reply(await IOLoop.current().run_in_executor(executor, fn, *args))
    return Offloaded


class Upload(Handler):
    def post(self):
        self.reply(counted(self.request.body))


def big():
    return BIG


def hello():
    return HELLO


async def serve(sockets):
    executor = ThreadPoolExecutor(40)
    app = Application([
        ("/", inline(hello)),
        ("/sync", offloaded(executor, hello)),
        ("/block10", inline(block, 10)),
        ("/block50", inline(block, 50)),
        ("/cpu", inline(compute)),
        ("/wrong50", inline(block, 50)),
        ("/offload10", offloaded(executor, block, 10)),
        ("/offload50", offloaded(executor, block, 50)),
        ("/upload", Upload),
        ("/big", inline(big)),
    ])
    HTTPServer(app).add_sockets(sockets)
    await asyncio.Event().wait()


port, processes = int(sys.argv[1]), int(sys.argv[2])
logging.getLogger("tornado.access").disabled = True
listening = bind_sockets(port, "127.0.0.1", backlog=4096)
if processes > 1:
    fork_processes(processes)
asyncio.run(serve(listening))
