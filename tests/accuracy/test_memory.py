"""Memory by line, against programs whose bytes are known."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "programs" / "kept.py"
LEAKS = PROGRAM.with_name("leaks.py")
GROWTH = PROGRAM.with_name("growth.py")

LARGE = {
    # mark: bytes allocated, live at the end
    "pair900": (300 * 900_001, 0),
    "churn": (400 * 1_048_573, 0),
    "leaks": (25 * 1_048_549, 25 * 1_048_549),
    "frees": (25 * 1_048_571, 0),
    "thread": (100 * 901_775, 100 * 901_775),
    "malloc": (3_000_017, 3_000_017),
    "seed": (1_000_003, 0),
    "realloc": (2_000_003 + 4_000_037 + 8_000_009, 8_000_009),
    "mmap": (4_194_304, 0),
    "mremap": (12_582_912, 12_582_912),
    "anonymous": (6_291_456, 6_291_456),
    "produces": (50 * 524_309, 0),
    "peak": (150_000_001, 0),
}

COPIED = {
    # mark: how often, bytes each time
    "bytearray": (40, 256 * 65_537),
    "slice": (40, 256 * 65_537),
    "memmove": (40, 256 * 65_537),
    "pieces": (800, 1_000_003),
}
THREADS = """\
import ctypes, threading
source = ctypes.create_string_buffer(50_000_001)
into = ctypes.create_string_buffer(len(source))
def copy():
    ctypes.memmove(into, source, 50_000_001)  # at: copies
for _ in range(32):
    thread = threading.Thread(target=copy)
    thread.start()
    thread.join()
"""
COPY_INTERVAL = 4 * 1024 * 1024
"""Mean bytes between two samples of copies."""


def test_each_line_has_the_volume_that_it_copies(measure: Any) -> None:
    run = measure("copies.py")
    for mark, (count, size) in COPIED.items():
        # A copy of n bytes is a sample with probability p = 1 - exp(-n / T) and stands for n / p.
        missed = math.exp(-size / COPY_INTERVAL)
        error = size * math.sqrt(count * missed / (1 - missed))
        line = run.line(mark)
        assert line.bytes("copy_bytes") == pytest.approx(count * size, abs=4 * error), mark
        # The printed error is that of the sampling: two samples are added against the error of few.
        assert line.bytes("copy_bytes_se") == pytest.approx(error, rel=0.35, abs=size * 0.01), mark
    elsewhere = run.profile["totals"]["copy_bytes"] - sum(run.line(mark).bytes("copy_bytes") for mark in COPIED)
    assert elsewhere < 0.1 * sum(count * size for count, size in COPIED.values())


def test_lines_that_copy_nothing_have_no_volume(measure: Any) -> None:
    run = measure("builds.py")
    # The samples themselves are written by copies, which are not the program's.
    assert run.profile["totals"]["alloc_samples"] > 100
    assert [run.line(mark).bytes("copy_bytes") for mark in ("works", "builds")] == [0, 0]


def test_a_threads_first_copy_counts_like_any_other(measure: Any) -> None:
    run = measure(THREADS)
    assert run.line("copies").bytes("copy_bytes") == pytest.approx(32 * 50_000_001, rel=0.01)


def test_large_blocks_count_to_a_thousandth_of_a_line(measure: Any) -> None:
    run = measure("blocks.py")
    for mark, (allocated, live) in LARGE.items():
        line = run.line(mark)
        # Small objects beside the blocks are estimates: three of their printed standard errors.
        for key, truth in {"alloc_bytes": allocated, "live_bytes": live}.items():
            noise = 3 * line.bytes(f"{key}_se")
            assert line.bytes(key) == pytest.approx(truth, rel=0.001, abs=100 + noise), (mark, key)
    assert run.profile["totals"]["lost_records"] == 0


def test_blocks_below_the_certain_size_stay_within_their_printed_error(measure: Any) -> None:
    run = measure("blocks.py")
    for mark, truth in {"pair200": 300 * 200_003, "keeps20k": 400 * 20_011}.items():
        line = run.line(mark)
        # Four: a run asks several lines on several interpreters.
        assert abs(line.bytes("alloc_bytes") - truth) <= 0.01 * truth + 4 * line.bytes("alloc_bytes_se"), mark
    keeps = run.line("keeps20k")
    # The list that keeps them grows on the same line: its former buffers were freed.
    error = 4 * (keeps.bytes("live_bytes_se") + keeps.bytes("alloc_bytes_se"))
    assert keeps.bytes("live_bytes") == pytest.approx(keeps.bytes("alloc_bytes"), abs=error)


def test_the_peak_belongs_to_the_lines_that_own_it(measure: Any) -> None:
    run = measure("blocks.py")
    assert run.line("peak").bytes("peak_bytes") == pytest.approx(150_000_001, rel=0.001)
    for mark in ("thread", "leaks"):
        assert run.line(mark).bytes("peak_bytes") == run.line(mark).bytes("live_bytes"), mark
    # It was asked for and never touched.
    assert run.line("malloc").bytes("peak_bytes") < 0.05 * run.line("malloc").bytes("live_bytes")
    owned = sum((row["peak_bytes"] or 0) for file in run.profile["files"] for row in file["lines"])
    owned += run.profile["totals"]["outside_scope_memory"]["peak_bytes"]
    assert owned == pytest.approx(run.profile["totals"]["tracked_peak_bytes"], rel=0.01)


def test_the_peak_footprint_is_the_kernels_own_mark(measure: Any) -> None:
    run = measure("mark.py")
    assert run.profile["totals"]["peak_rss_bytes"] == pytest.approx(run.truth["peak_rss_bytes"], rel=0.01)


def test_small_objects_stay_within_their_printed_error(measure: Any) -> None:
    run = measure("small.py")
    for mark, truth in {"bytes": 100_000 * 133, "ints": 1_000_000 * 32}.items():
        line = run.line(mark)
        assert line.bytes("live_bytes_se") > 0
        # The lists that hold them are blocks of their own on the same line: they grow by an eighth at a time.
        lists = 9 * 1_000_000
        least, most = truth - 4 * line.bytes("live_bytes_se"), truth + lists + 4 * line.bytes("live_bytes_se")
        assert least <= line.bytes("live_bytes") <= most, (mark, line)
    churned = run.line("lists")
    assert churned.bytes("live_bytes") <= 4 * max(churned.bytes("live_bytes_se"), 65_536)


HANDED_ON = {"string", "list", "set", "large", "dict", "ints", "floats", "tuples", "slots", "lists", "number", "frozen"}
"""Lines on which the interpreter may take an object from a list of free ones, or leave one there.

Such an object does not come from its allocator: tracemalloc gives it to the line that takes it, we give its memory to
the line that once asked for it. A line of these takes a list and a tuple at most, of 56 and 64 bytes.
"""


def test_exact_mode_counts_to_the_byte(measure: Any, interpreter: str) -> None:
    told = subprocess.run([interpreter, PROGRAM, "truth"], capture_output=True, text=True, check=True)
    truths = json.loads(told.stdout)
    assert len(truths) == 21
    run = measure("kept.py", options=("--memory", "exact"))
    found = {mark: run.line(mark).bytes("live_bytes") for mark in truths}
    assert all(run.line(mark).bytes("live_bytes_se") == 0 for mark in truths)
    assert run.profile["totals"]["lost_records"] == 0
    handed_on = {mark: 120 if mark in HANDED_ON else 0 for mark in truths}
    assert not {
        mark: (found[mark], truth) for mark, truth in truths.items() if abs(found[mark] - truth) > handed_on[mark]
    }


def test_successive_functions_at_one_address_stay_separate(measure: Any) -> None:
    run = measure(
        """
import json, sys

def make(number):
    text = "def made():" + "\\n" * number + f" return bytes({number + 1000})"
    scope = {}
    exec(compile(text, f"made{number}.py", "exec"), scope)
    # Popped, so that the function is in no cycle and goes with its last name.
    return scope.pop("made")

kept, places = {}, set()
for number in range(1, 120):
    function = make(number)
    kept[number] = function()
    places.add(id(function.__code__))
    del function
print(json.dumps({"places": len(places), **{n: sys.getsizeof(block) for n, block in kept.items()}}))
""",
        options=("--memory", "exact"),
    )
    truth = {int(number): size for number, size in run.truth.items() if number != "places"}
    assert run.truth["places"] < len(truth), "no address was used again"
    found = {
        int(Path(file["path"]).stem.removeprefix("made")): {row["line"]: row["live_bytes"] for row in file["lines"]}
        for file in run.profile["files"]
        if Path(file["path"]).name.startswith("made")
    }
    assert {number: lines.get(number + 1) for number, lines in found.items()} == truth


def test_leaks_are_listed_and_what_fills_churns_or_is_given_back_is_not(measure: Any, rscalene: Any) -> None:
    run = measure("leaks.py")
    leaks = [(Path(run.profile["files"][leak["file"]]["path"]).name, leak["line"]) for leak in run.profile["leaks"]]
    marks = {
        row.split("# at: ")[1]: number for number, row in enumerate(LEAKS.read_text().split("\n"), 1) if "# at:" in row
    }
    assert leaks == [("leaks.py", marks["leaks"])]
    (leak,) = run.profile["leaks"]
    assert leak["confidence"] >= 0.95
    assert leak["bytes_per_s"] == pytest.approx(run.truth["bytes_per_s"], rel=0.2)
    shown = rscalene("view", "--leaks", "profile.json")
    assert f"leaks.py:{marks['leaks']} " in shown.stdout.split("Leaks")[1]


@pytest.mark.parametrize(
    ("grows", "program"),
    [
        pytest.param(True, "while time.time() < end: kept.extend([None] * 2000); time.sleep(0.001)", id="list"),
        pytest.param(
            True, "for _ in range(12): kept.append([bytes(3000) for _ in range(99)]); time.sleep(0.1)", id="bursts"
        ),
        pytest.param(
            False, "while time.time() < end: time.sleep(0.001); time.time() > end - 0.12 or kept.append(bytes(5000))"
        ),
        pytest.param(
            False,
            "while time.time() < end: time.sleep(0.001); time.time() > end - 0.4 or kept.append(bytes(5000))\n"
            "os._exit(0)",
            id="stopped, and no teardown",
        ),
        pytest.param(False, "import pandas", id="import"),
        pytest.param(False, "import random; kept = list(map(random.Random, range(80_000)))", id="one call"),
    ],
)
def test_lines_that_grow_until_the_end_are_listed_and_others_are_not(
    rscalene: Any, tmp_path: Path, grows: bool, program: str
) -> None:
    (tmp_path / "app.py").write_text(f"import os, time\nkept = []\nend = time.time() + 1.2\n{program}\n")
    rscalene("run", "--quiet", "-o", "leaks.json", "app.py")
    leaks = json.loads((tmp_path / "leaks.json").read_text())["leaks"]
    assert [leak["line"] for leak in leaks] == ([4] if grows else [])


def test_a_program_without_leaks_gets_a_sentence(rscalene: Any) -> None:
    done = rscalene("run", "--leaks", "-c", "kept = [bytes(1000) for _ in range(5000)]")
    assert "none found" in done.stderr
    assert "memory was not profiled" in rscalene("run", "--leaks", "--cpu-only", "-c", "pass").stderr


def test_resident_memory_is_separate_from_allocated_memory(measure: Any, rscalene: Any) -> None:
    text = "import mmap\nkept = mmap.mmap(-1, 300_003_328)  # at: whole\nkept[:100_003_840] = bytes(100_003_840)\n"
    run = measure(text + "import time; time.sleep(0.2)\n")
    totals = run.profile["totals"]
    assert run.line("whole").bytes("live_bytes") == 300_003_328
    own = totals["peak_rss_bytes"] - totals["resident_files_peak_bytes"]
    # The map's touched pages and the interpreter; the string of zeros that was copied is nowhere.
    assert 100_000_000 < own < 130_000_000
    assert run.line("whole").bytes("peak_bytes") == pytest.approx(100_003_840, rel=0.02)
    assert totals["tracked_peak_bytes"] < own
    assert totals["untouched_peak_bytes"] == pytest.approx(300_003_328 - 100_003_840, rel=0.02)
    shown = rscalene("view", "--full", "profile.json", "--width", "100").stdout
    assert re.search(r"and 19\d MiB asked for and never touched", " ".join(shown.split())), shown


@pytest.mark.parametrize("mode", ["sampled", "exact"])
def test_the_interpreters_arenas_are_recognised_and_end_when_freed(measure: Any, mode: str) -> None:
    run = measure(
        """
gone = [bytes(200) for _ in range(100_000)]
del gone
kept = [bytes(200) for _ in range(40_000)]
large = b'x' * 60_000_000
""",
        options=("--memory", mode),
    )
    # At the peak 40,000 blocks of 240 bytes were left of 100,000, some of them in arenas from before the interpreter
    # was up; an arena that holds one block of others' stays.
    assert 8_000_000 < run.profile["totals"]["arenas_peak_bytes"] < 20_000_000


@pytest.mark.parametrize(("mode", "scale"), [("sampled", "1"), ("exact", "0.1")])
def test_the_programs_footprint_grows_by_little(measure: Any, interpreter: str, mode: str, scale: str) -> None:
    plain = subprocess.run([interpreter, GROWTH, scale], capture_output=True, text=True, check=True)
    without = json.loads(plain.stdout)["peak_rss_bytes"]
    profiled = measure("growth.py", scale, options=("--memory", mode)).truth["peak_rss_bytes"]
    assert profiled <= 1.05 * without + 16 * 1024 * 1024, (profiled / 2**20, without / 2**20)
