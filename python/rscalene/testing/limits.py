"""``rscalene.limits(...)``: fails a block or a function with more queries, time or memory than allowed.

Counts and bytes are exact. The clocks leave out the time in which other programs had the cores. A limit on time allows
some noise; the message names the allowance.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from rscalene._rscalene import ByteCount
from rscalene.footprint import around
from rscalene.lines import enabled
from rscalene.profiler import Profiler
from rscalene.sql.counted import Finding, Place, Queries
from rscalene.sql.report import shown
from rscalene.testing.amounts import byte_count, bytes_text, seconds, seconds_text

__all__ = ["limits"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: A time may exceed its limit by this share and by this number of seconds, because clocks and schedulers are inexact.
NOISE_SHARE, NOISE_S = 0.05, 0.001
#: Most bytes kept by entering and leaving a block: interpreters cache objects at the first use.
KEPT_BYTES = 1_024
#: Lines that a message names for each limit.
_TOP = 5


class limits:
    """Limits for a block or for each call of a function; exceeding a limit raises an ``AssertionError`` with the lines.

    >>> with rscalene.limits(queries=12, n_plus_one=False, wall="50 ms", peak="8 MB"):
    ...     page()

    Memory is the memory requested by this thread, exact to the byte; time is the time of this thread, too. If the block
    raises, its exception propagates and no limit is checked. ``RSCALENE=0`` turns all limits off.
    """

    def __init__(
        self,
        *,
        queries: int | None = None,
        n_plus_one: bool | None = None,
        wall: float | str | None = None,
        cpu: float | str | None = None,
        peak: int | str | None = None,
        allocated: int | str | None = None,
        kept: int | str | None = None,
    ) -> None:
        """Set the limits.

        :param queries: most queries, words of transactions left out.
        :param n_plus_one: ``False``: no N+1 and no duplicates.
        :param wall: most seconds, or a text such as ``"50 ms"``. The time in which the thread was ready to run and
            other threads had the cores does not count.
        :param cpu: most CPU seconds of this thread.
        :param peak: most bytes above the memory at the block's start, or a text such as ``"8 MB"`` or ``"8 MiB"``.
        :param allocated: most bytes requested in all.
        :param kept: most bytes still held at the end, after a garbage collection; another 1 KiB is allowed.
        :raises ValueError: for an amount that cannot be parsed.
        """
        self._queries, self._n_plus_one = queries, n_plus_one
        self._wall, self._cpu = seconds("wall", wall), seconds("cpu", cpu)
        self._peak, self._allocated = byte_count("peak", peak), byte_count("allocated", allocated)
        self._kept = byte_count("kept", kept)
        self._memory = not (self._peak is None and self._allocated is None and self._kept is None)
        self._counter: Queries | None = None
        self._profiler: Profiler | None = None
        self._open = False

    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Decorate ``function``: each call has these limits."""
        return around(function, self._again) if enabled() else function

    def _again(self) -> Self:
        return type(self)(
            queries=self._queries,
            n_plus_one=self._n_plus_one,
            wall=self._wall,
            cpu=self._cpu,
            peak=self._peak,
            allocated=self._allocated,
            kept=self._kept,
        )

    def __enter__(self) -> Self:
        """Begin to measure."""
        if self._open:
            raise RuntimeError("these limits are being measured already\nhint: use another `rscalene.limits(...)`")
        if not enabled():
            return self
        self._open = True
        if self._queries is not None or self._n_plus_one is not None:
            self._counter = Queries()
            self._counter.__enter__()
        if self._memory or self._wall is not None or self._cpu is not None:
            # The profiler only finds the lines for the message; other counters measure the figures.
            self._profiler = Profiler(memory=self._memory)
            self._profiler.start()
        if self._memory and self._kept is not None:
            gc.collect()
        self._waited, self._ran = _waited_s(), time.thread_time()
        self._began = time.perf_counter()
        if self._memory:  # start last and read first, so that this class' own allocations do not count
            self._bytes = ByteCount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop measuring and check the limits.

        :raises AssertionError: if a limit was exceeded and the block did not raise.
        """
        __tracebackhide__ = True
        if not self._open:
            return
        allocated, net, peak = self._bytes.peek() if self._memory else (0, 0, 0)
        wall_s = time.perf_counter() - self._began
        cpu_s, waited_s = time.thread_time() - self._ran, _waited_s() - self._waited
        self._open = False
        if self._memory:
            if self._kept is not None and kind is None:
                gc.collect()
            net = self._bytes.stop()
        used = allocated, net, peak
        if self._profiler is not None:
            self._profiler.stop()
        if self._counter is not None:
            self._counter.__exit__(kind, error, trace)
        if kind is None:
            passed = [*self._passed_queries(), *self._passed_time(wall_s, cpu_s, waited_s), *self._passed_memory(*used)]
            if passed:
                raise AssertionError("\n".join(passed))

    def _passed_queries(self) -> list[str]:
        counter, passed = self._counter, []
        if counter is None:
            return []
        if self._queries is not None and counter.count > self._queries:
            passed.append(f"queries: {counter.count}, the limit is {self._queries}")
            statements = [statement for statement in counter.statements if not statement.transaction]
            for statement in sorted(statements, key=lambda statement: -statement.count)[:_TOP]:
                passed.append(f"    {shown(statement.place)}  {statement.place.source}")
                passed.append(f"        {statement.count} x {statement.text[:110]}")
        if self._n_plus_one is False:
            for finding in counter.findings:
                passed += _finding(finding)
        return passed

    def _passed_time(self, wall_s: float, cpu_s: float, waited_s: float) -> list[str]:
        passed = []
        own_s = max(wall_s - waited_s, 0.0)
        for name, limit, used, note in (
            ("wall", self._wall, own_s, f", without {seconds_text(waited_s)} that others had the cores"),
            ("cpu", self._cpu, cpu_s, ""),
        ):
            if limit is not None and used > limit * (1 + NOISE_SHARE) + NOISE_S:
                allowed = f"{NOISE_SHARE:.0%} and {seconds_text(NOISE_S)} more are allowed as noise"
                passed.append(f"{name}: {seconds_text(used)}{note}, the limit is {seconds_text(limit)} ({allowed})")
                passed += self._lines(_time_of if name == "wall" else _cpu_of, seconds_text)
        return passed

    def _passed_memory(self, allocated: int, net: int, peak: int) -> list[str]:
        passed = []
        for name, limit, used, key in (
            ("peak", self._peak, peak, "peak_bytes"),
            ("allocated", self._allocated, allocated, "alloc_bytes"),
            ("kept", self._kept, net, "live_bytes"),
        ):
            allowed = limit if limit is None or name != "kept" else limit + KEPT_BYTES
            if limit is not None and allowed is not None and used > allowed:
                passed.append(f"{name}: {bytes_text(used)}, the limit is {bytes_text(limit)}")
                passed += self._lines(lambda line, key=key: line.get(key) or 0, bytes_text)  # type: ignore[misc]
        return passed

    def _lines(self, figure: Callable[[dict[str, Any]], float], text: Callable[[Any], str]) -> list[str]:
        if self._profiler is None:
            return []
        lines = sorted(self._profiler.result().lines, key=figure, reverse=True)[:_TOP]
        return [
            f"    {shown(Place(line['file'], line['line'], ''))}  {text(figure(line))}  {line['source'] or ''}"
            for line in lines
            if figure(line) > 0
        ]


def _finding(finding: Finding) -> list[str]:
    lines = [
        f"{finding.kind}: {finding.count} times, {finding.advice}",
        f"    {shown(finding.place)}  {finding.place.source}",
        f"        {finding.text[:110]}",
    ]
    if finding.cause is not None:
        lines.append(f"    for each of the {finding.cause_rows} rows of")
        lines.append(f"    {shown(finding.cause)}  {finding.cause.source}")
    return lines


def _time_of(line: dict[str, Any]) -> float:
    return _cpu_of(line) + (line["wait_s"] or 0.0)


def _cpu_of(line: dict[str, Any]) -> float:
    return sum(line.get(key) or 0.0 for key in ("python_s", "native_s", "system_s", "user_s"))


def _waited_s() -> float:
    """Return the seconds so far in which this thread was ready to run but had no core; 0 if unknown."""
    if not sys.platform.startswith("linux"):
        return 0.0
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
