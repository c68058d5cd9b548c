"""Two lines that take turns, round and round in a cycle of a given length; the thread's clock is the truth."""

import json
import sys
import time

LENGTH, FIRST = float(sys.argv[2]), 0.3
SPENT = {"first": 0.0, "second": 0.0}


def first(until):
    """The first part of a cycle."""
    while time.perf_counter() < until:
        sum((1, 2, 3, 4, 5, 6, 7, 8))  # a little work


def second(until):
    """The rest of it."""
    while time.perf_counter() < until:
        max((1, 2, 3, 4, 5, 6, 7, 8))  # as much


def main(end):
    """Starts each cycle by the clock, so that none is late for those before it."""
    began = time.perf_counter()
    cycle = 0
    while began + cycle * LENGTH < end:
        start, before = began + cycle * LENGTH, time.thread_time()
        first(start + LENGTH * FIRST)
        between = time.thread_time()
        second(start + LENGTH)
        SPENT["first"] += between - before
        SPENT["second"] += time.thread_time() - between
        cycle += 1
    print(json.dumps(SPENT))


main(time.perf_counter() + float(sys.argv[1]))
