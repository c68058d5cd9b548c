"""What Python code keeps, by line; with a word behind it, says what tracemalloc makes of it."""

import json
import sys
import tracemalloc

KEPT = [None] * 24
TEXT = json.dumps([{"name": str(i), "numbers": [i + 1000, i * 1.5], "more": None} for i in range(300)])


class Point:
    """Has a dictionary of its own."""

    def __init__(self, x):
        self.x = x
        self.y = x


class Slots:
    """Has none."""

    __slots__ = ("x",)


def grow():
    """A list that grows."""
    grown = []
    for _ in range(5000):
        grown.append(None)  # at: append
    return grown


def generate():
    """A generator that holds a block while it is suspended."""
    block = bytearray(5_000_011)  # at: generator
    yield len(block)


def table():
    """A dictionary that grows."""
    known = {}
    for i in range(3000):
        known[i] = None  # at: growth
    return known


def keep(drained):
    """Allocates; `drained` holds what empties the interpreter's free lists."""
    KEPT[0] = bytes(10_007)  # at: string
    KEPT[1] = bytes(101)  # at: short
    KEPT[2] = [None] * 1013  # at: list
    KEPT[3] = bytearray(300_007)  # at: large
    KEPT[4] = dict.fromkeys(range(2000))  # at: dict
    KEPT[5] = [1_000_000 + i for i in range(50_000)]  # at: ints
    KEPT[6] = [i * 1.5 for i in range(1000)]  # at: floats
    KEPT[7] = [(i, None) for i in range(1000)]  # at: tuples
    KEPT[8] = {i + 1 for i in range(1000)}  # at: set
    KEPT[9] = "x" * 50_000 + "\u20ac"  # at: text
    KEPT[10] = [Slots() for _ in range(1000)]  # at: slots
    KEPT[11] = [[] for _ in range(2000)]  # at: lists
    KEPT[12] = grow()
    KEPT[13] = generate()
    next(KEPT[13])
    KEPT[14] = table()
    KEPT[15] = 7**20_000  # at: number
    KEPT[16] = [bytes(n) for n in range(1, 600)]  # at: sizes
    KEPT[17] = memoryview(bytes(9001))  # at: view
    KEPT[18] = bytes(5003) + bytes(5003)  # at: sum
    KEPT[19] = bytearray(7001) * 11  # at: times
    KEPT[20] = [frozenset((i,)) for i in range(500)]  # at: frozen
    return drained


def truth():
    """What each line keeps."""
    tracemalloc.start()
    keep(drained())
    taken = tracemalloc.take_snapshot()
    tracemalloc.stop()
    with open(__file__) as source:
        marks = {number: text.split("# at: ")[1].strip() for number, text in enumerate(source, 1) if "  # at: " in text}
    frames = ((stat.traceback[0], stat.size) for stat in taken.statistics("lineno"))
    sizes = {marks.get(frame.lineno): size for frame, size in frames if frame.filename == __file__}
    return {mark: size for mark, size in sizes.items() if mark}


def drained():
    """Objects of the kinds that free lists hold, enough to empty them."""
    return [[i + 2_000_000, i + 0.5, (i,), (i, i), [i], {i: i}] for i in range(300)]


if len(sys.argv) > 1:
    print(json.dumps(truth()))
else:
    KEEP = keep(drained())
