"""The harness of the accuracy tests: run a program whose truth is known, and hand back its lines by their marks.

A line of a program that ends in ``# at: NAME`` is asked for by that name. Programs print what their own clocks say, as
JSON, on their last line. Further interpreters to run them under come from ``RSCALENE_TEST_PYTHONS`` (colon list).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"
PYTHONS = [sys.executable, *filter(None, os.environ.get("RSCALENE_TEST_PYTHONS", "").split(":"))]


@dataclass
class Line:
    """Figures of a line; 0 where the profile has no such line."""

    python_s: float = 0.0
    native_s: float = 0.0
    system_s: float = 0.0
    wait_s: float = 0.0
    cpu_s_se: float = 0.0
    samples: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        return self.python_s + self.native_s + self.system_s

    def bytes(self, key: str) -> float:
        return float(self.memory.get(key) or 0)


@dataclass
class Measured:
    """A profile of one of the programs."""

    profile: dict[str, Any]
    truth: dict[str, float]
    lines: dict[str, Line]

    def line(self, mark: str) -> Line:
        return self.lines.get(mark, Line())

    @property
    def elsewhere(self) -> set[str]:
        """Names of files with reported lines other than the program."""
        return {Path(file["path"]).name for file in self.profile["files"] if file["lines"]} - {
            Path(self.profile["program"]).name
        }


Measure = Callable[..., Measured]


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).name)
def interpreter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["perf", "timer"])
def source(request: pytest.FixtureRequest) -> str:
    """A CPU engine; where perf does not open, `auto` stands in for it and is the timer again."""
    return "auto" if request.param == "perf" else "timer"


@pytest.fixture
def measure(rscalene: Callable[..., Any], tmp_path: Path, interpreter: str) -> Measure:
    """Run a program (its name, or its text) under the profiler and read its profile."""

    def run(program: str, *words: str, options: tuple[str, ...] = (), **more: Any) -> Measured:
        path = PROGRAMS / program
        if "\n" in program:
            path = tmp_path / "program.py"
            path.write_text(program)
        saved = tmp_path / "profile.json"
        done = rscalene("run", "--python", interpreter, "-o", saved, *options, path, *words, **{"timeout": 100, **more})
        assert done.returncode == 0, done.stderr
        profile: dict[str, Any] = {**json.loads(saved.read_text()), "program": str(path)}
        last = next((row for row in reversed(done.stdout.splitlines()) if row.startswith("{")), "{}")
        return Measured(profile, json.loads(last), marked(path, profile))

    return run


def marked(path: Path, profile: dict[str, Any]) -> dict[str, Line]:
    """The figures of the marked lines."""
    found = {}
    rows = {row["line"]: row for file in profile["files"] if file["path"] == str(path) for row in file["lines"]}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        mark = re.search(r"# at: (\w+)$", text)
        if mark and (row := rows.get(number)):
            found[mark[1]] = Line(
                python_s=row["python_s"] or 0.0,
                native_s=row["native_s"] or 0.0,
                system_s=row["system_s"] or 0.0,
                wait_s=row["wait_s"] or 0.0,
                cpu_s_se=row.get("cpu_s_se") or 0.0,
                samples=row["cpu_samples"],
                memory=row,
            )
    return found
