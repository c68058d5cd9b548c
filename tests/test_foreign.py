"""Laws of the files of other profilers, read by ``view``, ``diff`` and ``rscalene.load``."""

from __future__ import annotations

import cProfile
import json
import marshal
import pstats
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rscalene as module

if TYPE_CHECKING:
    from conftest import Run

pytestmark = pytest.mark.once

SCALENE: dict[str, Any] = {
    "elapsed_time_sec": 4.0,
    "args": ["app.py", "--fast"],
    "memory": True,
    "max_footprint_mb": 120.5,
    "files": {
        "/app.py": {
            "lines": [
                {"lineno": 1, "line": "import this\n"},
                {
                    "lineno": 7,
                    "line": "    total += step(x)\n",
                    "n_cpu_percent_python": 50.0,
                    "n_cpu_percent_c": 12.5,
                    "n_sys_percent": 2.5,
                },
                {"lineno": 9, "line": "keep(x)\n", "n_malloc_mb": 30.5, "n_mallocs": 4, "n_peak_mb": 20.0,
                 "n_copy_mb_s": 2.0},
            ]
        }
    },
}  # fmt: skip


def work(depth: int) -> int:
    return work(depth - 1) + len(sorted(range(2_000))) if depth else 0


def profile(path: Path) -> pstats.Stats:
    with cProfile.Profile() as profiler:
        for _ in range(20):
            work(9)
    profiler.dump_stats(path)
    return pstats.Stats(str(path))


def test_a_file_of_cprofile_has_the_seconds_that_pstats_prints(tmp_path: Path) -> None:
    path = tmp_path / "c.prof"
    stats = profile(path)
    read = module.load(path).to_dict()
    found = {
        (file["path"], function["name"]): (
            function["self"]["python_s"] or function["self"]["native_s"] or 0.0,
            function["cumulative"]["wall_s"],
        )
        for file in read["files"]
        for function in file["functions"]
    }
    assert len(found) == len(stats.stats)  # type: ignore[attr-defined]
    for (file, _, name), (_, _, own, total, _) in stats.stats.items():  # type: ignore[attr-defined]
        assert found[file, name] == (own, total)
    assert read["clock"]["elapsed_s"] == pytest.approx(stats.total_tt)  # type: ignore[attr-defined]


def test_a_file_of_cprofile_is_viewed_and_compared(rscalene: Run, tmp_path: Path) -> None:
    profile(tmp_path / "a.prof")
    profile(tmp_path / "b.prof")
    shown = rscalene("view", "a.prof")
    assert shown.returncode == 0, shown.stderr
    assert "<built-in method builtins.sorted>" in shown.stdout
    assert "wall time, waiting included" in shown.stdout
    assert "too few" not in shown.stdout
    compared = rscalene("diff", "a.prof", "b.prof")
    assert compared.returncode == 0, compared.stderr
    assert rscalene("view", "a.prof", "-o", "a.html").returncode == 0


def test_a_file_of_scalene_has_its_figures_of_each_line(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCALENE))
    read = module.load(tmp_path / "s.json").to_dict()
    (file,) = read["files"]
    seven, nine = file["lines"]
    assert (file["path"], seven["line"], seven["source"]) == ("/app.py", 7, "    total += step(x)")
    assert [seven[kind] for kind in ("python_s", "native_s", "system_s", "wait_s")] == [2.0, 0.5, 0.1, None]
    assert (nine["line"], nine["alloc_bytes"], nine["alloc_count"]) == (9, 30.5 * 2**20, 4)
    assert (nine["peak_bytes"], nine["copy_bytes"]) == (20 * 2**20, 8 * 2**20)
    assert read["totals"]["footprint_peak_bytes"] == int(120.5 * 2**20)
    shown = rscalene("view", "s.json")
    assert "slowest: app.py:7" in shown.stdout
    assert "scalene's" in shown.stdout
    (tmp_path / "t.json").write_text(json.dumps(SCALENE | {"elapsed_time_sec": 8.0}))
    assert rscalene("diff", "s.json", "t.json").returncode == 0


@pytest.mark.parametrize("part", ["half", "noise", "list"])
def test_a_damaged_file_is_refused_with_a_hint(rscalene: Run, tmp_path: Path, part: str) -> None:
    path = tmp_path / "c.prof"
    profile(path)
    whole = path.read_bytes()
    noise = bytearray(whole)
    source = random.Random(1)
    for _ in range(40):
        noise[source.randrange(1, len(noise))] = source.randrange(256)
    path.write_bytes({"half": whole[: len(whole) // 2], "noise": bytes(noise), "list": marshal.dumps([1])}[part])
    done = rscalene("view", "c.prof")
    assert done.returncode == 2
    assert "hint:" in done.stderr
    assert done.stdout == ""
