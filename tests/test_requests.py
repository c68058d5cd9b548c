"""Requests: exact tables for what runs in one context, whatever runs beside it; without a framework."""

from __future__ import annotations

import asyncio
import contextlib
import cProfile
import gc
import io
import json
import marshal
import os
import pstats
import re
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rscalene
from rscalene._rscalene import CallTable, Request, current_request
from rscalene.web.text import sort_keys
from rscalene.wsgi import MergeStream, ProfilerMiddleware


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


def leaf(number: int) -> int:
    return number + 1


def counts(result: Any, *names: str) -> dict[str, int]:
    """Calls of functions of this file, by name."""
    rows = [row for row in result.table.rows() if row[0] == __file__]
    return {name: sum(row[3] for row in rows if row[2] == name) for name in names}


def hits(result: Any, function: str) -> int:
    """Hits of the one line of `function`'s body."""
    return sum(row.hits for row in result.lines if row.function == function and row.file == __file__)


def test_fib_has_the_calls_that_cprofile_counts() -> None:
    with rscalene.request("fib", functions=True) as block:
        fib(20)
    table = block.result().text(lines=False, sort_by=["calls"], restrictions=[10])
    assert "  21891/1 " in table
    assert "Ordered by: call count" in table
    profile = cProfile.Profile()
    profile.runcall(fib, 20)
    rows = {key[2]: value[:2] for key, value in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
    ours = {row[2]: (row[4], row[3]) for row in block.result().table.rows()}
    assert ours["fib"] == rows["fib"] == (1, 21891)


def test_a_list_of_rows_is_reduced_with_the_words_of_pstats() -> None:
    with rscalene.request(functions=True) as block:
        json.dumps({"a": [1, 2, {"b": io.StringIO("x").read()}]}, indent=1)
    table = block.result().text(lines=False, restrictions=[1])
    assert "   List reduced from " in table
    assert " to 1 due to restriction <1>" in table


KEYS = [
    ("time", "calls"),
    ("calls",),
    ("cumulative",),
    ("name",),
    ("nfl",),
    ("pcalls",),
    ("stdname",),
    ("file", "line"),
    (),
]
RESTRICTIONS: list[tuple[Any, ...]] = [
    (),
    (30,),
    (0.1,),
    ("flaskr",),
    ("flask", 5),
    (0.5, 3),
    ("(",),
    ("nothing at all",),
]


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: "+".join(keys) or "none")
def test_the_text_is_that_of_pstats_to_the_byte(keys: tuple[str, ...]) -> None:
    rows = []
    for at in range(97):
        own, total, calls = at * 0.0137 + 0.0005, at * 0.029 + 0.001, at * 3 + 1
        name, file, line = f"f{at * 37 % 97:03d}", f"/{'flaskr' if at % 3 else 'flask'}/{at * 13 % 97:02d}.py", at + 1
        if at % 10 == 0:
            name, file, line = f"<built-in method builtins.f{at}>", "~", 0
        primitive = calls if at % 4 else max(calls // 2 - 1, 0)
        rows.append((file, line, name, calls, primitive, own, total))
    table = CallTable.of_rows(rows)
    for restrictions in RESTRICTIONS:
        out = io.StringIO()
        stats: Any = pstats.Stats(stream=out)
        stats.stats = {(r[0], r[1], r[2]): (r[4], r[3], r[5], r[6], {}) for r in rows}
        stats.get_top_level_stats()
        stats.sort_stats(*keys).print_stats(*restrictions)
        assert table.text(sort_keys(keys), list(restrictions)) == out.getvalue()


@pytest.mark.parametrize("keys", [("c",), ("nonsense",), (7,), ("", "time")])
def test_a_key_that_pstats_does_not_know_is_refused_at_construction(keys: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"sort_by.*\nhint"):
        ProfilerMiddleware(lambda environ, start: [], sort_by=keys)


def test_the_file_is_one_that_pstats_reads(tmp_path: Path) -> None:
    with rscalene.request(functions=True) as block:
        fib(10)
        sorted([3, 1, 2], key=leaf)
    path = tmp_path / "x.prof"
    block.result().save(path)
    stats: Any = pstats.Stats(str(path))
    assert stats.stats[(__file__, fib.__code__.co_firstlineno, "fib")][:2] == (1, 177)
    called = stats.stats[(__file__, leaf.__code__.co_firstlineno, "leaf")]
    assert called[:2] == (3, 3)
    assert [caller[2] for caller in called[4]] == ["<built-in method builtins.sorted>"]
    assert marshal.loads(path.read_bytes()).keys() == stats.stats.keys()
    assert sum(row[3] for row in block.result().table.rows()) == stats.total_calls


def test_each_format_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    with rscalene.request("formats", functions=True) as block:
        fib(5)
    block.note(answer=5)
    for ending in ("prof", "pstats", "html", "json", "txt", "speedscope.json", "collapsed"):
        path = tmp_path / f"x.{ending}"
        block.result().save(path)
        assert path.stat().st_size > 0
        assert path.stat().st_mode & 0o077 == 0
    data = json.loads((tmp_path / "x.json").read_text())
    assert (data["format"], data["version"], data["request"]["notes"]) == ("rscalene-request", 1, {"answer": 5})
    assert sum(node["calls"] for node in data["tree"]["nodes"]) == sum(one["calls"] for one in data["functions"])
    with pytest.raises(ValueError, match="hint"):
        block.result().save(tmp_path / "x.docx")
    assert sorted(os.listdir(tmp_path)) == sorted(f"x.{ending}" for ending in (
        "prof", "pstats", "html", "json", "txt", "speedscope.json", "collapsed"))  # fmt: skip


def test_lines_have_their_hits_time_and_own_time() -> None:
    def inner() -> None:
        time.sleep(0.02)

    def outer() -> None:
        inner()
        time.sleep(0.01)

    with rscalene.request() as block:
        outer()
    rows = {
        row.line - outer.__code__.co_firstlineno: row for row in block.result().lines if row.function.endswith("outer")
    }
    assert (rows[1].hits, rows[2].hits) == (1, 1)
    assert 0.02 <= rows[1].time_s < 0.04
    assert rows[1].own_s < 0.005
    assert 0.01 <= rows[2].own_s < 0.03


def test_recursion_counts_the_time_of_a_line_once() -> None:
    def down(depth: int) -> None:
        time.sleep(0.001)
        if depth:
            down(depth - 1)

    with rscalene.request() as block:
        down(20)
    result = block.result()
    assert all(row.time_s <= result.elapsed_s for row in result.lines)
    assert hits(result, down.__qualname__) == 21 * 2 + 20


async def child(number: int, seconds: float = 0.01) -> int:
    await asyncio.sleep(seconds)
    return leaf(number)


def test_a_coroutine_is_one_call_and_its_waits_are_apart() -> None:
    async def main() -> None:
        await child(1, 0.1)

    with rscalene.request(functions=True) as block:
        asyncio.run(main())
    result = block.result()
    assert counts(result, "child", "main", "leaf") == {"child": 1, "main": 1, "leaf": 1}
    row = next(row for row in result.lines if row.function == "child" and row.await_s)
    assert row.await_s > 0.09
    assert row.hits == 1
    assert row.time_s < 0.05


def test_an_exception_ends_what_it_leaves() -> None:
    def fails(depth: int) -> None:
        if depth:
            fails(depth - 1)
        raise KeyError(depth)

    def works() -> int:
        with contextlib.suppress(KeyError):
            fails(3)
        time.sleep(0.01)
        return 1

    with rscalene.request(functions=True) as block:
        assert works() == 1
    result = block.result()
    assert counts(result, "fails", "works") == {"fails": 4, "works": 1}
    assert all(row.own_s < 0.005 for row in result.lines if row.function.endswith("fails"))


WAYS = ("threads", "asyncio")


@pytest.mark.parametrize("lines", [False, True], ids=["functions", "lines"])
@pytest.mark.parametrize("way", WAYS)
def test_requests_that_overlap_are_never_mixed(way: str, lines: bool) -> None:
    scope: dict[str, Any] = {}
    names = [f"f_{number}" for number in range(6)]
    for name in names:
        code = compile(f"def {name}(x):\n    return x\n", __file__, "exec")
        exec(code, scope)
    found: list[tuple[str, int]] = []

    def ended(name: str, result: Any) -> None:
        wrong = [other for other in names if other != name and any(row[2] == other for row in result.table.rows())]
        wrong += [row.function for row in result.lines if row.function in names and row.function != name]
        calls = sum(row.hits for row in result.lines if row.function == name) if lines else counts(result, name)[name]
        found.append((f"{name} {wrong}" if wrong else "right", calls))

    def threaded(name: str) -> None:
        for _ in range(5):
            with rscalene.request(name, functions=not lines, lines=lines) as block:
                for at in range(1000):
                    scope[name](at)
                    if at % 100 == 0:
                        time.sleep(0.001)
            ended(name, block.result())

    async def part(name: str, times: int) -> None:
        for at in range(times):
            scope[name](at)
            if at % 50 == 0:
                await asyncio.sleep(0)

    async def awaited(name: str) -> None:
        async with rscalene.request(name, functions=not lines, lines=lines) as block:
            await part(name, 400)
            await asyncio.gather(part(name, 200), part(name, 200))
            await asyncio.to_thread(lambda: [scope[name](at) for at in range(200)])
        ended(name, block.result())

    async def all_awaited() -> None:
        for _ in range(5):
            await asyncio.gather(*(asyncio.create_task(awaited(name)) for name in names))

    if way == "threads":
        threads = [threading.Thread(target=threaded, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        asyncio.run(all_awaited())
    assert found == [("right", 1000)] * 30
    assert current_request() is None


def test_a_request_in_a_request_has_a_table_of_its_own_and_is_part_of_the_outer_one() -> None:
    with rscalene.request("outer", functions=True) as outer:
        leaf(1)
        with rscalene.request("inner", functions=True) as inner:
            leaf(2)
            leaf(3)
        leaf(4)
    assert counts(inner.result(), "leaf") == {"leaf": 2}
    assert counts(outer.result(), "leaf") == {"leaf": 4}
    assert hits(outer.result(), "leaf") == 4


def test_what_ends_keeps_nothing_of_the_program_alive() -> None:
    class Kept:
        pass

    kept = Kept()
    gone = weakref.ref(kept)
    variable: Any = __import__("contextvars").ContextVar("kept")
    with ThreadPoolExecutor(1) as pool, rscalene.request(functions=True):
        context = __import__("contextvars").copy_context()
        context.run(variable.set, kept)
        pool.submit(context.run, leaf, 1).result()
    del kept, context
    gc.collect()
    assert gone() is None


def test_a_decorated_function_is_a_request_at_each_call() -> None:
    results: list[Any] = []

    @rscalene.request("job", functions=True, on_end=results.append)
    def job(number: int) -> int:
        return leaf(number)

    @rscalene.request("coroutine", functions=True, on_end=results.append)
    async def coroutine(number: int) -> int:
        return await child(number)

    assert [job(1), job(2), asyncio.run(coroutine(3))] == [2, 3, 4]
    assert [result.about.name for result in results] == ["job", "job", "coroutine"]
    assert [counts(result, "leaf")["leaf"] for result in results] == [1, 1, 1]


def test_an_exception_goes_on_and_is_noted() -> None:
    with pytest.raises(ZeroDivisionError), rscalene.request("fails") as block:
        print(1 / 0)
    assert block.result().about.error == "ZeroDivisionError"
    assert "raised ZeroDivisionError" in block.result().text()


def test_many_functions_fold_without_losing_a_call() -> None:
    def fork(depth: int, path: int) -> None:
        if depth:
            (left if path % 2 else right)(depth - 1, path // 2)

    def left(depth: int, path: int) -> None:
        fork(depth, path)

    def right(depth: int, path: int) -> None:
        fork(depth, path)

    with rscalene.request(functions=True, lines=False) as block:
        for path in range(1 << 13):
            fork(13, path)
    result = block.result()
    assert counts(result, "fork", "left", "right") == {"fork": 8192 * 14, "left": 4096 * 13, "right": 4096 * 13}
    assert result.to_dict()["notices"]


def test_a_request_that_is_never_closed_leaves_nothing_on() -> None:
    request = Request(functions=True, lines=False)
    stretch = request.enter()
    request.exit(stretch)
    del request, stretch
    gc.collect()
    leaf(1)
    if sys.version_info < (3, 12):
        assert sys.getprofile() is None


def test_an_earlier_profiler_still_gets_its_events() -> None:
    seen: list[str] = []

    def profiler(frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is leaf.__code__:
            seen.append(event)

    sys.setprofile(profiler)
    try:
        with rscalene.request(functions=True) as block:
            leaf(1)
        leaf(2)
    finally:
        sys.setprofile(None)
    assert seen == ["call", "call"]
    assert counts(block.result(), "leaf") == {"leaf": 1}


def test_an_earlier_tracer_still_gets_its_events() -> None:
    seen: list[int] = []

    def tracer(frame: Any, event: str, argument: object) -> Any:
        if frame.f_code is leaf.__code__ and event == "line":
            seen.append(frame.f_lineno)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with rscalene.request() as block:
            leaf(1)
        leaf(2)
    finally:
        sys.settrace(before)
    assert len(seen) == 2
    assert hits(block.result(), "leaf") == 1


@pytest.mark.parametrize("lines", [False, True], ids=["functions", "both"])
def test_a_thread_that_starts_meanwhile_is_followed_where_it_has_the_context(lines: bool) -> None:
    context = __import__("contextvars").copy_context
    with rscalene.request(functions=True, lines=lines) as block:
        thread = threading.Thread(target=context().run, args=(fib, 5))
        thread.start()
        thread.join()
        other = threading.Thread(target=leaf, args=(1,))
        other.start()
        other.join()
    assert counts(block.result(), "fib", "leaf") == {"fib": 15, "leaf": 0}


def test_merge_stream_writes_to_each() -> None:
    streams = [io.StringIO(), io.StringIO()]
    MergeStream(*streams).write("text")
    assert [stream.getvalue() for stream in streams] == ["text", "text"]


def test_propagate_gives_threads_and_pools_the_context() -> None:
    code = """
import contextlib, threading
from concurrent.futures import ThreadPoolExecutor
import rscalene
from rscalene.web.propagate import follow_threads
follow_threads()
def leaf(): pass
with rscalene.request(functions=True) as block:
    thread = threading.Thread(target=leaf)
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(leaf).result()
thread = threading.Thread(target=leaf)
thread.start()
thread.join()
print([row[3] for row in block.result().table.rows() if row[2] == "leaf"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[2]\n"


def test_view_and_diff_read_the_files_of_requests(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rscalene", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for name, number in (("a", 5), ("b", 9)):
        with rscalene.request(name, functions=True) as block:
            fib(number)
        block.result().save(tmp_path / f"{name}.json")
    shown = run("view", "a.json")
    assert shown.returncode == 0
    assert "    15/1 " in shown.stdout
    assert "test_requests.py" in shown.stdout
    assert run("view", "a.json", "-o", "a.html").returncode == 0
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    changed = run("diff", "a.json", "b.json")
    assert changed.returncode == 0
    assert re.search(r"^ .* 15 +109 +.*def fib|return number if", changed.stdout, re.M)
    (tmp_path / "c.json").write_text('{"format":"rscalene-request","version":99}')
    refused = run("view", "c.json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "hint: " in refused.stderr


def test_the_time_of_a_comprehension_counts_once_on_its_line() -> None:
    with rscalene.request("once") as block:
        sum([sum([pow(inner, 3, 7) for inner in range(50)]) for _ in range(200)])  # nested
    row = next(row for row in block.result().lines if row.source.endswith("# nested"))
    assert row.time_s <= block.result().elapsed_s
    assert row.time_s == pytest.approx(row.own_s, rel=0.1)
