"""Eight sections, each on one line, of known kind and length: the truth for observers of a running process.

The program waits for its standard input to close, so that whoever attaches is there from the beginning; argument 1 is the
seconds of each section, argument 2 the file for the truth.
"""

import hashlib
import json
import os
import sys
import time

SECONDS = float(sys.argv[1])
DATA = os.urandom(1 << 16)
FLOATS = list(range(20_000, 0, -1))
truth = {}


def timed(name, kind, work):
    cpu, wall = time.thread_time(), time.perf_counter()
    work()
    truth[name] = {"kind": kind, "cpu": time.thread_time() - cpu, "wall": time.perf_counter() - wall}


def until():
    return time.thread_time() + SECONDS


def loop(end):
    total = 0
    while time.thread_time() < end:
        for i in range(20_000):
            total += i * i % 7  # S:loop python  # noqa: E701


def strings(end):
    while time.thread_time() < end:
        for i in range(4_000):
            f"{i}-{i + 1}" == f"{i + 2}"  # S:strings python  # noqa: B015, E701


def digest(end):
    while time.thread_time() < end:
        for _ in range(40):
            hashlib.sha256(DATA).digest()  # S:digest native  # noqa: E701


def summed(end):
    while time.thread_time() < end:
        for _ in range(60):
            sum(FLOATS)  # S:summed native  # noqa: E701


def dumps(end):
    while time.thread_time() < end:
        for _ in range(4):
            json.dumps(FLOATS)  # S:dumps native  # noqa: E701


def random(end):
    while time.thread_time() < end:
        for _ in range(8):
            os.urandom(1 << 16)  # S:random system  # noqa: E701


def zeros(end):
    with open("/dev/zero", "rb", buffering=0) as file:
        while time.thread_time() < end:
            for _ in range(8):
                file.read(1 << 20)  # S:zeros system  # noqa: E701


def sleeping():
    time.sleep(SECONDS)  # S:sleeping wait


print("ready", flush=True)
sys.stdin.read()
for name, work in (
    ("loop", loop),
    ("strings", strings),
    ("digest", digest),
    ("summed", summed),
    ("dumps", dumps),
    ("random", random),
    ("zeros", zeros),
):
    kind = {"loop": "python", "strings": "python", "random": "system", "zeros": "system"}.get(name, "native")
    timed(name, kind, lambda work=work: work(until()))
timed("sleeping", "wait", sleeping)
with open(sys.argv[2], "w") as file:
    json.dump(truth, file)
