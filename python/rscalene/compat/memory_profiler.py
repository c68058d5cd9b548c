"""memory_profiler's names: the same tables and the same results, measured by rscalene.

Differences from memory_profiler 0.61: Increment is exact (bytes allocated by the line minus bytes freed, on this
thread) unless a backend of resident memory is named; a call that raises prints its table too; ``memory_usage`` calls
a function once and ends no processes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, overload

from rscalene.footprint import memory_usage
from rscalene.lines import Options, TableStream
from rscalene.lines import profile as _profile
from rscalene.lines.collector import Collector

__all__ = ["LineProfiler", "LogFile", "choose_backend", "memory_usage", "profile", "show_results"]


_Decorated = TypeVar("_Decorated")


@overload
def profile(
    func: _Decorated, stream: TableStream | None = None, precision: int = 1, backend: str | None = None
) -> _Decorated: ...


@overload
def profile(
    func: None = None, stream: TableStream | None = None, precision: int = 1, backend: str | None = None
) -> Callable[[_Decorated], _Decorated]: ...


def profile(func: Any = None, stream: TableStream | None = None, precision: int = 1, backend: str | None = None) -> Any:
    """Print a memory table each time the outermost call of ``func`` ends.

    :param stream: where to print; default ``sys.stdout``.
    :param precision: decimals of the MiB cells.
    :param backend: ``None`` or ``"tracemalloc"`` for exact increments; ``"psutil"``, ``"psutil_pss"``, ``"psutil_uss"``
        or ``"posix"`` for changes of resident memory.
    """
    return _profile(func, stream, precision, backend or "exact")


class LineProfiler(Collector):
    """Gathers memory tables of decorated functions; :func:`show_results` prints them."""

    def __init__(self, **kw: Any) -> None:
        """Gather; ``backend`` is used, memory_profiler's other keywords are accepted."""
        super().__init__(Options(backend=kw.get("backend") or "exact"))

    @property
    def code_map(self) -> dict[str, list[tuple[int, tuple[float, float, int] | None]]]:
        """File name to ``(line, (increment MiB, usage MiB, occurrences) or None)`` of each line."""
        found: dict[str, list[tuple[int, tuple[float, float, int] | None]]] = {}
        for outcome in self.outcomes():
            ran = {row[0]: (row[4] / 2**20, row[5] / 2**20, row[1]) for row in outcome.rows()}
            lines = range(outcome.first_line, outcome.first_line + outcome.lines)
            found.setdefault(outcome.filename, []).extend((line, ran.get(line)) for line in lines)
        return found


def show_results(prof: Collector, stream: TableStream | None = None, precision: int = 1) -> None:
    """Print the tables of ``prof`` to ``stream`` (default ``sys.stdout``)."""
    prof.print_stats(stream, precision=precision)


def choose_backend(new_backend: str | None = None) -> str:
    """Return the backend used for ``new_backend``: ``"exact"`` or ``"rss"``."""
    return Options(backend=new_backend or "exact").memory or "exact"


class LogFile:
    """A stream into the logger called ``name``; with ``reportIncrementFlag``, rows with growth only."""

    def __init__(self, name: str | None = None, reportIncrementFlag: bool = False) -> None:
        """Write to the logger called ``name``."""
        self.logger = logging.getLogger(name)
        self.reportIncrementFlag = reportIncrementFlag

    def write(self, text: str) -> None:
        """Log each non-empty line of ``text`` at level INFO."""
        for line in text.splitlines():
            if line.strip() and (not self.reportIncrementFlag or self._changed(line)):
                self.logger.info("%s", line)

    def flush(self) -> None:
        """Flush the logger's handlers."""
        for handler in self.logger.handlers:
            handler.flush()

    @staticmethod
    def _changed(line: str) -> bool:
        cells = line.split()
        if len(cells) < 5 or cells[2] != "MiB" or cells[4] != "MiB":
            return "MiB" not in cells
        return float(cells[3]) > 0
