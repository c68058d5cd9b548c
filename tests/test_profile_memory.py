"""Increment is what the line allocated less what it freed on its thread, to the byte."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rscalene._rscalene import LineOutcome
from rscalene.lines import Options, decorate

Watch = Callable[..., tuple[Any, dict[int, int], LineOutcome]]


def watch(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[int], LineOutcome]:
    """Call ``function`` twice, watched (the first call fills caches); return its value, its increments, its outcome."""
    outcomes: list[LineOutcome] = []
    watched = decorate(function, Options(), outcomes.append)
    # Garbage of other tests must not be collected on a line of this one; the first call fills the freelists again.
    gc.collect()
    gc.disable()
    try:
        watched(*arguments)
        value = watched(*arguments)
    finally:
        gc.enable()
    outcome = outcomes[-1]
    rows = [0] * outcome.lines
    for line, _, _, _, increment, _, _ in outcome.rows():
        rows[line - outcome.first_line] = increment
    return value, rows, outcome


def bytes_objects() -> tuple[bytes, str, bytes]:
    a = bytes(1009)
    b = "x" * 5_000_011
    c = bytes(101) + bytes(503)
    return a, b, c


def test_bytes_and_strings_count_by_their_own_size() -> None:
    (a, b, c), rows, _ = watch(bytes_objects)
    assert rows == [0, sys.getsizeof(a), sys.getsizeof(b), sys.getsizeof(c), 0]


def buffers() -> None:
    a = bytearray(64_000_031)
    b = [None] * 100_003
    del a
    del b


def test_a_deleted_buffer_returns_its_bytes() -> None:
    _, rows, _ = watch(buffers)
    assert rows[1] == sys.getsizeof(bytearray(64_000_031))
    assert rows[1] + rows[3] == 0
    assert rows[2] + rows[4] == 0
    assert abs(rows[2] - 100_003 * 8) <= 56  # the list object itself may come from a freelist


def mappings() -> None:
    mapped = mmap.mmap(-1, 3_000_017)
    mapped.close()


def test_an_anonymous_mapping_counts_by_its_length() -> None:
    _, rows, _ = watch(mappings)
    assert 0 <= rows[1] - 3_000_017 < 500  # the mmap object
    assert rows[2] == -3_000_017


def comprehension() -> list[bytes]:
    return [bytes(97) for _ in range(211)]


def test_a_comprehension_is_charged_to_its_line() -> None:
    value, rows, _ = watch(comprehension)
    # The list grows by reallocation; its object may come from a freelist.
    truth = sum(map(sys.getsizeof, value)) + sys.getsizeof(value)
    assert truth - 64 <= rows[1] <= truth + 16


def dictionary() -> dict[int, None]:
    d: dict[int, None] = {}
    for i in range(200):
        d[i] = None
    return d


def test_growth_of_a_dictionary_is_charged_to_the_line_that_stores() -> None:
    value, rows, _ = watch(dictionary)
    assert sys.getsizeof(value) - 100 <= rows[3] <= sys.getsizeof(value) + 16
    assert rows[4] == 0


def temporaries() -> int:
    n = len(bytes(30_000_001) + bytes(7))
    return n


def test_a_temporary_leaves_no_increment_but_a_peak() -> None:
    _, rows, outcome = watch(temporaries)
    assert rows[1] <= 32
    assert outcome.rows()[1][6] >= 2 * 30_000_001


def through_ctypes() -> None:
    import ctypes

    lib = ctypes.CDLL(None)
    lib.malloc.restype = ctypes.c_void_p
    lib.free.argtypes = [ctypes.c_void_p]
    block = lib.malloc(1_234_577)
    lib.free(block)


def test_malloc_reached_by_name_is_counted() -> None:
    _, rows, _ = watch(through_ctypes)
    assert rows[6] - 1_234_577 in range(65)  # and the int that holds the address
    assert rows[7] + 1_234_577 in range(-64, 65)


def raising() -> bytes:
    kept = bytes(3_001)
    try:
        raise ValueError
    except ValueError:
        more = bytes(4_001)
    return kept + more


def test_an_exception_that_is_caught_changes_nothing_else() -> None:
    _, rows, _ = watch(raising)
    assert rows[1] == 3_001 + 33
    # The exception comes on the line that raises and goes on the last one of its handler.
    # What stays until the function ends is the frame object that its traceback asked for.
    assert 0 <= sum(rows[2:6]) - (4_001 + 33) < 512


def test_an_exception_that_is_caught_costs_the_same_every_time() -> None:
    seen = {tuple(watch(raising)[1]) for _ in range(50)}
    assert len(seen) == 1, seen


def returns_nothing() -> None:
    a = None
    return a


outcomes_inside: list[LineOutcome] = []
watched_inside = decorate(returns_nothing, Options(), outcomes_inside.append)


def calls_watched() -> None:
    watched_inside()
    watched_inside()


def test_a_watched_function_that_is_called_adds_nothing_of_the_profilers_own() -> None:
    outcomes_inside.clear()
    _, rows, _ = watch(calls_watched)
    assert rows == [0, 0, 0]
    assert [[row[4] for row in outcome.rows()] for outcome in outcomes_inside[-2:]] == [[0, 0, 0]] * 2


def steps() -> Iterator[bytes]:
    kept = []
    for size in (1_009, 2_003):
        kept.append(bytes(size))
        yield kept[-1]


def consumer() -> int:
    total = 0
    for item in steps():
        total += len(item)
    return total


def test_a_generator_is_charged_for_its_own_steps_alone() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(steps, Options(), outcomes.append)
    for _ in range(2):
        for _ in watched():
            bytearray(50_021)
    by_line = {row[0] - outcomes[-1].first_line: row for row in outcomes[-1].rows()}
    # The list of two pointers grows once, to four; it is freed with the generator.
    assert by_line[3][4] == 1_009 + 33 + 2_003 + 33 + 4 * 8
    assert by_line[3][1] == 2


def recursive(depth: int) -> bytes:
    block = bytes(depth + 1_000)
    if depth:
        recursive_watched(depth - 1)
    return block


outcomes_of_recursion: list[LineOutcome] = []
recursive_watched = decorate(recursive, Options(), outcomes_of_recursion.append)


def test_recursion_gives_one_table_whose_rows_sum_to_the_change() -> None:
    recursive_watched(3)
    recursive_watched(3)
    assert len(outcomes_of_recursion) == 2
    rows = {row[0] - outcomes_of_recursion[1].first_line: row for row in outcomes_of_recursion[1].rows()}
    sizes = [depth + 1_000 + 33 for depth in (3, 2, 1, 0)]
    assert rows[1][1] == 4
    assert rows[1][4] == sum(sizes)
    assert rows[3][4] == -sum(sizes[1:])
    assert sum(row[4] for row in rows.values()) == sizes[0]


def test_increments_sum_to_the_change_of_usage() -> None:
    _, rows, outcome = watch(bytes_objects)
    last = outcome.rows()[-1]
    assert last[5] - outcome.base_bytes == sum(rows)


def test_other_threads_change_nothing() -> None:
    stop = threading.Event()

    def allocate() -> None:
        kept: list[Any] = []
        while not stop.is_set():
            kept.append([bytes(n) for n in range(1, 2_000, 7)])
            if len(kept) > 5:
                kept.clear()

    threads = [threading.Thread(target=allocate) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            (a, b, c), rows, _ = watch(bytes_objects)
            assert rows == [0, sys.getsizeof(a), sys.getsizeof(b), sys.getsizeof(c), 0]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def frees_old_blocks() -> None:
    old_blocks.pop()
    old_blocks.pop()


old_blocks: list[bytes] = []


def test_a_block_older_than_the_counting_counts_as_what_its_allocator_holds() -> None:
    old_blocks.extend(bytes(size) for size in (1_000_003, 5_003, 1_000_003, 5_003))
    _, rows, _ = watch(frees_old_blocks)
    for row, size in zip(rows[1:], (5_003 + 33, 1_000_003 + 33), strict=True):
        # Rounding to 16 bytes, a rest too small for a block, and the list's array of four pointers.
        assert size <= -row <= size + 8_192 * (size > 100_000) + 96


def resident() -> mmap.mmap:
    # Mapped, since a heap may hold as much that is free and resident.
    block = mmap.mmap(-1, 12_208 * mmap.PAGESIZE)
    block[:: mmap.PAGESIZE] = b"x" * 12_208
    return block


def test_the_resident_backend_shows_what_became_resident() -> None:
    outcomes: list[LineOutcome] = []
    decorate(resident, Options(backend="rss"), outcomes.append)()
    increment = {row[0]: row[4] for row in outcomes[0].rows()}[outcomes[0].first_line + 3]
    assert increment == pytest.approx(12_208 * mmap.PAGESIZE, rel=0.05)


def test_a_program_that_closes_every_descriptor_is_still_measured(tmp_path: Path) -> None:
    program = """
import os, rscalene
from rscalene.lines import Options, decorate
def resident():
    return bytearray(b"x") * 50_000_000
grown = []
def keep(outcome):
    grown.append(next(row[4] for row in outcome.rows() if row[0] == outcome.first_line + 1))
watched = decorate(resident, Options(backend="rss"), keep)
watched()
os.closerange(3, 1024)
own = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
watched()
for descriptor in own:
    os.close(descriptor)
print(*grown)
"""
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before == pytest.approx(50_000_000, rel=0.05)
    assert after == pytest.approx(50_000_000, rel=0.05)


def million() -> int:
    total = 0
    for i in range(400_000):
        total += i & 3
    return total


def test_a_million_line_events_hold_memory_constant() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(million, Options(), outcomes.append)
    watched()
    assert sum(row[1] for row in outcomes[0].rows()) > 800_000
    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1])
    watched()
    with open("/proc/self/statm") as file:
        assert int(file.read().split()[1]) - before < 512  # pages: 2 MiB
