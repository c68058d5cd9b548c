"""Who keeps memory, and who owns the peak: programs whose truth follows from their text.

A line's comment says what it must show: ``alloc``, ``live``, ``peak`` and ``free`` in bytes, each to a thousandth (and
three printed standard errors, for the small objects beside the blocks).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compiled import compiled

KEYS = {"alloc": "alloc_bytes", "live": "live_bytes", "peak": "peak_bytes", "free": "free_bytes"}
EXPECTED = re.compile(r"# expect:((?: \w+=[\d_+*]+)+)$")

INTERVAL = 65_536
"""Bytes that a sampled small object stands for, at least."""


def hold(measure: Any, text: str, *words: str, **options: Any) -> Any:
    """Run a program and hold its lines to what their comments say."""
    marked = "\n".join(
        f"{row}  # at: line{number}" if EXPECTED.search(row) else row for number, row in enumerate(text.split("\n"), 1)
    )
    run = measure(marked, *words, **options)
    wrong = {}
    for number, row in enumerate(text.split("\n"), 1):
        expected = EXPECTED.search(row)
        for word in expected[1].split() if expected else ():
            name, value = word.split("=")
            line, truth = run.line(f"line{number}"), eval(value)
            # What a line frees has no printed error: one sampled small object more or less stands for an interval.
            error = line.bytes(f"{KEYS[name]}_se") if name != "free" else INTERVAL + line.bytes("alloc_bytes_se")
            if abs(line.bytes(KEYS[name]) - truth) > 0.001 * truth + 3 * error + 4096:
                wrong[row.strip()] = (name, line.bytes(KEYS[name]), truth, error)
    assert not wrong
    assert run.profile["totals"]["lost_records"] == 0
    return run


def test_two_blocks_that_live_together_own_the_peak_and_one_that_went_before_does_not(measure: Any) -> None:
    hold(
        measure,
        """
def together():
    a = bytearray(31_000_003)  # expect: alloc=31_000_003 live=0 peak=31_000_003
    b = bytearray(29_000_017)  # expect: alloc=29_000_017 live=0 peak=29_000_017
    del a, b  # expect: free=60_000_020
def apart():
    a = bytearray(41_000_011)  # expect: alloc=2*41_000_011 live=0 peak=0
    del a  # expect: free=2*41_000_011
    b = bytearray(37_000_003)  # expect: alloc=2*37_000_003 live=0 peak=0
apart()
together()
apart()
""",
    )


def test_recursion_that_holds_and_drops_blocks_owns_the_peak_at_its_deepest(measure: Any) -> None:
    hold(
        measure,
        """
def held(depth):
    block = bytearray(1_000_003)  # expect: alloc=12*1_000_003 live=0 peak=12*1_000_003
    return depth and held(depth - 1)
def dropped(depth):
    block = bytearray(2_000_003)  # expect: alloc=12*2_000_003 live=0 peak=0
    del block  # expect: free=12*2_000_003
    return depth and dropped(depth - 1)
held(11)
dropped(11)
""",
    )


def test_a_line_on_two_paths_is_one_line_and_its_callers_share_it(measure: Any) -> None:
    run = hold(
        measure,
        """
KEPT = []
def make(size):
    KEPT.append(bytearray(size))  # expect: alloc=7_000_003+3_000_017 live=7_000_003+3_000_017
def much():
    make(7_000_003)
def little():
    make(3_000_017)
much()
little()
""",
    )
    functions = {each["name"]: each["cumulative"]["alloc_bytes"] for each in run.profile["files"][0]["functions"]}
    assert functions["much"] == pytest.approx(7_000_003, rel=0.05)
    assert functions["little"] == pytest.approx(3_000_017, rel=0.05)


def test_temporaries_are_freed_by_the_next_ones_and_keep_nothing(measure: Any) -> None:
    hold(
        measure,
        """
a = bytes(5_000_011)  # expect: alloc=5_000_011 live=5_000_011
b = a + a + a + a  # expect: alloc=45_000_099 free=25_000_055 live=0
b = None  # expect: free=20_000_044
for _ in range(40): a + a  # expect: alloc=400_000_880 live=0
""",
    )


def test_a_leak_in_one_branch_is_not_the_other_ones(measure: Any) -> None:
    hold(
        measure,
        """
KEPT = []
for number in range(60):
    if number % 3:
        block = bytearray(600_011)  # expect: alloc=40*600_011 live=0
    else:
        KEPT.append(bytearray(700_001))  # expect: alloc=20*700_001 live=20*700_001
    block = None
""",
    )


def test_a_cycle_is_freed_by_whoever_collects_it_and_credited_to_whoever_made_it(measure: Any) -> None:
    hold(
        measure,
        """
import gc
gc.disable()
class Node:
    pass
def make():
    node = Node()
    node.block = bytearray(11_000_027)  # expect: alloc=5*11_000_027 free=0 live=0 peak=5*11_000_027
    node.me = node
for _ in range(5):
    make()
gc.collect()  # expect: free=5*11_000_027
""",
    )


def test_a_suspended_generator_keeps_what_it_holds(measure: Any) -> None:
    hold(
        measure,
        """
def generate():
    block = bytearray(50_000_017)  # expect: alloc=50_000_017 live=50_000_017 peak=50_000_017
    yield len(block)
kept = generate()
next(kept)
gone = [bytearray(1_000_003) for _ in range(20)]  # expect: alloc=20*1_000_003 live=0 peak=20*1_000_003
gone = None
""",
    )


def test_classes_and_imports_belong_to_their_lines(measure: Any, tmp_path: Path) -> None:
    # An import may also make one of the interpreter's own tables grow: its block is much larger than those.
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "heavy.py").write_text("BLOCK = bytearray(900_000_011)\ndef make():\n    return bytearray(4_000_037)\n")
    hold(
        measure,
        f"""
import sys
sys.path.append({str(folder)!r})
import heavy  # expect: live=900_000_011
class Big:  # a class that holds a block
    block = bytearray(6_000_101)  # expect: alloc=6_000_101 live=6_000_101
kept = heavy.make()  # expect: alloc=4_000_037 live=4_000_037
""",
    )


def test_a_killed_program_keeps_its_capture(measure: Any) -> None:
    text = """
import ctypes, os, sys
class Late:
    def __del__(self):
        self.more = [0] * 500_000
late = Late()
KEPT = bytearray(3_000_017)  # expect: alloc=3_000_017 live=3_000_017
def leave(how):
    mine = bytearray(2_000_003)  # expect: alloc=2_000_003 live=2_000_003
    if how == "raise": raise SystemExit
    if how == "exit": ctypes.CDLL(None).exit(0)
    if how == "quick": ctypes.CDLL(None).quick_exit(0)
    if how == "_exit": os._exit(0)
    if how == "exec": os.execv("/bin/true", ["true"])
leave(sys.argv[1])
"""
    for how in ("exit", "quick", "_exit", "exec"):
        hold(measure, text, how)
    # An exception unwinds the function before the interpreter is torn down.
    hold(measure, text.replace("live=2_000_003", "live=0"), "raise")


def test_a_killed_program_keeps_its_figures(rscalene: Any, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nkept = bytearray(300_000_017)\nos.abort()\n")
    rscalene("run", "-q", "-o", "out.json", "app.py")
    lines = json.loads((tmp_path / "out.json").read_text())["files"][0]["lines"]
    kept = next(row["live_bytes"] for row in lines if row["line"] == 2)
    assert kept == pytest.approx(300_000_017, rel=0.001)


def test_every_thread_credits_its_own_line_and_frees_count_wherever_they_happen(measure: Any) -> None:
    library = compiled(Path(__file__).parent / "programs" / "native.c")
    run = hold(
        measure,
        f"""
import ctypes, threading, queue
native = ctypes.CDLL({str(library)!r})
native.threads.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
native.way_malloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
native.free_kept.argtypes = (ctypes.c_size_t,)
blocks = queue.Queue()
def produce():
    for _ in range(20):
        blocks.put(bytearray(900_001))  # expect: alloc=20*900_001 live=0
    blocks.put(None)
def consume():
    while blocks.get():  # expect: free=20*900_001
        pass
workers = [threading.Thread(target=work) for work in (produce, consume)]
for worker in workers: worker.start()
for worker in workers: worker.join()
native.way_malloc(1_000_003, 8)  # expect: alloc=8*1_000_003 live=0
native.free_kept(0)  # expect: free=8*1_000_003
native.threads(300_007, 100)  # nobody's: no Python runs in those threads
called = ctypes.CFUNCTYPE(None)
kept = []
def back():
    kept.append(bytearray(5_000_011))  # expect: alloc=5_000_011 live=5_000_011
native.call_back(called(back))
""",
    )
    outside = run.profile["totals"]["outside_scope_memory"]
    assert outside["live_bytes"] == pytest.approx(100 * 100 * 300_007, rel=0.001)


def test_unreferenced_objects_die_as_without_rscalene(alike: Callable[..., dict[str, Any]]) -> None:
    alike("""
import gc, weakref
class Thing:
    def __init__(self, name):
        self.name, self.block = name, bytearray(500_009)
    def __del__(self):
        print("del", self.name)
def work():
    thing = Thing("local")
    weakref.finalize(thing, print, "finalized")
    return weakref.ref(thing)
for _ in range(3):
    print(work()())
cycle = Thing("cycle")
cycle.me = cycle
seen = weakref.WeakSet([cycle])
del cycle
print(len(seen), gc.collect() > 0, len(seen))
last = Thing("last")
""")


def test_an_allocation_that_fails_fails_as_it_would_without_us(alike: Callable[..., dict[str, Any]]) -> None:
    alike("""
import ctypes, resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for size in (1 << 40, 1 << 62):
    try:
        bytearray(size)
    except MemoryError as error:
        print("MemoryError", error)
block = bytearray(b"x") * 1_000_003
try:
    block.extend(bytes(700 << 20))
except MemoryError:
    print(len(block), block[0], block[-1])
libc = ctypes.CDLL(None, use_errno=True)
libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.realloc.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p, ctypes.c_size_t)
libc.malloc_usable_size.argtypes = (ctypes.c_void_p,)
place = libc.malloc(100_003)
print(libc.realloc(place, 1 << 60), ctypes.get_errno(), libc.malloc_usable_size(place) >= 100_003)
print([0 <= libc.malloc_usable_size(libc.malloc(size)) - size < 64 for size in (1, 24, 25, 1000, 100_000)])
""")
