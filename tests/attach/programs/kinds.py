"""Eight sections, each on one line, of known kind and length: the truth for observers of a running process.

The program waits for its standard input to close, so that whoever attaches is there from the beginning. Argument 1
is the seconds of each section, argument 2 the file for the truth.
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
    while time.thread_time() < end:
        [i * i % 7 for i in range(20_000)]  # S:loop python


def strings(end):
    while time.thread_time() < end:
        [f"{i}-{i + 1}" == f"{i + 2}" for i in range(4_000)]  # S:strings python


def digest(end):
    while time.thread_time() < end:
        [hashlib.sha256(DATA).digest() for _ in range(40)]  # S:digest native


def summed(end):
    while time.thread_time() < end:
        [sum(FLOATS) for _ in range(60)]  # S:summed native


def dumps(end):
    while time.thread_time() < end:
        [json.dumps(FLOATS) for _ in range(4)]  # S:dumps native


def random(end):
    while time.thread_time() < end:
        [os.urandom(1 << 16) for _ in range(8)]  # S:random system


def zeros(end):
    with open("/dev/zero", "rb", buffering=0) as file:
        while time.thread_time() < end:
            [file.read(1 << 20) for _ in range(8)]  # S:zeros system


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
