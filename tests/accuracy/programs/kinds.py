"""One kind of work a line, with each line's CPU clock."""

import hashlib
import json
import os
import random
import sys
import time
import zlib

SPENT = {}
DATA = random.Random(7).choices(range(100_000), k=5000)
TREE = {"a": [list(range(40)), {"b": "text", "c": 1.5}] * 400}
URANDOM = os.open("/dev/urandom", os.O_RDONLY)
BYTES = bytes(range(256)) * 1600
# One for the whole run: a new workspace each time would be page faults, which are the kernel's.
COMPRESSOR = zlib.compressobj(6)


def pure():
    """Bytecode alone."""
    x = 1
    for i in range(30_000):
        x = (x * 31 + i) % 65_537  # at: python


def sorts():
    """A builtin."""
    for _ in range(5):
        sorted(DATA)  # at: sorted


def sums():
    """Another."""
    for _ in range(100):
        sum(DATA)  # at: sum


def dumps():
    """A C accelerator of the standard library."""
    json.dumps(TREE)  # at: json


def compresses():
    """A C library without the GIL."""
    COMPRESSOR.compress(BYTES)  # at: zlib


def hashes():
    """Another."""
    for _ in range(3):
        hashlib.sha256(BYTES).digest()  # at: hashlib


def reads():
    """The kernel."""
    for _ in range(10):
        os.read(URANDOM, 65_536)  # at: urandom


def sleeps():
    """Nothing."""
    time.sleep(0.002)  # at: sleep


def run(until):
    """All kinds, in an order that keeps no step with any clock."""
    dice = random.Random(11)
    works = [pure, sorts, sums, dumps, compresses, hashes, reads, sleeps]
    while time.process_time() < until:
        work = dice.choice(works)
        before = time.thread_time_ns()
        work()
        SPENT[work.__name__] = SPENT.get(work.__name__, 0) + time.thread_time_ns() - before
    print(json.dumps(SPENT))


run(time.process_time() + float(sys.argv[1]))
