"""How much memory a process or a piece of code takes: ``memory_usage``, ``memory()`` and ``timer()``.

Numbers come from ``/proc`` (resident memory: what the kernel charges) and from the exact counters of this thread
(bytes requested less bytes given back). One MiB is 2**20 bytes.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, Protocol, Self, TypeVar, cast, overload

from rscalene._rscalene import ByteCount, RssSampler
from rscalene.lines import Options, enabled
from rscalene.locks import ForkLock

__all__ = ["memory", "memory_usage", "timer"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MIB = 2**20


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


def memory_usage(
    proc: Any = -1,
    interval: float = 0.1,
    timeout: float | None = None,
    timestamps: bool = False,
    include_children: bool = False,
    multiprocess: bool = False,
    max_usage: bool = False,
    retval: bool = False,
    stream: _Stream | None = None,
    backend: str | None = None,
    max_iterations: int | None = None,
) -> Any:
    """Sample the resident memory of a process, or of this one while a function runs.

    A function is called once, however long. If the function raises, the sampling ends and the exception goes on.
    Samples are taken by a thread without the GIL, at the start, every ``interval`` seconds and at the end.

    :param proc: -1 for this process, a pid, a ``subprocess.Popen``, or a call: a function, or a tuple or list of
        ``f``, ``args`` and ``kwargs``, of which the last ones may be left out.
    :param interval: seconds between samples.
    :param timeout: seconds to sample a process for. A pid without a timeout is sampled once, a ``Popen`` until it ends.
    :param timestamps: return ``(MiB, seconds since the epoch)`` in place of ``MiB``.
    :param include_children: add the resident memory of all descendants.
    :param multiprocess: keep descendants apart: each sample is a list, the process itself first.
    :param max_usage: return the greatest sample alone.
    :param retval: return ``(samples, result of the function)``.
    :param stream: write ``MEM`` (and ``CHLD``) lines, as mprof reads them, and return None for the samples.
    :param backend: a name of memory_profiler's; resident memory is read from ``/proc`` in every case.
    :param max_iterations: accepted for memory_profiler's sake; a function is never called again.
    :returns: a list of MiB; see the parameters for the other shapes.
    :raises ProcessLookupError: when the process to look at does not exist.
    :raises ValueError: for other objects than a process or a call, and for an unknown backend.
    """
    Options(backend=backend or "rss")
    children = include_children or multiprocess
    result: Any = None
    if callable(proc) or isinstance(proc, tuple | list):
        function, args, kwargs = _call_of(proc)
        sampler = RssSampler(os.getpid(), interval, children=children)
        try:
            result = function(*args, **kwargs)
        finally:
            looks = sampler.stop()
    else:
        pid, limit = _process_of(proc, interval, timeout)
        looks = RssSampler(pid, interval, children=children, limit=limit).wait()
        if not looks:
            raise ProcessLookupError(f"cannot sample process {pid}: it does not exist")
    samples = _samples(looks, multiprocess, timestamps, stream)
    answer: Any = samples
    if stream is not None:
        answer = None
    elif max_usage:
        answer = max(samples)
    return (answer, result) if retval else answer


def _call_of(proc: Any) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    if callable(proc):
        return proc, (), {}
    if not 1 <= len(proc) <= 3:
        raise ValueError(f"a call is (f, args, kwargs), not {len(proc)} things\nhint: args is a tuple of its own")
    function, *rest = proc
    args = tuple(rest[0]) if rest else ()
    kwargs = dict(rest[1]) if len(rest) > 1 else {}
    return function, args, kwargs


def _process_of(proc: Any, interval: float, timeout: float | None) -> tuple[int, int | None]:
    limit = None if timeout is None else max(round(timeout / interval), 1)
    if hasattr(proc, "poll"):
        return int(proc.pid), limit
    try:
        pid = os.getpid() if proc == -1 else int(proc)
    except (TypeError, ValueError):
        raise ValueError(f"cannot sample {proc!r}\nhint: give a pid, a Popen, or a function to call") from None
    return pid, limit or 1


def _samples(
    looks: list[tuple[float, list[tuple[int, int]]]], multiprocess: bool, timestamps: bool, stream: _Stream | None
) -> list[Any]:
    samples: list[Any] = []
    for at, processes in looks:
        sizes = [size / _MIB for _, size in processes]
        if stream is not None:
            stream.write(f"MEM {sizes[0] if multiprocess else sum(sizes):.6f} {at:.4f}\n")
            if multiprocess:
                for (pid, _), size in zip(processes[1:], sizes[1:], strict=True):
                    stream.write(f"CHLD {pid} {size:.6f} {at:.4f}\n")
        value: Any = sizes if multiprocess else sum(sizes)
        samples.append((value, at) if timestamps else value)
    return samples


def around(function: Callable[_P, _R], section: Callable[[], AbstractContextManager[object]]) -> Callable[_P, _R]:
    """Return ``function`` with each call in a section of its own; of a coroutine or a generator, until its end.

    :raises TypeError: for what has no calls to measure: a class, a property, an async generator function.
    """
    if isinstance(function, staticmethod | classmethod):
        return cast("Callable[_P, _R]", type(function)(around(function.__func__, section)))
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"cannot measure the calls of {function!r}\nhint: decorate a function, or use `with`")
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"cannot measure the calls of the async generator function {function.__qualname__!r}\n"
            "hint: use `with` inside of it, or `@profile`"
        )
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            __tracebackhide__ = True  # a test's report shows the test
            with section():
                return await function(*args, **kwargs)

        return cast("Callable[_P, _R]", awaited)
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def iterated(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            __tracebackhide__ = True  # a test's report shows the test
            with section():
                return (yield from function(*args, **kwargs))

        return cast("Callable[_P, _R]", iterated)

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        __tracebackhide__ = True  # a test's report shows the test
        with section():
            return function(*args, **kwargs)

    return called


def _bare(kind: type[_Section], name: Any, options: dict[str, Any]) -> Any:
    """Return a new section, or the decorated function if ``name`` is a function (decorator without parentheses)."""
    if name is None or isinstance(name, str):
        return object.__new__(kind)
    # An object of another class: `__init__` is not called for it.
    return kind(**options)(name)


class _Section(ABC):
    """A context manager and a decorator, with or without parentheses; prints a line."""

    def __init__(self, name: str | None = None, *, stream: _Stream | None = None) -> None:
        """Set the name printed in front, and where to print (``sys.stderr``)."""
        self.name = name
        self.stream = stream
        self.calls = 0

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Decorate ``function``: a line for each call, for a coroutine or a generator at its end.

        ``RSCALENE=0`` returns ``function`` unchanged.

        :raises TypeError: for an async generator function.
        """
        if not enabled():
            return function
        if self.name is None:
            self.name = getattr(function, "__qualname__", None)

        return around(function, self._again)

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def _again(self) -> Self:
        self.calls += 1
        section = type(self)(self.name, stream=self.stream)
        section.calls = self.calls - 1
        return section

    def _print(self, text: str) -> None:
        name = f"{self.name}: " if self.name else ""
        (self.stream or sys.stderr).write(f"{name}{text}, call {self.calls}\n")


class timer(_Section):
    """Print wall and CPU seconds of a block or of each call of a function.

    >>> with rscalene.timer("load"):
    ...     load()
    load: wall 1.23 s, cpu 0.98 s, call 1

    :ivar wall_s: wall seconds of the block, after its end.
    :ivar cpu_s: CPU seconds of all threads of the process meanwhile.
    """

    wall_s: float
    cpu_s: float

    @overload
    def __new__(cls, name: str | None = None, *, stream: _Stream | None = None) -> Self: ...

    @overload
    def __new__(cls, name: Callable[_P, _R], /) -> Callable[_P, _R]: ...  # type: ignore[misc]

    def __new__(cls, name: Any = None, **options: Any) -> Any:
        """Make a section; a function in place of the name is decorated."""
        return _bare(cls, name, options)

    def __enter__(self) -> Self:
        """Start."""
        self.calls += 1
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop and print."""
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self._print(f"wall {_seconds(self.wall_s)}, cpu {_seconds(self.cpu_s)}")


class memory(_Section):
    """Print time and memory of a block or of each call of a function.

    >>> with rscalene.memory("load"):
    ...     load()
    load: wall 1.2 s, cpu 1 s, peak +312.0 MiB, net +104.2 MiB, rss 31.0 -> 136.1 MiB, system 3.1 of 15.6 GiB, call 1

    Peak is how far the resident memory of the process rose above its value at the start (the kernel's high-water mark,
    which is reset for this; nested sections pass theirs on). Net is the bytes that this thread requested minus
    the bytes it gave back, exactly; entering and leaving the block takes up to 256 bytes.

    :ivar wall_s: wall seconds.
    :ivar cpu_s: CPU seconds of all threads of the process.
    :ivar peak_bytes: rise of the resident high-water mark.
    :ivar net_bytes: bytes requested less bytes given back by this thread.
    :ivar rss_bytes: resident bytes before and after.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    net_bytes: int
    rss_bytes: tuple[int, int]

    @overload
    def __new__(cls, name: str | None = None, *, stream: _Stream | None = None) -> Self: ...

    @overload
    def __new__(cls, name: Callable[_P, _R], /) -> Callable[_P, _R]: ...  # type: ignore[misc]

    def __new__(cls, name: Any = None, **options: Any) -> Any:
        """Make a section; a function in place of the name is decorated."""
        return _bare(cls, name, options)

    def __enter__(self) -> Self:
        """Start."""
        self.calls += 1
        self._water = _HighWater()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._bytes = ByteCount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop and print."""
        self.net_bytes = self._bytes.stop()
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        before, after, peak = self._water.end()
        self.rss_bytes = before, after
        self.peak_bytes = max(peak - before, 0)
        used, total = _system_bytes()
        self._print(
            f"wall {_seconds(self.wall_s)}, cpu {_seconds(self.cpu_s)}, peak {_signed(self.peak_bytes)}, "
            f"net {_signed(self.net_bytes)}, rss {before / _MIB:.1f} -> {after / _MIB:.1f} MiB, "
            f"system {used / 2**30:.1f} of {total / 2**30:.1f} GiB"
        )


class _HighWater:
    """The kernel's resident high-water mark of this process, shared by the open sections."""

    _open: ClassVar[list[_HighWater]] = []
    _lock = ForkLock()

    def __init__(self) -> None:
        with self._lock:
            self._fold()
            try:
                with open("/proc/self/clear_refs", "w") as file:
                    file.write("5")
            except OSError:
                pass  # not allowed here: the mark of the whole run stays, which is never too low
            self.before, self.peak = _status("VmRSS"), 0
            self._open.append(self)

    def end(self) -> tuple[int, int, int]:
        """Return resident bytes before and now, and the highest in between."""
        with self._lock:
            self._fold()
            self._open.remove(self)
            after = _status("VmRSS")
            return self.before, after, max(self.peak, after)

    @classmethod
    def _fold(cls) -> None:
        if cls._open:
            mark = _status("VmHWM")
            for section in cls._open:
                section.peak = max(section.peak, mark)


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _system_bytes() -> tuple[int, int]:
    """Return the bytes in use and the bytes of this machine."""
    values = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if key in ("MemTotal", "MemAvailable"):
                values[key] = int(rest.split()[0]) * 1024
    total = values.get("MemTotal", 0)
    return total - values.get("MemAvailable", 0), total


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _signed(size: int) -> str:
    if abs(size) < 1024:
        return f"{size:+d} B"
    return f"{size / 1024:+.1f} KiB" if abs(size) < _MIB else f"{size / _MIB:+.1f} MiB"
