"""What the lab's Python servers do for a request: say hello, wait, compute, count bytes.

compute() is about a millisecond of plain Python: as many rounds as the best of several short runs did in that time of the
thread's own CPU clock, so that it is the language's work and not its libraries' that is measured.
"""
import time

HELLO = "Hello, World!\n"
BIG = bytes(1 << 20)


def _rounds(n):
    x = 2463534242
    for i in range(n):
        x = (x * 31 + i) & 0xFFFFFFFF
    return x


def _in_a_millisecond():
    n, best = 2000, float("inf")
    for _ in range(20):
        start = time.thread_time()
        _rounds(n)
        best = min(best, time.thread_time() - start)
    return max(1, int(n * 0.001 / max(best, 1e-6)))


ROUNDS = _in_a_millisecond()


def compute():
    return f"{_rounds(ROUNDS)}\n"


def block(ms):
    time.sleep(ms / 1000)
    return HELLO


def counted(body):
    return f"{len(body)} bytes\n"
