"""Every kind of function keeps its kind, and has its table."""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import rscalene
from rscalene._rscalene import LineOutcome
from rscalene.lines import Options, decorate

HITS = Options(columns="time")


def hits(outcome: LineOutcome) -> dict[int, int]:
    """Return hits by row, the function's first line being row 0."""
    return {row[0] - outcome.first_line: row[1] for row in outcome.rows() if row[1]}


def plain(n: int, *, by: int = 2) -> int:
    """Multiply."""
    return n * by


def generator(n: int) -> Iterator[int]:
    for i in range(n):  # noqa: UP028 - a line to count
        yield i


async def coroutine(n: int) -> int:
    for _ in range(n):
        await asyncio.sleep(0)
    return n


async def async_generator(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@pytest.mark.parametrize("function", [plain, generator, coroutine, async_generator])
@pytest.mark.parametrize(
    "question",
    [inspect.isfunction, inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction],
)
def test_inspect_gives_the_same_answers(function: Any, question: Any) -> None:
    watched = decorate(function, HITS, lambda outcome: None)
    assert question(watched) == question(function)
    assert inspect.signature(watched) == inspect.signature(function)
    assert inspect.getsource(watched) == inspect.getsource(function)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(watched, name) == getattr(function, name)
    assert watched.__wrapped__ is function


@rscalene.profile(stream=io.StringIO())
def picklable() -> int:
    return 1


def test_a_decorated_function_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(picklable)) is picklable


def test_the_original_is_not_watched() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(plain, HITS, outcomes.append)
    plain(3)
    assert outcomes == []
    assert watched(3, by=5) == 15
    assert len(outcomes) == 1


class Shapes:
    factor = 3

    @staticmethod
    def static(n: int) -> int:
        return n + 1

    @classmethod
    def of_class(cls, n: int) -> int:
        return n * cls.factor

    @property
    def value(self) -> int:
        return self.factor

    @functools.cached_property
    def cached(self) -> int:
        return self.factor + 1

    def method(self) -> int:
        return super().__hash__() * 0 + self.factor


def test_a_class_has_all_its_functions_watched() -> None:
    outcomes: list[LineOutcome] = []
    shapes = decorate(Shapes, HITS, outcomes.append)()
    results = (shapes.static(1), shapes.of_class(2), shapes.value, shapes.cached, shapes.method())
    assert results == (2, 6, 3, 4, 3)
    names = [outcome.name.rpartition(".")[2] for outcome in outcomes]
    assert names == ["static", "of_class", "value", "cached", "method"]


def test_either_side_of_the_other_decorators_works() -> None:
    outcomes: list[LineOutcome] = []
    watch = functools.partial(decorate, options=HITS, on_end=outcomes.append)

    class Both:
        @staticmethod
        @watch
        def inner(n: int) -> int:
            return n

        @watch
        @staticmethod
        def outer(n: int) -> int:
            return n

        def seven(self) -> int:
            return 7

        prop = watch(property(seven))

        @property
        @watch
        def prop_inner(self) -> int:
            return 8

    both = Both()
    assert (both.inner(1), both.outer(2), both.prop, both.prop_inner) == (1, 2, 7, 8)
    assert len(outcomes) == 4


def deep(n: int) -> int:
    if n == 0:
        return 0
    return 1 + int(deep_watched(n - 1))


outcomes_of_deep: list[LineOutcome] = []
deep_watched = decorate(deep, HITS, outcomes_of_deep.append)


def test_recursion_900_deep_works_under_the_default_limit() -> None:
    assert sys.getrecursionlimit() == 1000
    assert deep_watched(900) == 900
    assert len(outcomes_of_deep) == 1
    assert hits(outcomes_of_deep[0]) == {1: 901, 2: 1, 3: 900}


def inner_function(n: int) -> int:
    def double(x: int) -> int:
        return x * 2

    return sum(double(i) for i in range(n))


def test_inner_functions_have_their_lines_in_the_table() -> None:
    outcomes: list[LineOutcome] = []
    assert decorate(inner_function, HITS, outcomes.append)(4) == 12
    assert hits(outcomes[0])[2] == 4


def test_nested_watched_functions_have_a_table_each() -> None:
    outcomes: list[LineOutcome] = []
    helper = decorate(plain, HITS, outcomes.append)

    def outer() -> int:
        total = helper(1)
        total += helper(2)
        return int(total)

    assert decorate(outer, HITS, outcomes.append)() == 6
    assert [outcome.name for outcome in outcomes] == ["plain", "plain", outer.__qualname__]
    assert hits(outcomes[2]) == {1: 1, 2: 1, 3: 1}


def test_generators_pass_values_exceptions_and_results_through() -> None:
    outcomes: list[LineOutcome] = []

    def talk() -> Generator[Any, Any, int]:
        got = yield 1
        try:
            yield got
        except ValueError as error:
            yield str(error)
        return 5

    def drive() -> Iterator[Any]:
        result = yield from decorate(talk, HITS, outcomes.append)()
        yield result

    conversation: Any = drive()
    assert next(conversation) == 1
    assert conversation.send("hello") == "hello"
    assert conversation.throw(ValueError("thrown")) == "thrown"
    assert next(conversation) == 5
    assert len(outcomes) == 1
    assert outcomes[0].failure is None


def test_a_generator_that_is_awaited_stays_awaitable() -> None:
    @rscalene.profile(stream=io.StringIO())
    @types.coroutine
    def pause() -> Generator[None, None, int]:
        yield
        return 3

    async def answer() -> int:
        return await pause()

    assert asyncio.run(answer()) == 3


def test_the_first_row_of_a_generator_is_its_entry() -> None:
    stream = io.StringIO()

    @rscalene.profile(stream=stream, precision=3)
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    assert list(numbers()) == [1, 2]
    rows = [line.split() for line in stream.getvalue().splitlines() if " MiB " in line]
    assert rows[0][1] == rows[0][3]
    assert rows[0][5:7] == ["1", "@rscalene.profile(stream=stream,"]


def test_a_generator_that_is_dropped_has_its_table() -> None:
    outcomes: list[LineOutcome] = []
    steps: Any = decorate(generator, HITS, outcomes.append)(10)
    next(steps)
    next(steps)
    del steps
    assert len(outcomes) == 1
    assert hits(outcomes[0])[2] == 2


def test_two_generators_that_take_turns_have_a_table_each() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(generator, HITS, outcomes.append)
    assert list(zip(watched(5), watched(3), strict=False)) == [(0, 0), (1, 1), (2, 2)]
    assert sorted(hits(outcome)[2] for outcome in outcomes) == [3, 4]


def test_interleaved_tasks_have_a_table_each() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(coroutine, HITS, outcomes.append)

    async def main() -> list[int]:
        return list(await asyncio.gather(watched(2), watched(5), watched(3)))

    assert asyncio.run(main()) == [2, 5, 3]
    assert sorted(hits(outcome)[2] for outcome in outcomes) == [2, 3, 5]


def test_time_between_the_steps_of_a_task_is_not_charged() -> None:
    outcomes: list[LineOutcome] = []

    async def sleeper() -> None:
        await asyncio.sleep(0.2)

    asyncio.run(decorate(sleeper, HITS, outcomes.append)())
    assert outcomes[0].total_s < 0.1


def test_async_generators_pass_items_and_end() -> None:
    outcomes: list[LineOutcome] = []
    watched = decorate(async_generator, HITS, outcomes.append)

    async def main() -> list[int]:
        return [item async for item in watched(3)]

    assert asyncio.run(main()) == [0, 1, 2]
    assert hits(outcomes[0]) == {1: 4, 2: 3, 3: 3}


def test_an_exception_gives_the_table_and_goes_on() -> None:
    outcomes: list[LineOutcome] = []

    def fails(n: int) -> float:
        divisor = n - n
        return n / divisor

    with pytest.raises(ZeroDivisionError):
        decorate(fails, HITS, outcomes.append)(1)
    assert outcomes[0].failure == ("ZeroDivisionError", outcomes[0].first_line + 2)

    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise KeyError(1)

    with pytest.raises(KeyError):
        asyncio.run(decorate(fails_later, HITS, outcomes.append)())
    assert outcomes[1].failure == ("KeyError", outcomes[1].first_line + 2)


def test_threads_have_a_table_each() -> None:
    outcomes: list[LineOutcome] = []
    ready = threading.Barrier(4)

    def work(n: int) -> None:
        ready.wait()
        for _ in range(n):
            pass

    watched = decorate(work, HITS, outcomes.append)
    threads = [threading.Thread(target=watched, args=(n,)) for n in (10, 20, 30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(hits(outcome)[2] for outcome in outcomes) == [11, 21, 31, 41]


def test_the_code_of_a_closure_is_watched_once() -> None:
    outcomes: list[LineOutcome] = []
    receive = outcomes.append

    def make(n: int) -> Any:
        def closure() -> int:
            return n

        return decorate(closure, HITS, receive)

    assert [make(n)() for n in range(3)] == [0, 1, 2]
    assert make(1).__code__ is make(2).__code__


def test_an_object_without_code_is_refused() -> None:
    with pytest.raises(TypeError, match="no Python code"):
        decorate(len, HITS, lambda outcome: None)


def test_own_time_leaves_callees_out() -> None:
    outcomes: list[LineOutcome] = []

    def spin() -> int:
        return sum(range(200_000))

    def caller() -> int:
        a = spin() + spin()
        b = sum(range(400_000))
        return a + b

    decorate(caller, HITS, outcomes.append)()
    rows = {row[0] - outcomes[0].first_line: row for row in outcomes[0].rows()}
    _, _, time_s, own_s, *_ = rows[1]
    assert own_s < 0.2 * time_s
    _, _, time_s, own_s, *_ = rows[2]
    assert own_s > 0.8 * time_s


def test_the_environment_turns_decorators_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSCALENE", "0")
    assert rscalene.profile(plain) is plain
    assert rscalene.profile(precision=4)(plain) is plain
    assert rscalene.timer()(plain) is plain


def test_cached_functions_are_watched_below_their_cache() -> None:
    stream = io.StringIO()

    @rscalene.profile(stream=stream)
    @functools.lru_cache(maxsize=3)
    def twice(x: int) -> int:
        return 2 * x

    @rscalene.profile(stream=stream)
    class Numbers:
        @functools.cache  # noqa: B019
        def half(self) -> int:
            return 1

        def add(self, a: int, b: int) -> int:
            return a + b

        more = rscalene.profile(functools.partialmethod(add, 1), stream=stream)

    assert [twice(4), twice(4)] == [8, 8]
    assert (twice.cache_info().hits, twice.cache_parameters()["maxsize"], twice.__name__) == (1, 3, "twice")
    numbers = Numbers()
    assert [numbers.half(), numbers.half(), numbers.more(2)] == [1, 1, 3]
    assert stream.getvalue().count("Line #") == 3


def test_tracers_that_the_program_replaced_are_released(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        """
import sys
from rscalene import profile
@profile
def inner(): pass
@profile
def outer(): sys.settrace(second); inner()
def first(*_): return first
def second(*_): return second
def work():
    for _ in range(100): sys.settrace(first); outer(); sys.settrace(None)
work()
before = sys.getrefcount(first), sys.getrefcount(second)
work()
print(before == (sys.getrefcount(first), sys.getrefcount(second)))
"""
    )
    done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "True" in done.stdout.splitlines(), done.stdout[-300:]
