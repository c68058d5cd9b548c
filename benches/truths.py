"""What the programs of ``tests/accuracy/programs`` truly do: marks of lines (``# at: NAME``) and their figures.

CPU truths come from the programs' own clocks, which they print as one JSON object; bytes stand in their source.
"""

from __future__ import annotations

import re

from contenders import ROOT

PROGRAMS = ROOT / "tests" / "accuracy" / "programs"

EQUAL = tuple(f"s{number}" for number in range(1, 9))
"""Marks of straight.py: lines of equal work."""

KINDS = {
    "pure": ("python", "python"),
    "sorts": ("sorted", "native"),
    "sums": ("sum", "native"),
    "dumps": ("json", "native"),
    "compresses": ("zlib", "native"),
    "hashes": ("hashlib", "native"),
    "reads": ("urandom", "system"),
}
"""Clock of kinds.py -> its line's mark, its kind."""

CALLS = ("inlined", "called")
"""Functions of calls.py that do equal work, in one the work lies behind a call; clocks of these names."""

THREADS = {"pure": "pure", "native": "native", "writes": "write"}
"""Clock of a thread of threads.py -> its line's mark; a fourth thread sleeps."""

PROCESSES = {"parent": "parent", "forked": "forked", "spawned": "spawned"}
"""Clock of a process of processes.py -> its line's mark."""

LATE = {"call": "call", "pure": "pure"}
"""Clock of late.py -> its line's mark."""

ALLOCATED = {
    "pair900": 300 * 900_001,
    "pair200": 300 * 200_003,
    "churn": 400 * 1_048_573,
    "keeps20k": 400 * 20_011,
    "leaks": 25 * 1_048_549,
    "frees": 25 * 1_048_571,
    "thread": 100 * 901_775,
    "malloc": 3_000_017,
    "mremap": 12_582_912,
    "produces": 50 * 524_309,
}
"""Marks of blocks.py -> bytes that the line allocates in all."""

PEAK = {
    "peak": 150_000_001,
    "leaks": 25 * 1_048_549,
    "thread": 100 * 901_775,
    "malloc": 3_000_017,
    "keeps20k": 400 * 20_011,
    "realloc": 8_000_009,
    "anonymous": 6_291_456,
}
"""Marks of blocks.py -> bytes of the line that live at the process' peak."""

KEPT = {
    "leaks": 25 * 1_048_549,
    "keeps20k": 400 * 20_011,
    "thread": 100 * 901_775,
    "malloc": 3_000_017,
    "anonymous": 6_291_456,
}
"""Marks of blocks.py -> bytes of the line that live at the end."""

COPIED = {
    "bytearray": 40 * 256 * 65_537,
    "slice": 40 * 256 * 65_537,
    "memmove": 40 * 256 * 65_537,
    "pieces": 40 * 20 * 1_000_003,
}
"""Marks of copies.py -> bytes that the line copies."""


def marks(program: str) -> dict[str, int]:
    """Return mark -> line number."""
    rows = enumerate((PROGRAMS / program).read_text().splitlines(), 1)
    return {match[1]: number for number, text in rows if (match := re.search(r"# at: (\w+)$", text))}
