"""Which tests run where, and why: the one table that pytest, make and CI read.

Plain ``pytest`` runs the suite ``plain``. A suite in a folder of its own needs something that not every machine has; it
runs when asked for, by its folder (``pytest tests/servers``) or its marker (``pytest -m servers``). ``make test-NAME``
installs what it needs first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """A row of the table."""

    name: str
    """Its marker; for all but ``plain`` also its folder."""
    under: Literal["each", "first"]
    """``each``: every CPython minor version at hand. ``first``: the one that make chose, the oldest supported."""
    needs: str
    why: str
    """Why it runs under these interpreters."""

    @property
    def folder(self) -> Path:
        return TESTS if self.name == "plain" else TESTS / self.name


SUITES = (
    Suite("plain", "each", "CPython", "frames, allocators and threads differ from one minor version to the next"),
    Suite("servers", "first", "servers from PyPI", "their forks, execs and signals are held by `plain` under each"),
    Suite("sql", "first", "PostgreSQL and MariaDB of Debian, drivers from PyPI", "`plain` has sqlite3 under each"),
    Suite(
        "clusters",
        "first",
        "Dask and PySpark from PyPI, Java 17",
        "labels and `Profiler` are held by `plain` under each",
    ),
    Suite(
        "ordinary",
        "first",
        "numpy, polars, Flask and other packages from PyPI",
        "`plain` holds figures of single lines under each",
    ),
    Suite("limits", "first", "two minutes without other work", "the launcher is the same Rust code for all"),
    Suite("browser", "first", "Chromium and its driver", "the page is made from a profile, without an interpreter"),
    Suite("allocators", "first", "Debian's allocators, a C++ compiler", "the allocators replace libc's, not Python's"),
    Suite("root", "first", "the right to mount and to make a cgroup", "the kernel's refusals are the same for all"),
)

ONCE = {
    "attach": "builtins of a statically linked interpreter are told as Python (docs/attach.md)",
    "test_beside.py": "needs a C compiler, which the roots of the newest builds lack",
    "test_cli_diff.py": "compares stored profiles",
    "test_docs.py": "reads the pages, and runs their short examples",
    "test_free_threaded.py": "goes through the interpreters itself",
    "test_hook_cost.py": "counts instructions of the shim alone",
    "test_recover.py": "the launcher alone writes and reads captures",
    "test_result.py": "reads stored profiles",
    "test_tidy.py": "reads the source",
    "test_unseen.py": "compiles programs that are no supported Python",
}
"""Tests of ``plain`` that run under ``first`` alone, with the reason; they have the marker ``once``."""

TIMED = {
    "accuracy",
    "attach",
    "limits",
    "ordinary",
    "test_api_profiler.py",
    "test_api_sections.py",
    "test_beside.py",
    "test_cli_signals.py",
    "test_deaths.py",
    "test_figures.py",
    "test_faults.py",
    "test_labels.py",
    "test_neighbours.py",
    "test_notebook.py",
    "test_processes.py",
    "test_push.py",
    "test_recover.py",
    "test_surroundings.py",
    "test_texts.py",
}
"""Files and folders that measure against a clock, or race with one: marker ``timed``. They run without other work."""

MARKERS = {
    **{suite.name: f"needs {suite.needs}" for suite in SUITES},
    "once": "gives the same answer under every interpreter",
    "timed": "measures against a clock: wants a machine without other work",
}


def suite_of(path: Path) -> Suite:
    """Return the suite that a test file, or a folder of tests, belongs to."""
    return next((suite for suite in SUITES if suite.name != "plain" and path.is_relative_to(suite.folder)), SUITES[0])
