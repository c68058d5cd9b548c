"""``Profiler(name=...)`` under ``rscalene run``: a named section of the run's profile, and a profile of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

PROGRAM = """
import json, os, sys, time
from rscalene import Profiler

def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(i * i for i in range(1_000))

kept = []
spin(0.2)
load = Profiler(name="load")
for _ in range(2):
    with load:
        kept.append(bytearray(5_000_011))
        spin(0.15)
        time.sleep(0.1)
with Profiler(name="parse", memory=False) as parse:
    spin(0.1)
Profiler(name="for ever").start()
spin(0.1)
json.dump([json.loads(load.output_json()), json.loads(parse.output_json())], open("own.json", "w"))
"""


def test_a_profiler_is_a_section_of_the_run_and_has_a_profile_of_its_own(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    ran = rscalene("run", "-o", "run.json", "app.py")
    assert ran.returncode == 0, ran.stderr
    run: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())

    sections = {section["name"]: section for section in run["sections"]}
    assert list(sections) == ["load", "parse", "for ever"]
    load = sections["load"]
    assert (load["count"], load["pid"]) == (2, run["target"]["pid"])
    # At least what it computed and slept; a busy machine only makes the wall longer.
    assert 0.5 <= load["elapsed_s"] <= load["end_s"] - load["start_s"] + 0.001
    assert load["cpu_s"] == pytest.approx(0.3, rel=0.25)
    assert load["alloc_bytes"] >= 10_000_022
    assert load["increment_bytes"] == pytest.approx(10_000_022, rel=0.05)
    assert sections["parse"]["start_s"] >= load["end_s"]
    assert sections["for ever"]["end_s"] <= run["clock"]["elapsed_s"]
    assert run["files"][0]["path"].endswith("app.py")
    lines = {line["line"]: line for line in load["lines"]}
    source = PROGRAM.splitlines()
    assert lines[source.index("        kept.append(bytearray(5_000_011))") + 1]["alloc_bytes"] >= 10_000_022
    assert lines[source.index("        sum(i * i for i in range(1_000))") + 1]["cpu_s"] > 0.5 * load["cpu_s"]
    assert sum(line["cpu_s"] for line in load["lines"]) <= load["cpu_s"] * 1.001
    shown = rscalene("view", "run.json").stdout
    assert "sections load " in shown
    assert " in 2 calls, " in shown

    first, second = json.loads((tmp_path / "own.json").read_text())
    assert first["totals"]["alloc_bytes"] is None
    assert "rscalene run" in first["notices"][0]["text"]
    assert second["notices"] == []
    assert first["totals"]["python_s"] + first["totals"]["native_s"] == pytest.approx(0.15, rel=0.4)
    assert first["sections"] == []
