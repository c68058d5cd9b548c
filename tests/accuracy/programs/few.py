"""Blocks that are kept, each by its own line; with a word behind it, says what tracemalloc makes of them."""

import json
import sys
import tracemalloc

KEPT = [None] * 6


def keep():
    """Allocates."""
    KEPT[0] = bytes(10_007)  # at: string
    KEPT[1] = bytes(101)  # at: short
    KEPT[2] = [None] * 1013  # at: list
    KEPT[3] = bytearray(300_007)  # at: large
    KEPT[4] = dict.fromkeys(range(2000))  # at: dict


def truth():
    """What each line keeps."""
    tracemalloc.start()
    keep()
    taken = tracemalloc.take_snapshot()
    tracemalloc.stop()
    with open(__file__) as source:
        marks = {number: text.split("# at: ")[1].strip() for number, text in enumerate(source, 1) if "  # at: " in text}
    frames = ((stat.traceback[0], stat.size) for stat in taken.statistics("lineno"))
    sizes = {marks.get(frame.lineno): size for frame, size in frames if frame.filename == __file__}
    return {mark: size for mark, size in sizes.items() if mark}


if len(sys.argv) > 1:
    print(json.dumps(truth()))
else:
    keep()
