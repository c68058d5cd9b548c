"""A single table a function for many calls, printed on request, as ``kernprof`` prints."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from rscalene._rscalene import LineOutcome
from rscalene.lines.decorator import decorate, enabled, swap_code, tables_for
from rscalene.lines.options import Options, TableStream
from rscalene.lines.tables import render, write_or_show

__all__ = ["Collector"]

_Decorated = TypeVar("_Decorated")


class Collector:
    """A decorator that gathers: calls of the same function, in all threads and tasks, share a table.

    Also a context manager, and an object with ``enable_by_count`` and ``disable_by_count``: these only mark a section,
    since marked functions report by themselves.
    """

    def __init__(self, options: Options | None = None) -> None:
        """Gather with ``options`` of measuring and printing."""
        self.options = options or Options()
        self._outcomes: dict[tuple[str, int, str], LineOutcome] = {}
        # A signal handler may ask for the tables while this very thread gathers.
        self._lock = threading.RLock()
        self.marked = False
        try:
            self._folder = os.getcwd()
        except OSError:
            self._folder = os.sep

    @overload
    def __call__(self, func: _Decorated, /, **_ignored: Any) -> _Decorated: ...

    @overload
    def __call__(self, func: None = None, /, **_ignored: Any) -> Self: ...

    def __call__(self, func: Any = None, /, **_ignored: Any) -> Any:
        """Decorate ``func``; arguments of other profilers' decorators are accepted and not used."""
        if func is None:
            return self
        self.marked = True
        return decorate(func, self.options, self.gather) if enabled() else func

    def add_function(self, func: Any) -> None:
        """Watch a plain function in place, without a decorator.

        :raises TypeError: for generator, coroutine and async generator functions, which need the decorator.
        """
        self.marked = True
        if enabled():
            swap_code(func, self.options, self.gather)

    wrap_function = __call__

    def outcomes(self) -> list[LineOutcome]:
        """Return the outcome of each function so far, in the order of files and lines."""
        with self._lock:
            return [self._outcomes[key] for key in sorted(self._outcomes)]

    def tables(self, **changes: Any) -> str:
        """Return the tables as text; ``changes`` override the options.

        Tables of time include functions that were never called, as line_profiler's do.
        """
        options = replace(self.options, **changes)
        outcomes = self.outcomes()
        if options.columns in ("time", "line_profiler"):
            outcomes = self._with_unused(outcomes)
        text = "".join(render(outcome, options) for outcome in outcomes)
        unit = options.columns == "line_profiler" and text
        return f"Timer unit: {options.unit_s:g} s\n\n{text}" if unit else text

    def _with_unused(self, called: list[LineOutcome]) -> list[LineOutcome]:
        found = {self._key(outcome): outcome for outcome in called}
        for table in tables_for(self.gather):
            unused = table.unused()
            found.setdefault(self._key(unused), unused)
        return [found[key] for key in sorted(found)]

    def print_stats(self, stream: TableStream | None = None, **changes: Any) -> None:
        """Print the tables to ``stream`` (default: the stream of the options); ``changes`` override other options."""
        text = self.tables(**changes)
        if text:
            write_or_show(stream if stream is not None else self.options.stream, text)

    def runcall(self, func: Callable[..., _Decorated], /, *args: Any, **kwargs: Any) -> _Decorated:
        """Call ``func`` once, watched."""
        return self(func)(*args, **kwargs)

    def runctx(self, statement: str, globals: dict[str, Any], locals: dict[str, Any]) -> Self:
        """Execute ``statement``; added functions report."""
        exec(statement, globals, locals)
        return self

    def run(self, statement: str) -> Self:
        """Execute ``statement`` in ``__main__``."""
        import __main__

        return self.runctx(statement, vars(__main__), vars(__main__))

    def enable(self) -> None:
        """Do nothing: marked functions report by themselves."""

    disable = enable_by_count = disable_by_count = enable

    def __enter__(self) -> Self:
        """Mark a section."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End the section."""

    def forget(self) -> None:
        """Begin anew, in a forked child: what was gathered is its parent's."""
        self._lock = threading.RLock()
        self._outcomes = {}

    def _key(self, outcome: LineOutcome) -> tuple[str, int, str]:
        """Tell functions apart, in the order in which they are printed; a child may know a file by its whole path."""
        return os.path.normpath(os.path.join(self._folder, outcome.filename)), outcome.first_line, outcome.name

    def gather(self, outcome: LineOutcome) -> None:
        """Take the outcome of a call."""
        with self._lock:
            known = self._outcomes.setdefault(self._key(outcome), outcome)
            if known is not outcome:
                known.merge(outcome)
