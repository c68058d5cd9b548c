"""Wrappers around the functions of ORMs. Their time, without the driver's, is ``Build ms`` of a line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from rscalene._rscalene import sql_build_begin

__all__ = ["time_calls", "time_first"]


def time_calls(owner: Any, name: str, frame: Callable[[], Any] | None = None) -> None:
    """Time the calls of the method ``name`` of ``owner``, if it has one.

    :param frame: returns the frame with the user's lines, if this thread has only frames of libraries.
    """
    inner = getattr(owner, name, None)
    if inner is None or inspect.iscoroutinefunction(inner):
        return

    @functools.wraps(inner)
    def timed(*args: Any, **kwargs: Any) -> Any:
        build = sql_build_begin()
        if build is None:
            return inner(*args, **kwargs)
        try:
            return inner(*args, **kwargs)
        finally:
            build.end(frame() if frame is not None else None)

    setattr(owner, name, timed)


def time_first(owner: Any, name: str) -> None:
    """Time the first item of the iterators that the method ``name`` of ``owner`` returns.

    To produce the first item, such an iterator fetches all rows.
    """
    inner = getattr(owner, name, None)
    if inner is None:
        return

    def items(iterator: Iterator[Any]) -> Iterator[Any]:
        build = sql_build_begin()
        try:
            try:
                first = next(iterator)
            finally:
                if build is not None:
                    build.end()
        except StopIteration:
            return
        yield first
        yield from iterator

    @functools.wraps(inner)
    def timed(*args: Any, **kwargs: Any) -> Any:
        return items(iter(inner(*args, **kwargs)))

    setattr(owner, name, timed)
