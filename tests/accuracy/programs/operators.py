"""Operators: long ones, whose time is that of C functions, and short ones, whose time is the interpreter's.

Usage: operators.py SECONDS NAME...: each of these functions for this many CPU seconds. `_long` and `_short` in a name
are the truth: the operation of a long one takes 2 µs or more, that of a short one at most 0.1 µs.
"""
# ruff: noqa: B015, B018, RUF059, UP031

import sys
import time

BIG = 7**6000
OTHER = 3**11000
XS = list(range(100_000))
YS = list(range(100_000))
TEXT = "some text " * 20_000
LEFT, RIGHT = set(range(60_000)), set(range(30_000, 90_000))
TABLE = dict.fromkeys(range(50_000))


class Point:
    """Has an attribute."""

    def __init__(self):
        self.x = 1


def multiply_long():
    for _ in range(10):
        BIG * OTHER  # at: multiply_long


def divide_long():
    few_digits = 10**300
    for _ in range(10):
        BIG // few_digits  # at: divide_long


def join_long():
    for _ in range(10):
        XS + YS  # at: join_long


def search_long():
    for _ in range(10):
        -1 in XS  # at: search_long


def equal_long():
    for _ in range(10):
        XS == YS  # at: equal_long


def union_long():
    for _ in range(3):
        LEFT | RIGHT  # at: union_long


def unpack_long():
    for _ in range(10):
        [*XS]  # at: unpack_long


def format_long():
    for _ in range(10):
        "%0100000d" % 7  # at: format_long


def delete_long():
    for _ in range(3):
        pairs = list(zip(XS))
        del pairs  # at: delete_long


def slice_long():
    for _ in range(10):
        XS[1:]  # at: slice_long


def compare_long():
    left, right = TEXT + "a", TEXT + "b"
    for _ in range(100):
        left == right  # at: compare_long


def merge_long():
    for _ in range(3):
        TABLE | TABLE  # at: merge_long


def add_short():
    a, b = 5, 7
    for _ in range(10_000):
        a + b  # at: add_short


def float_short():
    a, b = 5.5, 7.5
    for _ in range(10_000):
        a * b  # at: float_short


def bits_short():
    a, b = 5, 9
    for _ in range(10_000):
        a | b  # at: bits_short


def item_short():
    d, k = {"a": 1, "b": 2}, "b"
    for _ in range(10_000):
        d[k]  # at: item_short


def index_short():
    xs, i = [1, 2, 3], 1
    for _ in range(10_000):
        xs[i]  # at: index_short


def attribute_short():
    point = Point()
    for _ in range(10_000):
        point.x = point.x  # at: attribute_short


def text_short():
    a, b = "ab", "cd"
    for _ in range(10_000):
        a + b  # at: text_short


def search_short():
    few, x = (1, 2, 3), 3
    for _ in range(10_000):
        x in few  # at: search_short


def build_short():
    a, b = 1, 2
    for _ in range(10_000):
        [a, b]  # at: build_short


def compare_short():
    a, b = 5, 7
    for _ in range(10_000):
        a < b  # at: compare_short


def slice_short():
    xs = [1, 2, 3, 4]
    for _ in range(10_000):
        xs[1:3]  # at: slice_short


def store_short():
    d, k = {"a": 1}, "a"
    for _ in range(10_000):
        d[k] = k  # at: store_short


def unpack_short():
    pair = [1, 2]
    for _ in range(10_000):
        a, _ = pair  # at: unpack_short


def divide_short():
    a, b = 1234, 7
    for _ in range(10_000):
        a // b  # at: divide_short


def numpy_long():
    import numpy

    a = numpy.ones(20_000)
    for _ in range(100):
        a * a + a  # at: numpy_long


seconds = float(sys.argv[1])
for name in sys.argv[2:]:
    until = time.process_time() + seconds
    while time.process_time() < until:
        globals()[name]()
print("{}")
