"""Programs that are all alike but for one size: ``sizes.py WHAT SIZE``."""

import sys
import threading

import pyperf


def rounds(count):
    """Compute a fixed amount."""
    total = 1
    for number in range(count):
        total = (total * 31 + number) % 65_537
    return total


def allocations(size):
    """Allocate ``size`` lists in every thousand steps of work."""
    for _ in range(3_000):
        rounds(1_000)
        for number in range(size):
            _ = [number, number]


def threads(size):
    """Do the work in ``size`` threads, one after the other in groups of a hundred."""
    for first in range(0, size, 100):
        group = [threading.Thread(target=rounds, args=(4_000_000 // size,)) for _ in range(min(100, size - first))]
        for one in group:
            one.start()
        for one in group:
            one.join()


def depth(size):
    """Do the work below ``size`` frames."""
    if size > 1:
        return depth(size - 1)
    return rounds(4_000_000)


def seconds(size):
    """Do ``size`` times the work of about half a second."""
    for _ in range(size):
        rounds(4_000_000)


def lines(size):
    """Run ``size`` distinct lines again and again."""
    body = "".join(f"    total = (total * 31 + {number}) % 65_537\n" for number in range(size))
    scope = {}
    exec(compile(f"def work(total):\n{body}    return total\n", "<lines>", "exec"), scope)
    for _ in range(4_000_000 // size):
        scope["work"](1)


if __name__ == "__main__":
    name, size = sys.argv[1:]
    sys.argv[1:] = []
    sys.setrecursionlimit(10_000)
    pyperf.Runner().bench_func(name, globals()[name], int(size))
