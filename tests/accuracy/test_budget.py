"""How far apart CPU samples are without ``--interval``, what they stand for, and what the profile tells of it."""

from __future__ import annotations

from typing import Any

import pytest

PHASES = """
import json, time

def early(until):
    while time.process_time() < until:
        for _ in range(200_000): pass

def late(until):
    while time.process_time() < until:
        for _ in range(200_000): pass

begun = time.process_time()
early(begun + 2.5)
middle = time.process_time()
late(middle + 2.5)
print(json.dumps({"early": middle - begun, "late": time.process_time() - middle}))
"""
SECOND = """
import time
end = time.process_time() + 1.0
while time.process_time() < end:
    for _ in range(200_000): pass
"""


def distance_s(run: Any) -> float:
    return float(run.profile["settings"]["cpu"]["interval_s"])


def test_samples_at_mixed_distances_share_the_clock_without_bias(measure: Any, source: str) -> None:
    run = measure(PHASES, options=("--cpu-only", "--cpu-source", source))
    rows = [row for file in run.profile["files"] for row in file["functions"]]
    found = {row["qualname"]: row["cumulative"]["cpu_s"] for row in rows}
    for name, truth in run.truth.items():
        assert found[name] == pytest.approx(truth, rel=0.04), name
    totals = run.profile["totals"]
    assert totals["sampled_cpu_s"] == pytest.approx(totals["cpu_clock_s"], rel=0.04)


def test_the_first_second_has_hundreds_of_samples(measure: Any, source: str) -> None:
    run = measure(SECOND, options=("--cpu-only", "--cpu-source", source))
    if run.profile["settings"]["cpu"]["source"] == "perf":
        # Half of 5 ms at most, whatever a signal costs.
        assert run.profile["totals"]["cpu_samples"] >= 180
        assert 0.0004 < distance_s(run) < 0.006
    else:
        # One for each of the kernel's ticks that met the program.
        assert run.profile["totals"]["cpu_samples"] >= 80


def test_the_profile_has_the_interval_of_the_samples(measure: Any, source: str) -> None:
    asked = measure(SECOND, options=("--cpu-only", "--cpu-source", source, "--interval", "1ms"))
    totals = asked.profile["totals"]
    mean = totals["sampled_cpu_s"] / totals["cpu_samples"]
    assert distance_s(asked) == pytest.approx(mean, rel=0.25)
    far = measure(SECOND, options=("--cpu-only", "--cpu-source", source, "--interval", "20ms"))
    assert 0.013 < distance_s(far) < 0.027
