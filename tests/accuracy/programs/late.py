"""System calls longer than a tick of the kernel, and pure Python right behind each: whose the time is."""

import json
import os
import sys
import time

SPENT = {"call": 0, "pure": 0}
BUFFER = bytearray(64 << 10)


def spent(call):
    """The CPU nanoseconds of a call."""
    before = time.thread_time_ns()
    call()
    return time.thread_time_ns() - before


def main(seconds):
    """Calls of five milliseconds each, until both have had so much CPU time."""
    clock = time.thread_time_ns
    descriptor = os.open("/dev/urandom", os.O_RDONLY)
    one = min(spent(lambda: os.readv(descriptor, [BUFFER])) for _ in range(20))
    buffers = [BUFFER] * min(1000, max(1, round(5e6 / one)))
    x = 1
    while sum(SPENT.values()) < seconds * 1e9:
        before = clock()
        os.readv(descriptor, buffers)  # at: call
        SPENT["call"] += clock() - before
        before = clock()
        for i in range(30_003):  # at: loop
            x = (x * 31 + i) % 65_537  # at: pure
        SPENT["pure"] += clock() - before


main(float(sys.argv[1]))
print(json.dumps(SPENT))
