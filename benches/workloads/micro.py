"""Small programs that are bound by one thing each: ``micro.py NAME``."""

import json
import re
import sys

import pyperf


def fib(n):
    """Recursion: calls and nothing else."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def recursion():
    """Run some 1.6 million calls."""
    fib(29)


def containers():
    """Make and drop lists, tuples, dicts and strings."""
    for turn in range(60_000):
        row = [turn, turn + 1, str(turn)]
        row = {"key": row, "other": (turn, row), turn: [row] * 8}


def comprehensions():
    """Large lists of small objects, kept for a moment."""
    for _ in range(12):
        rows = [(number, number * 0.5) for number in range(100_000)]
        dict(rows)


def buffers():
    """Blocks beyond the small-object allocator."""
    for size in range(1_000, 61_000):
        bytearray(size)


def documents():
    """Parse and write JSON."""
    text = json.dumps([{"id": number, "name": f"n{number}", "tags": ["a", "b"]} for number in range(2_000)])
    for _ in range(25):
        json.dumps(json.loads(text))


def matches():
    """Run the regular expression engine."""
    text = "name=value; other=thing; " * 400
    for _ in range(60):
        re.findall(r"(\w+)=(\w+)", text)


def nothing():
    """Run nothing: start and end."""


if __name__ == "__main__":
    name = sys.argv.pop(1)
    pyperf.Runner().bench_func(name, globals()[name])
