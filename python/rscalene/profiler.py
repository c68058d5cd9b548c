"""``Profiler``: start and stop by hand, and read the profile in the same program.

A profiler samples the CPU time and the waiting of all Python threads of this process. Its own thread needs no GIL and
sends no signal. System time is counted at the scheduler's ticks, and is unknown without a tick. The threads of
profilers are in no profile.

With ``memory=True`` a profiler also samples the allocations of Python and of the loaded libraries. While any such
profiler runs, the allocators of the process lead through rscalene's; the last profiler to stop puts them back.
Any number of profilers may run at once and nest. In a forked child none runs.
"""

from __future__ import annotations

import atexit
import contextlib
import locale
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar, overload

from rscalene._rscalene import Sampler
from rscalene.footprint import around
from rscalene.lines import enabled
from rscalene.notebook.cells import titled
from rscalene.result import Result
from rscalene.web.django_templates import follow_django

if TYPE_CHECKING:
    import pstats

__all__ = ["Profiler", "profile_run"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


class Profiler:
    """Profiles the code between :meth:`start` and :meth:`stop`, or inside of ``with``.

    >>> with rscalene.Profiler() as p:
    ...     work()
    >>> p.print()
    """

    def __init__(
        self,
        *,
        interval: float = 0.002,
        all: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        memory: bool = True,
        name: str = "profiler",
    ) -> None:
        """Set the options; nothing runs yet.

        :param interval: wall seconds between two looks at the threads, at least 0.0001. A look costs about 20 us for
            each running thread.
        :param all: report every line, not only the user's own code.
        :param include: globs of files to add to the scope.
        :param exclude: globs of files to take out of the scope.
        :param memory: sample allocations, and keep the footprint over time; ``False`` for time alone. Blocks from
            before the start are unknown, and to free them counts for no line. Under ``rscalene run`` the memory of
            lines is in the profile of the run, and unknown in this profile.
        :param name: under ``rscalene run`` the time between start and stop is also a section of this name in the
            profile of the run, with wall and CPU time, allocations and lines; pauses are part of the section.
        :raises ValueError: for an interval below 0 or an invalid glob.
        :raises TypeError: for a glob in place of a list of globs, or an interval with a unit.
        """
        if isinstance(interval, str):
            raise TypeError(f"interval is a number of seconds, not {interval!r}\nhint: 0.001 is a millisecond")
        if isinstance(include, str) or isinstance(exclude, str):
            raise TypeError("include and exclude are lists of globs\nhint: put the glob into a list")
        self.memory = memory
        self._lock = threading.RLock()
        own = os.path.dirname(os.path.abspath(__file__))
        main = os.path.abspath(getattr(sys.modules.get("__main__"), "__file__", None) or "")
        self._sampler = Sampler(
            interval,
            all=all,
            include=list(include),
            exclude=list(exclude),
            libraries=[own],
            # Not where the program is a part of rscalene.
            script=main if os.path.isfile(main) and not main.startswith(own + os.sep) else None,
            memory=memory,
            name=name,
        )

    def start(self) -> Self:
        """Start, and drop earlier records.

        :raises RuntimeError: if the profiler runs already, or the interpreter's frames cannot be read.
        """
        follow_django()
        with self._lock:
            self._sampler.start()
        return self

    def stop(self) -> Self:
        """Stop and make the profile; a stopped profiler stays as is."""
        with self._lock:
            self._sampler.stop()
        return self

    def pause(self) -> None:
        """Stop sampling until :meth:`resume`; no figure has the time after the return of this call."""
        with self._lock:
            self._sampler.pause(True)

    def resume(self) -> None:
        """Go on after :meth:`pause`, from this call on."""
        with self._lock:
            self._sampler.pause(False)

    def snapshot(self) -> Result:
        """Return the profile so far; a running profiler goes on.

        :raises RuntimeError: if nothing was profiled.
        """
        with self._lock:
            profile = self._sampler.snapshot()
        return Result(titled(profile))

    def reset(self) -> None:
        """Drop the records; a running profiler starts over."""
        with self._lock:
            running = self.running
            self._sampler.stop()
            self._sampler.reset()
            if running:
                self._sampler.start()

    @property
    def running(self) -> bool:
        """Whether the profiler was started and not stopped."""
        with self._lock:
            return self._sampler.running

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop."""
        self.stop()

    def print(self, stream: _Stream | None = None) -> None:
        """Print the table to ``stream`` (default ``sys.stderr``)."""
        (stream or sys.stderr).write(self.output_text())

    def output_text(self, *, unicode: bool | None = None, color: bool = False, width: int = 120) -> str:
        """Return the table: summary, hottest lines, annotated source, functions, threads.

        :param unicode: draw with Unicode; the default follows the locale.
        :param color: with terminal colours.
        :param width: display cells of a line, at least 40.
        :raises RuntimeError: if nothing was profiled, or the profiler still runs.
        """
        if unicode is None:
            unicode = locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
        return self.result().to_text(unicode=unicode, color=color, width=width)

    def output_json(self) -> str:
        """Return the profile as JSON, format 1; RuntimeError when there is none."""
        return self.result().to_json()

    def output_html(self, *, source: bool = True) -> str:
        """Return the profile as an HTML page for offline use; RuntimeError without a profile.

        :param source: with the source text of the lines.
        """
        return self.result().to_html(source=source)

    def result(self) -> Result:
        """Return the profile as an object to look at and to compute with; RuntimeError when there is none."""
        with self._lock:
            profile = self._sampler.result()
        return Result(titled(profile))

    def stats(self) -> pstats.Stats:
        """Return the profile as a real ``pstats.Stats``; RuntimeError when there is none."""
        # 20 ms that a program which never asks for this does not pay.
        import pstats
        import tempfile

        data = self.result()._data.encode("pstats")
        with tempfile.NamedTemporaryFile(suffix=".pstats") as file:
            file.write(data)
            file.flush()
            return pstats.Stats(file.name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to ``path``, whole or not at all, readable by the user alone.

        :param path: the format follows the ending: ``.json``, ``.html``, ``.txt``, ``.collapsed``,
            ``.speedscope.json``, ``.pstats`` or ``.prof``.
        :raises ValueError: for another ending.
        :raises OSError: when the file cannot be written.
        :raises RuntimeError: when nothing was profiled.
        """
        self.result().save(path)


# At the end, and in a child that has no thread of ours, allocators are given back. While the process forks no sampler
# has a thread: the interpreter counts the program's own, and warns for none of ours.
atexit.register(Sampler.unhook)
os.register_at_fork(
    before=lambda: Sampler.fork(True), after_in_parent=lambda: Sampler.fork(False), after_in_child=Sampler.forked
)


@overload
def profile_run(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def profile_run(
    function: None = None,
    /,
    *,
    path: str | os.PathLike[str] | None = None,
    stream: _Stream | None = None,
    **options: Any,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def profile_run(
    function: Any = None,
    /,
    *,
    path: str | os.PathLike[str] | None = None,
    stream: _Stream | None = None,
    **options: Any,
) -> Any:
    """Profile each whole call of the decorated function; of a coroutine or a generator, until its end.

    Goes with or without parentheses.

    :param path: save each profile there (see :meth:`Profiler.save`) in place of printing.
    :param stream: where to print; default ``sys.stderr``.
    :param options: as :class:`Profiler` takes them.
    :raises TypeError: for an async generator function.
    """

    @contextlib.contextmanager
    def call() -> Iterator[None]:
        profiler = Profiler(**options)
        try:
            with profiler:
                yield
        finally:
            if path is None:
                profiler.print(stream)
            else:
                profiler.save(path)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if not enabled():
            return function

        return around(function, call)

    return decorate if function is None else decorate(function)
