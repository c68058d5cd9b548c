"""The CPU time of a coroutine and its tasks, without the CPU time of other coroutines in the same thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Generator
from contextvars import ContextVar
from typing import Any

__all__ = ["Steps"]

#: The steps to which the tasks of a context belong. Tasks inherit the context of the code that starts them.
_current: ContextVar[Steps | None] = ContextVar("rscalene_steps", default=None)
_follows = False


def _follow_tasks() -> None:
    """Time every callback of asyncio's event loop that runs in the context of a :class:`Steps`, once a process."""
    global _follows
    inner = getattr(asyncio.Handle, "_run", None)
    if _follows or inner is None:
        return
    _follows = True

    @functools.wraps(inner)
    def run(self: Any) -> Any:
        steps = self._context.get(_current)
        if steps is None:
            return inner(self)
        return steps._callback(inner, self)

    asyncio.Handle._run = run  # type: ignore[method-assign]


class Steps:
    """Awaits an object step by step, and reads the thread's clock before and after each step.

    The sum includes the tasks that the object starts in asyncio's own event loop, until :meth:`end`. Tasks of other
    event loops (uvloop, trio) and work passed to other threads are not in the sum.
    """

    __slots__ = ("_began", "_count", "_ended", "_ns")

    def __init__(self) -> None:
        """Start with a sum of 0."""
        self._ns = 0
        self._count = 0
        self._ended = False
        self._began: int | None = None

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far, including the current step."""
        present = 0 if self._began is None else time.thread_time_ns() - self._began
        return (self._ns + present) / 1e9

    def run(self, work: Awaitable[Any]) -> _Work:
        """Return an awaitable that awaits ``work`` and times its steps."""
        _follow_tasks()
        return _Work(self, work)

    def end(self) -> None:
        """Stop timing the tasks that still run."""
        self._ended = True

    def _callback(self, run: Any, handle: Any) -> Any:
        """Run a callback of the event loop in this object's context; count its time unless it was a step."""
        if self._ended:
            return run(handle)
        began, count = time.thread_time_ns(), self._count
        try:
            return run(handle)
        finally:
            if count == self._count and not self._ended:
                self._ns += time.thread_time_ns() - began

    def _step(self, step: Any, argument: Any) -> Any:
        self._count += 1
        self._began = time.thread_time_ns()
        try:
            return step(argument)
        finally:
            self._ns += time.thread_time_ns() - self._began
            self._began = None


class _Work:
    __slots__ = ("_steps", "_work")

    def __init__(self, steps: Steps, work: Awaitable[Any]) -> None:
        self._steps, self._work = steps, work

    def __await__(self) -> Generator[Any, Any, Any]:
        token = _current.set(self._steps)
        try:
            return (yield from self._drive())
        finally:
            with contextlib.suppress(ValueError):  # the coroutine was closed in another context
                _current.reset(token)

    def _drive(self) -> Generator[Any, Any, Any]:
        inner: Any = self._work.__await__()
        # An awaitable that is not a coroutine (a future) may have no `send`.
        send = getattr(inner, "send", None) or (lambda _value: next(inner))
        step, argument = send, None
        while True:
            try:
                wanted = self._steps._step(step, argument)
            except StopIteration as stop:
                return stop.value
            try:
                step, argument = send, (yield wanted)
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:
                step, argument = inner.throw, error
