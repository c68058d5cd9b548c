"""Everything that makes a frame walk hard, at once, for some CPU seconds; no line here is reached but by work."""

import gc
import os
import sys
import threading
import time

UNTIL = time.process_time() + float(sys.argv[1])
sys.setrecursionlimit(20_000)


def deep(depth):
    """Recurse."""
    if depth:
        return deep(depth - 1)
    return sum(number for number in range(2_000))


def numbers(count):
    """Yield through another generator."""
    yield from (number * 3 for number in range(count))


def dying(serial):
    """Run code that is gone at once."""
    text = f"def generated_{serial}(x):\n    for _ in range(300):\n        x = x * 31 % 65537\n    return x\n"
    scope = {}
    exec(compile(text, f"<generated {serial % 7}>", "exec"), scope)
    scope[f"generated_{serial}"](serial)


class Knot:
    """Garbage that only the collector finds."""

    def __init__(self):
        self.me = self
        self.more = [self] * 50

    def __del__(self):
        sum(range(50))


def short():
    """Live for a moment."""
    sum(range(3_000))
    [Knot() for _ in range(3)]


def storm(serial):
    """One round of all."""
    deep(serial * 37 % 900)
    for _ in numbers(500):
        pass
    dying(serial)
    workers = [threading.Thread(target=short) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if serial % 20 == 0:
        gc.collect()
    if serial % 25 == 0:
        child = os.fork()
        if child == 0:
            short()
            deep(300)
            os._exit(serial % 7)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != serial % 7:
            sys.exit("a child ended otherwise than it said")


def main():
    """Storm."""
    serial = 0
    while time.process_time() < UNTIL:
        serial += 1
        storm(serial)
    print(f'{{"rounds": {serial}}}')


main()
