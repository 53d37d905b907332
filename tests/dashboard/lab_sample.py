"""An invented report of `offloop lab`, for tests of its page: every kind of cell, disturbed rounds, hostile names.

lab_sample.py FILE.json writes it, to look at.
"""
import json
import statistics
import sys

HOSTILE = "<img src=x onerror=alert(1)></script>\u2028&amp;{{report.js}}"
WORKLOADS = [
    ("trivial", "A handler that replies at once.", 64, "GET /"),
    ("block10", "A handler that blocks for 10 ms.", 64, "GET /block10"),
    ("block50", "A handler that blocks for 50 ms.", 64, "GET /block50"),
    ("cpu", "A handler that computes for about a millisecond.", 16, "GET /cpu"),
    ("mixed", "Fast requests beside blocking ones.", 40, "GET / beside GET /block50"),
    ("slow", "Fast requests beside slow clients.", 16, "GET / beside POST /upload"),
    ("idle", "Fast requests while 10,000 connections are silent.", 64, "GET /"),
    ("wrong-lane", "Fast requests beside a handler in the wrong lane.", 17, "GET / beside GET /wrong50"),
]
# name, kind, processes, threads, CPU us of a trivial request, how many block at once, its memory in MB
SUBJECTS = [
    ("hybrid", "model", 1, "1 loop, pool of 40", 5.6, 40, 6.1),
    ("asgi", "model", 1, "1 loop", 5.5, 1, 5.2),
    ("tornado", "model", 1, "1 loop, pool of 40 to offload to", 5.7, 40, 6.3),
    ("wsgi", "model", 1, "pool of 40", 9.9, 40, 7.4),
    ("wsgi-sync", "model", 3, "1 request a process", 31.0, 3, 14.9),
    ("tornado+offload", "model", 1, "1 loop, pool of 40 to offload to", 5.7, 40, 6.3),
    ("hybrid+guard", "model", 1, "1 loop, pool of 40", 5.6, 40, 6.1),
    ("fastapi", "peer", 1, "1 loop, limit of 40 threads", 141.0, 40, 51.0),
    ("flask-gthread", "peer", 1, "40 threads", 402.0, 40, 33.0),
    ("node", "peer", 1, "1 loop", 28.0, 64, 62.0),
    (HOSTILE, "peer", 1, "1 loop", 60.0, 1, 20.0),
    ("nginx", "peer", 1, "1 loop", 7.0, 0, 2.5),
]
VARIANTS = {"tornado+offload": ("tornado", ["block10", "block50", "mixed"]), "hybrid+guard": ("hybrid", ["wrong-lane"])}
LOOPS = {"asgi", HOSTILE}                   # who blocks its loop
ABSENT = {
    ("wsgi-sync", "idle"): ("cannot", "a process has one connection at a time, so there are no idle ones to hold"),
    ("flask-gthread", "slow"): ("failed", "it ended under the load: " + HOSTILE),
}


def times(p50, tail):
    return {"p50_ms": round(p50, 3), "p90_ms": round(p50 * 1.3, 3), "p99_ms": round(p50 * tail, 3),
            "p999_ms": round(p50 * tail * 1.6, 3), "max_ms": round(p50 * tail * 2.2, 3)}


def sample(subject, workload, n):
    """The n-th round: the numbers are what such a server would do on one CPU, a few percent up and down."""
    name, _, processes, _, cpu, together, memory = subject
    what, _, connections, _ = workload
    shake = 1 + 0.03 * ((n * 7 + len(name) + len(what)) % 5 - 2)
    wait = {"block10": 10, "block50": 50}.get(what, 0)
    cost = cpu + (900 if what == "cpu" else 0)
    rps = 1e6 / cost
    if wait:
        rps = min(rps, 1000 / wait * min(together, connections))
    rps *= shake
    fast_hurt = what in ("mixed", "wrong-lane") and (name in LOOPS or what == "wrong-lane" and "loop" in subject[3] and name != "hybrid+guard")
    p50 = 1000 * connections / rps
    out = {"rps": round(rps, 1), "requests": int(rps * 0.7), "errors": 12 if (name, what) == ("node", "cpu") else 0,
           **times(p50, 1.8), "cpu_us": round(cost * shake, 2), "memory_kb": int(memory * 1024 * (1.4 if what == "idle" else 1)),
           "cpus": 0.97, "load_cpus": 0.6, "foreign": 0.02, "dirty": False}
    if what in ("mixed", "slow", "wrong-lane"):
        out["fast"] = {"rps": round(150 * shake if fast_hurt else rps * 0.8, 1), "p50_ms": 51.0 if fast_hurt else round(p50, 3),
                       "p99_ms": round(102 * shake, 1) if fast_hurt else round(p50 * 2, 3)}
    if what == "idle":
        out["idle"] = {"held": 10000, "bytes_each": 310 if name == "hybrid" else 9000}
    if (name, n) == ("tornado", 1):
        out.update(dirty=True, foreign=0.41, rps=round(rps * 0.6, 1))
    if (name, what) == ("asgi", "trivial"):
        out.update(cpus=0.83, load_cpus=0.99)
    if (name, what) == ("wsgi", "trivial"):
        out.update(dirty=True, foreign=0.25)
    return out


def middle(rounds):
    clean = [r for r in rounds if not r["dirty"]] or rounds
    out = {}
    for key, value in clean[0].items():
        if isinstance(value, dict):
            out[key] = {k: round(statistics.median(r[key][k] for r in clean), 3) for k in value}
        elif key != "dirty":
            out[key] = round(statistics.median(r[key] for r in clean), 3)
    return out


def cell(subject, workload):
    head = {"subject": subject[0], "workload": workload[0], "path": workload[3]}
    if subject[0] == "tornado+offload":
        head["path"] = workload[3].replace("/block", "/offload")
    status, why = ABSENT.get((subject[0], workload[0]), ("measured", None))
    if subject[0] == "nginx":
        status, why = "missing", "there is no program nginx in PATH"
    if status != "measured":
        return {**head, "status": status, "why": why, "rounds": []}
    rounds = [sample(subject, workload, n) for n in range(3)]
    spread = {key: [min(r[key] for r in rounds), max(r[key] for r in rounds)] for key in ("rps", "p99_ms", "cpu_us")}
    return {**head, "status": status, "rounds": rounds, "median": middle(rounds), "spread": spread}


def report():
    return {
        "offloop_lab": 1, "version": "0.1.0", "started": "2024-05-01T12:00:00Z", "seconds": 93.1,
        "command": "offloop lab --peers --out " + HOSTILE,
        "machine": {"cpu": "Invented CPU at 3.0 GHz", "cpus": 2, "quota": None, "kernel": "6.1.0", "memory_mb": 24105,
                    "io_uring": False, "io_uring_why": "setup: EPERM", "container": True},
        "plan": {"rounds": 3, "secs": 0.7, "server_cpus": "0", "server_cpu_count": 1, "load_cpus": "1", "pinned": True,
                 "guard": 0.12, "idle": 10000, "idle_asked": 20000},
        "subjects": [{"name": name, "kind": kind, "what": f"What {name} does, in one sentence.", "version": "1.2.3",
                      "processes": processes, "threads": threads, "command": f"{name} --port PORT",
                      "installed": name != "nginx",
                      "why": "there is no program nginx in PATH" if name == "nginx" else None,
                      **({"as": VARIANTS[name][0], "workloads": VARIANTS[name][1]} if name in VARIANTS else {})}
                     for name, kind, processes, threads, *_ in SUBJECTS],
        "workloads": [{"name": name, "what": what, "connections": n, "measures": measures,
                       **({"no_memory": "Memory is not compared here."} if name == "slow" else {})}
                      for name, what, n, measures in WORKLOADS],
        "cells": [cell(s, w) for w in WORKLOADS for s in SUBJECTS if s[0] not in VARIANTS or w[0] in VARIANTS[s[0]][1]],
    }


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(report(), file, indent=1)
