"""Four threads of different kinds at once."""

import json
import sys
import tempfile
import threading
import time
import zlib

SPENT = {}
BLOCK = bytes(range(256)) * 4000


def clocked(work):
    """Notes a thread's CPU clock at its end."""

    def run(seconds):
        work(seconds)
        SPENT[work.__name__] = time.thread_time()

    return threading.Thread(target=run, args=(float(sys.argv[1]),), name=work.__name__)


def pure(seconds):
    """Bytecode alone."""
    x = 1
    while time.thread_time() < seconds:
        for i in range(20_000):
            x = (x * 31 + i) % 65_537  # at: pure


def native(seconds):
    """Compresses without the GIL."""
    while time.thread_time() < seconds:
        zlib.compress(BLOCK, 6)  # at: native


def sleeps(seconds):
    """Waits."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)  # at: sleep


def writes(seconds):
    """Writes to a file."""
    with tempfile.TemporaryFile(buffering=0) as file:
        while time.thread_time() < seconds:
            file.seek(0)
            for _ in range(20):
                file.write(BLOCK)  # at: write


workers = [clocked(work) for work in (pure, native, sleeps, writes)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps(SPENT))
