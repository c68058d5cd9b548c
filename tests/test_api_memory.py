"""``Profiler(memory=True)``: bytes by line without any preload, and nothing of it left after the stop."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import mmap
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rscalene import Profiler, profile

KEPT: list[object] = []


def lines_of(profiler: Profiler) -> dict[str, dict[str, Any]]:
    """Return the lines of this file by their source, without blanks around it and comments behind it."""
    data = json.loads(profiler.output_json())
    return {
        line["source"].split("#")[0].strip(): line
        for file in data["files"]
        if file["path"] == __file__
        for line in file["lines"]
    }


def totals_of(profiler: Profiler) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(profiler.output_json())
    return {**data["totals"], "notices": data["notices"], "timeline": data["timeline"]}


def deviation(line: dict[str, Any], truth: float) -> float:
    """Return how far live bytes are off, in standard errors of an estimate that is right.

    The printed error comes with the estimate: one that is too low promises too much. Roots of counts do not.
    """
    live, error = float(line["live_bytes"]), float(line["live_bytes_se"])
    return 2 * (math.sqrt(live) - math.sqrt(truth)) * math.sqrt(live) / error


def is_about(line: dict[str, Any], truth: float, key: str = "live_bytes") -> bool:
    """Hold a figure to 0.1 % and four of its own standard errors: small objects on the same line are estimated."""
    return abs(float(line[key]) - truth) < 0.001 * truth + 4 * float(line[f"{key}_se"])


@pytest.fixture(autouse=True)
def _nothing_kept() -> Any:
    yield
    KEPT.clear()


def test_large_blocks_are_exact() -> None:
    with Profiler() as profiler:
        KEPT.append(bytearray(64_000_031))
        for _ in range(20):
            bytes(1_000_003)
    lines = lines_of(profiler)
    kept = lines["KEPT.append(bytearray(64_000_031))"]
    assert is_about(kept, 64_000_031, "alloc_bytes")
    assert is_about(kept, 64_000_031)
    assert kept["peak_bytes"] == pytest.approx(64_000_031, rel=0.001)
    passing = lines["bytes(1_000_003)"]
    assert is_about(passing, 20 * 1_000_003, "alloc_bytes")
    assert passing["free_bytes"] == pytest.approx(20 * 1_000_003, rel=0.001)
    assert passing["live_bytes"] == 0
    assert passing["python_alloc_bytes"] == passing["alloc_bytes"]


def test_small_objects_are_estimated_within_their_standard_error() -> None:
    deviations = []
    for _ in range(6):
        with Profiler() as profiler:
            objects = [bytes(467) for _ in range(40_009)]  # 500 bytes each, with their heads
        line = lines_of(profiler)["objects = [bytes(467) for _ in range(40_009)]"]
        truth = 40_009 * 500 + sys.getsizeof(objects)
        assert 0 < line["live_bytes_se"] < 0.2 * truth
        assert line["alloc_bytes"] >= line["live_bytes"]
        assert line["python_alloc_bytes"] > 0.5 * line["alloc_bytes"]
        deviations.append(deviation(line, truth))
    # Six from the standard normal distribution: each of these bounds is missed once in a million times by chance.
    assert abs(sum(deviations)) / math.sqrt(6) < 5, deviations
    assert sum(each * each for each in deviations) < 39, deviations


def test_unmeasured_figures_are_unknown_and_not_zero() -> None:
    with Profiler() as profiler:
        KEPT.append(bytearray(1_000_003))
    with Profiler(memory=False) as without:
        KEPT.append(bytearray(1_000_003))
    assert totals_of(profiler)["copy_bytes"] is None
    assert totals_of(without)["alloc_bytes"] is None
    assert totals_of(without)["timeline"] == {"rss": [], "live": []}


def test_older_blocks_freed_inside_count_for_no_line() -> None:
    old: list[object] = [bytearray(50_000_017), [str(number) for number in range(50_000)]]
    with Profiler() as profiler:
        old.clear()
        new = bytearray(2_000_003)
        del new
    totals = totals_of(profiler)
    assert totals["free_bytes"] == pytest.approx(2_000_003, rel=0.2)
    assert totals["live_bytes"] < 1_000_000
    assert lines_of(profiler).get("old.clear()", {"increment_bytes": 0})["increment_bytes"] > -1_000_000


def test_the_timeline_follows_what_is_live() -> None:
    with Profiler() as profiler:
        block = bytearray(30_000_001)
        del block
    timeline = totals_of(profiler)["timeline"]
    live = [value for _, value in timeline["live"]]
    assert max(live) == pytest.approx(30_000_001, rel=0.05)
    assert live[-1] < 1_000_000
    assert timeline["rss"]
    assert totals_of(profiler)["tracked_peak_bytes"] == pytest.approx(30_000_001, rel=0.05)


def test_mappings_and_foreign_calls_are_seen() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    with Profiler() as profiler:
        mapped = mmap.mmap(-1, 5_000_003)
        block = libc.malloc(700_001)
    libc.free(block)
    mapped.close()
    lines = lines_of(profiler)
    assert is_about(lines["mapped = mmap.mmap(-1, 5_000_003)"], 5_000_003)
    # A name looked up before the start leads to the real function for good.
    assert lines.get("block = libc.malloc(700_001)", {"alloc_bytes": 0})["alloc_bytes"] < 800_000


def test_all_threads_are_seen_without_the_gil_too() -> None:
    def work() -> None:
        for _ in range(10):
            KEPT.append(bytearray(1_000_003))

    with Profiler() as profiler:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    line = lines_of(profiler)["KEPT.append(bytearray(1_000_003))"]
    assert is_about(line, 40 * 1_000_003)


def test_profilers_nest_and_each_sees_its_own_time() -> None:
    outer, inner = Profiler(), Profiler()
    with outer:
        KEPT.append(bytearray(3_000_017))
        with inner:
            KEPT.append(bytearray(5_000_011))
        KEPT.append(bytearray(7_000_003))
    assert is_about(totals_of(outer), 15_000_031)
    assert is_about(totals_of(inner), 5_000_011)
    assert "KEPT.append(bytearray(5_000_011))" in lines_of(inner)


def test_overlapping_profilers_do_not_stop_each_other() -> None:
    first, second = Profiler().start(), Profiler()
    KEPT.append(bytearray(3_000_017))
    second.start()
    KEPT.append(bytearray(5_000_011))
    first.stop()
    KEPT.append(bytearray(7_000_003))
    second.stop()
    assert is_about(totals_of(first), 8_000_028)
    assert is_about(totals_of(second), 12_000_014)


def test_a_pause_leaves_out_what_is_allocated_in_it() -> None:
    profiler = Profiler().start()
    KEPT.append(bytearray(3_000_017))
    profiler.pause()
    KEPT.append(bytearray(5_000_011))
    profiler.resume()
    KEPT.append(bytearray(7_000_003))
    profiler.stop()
    lines = lines_of(profiler)
    # A look that was under way may still give it time.
    assert not lines.get("KEPT.append(bytearray(5_000_011))", {}).get("alloc_bytes")
    assert is_about(lines["KEPT.append(bytearray(3_000_017))"], 3_000_017)
    assert is_about(lines["KEPT.append(bytearray(7_000_003))"], 7_000_003)


def allocators() -> list[list[int | None]]:
    """Return context and functions of the interpreter's three domains, and of its arenas."""
    found = []
    for domain in range(4):
        allocator = (ctypes.c_void_p * 5)()
        if domain < 3:
            ctypes.pythonapi.PyMem_GetAllocator(domain, allocator)
        else:
            ctypes.pythonapi.PyObject_GetArenaAllocator(allocator)
        found.append(list(allocator))
    return found


TRACES = """
import re, struct
from rscalene import Profiler


def pointers_into_the_shim():
    maps = [line.split(maxsplit=5) for line in open("/proc/self/maps")]
    ranges = [tuple(int(part, 16) for part in fields[0].split("-")) for fields in maps]
    code = [at for at, fields in zip(ranges, maps) if "x" in fields[1] and "librscalene_shim" in fields[-1]]
    low, high = min(at for at, _ in code), max(end for _, end in code)
    # The upper bytes are the same in all of these addresses.
    head = re.compile(re.escape(struct.pack("<Q", low)[4:]))
    found = 0
    with open("/proc/self/mem", "rb", 0) as memory:
        for (at, end), fields in zip(ranges, maps):
            if len(fields) < 6 or "/" not in fields[5] or "x" in fields[1] or "r" not in fields[1]:
                continue
            if "rscalene" in fields[5]:
                continue
            memory.seek(at)
            data = memory.read(end - at)
            for match in head.finditer(data):
                word = data[match.start() - 4 : match.end()]
                found += len(word) == 8 and low <= struct.unpack("<Q", word)[0] < high
    return found


profiler = Profiler().start()
inside = pointers_into_the_shim()
profiler.stop()
after = pointers_into_the_shim()
arena = any("rscalene-arena" in line for line in open("/proc/self/maps"))
print(inside > 10, after, arena)
"""


def test_nothing_is_left_after_the_stop(clean_env: dict[str, str]) -> None:
    before = allocators()
    with Profiler():
        assert allocators() != before
        KEPT.extend(str(number) for number in range(100_000))
    assert allocators() == before
    # What was taken elsewhere meanwhile is freed like any other block.
    KEPT.clear()
    gc.collect()
    ran = subprocess.run([sys.executable, "-c", TRACES], capture_output=True, text=True, check=True, env=clean_env)
    assert ran.stdout.split() == ["True", "0", "False"]


def test_starting_and_stopping_often_under_load_is_safe() -> None:
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            held = [bytearray(number * 37 % 3_001) for number in range(500)]
            held.sort(key=len)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        with Profiler(), Profiler():
            KEPT.append(str(_) * 100)
    stop.set()
    for thread in threads:
        thread.join()


def test_allocators_put_above_ours_stay_and_work() -> None:
    before = allocators()
    profiler = Profiler().start()
    tracemalloc.start()
    KEPT.append(bytearray(2_000_003))
    profiler.stop()
    assert tracemalloc.get_traced_memory()[0] >= 2_000_003
    tracemalloc.stop()
    assert is_about(totals_of(profiler), 2_000_003)
    with Profiler() as again:
        KEPT.append(bytearray(3_000_001))
    assert is_about(totals_of(again), 3_000_001)
    assert allocators() == before


def test_allocators_that_were_there_before_are_passed_on_to() -> None:
    tracemalloc.start()
    try:
        with Profiler() as profiler:
            KEPT.extend(bytes(467) for _ in range(20_011))
        assert tracemalloc.get_traced_memory()[0] > 20_011 * 500
    finally:
        tracemalloc.stop()
    totals = totals_of(profiler)
    assert abs(deviation(totals, 20_011 * 500)) < 5


@pytest.mark.parametrize("outside", ["the profiler", "the decorator"])
def test_exact_counting_is_right_beside_it(outside: str) -> None:
    import io

    text = io.StringIO()

    def body() -> None:
        KEPT.append(bytearray(4_000_007))
        objects = [bytes(467) for _ in range(10_007)]
        KEPT.append(objects)

    counted: Callable[[], None] = profile(precision=6, stream=text)(body)
    before = allocators()
    profiler = Profiler()
    if outside == "the profiler":
        with profiler:
            counted()
    else:

        def around() -> None:
            with profiler:
                body()

        profile(stream=text)(around)()
    exact = {row.split("  ")[-1].strip(): row for row in text.getvalue().splitlines()}
    if outside == "the profiler":
        increment = float(exact["KEPT.append(bytearray(4_000_007))"].split()[3]) * 2**20
        assert increment == pytest.approx(4_000_007, abs=200)
        increment = float(exact["objects = [bytes(467) for _ in range(10_007)]"].split()[3]) * 2**20
        assert increment == pytest.approx(10_007 * 500 + sys.getsizeof(KEPT[1]), rel=0.001)
    lines = lines_of(profiler)
    assert is_about(lines["KEPT.append(bytearray(4_000_007))"], 4_000_007)
    line = lines["objects = [bytes(467) for _ in range(10_007)]"]
    assert abs(deviation(line, 10_007 * 500)) < 5
    assert allocators() == before


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_runs_without_it_and_may_begin_anew() -> None:
    profiler = Profiler().start()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            assert not profiler.running
            profiler.stop()
            held = [bytearray(number % 997) for number in range(50_000)]
            with Profiler() as own:
                held.append(bytearray(6_000_011))
            os.write(writes, struct.pack("?", is_about(totals_of(own), 6_000_011)))
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.close(writes)
    seen = os.read(reads, 1)
    os.close(reads)
    assert os.waitpid(child, 0)[1] == 0
    assert seen == b"\x01"
    KEPT.append(bytearray(3_000_017))
    profiler.stop()
    assert is_about(lines_of(profiler)["KEPT.append(bytearray(3_000_017))"], 3_000_017)


def test_the_interpreter_may_end_while_one_runs(clean_env: dict[str, str]) -> None:
    program = "import rscalene; p = rscalene.Profiler().start(); kept = [str(n) for n in range(100_000)]; print('end')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=clean_env)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", "")


def test_a_library_that_is_loaded_meanwhile_is_seen(tmp_path: Path, clean_env: dict[str, str]) -> None:
    program = """
import json, sys
from rscalene import Profiler
assert "_sqlite3" not in sys.modules
with Profiler() as p:
    import sqlite3
    base = sqlite3.connect(":memory:")
    base.execute("create table t (x)")
    base.executemany("insert into t values (?)", [(bytes(900),)] * 20_000)
print(json.loads(p.output_json())["totals"]["live_bytes"])
"""
    if subprocess.run([sys.executable, "-c", "import sqlite3"], check=False, capture_output=True).returncode:
        program = program.replace("import sqlite3", "pass").split("    base")[0] + "print(20_000_000)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=clean_env)
    assert float(ran.stdout) > 18_000_000
