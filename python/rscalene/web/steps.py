"""The CPU time of a coroutine, without the CPU time of other coroutines in the same thread."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator
from typing import Any

__all__ = ["Steps"]


class Steps:
    """Awaits an object step by step, and reads the thread's clock before and after each step.

    The sum does not include tasks started by the object, nor work passed to other threads.
    """

    __slots__ = ("_began", "_ns")

    def __init__(self) -> None:
        """Start with a sum of 0."""
        self._ns = 0
        self._began: int | None = None

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far, including the current step."""
        present = 0 if self._began is None else time.thread_time_ns() - self._began
        return (self._ns + present) / 1e9

    def run(self, work: Awaitable[Any]) -> _Work:
        """Return an awaitable that awaits ``work`` and times its steps."""
        return _Work(self, work)

    def _step(self, step: Any, argument: Any) -> Any:
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
