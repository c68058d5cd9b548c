"""Arrays and parsed data: memory that libraries take in large pieces, some of it never touched."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from .test_liveness import hold


@pytest.fixture
def interpreter() -> str:
    """The one that has the libraries (pandas brings numpy)."""
    return sys.executable


def test_arrays_and_their_temporaries_belong_to_their_lines(measure: Any) -> None:
    hold(
        measure,
        """
import numpy as np
a = np.ones(4_000_003)  # expect: alloc=32_000_024 live=32_000_024 peak=32_000_024
b = np.ones(4_000_003)  # expect: alloc=32_000_024 live=32_000_024 peak=32_000_024
c = a + b  # expect: alloc=32_000_024 live=32_000_024 peak=32_000_024
for _ in range(20): a + b  # expect: alloc=20*32_000_024 live=0
d = (a + b) * a - b  # expect: live=32_000_024
a[:] = np.sort(c)  # expect: alloc=32_000_024 free=32_000_024 live=0
""",
    )


def test_arrays_that_are_half_touched_are_asked_for_whole_and_resident_by_half(measure: Any) -> None:
    run = hold(
        measure,
        """
import numpy as np
e = np.empty(32_000_011)  # expect: alloc=256_000_088 live=256_000_088
e[:16_000_000] = 1
z = np.zeros(64_000_037)  # expect: alloc=512_000_296 live=512_000_296
z[:16_000_000] = 1
""",
    )
    # Two times 128 MB, and numpy with its workspaces.
    assert 256_000_000 < run.profile["totals"]["peak_rss_bytes"] < 400_000_000


def test_frames_belong_to_the_lines_that_make_them(measure: Any) -> None:
    hold(
        measure,
        """
import numpy as np, pandas as pd
frame = pd.DataFrame(np.ones((1_000_003, 8)))  # expect: live=0 peak=64_000_192
total = frame + frame  # expect: live=64_000_192
part = frame[0] * 2  # expect: live=8_000_024
frame = None
""",
    )


def test_parsed_json_belongs_to_the_line_that_parses(measure: Any) -> None:
    run = measure(
        """
import json, sys
text = json.dumps([{"name": f"row {i}", "number": i + 1000.5, "list": [i + 1000, None]} for i in range(50_000)])
data = json.loads(text)  # at: loads
def size(what, seen):
    if id(what) in seen or what is None:
        return 0
    seen.add(id(what))
    parts = [*what, *what.values()] if isinstance(what, dict) else what if isinstance(what, list) else ()
    return sys.getsizeof(what) + sum(size(part, seen) for part in parts)
print(json.dumps({"bytes": size(data, set())}))
"""
    )
    line = run.line("loads")
    assert line.bytes("live_bytes") == pytest.approx(run.truth["bytes"], rel=0.02, abs=4 * line.bytes("live_bytes_se"))


def test_small_blocks_that_grow_count_at_their_size(measure: Any) -> None:
    run = measure(
        """
import json, sys
rows = [[] for _ in range(100_000)]
empty = sys.getsizeof([])
for turn in range(7):
    for row in rows:
        row.append(None)  # at: append
print(json.dumps({"bytes": sum(map(sys.getsizeof, rows)) - len(rows) * empty}))
"""
    )
    line = run.line("append")
    assert line.bytes("live_bytes") == pytest.approx(run.truth["bytes"], abs=3 * line.bytes("live_bytes_se"))
    # Every list was made with four places and resized to eight.
    assert line.bytes("alloc_bytes") == pytest.approx(1.5 * run.truth["bytes"], abs=3 * line.bytes("alloc_bytes_se"))


@pytest.mark.parametrize(
    ("library", "work"),
    [("numpy", "for _ in range(20): a @ a"), ("polars", "for _ in range(8): frame.sort('key').group_by('key').sum()")],
)
def test_threads_of_libraries_work_for_the_line_that_calls_or_awaits_them(
    measure: Any, library: str, work: str
) -> None:
    prepare = {
        "numpy": "import numpy; a = numpy.random.rand(1000, 1000)",
        "polars": "import polars; frame = polars.DataFrame({'key': [n % 997 for n in range(1_000_000)]})",
    }[library]
    run = measure(
        f"""
import json, time
{prepare}
begin = time.process_time()
{work}  # at: work
print(json.dumps({{"work": time.process_time() - begin}}))
""",
        options=("--cpu-only",),
    )
    line = run.line("work")
    helpers_s = line.memory.get("helpers_s") or 0.0
    assert line.cpu_s + helpers_s == pytest.approx(run.truth["work"], abs=0.03 + 0.1 * run.truth["work"])
    assert run.profile["totals"].get("helpers_s", 0.0) >= helpers_s
    # They are in no other figure.
    totals = run.profile["totals"]
    kinds = sum(totals[kind] or 0.0 for kind in ("python_s", "native_s", "system_s"))
    assert kinds + totals.get("helpers_s", 0.0) + totals.get("user_s", 0.0) == pytest.approx(
        totals["cpu_clock_s"], rel=0.02
    )
