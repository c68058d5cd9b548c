"""Where ``@profile`` stands among other decorators.

A decorator below ``@profile`` may wrap the function (``functools.wraps``) or register the function (``@app.route``). In
both cases the report shows the lines of the function in the user's source.
"""

from __future__ import annotations

import gc
import inspect
import sys
import warnings
from collections.abc import Callable
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any

__all__ = ["is_being_defined", "rewrapped", "warn_if_kept", "wrapped_by"]


def wrapped_by(target: Any) -> FunctionType | None:
    """Return the function behind the wrappers of other decorators; ``None`` where ``target`` is no wrapper."""
    if getattr(target, "__wrapped__", None) is None:
        return None
    try:
        inner = inspect.unwrap(target)
    except ValueError:  # a circle
        return None
    return inner if isinstance(inner, FunctionType) and inner is not target else None


def is_being_defined(function: FunctionType, target: Any) -> bool:
    """Whether ``target`` is decorated where ``function`` is written: the name does not stand for either of them yet."""
    frame = _caller()
    if frame is None or function.__code__ not in _codes(frame):
        return False
    named = frame.f_locals.get(function.__name__)
    return named is not function and named is not target


def _caller() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("rscalene."):
        frame = frame.f_back
    return frame


def _codes(frame: FrameType) -> tuple[Any, ...]:
    return tuple(const for const in frame.f_code.co_consts if isinstance(const, CodeType))


def rewrapped(target: Any, inner: FunctionType, new: Callable[..., Any]) -> Any:
    """Return copies of the wrappers from ``target`` to ``inner`` that lead to ``new``, or ``None`` if copying fails.

    The wrappers themselves stay as they are.
    """
    if target is inner:
        return new
    following = getattr(target, "__wrapped__", None)
    if not isinstance(target, FunctionType) or target.__closure__ is None:
        return None
    made = rewrapped(following, inner, new)
    if made is None:
        return None
    found = False
    cells = []
    for cell in target.__closure__:
        try:
            held = cell.cell_contents is following
        except ValueError:  # empty
            held = False
        found |= held
        cells.append(CellType(made) if held else cell)
    if not found:
        return None
    copy = FunctionType(target.__code__, target.__globals__, target.__name__, target.__defaults__, tuple(cells))
    copy.__kwdefaults__ = target.__kwdefaults__
    copy.__dict__.update(target.__dict__)
    copy.__qualname__, copy.__doc__, copy.__module__ = target.__qualname__, target.__doc__, target.__module__
    copy.__annotations__ = target.__annotations__
    copy.__dict__["__wrapped__"] = made
    return copy


def warn_if_kept(function: FunctionType) -> None:
    """Warn where a decorator below has kept ``function``: calls through that decorator are not profiled."""
    keepers = [keeper for keeper in gc.get_referrers(function) if not isinstance(keeper, FrameType)]
    if keepers:
        code = function.__code__
        warnings.warn_explicit(
            f"@profile stands above a decorator that keeps {function.__qualname__}: calls through it are not "
            "profiled; put @profile below, next to the function",
            RuntimeWarning,
            code.co_filename,
            code.co_firstlineno,
        )
