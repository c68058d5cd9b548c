"""pprof and callgrind files, read by others: their sums are the profile's."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import threading, time
def leaf(n): return [bytes(1000) for _ in range(n)]
def twice(n): return leaf(n) + leaf(n)
def fall(n): return fall(n - 1) if n else twice(2000)
def worker():
    end = time.thread_time() + 0.2
    while time.thread_time() < end: fall(3)
thread = threading.Thread(target=worker, name="worker")
thread.start()
worker()
thread.join()
time.sleep(0.1)
"""


@pytest.fixture
def profile(rscalene: Run, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "app.py").write_text(PROGRAM)
    words = ("run", "-q", "-o", "p.json", "-o", "p.pb.gz", "-o", "callgrind.out.p", "app.py")
    answer = rscalene(*words)
    assert answer.returncode == 0, answer.stderr
    return json.loads((tmp_path / "p.json").read_text())  # type: ignore[no-any-return]


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Decode a protocol buffer message: field numbers with numbers or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2
            length = varint()
            yield key >> 3, message[at : at + length]
            at += length


def numbers(packed: bytes) -> list[int]:
    """Decode packed integers."""
    values, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    return values


def sum_of(profile: dict[str, Any], key: str) -> float:
    return float(sum(node.get(key) or 0 for node in profile["stacks"]["nodes"]))


def test_the_sums_of_pprof_are_the_profiles(profile: dict[str, Any], tmp_path: Path) -> None:
    message = list(fields(gzip.decompress((tmp_path / "p.pb.gz").read_bytes())))
    texts = [value.decode() for field, value in message if field == 6]
    assert texts[0] == ""
    types = [texts[dict(fields(value))[1]] for field, value in message if field == 1]
    assert types == ["cpu", "wall", "alloc_space", "alloc_objects", "inuse_space", "peak_space"]
    sums, threads = [0] * 6, Counter[str]()
    places = {dict(fields(value))[1] for field, value in message if field == 4}
    for field, value in message:
        if field == 2:
            sample = list(fields(value))
            values = next(numbers(packed) for number, packed in sample if number == 2)
            sums = [total + more for total, more in zip(sums, values, strict=True)]
            assert {place for number, packed in sample if number == 1 for place in numbers(packed)} <= places
            for label in (dict(fields(text)) for number, text in sample if number == 3):
                if texts[label[1]] == "thread":
                    threads[texts[label[2]]] += values[0]
    nodes = len(profile["stacks"]["nodes"])
    assert sums[0] == pytest.approx(sum_of(profile, "cpu_s") * 1e9, abs=nodes, rel=1e-6)
    assert sums[1] == pytest.approx(sum_of(profile, "wall_s") * 1e9, abs=nodes, rel=1e-6)
    assert sums[2] == sum_of(profile, "alloc_bytes")
    assert sums[3:] == [sum_of(profile, key) for key in ("alloc_count", "live_bytes", "peak_bytes")]
    assert set(threads) >= {"MainThread", "worker"}
    assert 0.5 < threads["worker"] / threads["MainThread"] < 2


def test_samples_of_pprof_bear_labels(rscalene: Run, tmp_path: Path) -> None:
    program = """
import rscalene, time
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(200): pass
with rscalene.label(task="long", step="a"): spin(0.4)
with rscalene.label(task="short"): kept = [bytearray(9_000_000), spin(0.2)]
spin(0.2)
"""
    (tmp_path / "app.py").write_text(program)
    assert rscalene("run", "-q", "--interval", "1ms", "-o", "l.json", "-o", "l.pb.gz", "app.py").returncode == 0
    profile = json.loads((tmp_path / "l.json").read_text())
    message = list(fields(gzip.decompress((tmp_path / "l.pb.gz").read_bytes())))
    texts = [value.decode() for field, value in message if field == 6]
    cpu, alloc, all_cpu = Counter[tuple[str, ...]](), Counter[tuple[str, ...]](), 0
    for sample in (list(fields(value)) for field, value in message if field == 2):
        values = next(numbers(packed) for number, packed in sample if number == 2)
        found = [dict(fields(text)) for number, text in sample if number == 3]
        named = tuple(
            sorted(f"{texts[label[1]]}={texts[label[2]]}" for label in found if texts[label[1]] in ("task", "step"))
        )
        cpu[named] += values[0]
        alloc[named] += values[2]
        all_cpu += values[0]
    nodes = len(profile["stacks"]["nodes"])
    assert all_cpu == pytest.approx(sum_of(profile, "cpu_s") * 1e9, abs=nodes, rel=1e-6)
    rows = {tuple(sorted(f"{key}={value}" for key, value in row["labels"].items())): row for row in profile["labels"]}
    assert set(rows) == {("step=a", "task=long"), ("task=short",)} == set(cpu) - {()}
    for name, row in rows.items():
        lines = sum(line["cpu_s"] for line in row["lines"])
        assert cpu[name] == pytest.approx(lines * 1e9, rel=0.01)
        assert alloc[name] == pytest.approx(sum(line["alloc_bytes"] for line in row["lines"]), rel=0.01, abs=10_000)
    assert cpu[("step=a", "task=long")] > 1.5 * cpu[("task=short",)] > 0
    assert cpu[()] > 0.1e9


def test_callgrinds_own_costs_add_up(profile: dict[str, Any], tmp_path: Path) -> None:
    lines = (tmp_path / "callgrind.out.p").read_text().splitlines()
    totals = [int(word) for word in lines[-1].removeprefix("totals: ").split()]
    own, call = [0, 0, 0], False
    for line in lines:
        if line[:1].isdigit():
            if not call:
                own = [total + int(word) for total, word in zip(own, line.split()[1:], strict=True)]
            call = False
        elif line.startswith("calls="):
            call = True
    assert own == totals
    nodes = len(profile["stacks"]["nodes"])
    assert totals[0] == pytest.approx(sum_of(profile, "cpu_s") * 1e6, abs=nodes)
    assert totals[2] == sum_of(profile, "alloc_bytes")


@pytest.mark.skipif(not shutil.which("callgrind_annotate"), reason="callgrind_annotate comes with valgrind")
def test_callgrind_annotate_reads_it(profile: dict[str, Any], tmp_path: Path) -> None:
    answer = subprocess.run(["callgrind_annotate", "callgrind.out.p"], cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "PROGRAM TOTALS" in answer.stdout
    assert "app.py:leaf" in answer.stdout


@pytest.mark.skipif(not shutil.which("go"), reason="pprof comes with Go")
def test_go_tool_pprof_reads_it(profile: dict[str, Any], tmp_path: Path) -> None:
    words = ["go", "tool", "pprof", "-top", "-sample_index=alloc_space", "p.pb.gz"]
    answer = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "leaf" in answer.stdout


def test_one_weight_alone(profile: dict[str, Any], rscalene: Run) -> None:
    peak = rscalene("view", "p.json", "--format", "collapsed", "--of", "peak").stdout
    assert sum(int(line.rsplit(" ", 1)[1]) for line in peak.splitlines()) == sum_of(profile, "peak_bytes")
    scope = json.loads(rscalene("view", "p.json", "--format", "speedscope").stdout)
    assert [kind["name"] for kind in scope["profiles"]] == [
        "CPU",
        "wall",
        "allocated",
        "live at the peak",
        "live at the end",
    ]
    alone = json.loads(rscalene("view", "p.json", "--format", "speedscope", "--of", "alloc").stdout)
    assert [kind["name"] for kind in alone["profiles"]] == ["allocated"]
