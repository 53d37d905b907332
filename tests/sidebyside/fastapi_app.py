"""The FastAPI half of the side-by-side test: the routes of offloop_app.c, as FastAPI's users write them.

`def` endpoints and dependencies run on the threads that anyio's default limiter allows, 40 or --pool.  What they wait
for is let go by `async def` endpoints, which need no thread.  /stats shows here what offloop shows on its control
plane.  The port is free and told on stderr, as offloop's is; offloop's other options are taken and ignored.
"""
import argparse
import asyncio
import socket
import sys
import threading

import anyio.to_thread
import fastapi
import uvicorn
from fastapi.responses import StreamingResponse

app = fastapi.FastAPI()
gate = threading.Semaphore(0)
connections = threading.Semaphore(10)
wanting = set()     # threads that wait for a connection
unused = []         # connections of requests whose endpoint has not begun
served = []         # ids of /mark, in the order in which their handlers ran


@app.get("/hold")
def hold():
    gate.acquire()
    return "held"


@app.get("/let-go")
async def let_go(n: int):
    gate.release(n)
    return "let go"


@app.get("/quick")
def quick():
    return "quick"


def nothing():
    return None


@app.get("/dependent")
async def dependent(_=fastapi.Depends(nothing)):
    return "dependent"


@app.get("/mark")
def mark(id: int):
    served.append(id)
    return "marked"


@app.get("/served")
async def show_served():
    return served


def database():
    """A connection out of ten, as a database's pool hands them out: who finds none left waits for one."""
    thread = threading.get_ident()
    wanting.add(thread)
    connections.acquire()
    wanting.discard(thread)
    connection = object()
    unused.append(connection)
    try:
        yield connection
    finally:
        connections.release()


@app.get("/row")
def row(connection=fastapi.Depends(database)):
    unused.remove(connection)
    return "row"


@app.get("/pieces")
def pieces(n: int):
    return StreamingResponse((b"0123456789" for _ in range(n)), media_type="text/plain")


@app.get("/stats")
async def stats():
    s = anyio.to_thread.current_default_thread_limiter().statistics()
    return {"limit": s.total_tokens, "running": s.borrowed_tokens, "queued": s.tasks_waiting, "wanting": len(wanting),
            "unused": len(unused), "connections": len(server.server_state.connections)}


async def serve():
    if options.pool:
        anyio.to_thread.current_default_thread_limiter().total_tokens = options.pool
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    print("listening on http://127.0.0.1:%d" % listener.getsockname()[1], file=sys.stderr, flush=True)
    await server.serve(sockets=[listener])


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--pool", type=int)
options = parser.parse_known_args()[0]
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
asyncio.run(serve())
