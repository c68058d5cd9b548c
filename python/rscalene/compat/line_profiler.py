"""line_profiler's names: the same tables, measured by rscalene.

``profile`` gathers from the first decorated function on and prints to ``sys.stdout`` when the interpreter exits, as
line_profiler does with ``LINE_PROFILE=1``; ``LINE_PROFILE=0`` and ``RSCALENE=0`` turn it off.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any, Self, TypeVar, overload

from rscalene.lines import Options, TableStream
from rscalene.lines.collector import Collector

__all__ = ["LineProfiler", "LineStats", "profile"]

_Decorated = TypeVar("_Decorated")


@dataclass(frozen=True)
class LineStats:
    """Times as line_profiler keeps them: ``timings[file, first line, name]`` is a list of ``(line, hits, time)``."""

    timings: dict[tuple[str, int, str], list[tuple[int, int, int]]]
    unit: float


class LineProfiler(Collector):
    """Gathers time tables of decorated or added functions; ``print_stats`` prints them."""

    #: Seconds of one unit of :meth:`get_stats`.
    timer_unit = 1e-9

    def __init__(self, *functions: Any, **_ignored: Any) -> None:
        """Gather, and watch ``functions`` in place."""
        super().__init__(Options(columns="line_profiler"))
        for function in functions:
            self.add_function(function)

    def get_stats(self) -> LineStats:
        """Return hits and times, in nanoseconds."""
        timings = {
            (outcome.filename, outcome.first_line, outcome.name): [
                (row[0], row[1], round(row[2] / self.timer_unit)) for row in outcome.rows() if row[1]
            ]
            for outcome in self.outcomes()
        }
        return LineStats(timings, self.timer_unit)

    def print_stats(self, stream: TableStream | None = None, output_unit: float | None = None, **_ignored: Any) -> None:
        """Print the tables to ``stream``; times in units of ``output_unit`` seconds (default 1e-6)."""
        super().print_stats(stream, unit_s=output_unit or 1e-6)


class _GlobalProfiler(LineProfiler):
    """``profile``: off or printing at exit."""

    def __init__(self) -> None:
        super().__init__()
        self._registered = False
        self._on = os.environ.get("LINE_PROFILE", "1") != "0"

    @overload
    def __call__(self, func: _Decorated, /, **ignored: Any) -> _Decorated: ...

    @overload
    def __call__(self, func: None = None, /, **ignored: Any) -> Self: ...

    def __call__(self, func: Any = None, /, **ignored: Any) -> Any:
        if not self._on:
            return self if func is None else func
        if not self._registered:
            self._registered = True
            atexit.register(self.print_stats)
        return super().__call__(func, **ignored)

    def enable(self, *_ignored: Any, **_also_ignored: Any) -> None:
        """Gather from now on (for functions decorated later)."""
        self._on = True

    def disable(self) -> None:
        """Leave functions decorated later as they are."""
        self._on = False


#: line_profiler's global decorator.
profile = _GlobalProfiler()
