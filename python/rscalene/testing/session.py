"""A test session under the profiler: a profile of the whole session, and figures of each test.

Under pytest-xdist, each worker measures its own tests. The controller runs no tests; it adds the profiles up and
reports.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rscalene.footprint import around
from rscalene.profiler import Profiler
from rscalene.sql.counted import Queries
from rscalene.testing import gate
from rscalene.testing.amounts import bytes_text, seconds_text
from rscalene.testing.combine import combined

__all__ = ["Session"]

#: Seconds between observations of the threads. Suites are long, and the observations take a share of the wall time: at
#: an interval of 10 ms, 1.1 s of CPU time in a suite of 38 s, measured on a busy machine.
_INTERVAL_S = 0.02


class Session:
    """The plugin of a measured session."""

    def __init__(self, config: pytest.Config) -> None:
        """Measure nothing yet."""
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._controls = bool(getattr(config.option, "dist", "no") != "no") and not self._is_worker
        self._tests: dict[str, dict[str, Any]] = {}
        self._parts: list[dict[str, Any]] = []
        self._profiler: Profiler | None = None
        self._profile: dict[str, Any] | None = None
        self._passed: list[str] = []
        if config.getoption("rscalene_fail") and not config.getoption("rscalene_diff"):
            raise pytest.UsageError("--rscalene-fail compares with a file: add --rscalene-diff BASE.json")
        self._rules = gate.rules(config.getoption("rscalene_fail") or "")
        base = config.getoption("rscalene_diff")
        self._base = gate.read(base) if base and not self._is_worker else None

    def pytest_sessionstart(self) -> None:
        """Start the profiler, unless this is the controller of pytest-xdist."""
        if not self._controls:
            self._profiler = Profiler(
                interval=_INTERVAL_S, include=_packages(self._config.rootpath), exclude=_NOT_THEIRS
            )
            self._profiler.start()

    def measured(self, item: pytest.Item, function: Any) -> Any:
        """Return ``function`` with each call measured as a part of the test ``item``."""

        @contextlib.contextmanager
        def measure() -> Iterator[None]:
            queries = Queries()
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                with queries:
                    yield
            finally:
                self._add(item.nodeid, time.perf_counter() - wall, time.thread_time() - cpu, queries)

        try:
            return around(function, measure)
        except TypeError:  # `around` cannot wrap the function, so the test runs without measurement
            return function

    def _add(self, test: str, wall_s: float, cpu_s: float, queries: Queries) -> None:
        figures = self._tests.setdefault(test, {"wall_s": 0.0, "cpu_s": 0.0, "queries": 0, "n_plus_one": 0})
        figures["wall_s"] += wall_s
        figures["cpu_s"] += cpu_s
        figures["queries"] += queries.count
        figures["n_plus_one"] += len(queries.n_plus_one)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Stop, pass the profile to the controller or write it, and check the rules."""
        own = None
        if self._profiler is not None:
            self._profiler.stop()
            own = json.loads(self._profiler.output_json())
            own["tests"] = self._tests
        if self._is_worker:
            self._config.workeroutput["rscalene"] = json.dumps(own)  # type: ignore[attr-defined]
            return
        self._profile = combined([part for part in (own, *self._parts) if part is not None])
        if self._profile is None:
            return
        self._write()
        if self._base is not None:
            self._passed = gate.passed(self._rules, self._base, self._profile)
            if self._passed and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the profile of a worker."""
        text = getattr(node, "workeroutput", {}).get("rscalene")
        if text:
            self._parts.append(json.loads(text))

    def _write(self) -> None:
        from rscalene.result import Result

        text = json.dumps(self._profile)
        if path := self._config.getoption("rscalene_json"):
            Path(path).write_text(text, encoding="utf-8")
        if path := self._config.getoption("rscalene_html"):
            Result.from_json(text).to_html(path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the hottest lines and the most expensive tests."""
        profile = self._profile
        if profile is None:
            return
        top = self._config.getoption("rscalene_top")
        write = terminalreporter.write_line
        terminalreporter.section("rscalene: hottest lines")
        write("     CPU      Allocated  Line")
        for line in _hottest(profile, top):
            place = f"{gate.relative(line['file'], self._config.rootpath)}:{line['line']}"
            write(
                f"{seconds_text(_cpu(line)):>8} {bytes_text(line['alloc_bytes'] or 0):>14}  {place}  "
                f"{(line['source'] or '').strip()[:80]}"
            )
        terminalreporter.section("rscalene: tests that cost most")
        write("     CPU     Wall  Queries  Test")
        tests = sorted(profile["tests"].items(), key=lambda test: -test[1]["cpu_s"])
        for name, figures in tests[:top]:
            note = f"  [{figures['n_plus_one']} N+1]" if figures["n_plus_one"] else ""
            cpu, wall = seconds_text(figures["cpu_s"]), seconds_text(figures["wall_s"])
            write(f"{cpu:>8} {wall:>8} {figures['queries']:8}  {name}{note}")
        if self._base is not None:
            terminalreporter.section("rscalene: compared with the base")
            for text in gate.comparison(self._base, profile) + self._passed:
                write(text)


def _packages(root: Path) -> list[str]:
    """Return globs of the installed copies of packages in the session's folder."""
    folders = [path.parent for where in (root, root / "src") for path in where.glob("*/__init__.py")]
    return [f"**/site-packages/{folder.name}/**" for folder in folders if folder.name != "tests"]


#: Globs of the tools that run tests; their lines are out of scope.
_NOT_THEIRS = [
    "**/site-packages/pytest/**",
    "**/site-packages/_pytest/**",
    "**/site-packages/pluggy/**",
    "**/site-packages/xdist/**",
]


def _cpu(line: dict[str, Any]) -> float:
    return sum(line.get(key) or 0.0 for key in ("python_s", "native_s", "system_s", "user_s"))


def _hottest(profile: dict[str, Any], top: int) -> list[dict[str, Any]]:
    lines = [{"file": file["path"], **line} for file in profile["files"] for line in file["lines"]]
    return sorted(lines, key=lambda line: (-_cpu(line), -(line["alloc_bytes"] or 0)))[:top]
