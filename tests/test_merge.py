"""Merged profiles: the command and the function."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from rscalene import Profiler, Result, merge

MEMORY = (
    "alloc_bytes", "alloc_count", "free_bytes", "live_bytes", "peak_bytes", "mem_usage_bytes", "copy_bytes",
)  # fmt: skip


def profile(rank: int) -> str:
    """Return a profile of a rank whose line 5 takes a hundred milliseconds, or of rank 2 three hundred."""
    with Profiler(memory=False) as profiler:
        pass
    found = profiler.result().to_dict()
    found["target"].update(rank=rank, host=f"host{rank % 2}", cwd="/job", pid=4000 + rank)
    found["totals"]["peak_rss_bytes"] = 10_000_000 * (1 + rank % 3)
    found["processes"], found["threads"], found["near_limits"] = [], [], []
    found["stacks"].update(frames=[], nodes=[], other_files=[], by_thread=[], by_process=[])
    figures: dict[str, Any] = {"native_s": 0.0, "system_s": 0.0, "wait_s": 0.0, "gil_wait_s": None}
    line = {"line": 5, "function": "work", "source": "work()", "python_s": 0.3 if rank == 2 else 0.1, "cpu_samples": 10,
            "native": [], **figures, **dict.fromkeys(MEMORY)}  # fmt: skip
    found["files"] = [{"path": "/job/app.py", "text_sha256": "ab" * 32, "lines": [line], "functions": []}]
    return json.dumps(found)


@pytest.fixture(scope="module")
def ranks() -> list[str]:
    return [profile(rank) for rank in range(4)]


@pytest.mark.once
def test_profiles_merge_to_the_same_bytes_in_any_order_and_grouping(ranks: list[str]) -> None:
    whole = merge(ranks).to_json()
    assert {merge(order).to_json() for order in itertools.permutations(ranks)} == {whole}
    a, b, c, d = map(Result.from_json, ranks)
    right = merge([a, merge([b, merge([c, d])])])
    left = merge([merge([merge([a, b]).to_json().encode(), c]), d])
    assert right.to_json() == left.to_json() == whole


@pytest.mark.once
def test_recorded_profiles_merge_to_the_same_bytes_in_any_order() -> None:
    results = []
    for size in range(8):
        with Profiler(interval=0.001) as profiler:
            kept = [bytes(1000 * size) for _ in range(2000)]
            sum(i * i for i in range(100_000))
        del kept
        results.append(profiler.result())
    whole = merge(results).to_json()
    for seed in range(5):
        random.Random(seed).shuffle(results)
        parts = [merge(results[:3]), merge(results[3:5]), merge(results[5:])]
        assert merge(results).to_json() == whole
        assert merge(parts).to_json() == whole
    merged = json.loads(whole)
    alloc = sum(line["alloc_bytes"] for result in results for line in result.lines)
    assert sum(line["alloc_bytes"] for file in merged["files"] for line in file["lines"]) == alloc
    assert merged["totals"]["peak_rss_bytes"] == max(result.totals["peak_rss_bytes"] for result in results)
    assert str(Result.from_json(whole))


@pytest.mark.once
def test_the_spread_names_the_slow_rank(ranks: list[str]) -> None:
    merged = merge(ranks).to_dict()
    spread = merged["merge"]["spread"]
    assert (spread["by"], spread["groups"]) == ("rank", ["rank 0", "rank 1", "rank 2", "rank 3"])
    cpu = spread["lines"][0]["cpu_s"]
    assert (cpu["min"], cpu["median"], cpu["max"], cpu["highest"]) == (0.1, 0.1, 0.3, 2)
    assert cpu["imbalance"] == pytest.approx(2.0)
    assert merged["files"][0]["lines"][0]["python_s"] == 0.6
    assert merged["totals"]["peak_rss_bytes"] == 30_000_000, "peaks are never added"
    assert merged["merge"]["members"][merged["merge"]["peak_member"]]["rank"] == 2
    by_host = merge(ranks, by="host").to_dict()["merge"]["spread"]
    assert [by_host["groups"], by_host["lines"][0]["cpu_s"]["max"]] == [["host0", "host1"], 0.4]
    with pytest.raises(ValueError, match="by must be one of host, rank, process, label"):
        merge(ranks, by="thread")


@pytest.mark.once
def test_the_command_merges_a_folder_and_names_what_it_leaves_out(
    ranks: list[str], tmp_path: Path, rscalene: Run
) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    for rank, text in enumerate(ranks):
        (folder / f"r{rank}.json").write_text(text)
    (folder / "again.json").write_text(ranks[1])
    (folder / "cut.json").write_text(ranks[0][:100])
    (folder / "newer.json").write_text(ranks[0].replace('"major": 1', '"major": 2'))
    (folder / "foreign.json").write_text("[1, 2]")
    (folder / "notes.txt").write_text("no profile")
    out = folder / "all.json"
    for _ in range(2):  # The second time, the file that is written lies in the folder.
        done = rscalene("merge", folder, "-o", out)
        assert done.returncode == 0, done.stderr
        for name, why in [("cut", "it ends in the middle"), ("newer", "format 2.3"), ("foreign", "not a profile")]:
            assert f"cannot read `{folder}/{name}.json`: " in done.stderr
            assert why in done.stderr
        assert "is merged already, and counts once" in done.stderr
        merged = json.loads(out.read_text())
        assert len(merged["merge"]["members"]) == 4
    assert sum(notice["code"] == "not_merged" for notice in merged["notices"]) == 3
    text = rscalene("view", out).stdout
    assert "Spread by rank" in text
    assert "4 runs, 4 ranks; every peak is that of rank 2, the highest" in text
    row = next(row for row in text.split("Spread by rank")[1].splitlines() if "app.py:5" in row)
    assert row.split() == ["app.py:5", "300", "ms", "x2.00", "100", "ms", "100", "ms", "rank", "2"]
    assert rscalene("diff", out, out).returncode == 0
    assert rscalene("view", out, "--format", "html").stdout.count("Spread by rank") == 1
    nothing = rscalene("merge", folder / "cut.json", folder / "foreign.json", tmp_path / "none.json")
    assert nothing.returncode == 2
    assert "no profile could be read" in nothing.stderr
    with pytest.raises(ValueError, match="it ends in the middle"):
        merge([folder / "cut.json"])
