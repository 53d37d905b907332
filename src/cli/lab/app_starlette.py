"""The lab's endpoints for Starlette: what blocks or computes is a plain function, so it runs on a thread of anyio's pool."""
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from lab_work import BIG, HELLO, block, compute, counted


async def trivial(request):
    return PlainTextResponse(HELLO)


def sync(request):
    return PlainTextResponse(HELLO)


def block10(request):
    return PlainTextResponse(block(10))


def block50(request):
    return PlainTextResponse(block(50))


def cpu(request):
    return PlainTextResponse(compute())


async def wrong50(request):
    return PlainTextResponse(block(50))


async def offload10(request):
    return PlainTextResponse(await run_in_threadpool(block, 10))


async def offload50(request):
    return PlainTextResponse(await run_in_threadpool(block, 50))


async def upload(request):
    return PlainTextResponse(counted(await request.body()))


async def big(request):
    return Response(BIG)


app = Starlette(routes=[
    Route("/", trivial),
    Route("/sync", sync),
    Route("/block10", block10),
    Route("/block50", block50),
    Route("/cpu", cpu),
    Route("/wrong50", wrong50),
    Route("/offload10", offload10),
    Route("/offload50", offload50),
    Route("/upload", upload, methods=["POST"]),
    Route("/big", big),
])
