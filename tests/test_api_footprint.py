"""``memory_usage``, ``memory()`` and ``timer()``."""

from __future__ import annotations

import asyncio
import inspect
import io
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from rscalene import memory, memory_usage, profile_run, timer

MIB = 2**20


def hold(size: int, seconds: float = 0.2) -> int:
    block = b"x" * size
    time.sleep(seconds)
    return len(block)


def test_a_function_is_called_once_and_its_rise_is_seen() -> None:
    calls: list[int] = []

    def once() -> None:
        calls.append(1)

    memory_usage(once)
    assert calls == [1]
    samples, result = memory_usage((hold, (50 * MIB,)), interval=0.02, retval=True)
    assert result == 50 * MIB
    assert max(samples) - samples[0] == pytest.approx(50, abs=6)  # the heap may have had room


def test_shapes_are_memory_profilers() -> None:
    assert len(memory_usage()) == 1
    assert len(memory_usage(-1, 0.02, 0.1)) == 5
    assert isinstance(memory_usage(-1, max_usage=True), float)
    ((mib, at),) = memory_usage(-1, timestamps=True)
    assert mib > 1
    assert abs(at - time.time()) < 5
    stream = io.StringIO()
    assert memory_usage(hold_tuple(), stream=stream) is None
    assert stream.getvalue().startswith("MEM ")


def hold_tuple() -> tuple[object, ...]:
    return (hold, (), {"size": 1, "seconds": 0})


def test_an_exception_ends_the_samples_and_no_child() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as child:
        with pytest.raises(ZeroDivisionError):
            memory_usage(lambda: 1 / 0)
        assert child.poll() is None
        child.kill()


def test_a_child_is_sampled_until_it_ends_and_counted_with_its_parent() -> None:
    code = f"block = b'x' * {40 * MIB}\nimport time; time.sleep(0.5)"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        together = memory_usage((time.sleep, (0.4,)), interval=0.05, include_children=True, max_usage=True)
        alone = memory_usage(-1, max_usage=True)
        assert together - alone > 35
        apart = memory_usage((time.sleep, (0.0,)), multiprocess=True)
        assert len(apart[0]) == 2
        assert max(memory_usage(child, 0.05)) > 35


def test_unsupported_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="give a pid, a Popen, or a function"):
        memory_usage("nothing")
    with pytest.raises(ValueError, match="args is a tuple of its own"):
        memory_usage((hold, (1,), {}, 2))
    with pytest.raises(ValueError, match="backend must be"):
        memory_usage(-1, backend="nonsense")
    # Three steps of 0.1 s, though 0.3 / 0.1 is a little less than 3; and a list is as good as a tuple.
    assert len(memory_usage(-1, 0.01, 0.03)) == 3
    assert memory_usage([hold, (1, 0.0)], retval=True)[1] == 1


def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ProcessLookupError):
        memory_usage(2**22 - 3)


def test_memory_prints_one_line_with_exact_net_and_the_peak_inside() -> None:
    stream = io.StringIO()
    with memory("load", stream=stream) as section:
        temporary = b"x" * (80 * MIB)
        kept = bytes(1_000_003)
        del temporary
    assert abs(section.net_bytes - sys.getsizeof(kept)) < 256  # entering and leaving the block itself
    assert section.peak_bytes / MIB == pytest.approx(80, abs=4)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("load: wall ")
    assert ", net +97" in line
    assert line.endswith(", call 1")


def test_a_nested_section_hides_no_peak_from_the_outer_one() -> None:
    stream = io.StringIO()
    with memory(stream=stream) as outer:
        temporary = b"x" * (60 * MIB)
        del temporary
        with memory(stream=stream) as inner:
            pass
    assert outer.peak_bytes / MIB == pytest.approx(60, abs=4)
    assert inner.peak_bytes < 4 * MIB


def test_decorators_count_their_calls() -> None:
    stream = io.StringIO()

    @timer(stream=stream)
    def work(n: int) -> int:
        return n + 1

    assert [work(1), work(2)] == [2, 3]
    first, second = stream.getvalue().splitlines()
    assert first.endswith("call 1")
    assert second.endswith("call 2")
    assert "work: wall " in first


@pytest.mark.parametrize("decorator", [timer, memory, profile_run])
def test_a_decorator_without_parentheses_runs_the_function(decorator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Shop:
        @decorator  # type: ignore[untyped-decorator]
        def price(self, n: int) -> int:
            """Say the price."""
            return n + 1

        @decorator  # type: ignore[untyped-decorator]
        @staticmethod
        def name() -> str:
            return "shop"

    assert [Shop().price(1), Shop().price(n=2)] == [2, 3]
    assert Shop.name() == "shop"
    assert inspect.isfunction(Shop.price)
    assert Shop.price.__doc__ == "Say the price."
    assert capsys.readouterr().err


@pytest.mark.parametrize("decorator", [timer, memory])
def test_profiles_without_calls_are_refused(decorator: Any) -> None:
    for wrong in (int, 7, property(len)):
        with pytest.raises(TypeError, match="hint"):
            decorator(wrong)


def test_a_coroutine_and_a_generator_are_measured_until_they_end() -> None:
    stream = io.StringIO()

    @timer(stream=stream)
    async def pause() -> int:
        await asyncio.sleep(0.05)
        return 7

    @memory(stream=stream)
    def pauses() -> Iterator[int]:
        time.sleep(0.05)
        yield 7

    assert inspect.iscoroutinefunction(pause)
    assert inspect.isgeneratorfunction(pauses)
    assert asyncio.run(pause()) == 7
    assert list(pauses()) == [7]
    walls = [float(line.split("wall ")[1].split(" ms")[0]) for line in stream.getvalue().splitlines()]
    assert len(walls) == 2
    assert min(walls) >= 50
    with pytest.raises(TypeError, match="async generator"):

        @timer()
        async def items() -> AsyncIterator[int]:
            yield 1


def test_timer_distinguishes_waiting_from_working() -> None:
    with timer(stream=io.StringIO()) as section:
        time.sleep(0.05)
    assert section.wall_s >= 0.05
    assert section.cpu_s < 0.04
