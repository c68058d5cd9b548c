"""``@profile`` above, below and between other decorators reports the lines of the user's function."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import pytest
from rscalene import profile


def wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


KEPT: list[Callable[..., Any]] = []


def keep(function: Callable[..., Any]) -> Callable[..., Any]:
    KEPT.append(function)
    return function


def lines(stream: io.StringIO) -> str:
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text


def test_a_function_that_a_decorator_kept_is_profiled() -> None:
    stream = io.StringIO()

    @profile(stream=stream)
    @keep
    def view() -> int:
        return 1 + 1  # kept

    assert KEPT.pop()() == 2
    assert "return 1 + 1  # kept" in lines(stream)
    assert view() == 2


def test_wrappers_lead_to_the_function() -> None:
    stream = io.StringIO()

    @profile(stream=stream)
    @keep
    @wrapper
    @wrapper
    def view(number: int) -> int:
        return number + 1  # wrapped

    for call in (view, KEPT.pop()):
        assert call(1) == 2
        text = lines(stream)
        assert text.count("Filename: ") == 1
        assert "return number + 1  # wrapped" in text


def test_profiling_by_call_leaves_the_original_as_it_was() -> None:
    stream = io.StringIO()

    @wrapper
    def work() -> int:
        return 5  # by call

    profiled = profile(stream=stream)(work)
    assert work() == 5
    assert lines(stream) == ""
    assert profiled() == 5
    assert "return 5  # by call" in lines(stream)


def test_a_coroutine_function_kept_by_a_decorator_gives_a_notice() -> None:
    with pytest.warns(RuntimeWarning, match="put @profile below") as warned:

        @profile
        @keep
        async def view() -> int:
            return 1

    KEPT.clear()
    assert warned[0].filename == __file__
    assert view.__name__ == "view"
