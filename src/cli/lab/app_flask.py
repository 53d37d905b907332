"""The lab's endpoints for Flask: there is no loop, so there is one lane, and every handler is a plain function in it."""
from flask import Flask, Response, request

from lab_work import BIG, HELLO, block, compute, counted

app = Flask(__name__)


def text(body):
    return Response(body, mimetype="text/plain")


@app.get("/")
def trivial():
    return text(HELLO)


@app.get("/sync")
def sync():
    return text(HELLO)


@app.get("/block10")
def block10():
    return text(block(10))


@app.get("/block50")
def block50():
    return text(block(50))


@app.get("/cpu")
def cpu():
    return text(compute())


@app.get("/wrong50")
def wrong50():
    return text(block(50))


@app.get("/offload10")
def offload10():
    return text(block(10))


@app.get("/offload50")
def offload50():
    return text(block(50))


@app.post("/upload")
def upload():
    return text(counted(request.get_data()))


@app.get("/big")
def big():
    return Response(BIG, mimetype="application/octet-stream")
