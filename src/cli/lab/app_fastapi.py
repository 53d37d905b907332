"""The lab's endpoints for FastAPI: what blocks or computes is `def`, so FastAPI runs it on a thread of anyio's pool."""
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from lab_work import BIG, HELLO, block, compute, counted

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, default_response_class=PlainTextResponse)


@app.get("/")
async def trivial():
    return HELLO


@app.get("/sync")
def sync():
    return HELLO


@app.get("/block10")
def block10():
    return block(10)


@app.get("/block50")
def block50():
    return block(50)


@app.get("/cpu")
def cpu():
    return compute()


@app.get("/wrong50")
async def wrong50():
    return block(50)


@app.get("/offload10")
async def offload10():
    return await run_in_threadpool(block, 10)


@app.get("/offload50")
async def offload50():
    return await run_in_threadpool(block, 50)


@app.post("/upload")
async def upload(request: Request):
    return counted(await request.body())


@app.get("/big")
async def big():
    return Response(BIG)
