"""Calls from generators and from what runs them, in turn; each of the two callees has one caller."""

import sys
import time


def numbers():
    """Call a new function each time, which no call is specialised for."""
    number = 0
    while True:
        (lambda: 0)()
        number += 1
        yield number


def plain():
    """Be called where the frame of the other one was."""
    return 0


def loop(seconds):
    """Run the generator and call in turn."""
    end = time.thread_time() + seconds
    for number in numbers():
        plain()
        if number % 1_000 == 0 and time.thread_time() > end:
            return


def inner(seconds):
    """Return from a generator expression inside of a generator."""

    def squares():
        yield from (number * number for number in range(3))

    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(300):
            plain()
            for _ in squares():
                pass


loop(float(sys.argv[1]))
inner(float(sys.argv[1]))
print("{}")
