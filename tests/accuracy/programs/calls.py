"""Equal work inlined and behind calls, 900 frames deep, in a generator and in exec'd code; clocks are the truth."""

import json
import sys
import time

CLOCK = time.thread_time_ns
SPENT = {}


def inlined(rounds):
    """Work without a call."""
    x = 1
    for _ in range(rounds):
        for i in range(200):
            x = (x * 31 + i) % 65_537  # at: inlined


def called(rounds):
    """The same work behind a call."""
    for _ in range(rounds):
        piece(1)


def piece(x):
    """What `called` calls."""
    for i in range(200):
        x = (x * 31 + i) % 65_537  # at: called


def deep(depth, rounds):
    """Works at the bottom of a recursion."""
    if depth:
        return deep(depth - 1, rounds)
    x = 1
    for _ in range(rounds):
        for i in range(200):
            x = (x * 31 + i) % 65_537  # at: deep
    return x


def numbers(count):
    """Yields what it computes."""
    x = 1
    for i in range(count):
        x = (x * 31 + i) % 65_537 + (x * 37 + i) % 65_539  # at: yields
        yield x


def generator(rounds):
    """Runs a generator."""
    for _ in range(rounds):
        for _ in numbers(200):
            pass


TEXT = compile(
    "x = 1\nfor _ in range(rounds):\n    for i in range(200):\n        x = (x * 31 + i) % 65_537\n",
    "<text>",
    "exec",
)


def executed(rounds):
    """Runs code from a text."""
    exec(TEXT, {"rounds": rounds})


def squares(rounds):
    """A comprehension."""
    for _ in range(rounds):
        [i * i * i % 7 for i in range(200)]  # at: comprehension


def main(until):
    """Takes turns, so that a noisy machine treats all alike."""
    works = [
        ("inlined", inlined, ()),
        ("called", called, ()),
        ("deep", deep, (900,)),
        ("generator", generator, ()),
        ("executed", executed, ()),
        ("squares", squares, ()),
    ]
    sys.setrecursionlimit(2000)
    while time.process_time() < until:
        for name, work, words in works:
            before = CLOCK()
            work(*words, 20)
            SPENT[name] = SPENT.get(name, 0) + CLOCK() - before
    print(json.dumps(SPENT))


main(time.process_time() + float(sys.argv[1]))
