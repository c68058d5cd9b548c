"""Programs written for memory_profiler and line_profiler change their import only."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from conftest import Run
from rscalene.compat import line_profiler, memory_profiler


def test_memory_profilers_decorator_prints_at_every_return() -> None:
    stream = io.StringIO()

    @memory_profiler.profile(stream=stream, precision=4)
    def work() -> list[int]:
        return [0] * 1000

    work()
    work()
    assert stream.getvalue().count("Occurrences") == 2


def test_memory_profilers_line_profiler_gathers() -> None:
    profiler = memory_profiler.LineProfiler()

    @profiler
    def work(n: int) -> bytes:
        return bytes(n)

    work(1_048_576)
    work(1_048_576)
    stream = io.StringIO()
    memory_profiler.show_results(profiler, stream, precision=2)
    assert stream.getvalue().count("Occurrences") == 1
    ((_, lines),) = profiler.code_map.items()
    increments = [measured[0] for _, measured in lines if measured and measured[2] == 2]
    assert increments[-1] == pytest.approx(2.0, abs=0.01)


def test_the_log_file_writes_changed_lines_only(caplog: pytest.LogCaptureFixture) -> None:
    @memory_profiler.profile(stream=memory_profiler.LogFile("compat", reportIncrementFlag=True))
    def work() -> list[int]:
        a = [0] * 1_000_000
        b = 1
        return a[:b]

    with caplog.at_level(logging.INFO, "compat"):
        work()
    text = [record.getMessage() for record in caplog.records]
    assert any("a = [0]" in line for line in text)
    assert not any("b = 1" in line for line in text)


def loop(n: int) -> int:
    total = 0
    for i in range(n):
        total += i
    return total


def test_line_profilers_functions_are_watched_in_place() -> None:
    def added(n: int) -> int:
        total = n
        return total

    profiler = line_profiler.LineProfiler(added)
    for n in range(3):
        added(n)
    stream = io.StringIO()
    profiler.print_stats(stream)
    assert "Line #      Hits         Time  Per Hit   % Time  Line Contents\n" in stream.getvalue()
    ((key, rows),) = profiler.get_stats().timings.items()
    assert key[2].endswith("added")
    assert [hits for _, hits, _ in rows] == [3, 3]


def test_line_profilers_wrapper_calls_through() -> None:
    profiler = line_profiler.LineProfiler()
    assert profiler.runcall(loop, 10) == 45
    assert profiler(loop)(4) == 6
    ((_, rows),) = profiler.get_stats().timings.items()
    assert sum(hits for _, hits, _ in rows) == 1 + 11 + 10 + 1 + 1 + 5 + 4 + 1


def test_a_coroutine_function_cannot_be_watched_in_place() -> None:
    async def work() -> None: ...

    with pytest.raises(TypeError, match="decorate it instead"):
        line_profiler.LineProfiler().add_function(work)


def test_line_profilers_global_decorator_prints_at_exit(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from rscalene.compat.line_profiler import profile\n"
        "@profile\ndef f(n):\n    return n + 1\nf(1); f(2)\nprint('done')\n"
    )
    result = python("app.py")
    assert result.stdout.startswith("done\nTimer unit: 1e-06 s\n")
    assert "Function: f at line 2" in result.stdout


def test_functions_that_were_never_called_are_in_tables_of_time(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "@profile\ndef called():\n    return 1\n@profile\ndef never(n):\n    x = n\n    return x\ncalled()\n"
    )
    shown = python("-m", "rscalene", "lines", "--columns", "line_profiler", "app.py").stdout
    table = shown[shown.index("Total time: 0 s\n") :]
    assert "Function: never at line 4" in table
    assert "     6                                               x = n\n" in table
    assert "never" not in python("-m", "rscalene", "lines", "app.py").stdout.replace("def never", "")
