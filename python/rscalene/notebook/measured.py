"""The ways to measure of the notebook's magics: a sampled profile, or exact tables of functions.

A notebook shows the result of :meth:`Measured.stop`, and saves the result.
"""

from __future__ import annotations

import html
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rscalene._rscalene import LineOutcome
from rscalene.compat import line_profiler as line_profiler_names
from rscalene.compat import memory_profiler as memory_profiler_names
from rscalene.lines import Options, render, source_of
from rscalene.lines.collector import Collector
from rscalene.lines.watch import Watch
from rscalene.notebook.cells import label, titled
from rscalene.profiler import Profiler
from rscalene.result import Result

__all__ = ["Exact", "Measured", "Sampled", "Tables", "line_profiler", "memory_profiler"]


class Measured(ABC):
    """A measurement: start, stop, result."""

    @abstractmethod
    def start(self) -> None:
        """Start."""

    @abstractmethod
    def stop(self) -> Any:
        """Stop, once, and return the result."""

    def answer(self, result: Any) -> Any:
        """Return the answer to ``-r`` for a result."""
        return result

    @abstractmethod
    def define(self, target: Any, namespace: dict[str, Any]) -> Any:
        """Watch a function at its definition; return the function to call instead."""


class Sampled(Measured):
    """All running code, by the sampling profiler."""

    def __init__(self, title: str, *, memory: bool, top: int, sort: str) -> None:
        """Measure under the name ``title``; ValueError for an unknown order."""
        self._title, self._top, self._sort = title, top, sort
        self._profiler = Profiler(memory=memory)

    def start(self) -> None:
        """Start."""
        self._profiler.start()

    def stop(self) -> Result:
        """Stop, and return the result."""
        self._profiler.stop()
        data = titled(self._profiler.result()._data, self._title)
        return Result(data, top=self._top, sort=self._sort)

    def define(self, target: Any, namespace: dict[str, Any]) -> Any:
        """Return ``target``: everything is sampled."""
        return target


class Exact(Measured):
    """The lines of some functions, by the engine of ``@profile``."""

    def __init__(self, options: Options, collector: Collector | None = None) -> None:
        """Measure with ``options``."""
        self.collector = collector or Collector(options)
        self.watch = Watch(self.collector)
        self._options = options

    def start(self) -> None:
        """Do nothing: watched functions report by themselves."""

    def stop(self) -> Tables:
        """Put the functions back, and return their tables."""
        self.watch.end()
        return Tables(self.collector, self._options)

    def answer(self, result: Any) -> Any:
        """Return the profiler object, as the magics of others do."""
        return self.collector

    def define(self, target: Any, namespace: dict[str, Any]) -> Any:
        """Watch a function at its definition."""
        return self.watch.define(target, namespace)


def memory_profiler() -> Exact:
    """Measure for ``%mprun``."""
    return Exact(Options(), memory_profiler_names.LineProfiler())


def line_profiler(unit_s: float | None) -> Exact:
    """Measure for ``%lprun``; times in units of ``unit_s`` seconds."""
    options = Options(columns="line_profiler", unit_s=unit_s or 1e-6)
    return Exact(options, line_profiler_names.LineProfiler())


class Tables:
    """Exact tables of functions."""

    def __init__(self, collector: Collector, options: Options) -> None:
        """Hold the tables of ``collector``."""
        self._collector = collector
        self._options = options

    @property
    def outcomes(self) -> list[LineOutcome]:
        """The outcome of each function."""
        return self._collector.outcomes()

    def to_text(self) -> str:
        """Return the tables."""
        text = ""
        if self._options.columns == "line_profiler" and self.outcomes:
            text = f"Timer unit: {self._options.unit_s:g} s\n\n"
        for outcome in self.outcomes:
            table = render(outcome, replace(self._options, name=None))
            shown = label(outcome.filename)
            text += table.replace(outcome.filename, shown, 1) if shown else table
        return text or "none of these functions was called\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the figures: a record for each function, with a record for each executed line."""
        keys = ("line", "hits", "time_s", "own_s", "increment_bytes", "mem_usage_bytes", "peak_bytes")
        functions = []
        for outcome in self.outcomes:
            source = source_of(outcome)
            lines = [
                {**dict(zip(keys, row, strict=True)), "source": source[row[0] - outcome.first_line]}
                for row in outcome.rows()
            ]
            functions.append(
                {
                    "file": label(outcome.filename) or outcome.filename,
                    "function": outcome.name,
                    "first_line": outcome.first_line,
                    "calls": outcome.calls,
                    "total_s": outcome.total_s,
                    "lines": lines,
                }
            )
        return {"functions": functions}

    def to_json(self) -> str:
        """Return the figures as JSON."""
        return json.dumps(self.to_dict())

    def dump(self, path: str) -> None:
        """Pickle the answer of line_profiler's ``get_stats``."""
        collector = self._collector
        assert isinstance(collector, line_profiler_names.LineProfiler)
        Path(path).write_bytes(pickle.dumps(collector.get_stats()))

    def __repr__(self) -> str:
        """Return the tables."""
        return self.to_text()

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        text = self.to_text()
        font = "12px/1.35 var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace)"
        style = f"overflow-x:auto;white-space:pre;font:{font}"
        return {
            "text/plain": text,
            "text/html": f'<pre class="rscalene-lines" style="{style}">{html.escape(text)}</pre>',
            "text/markdown": "".join(f"    {line}\n" for line in text.splitlines()),
        }
