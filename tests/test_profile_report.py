"""The tables, where they go, and the neighbours in the same process."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rscalene
from conftest import Run
from rscalene import profile
from rscalene.lines import Options

MEMORY_HEADER = "Line #    Mem usage    Increment  Occurrences   Line Contents"


def table(**options: Any) -> str:
    """Return the table of one call."""
    stream = io.StringIO()

    watched: Callable[..., Any] = rscalene.profile(stream=stream, **options)

    @watched
    def work(n: int) -> list[int]:
        """Build."""
        a = [0] * n

        return a

    work(200_003)
    return stream.getvalue()


def test_the_default_table_is_memory_profilers() -> None:
    lines = table(precision=4).splitlines()
    assert lines[0] == f"Filename: {__file__}"
    assert lines[2:4] == [MEMORY_HEADER, "=" * 61]
    first, _, docstring, build, blank, _ = lines[4:10]
    assert re.fullmatch(r" {2,4}\d+ +\d+\.\d{4} MiB +\d+\.\d{4} MiB {11}1       @watched", first)
    assert re.fullmatch(r" {2,4}\d+ {41}        \"\"\"Build.\"\"\"", docstring)
    assert re.fullmatch(r" {2,4}\d+ +\d+\.\d{4} MiB {3}1\.52\d\d MiB {11}1           a = \[0\] \* n", build)
    assert re.fullmatch(r" {2,4}\d+ {41}", blank)
    assert lines[-2:] == ["", ""]


def test_precision_and_classic_columns() -> None:
    lines = table(columns="classic").splitlines()
    assert lines[2:4] == ["Line #    Mem usage    Increment   Line Contents", "=" * 48]
    assert re.search(r"\d\.\d MiB {6}1\.5 MiB {11}a = ", lines[7])
    assert " MiB" in table(precision=0)


def test_time_columns_are_line_profilers_with_own_time() -> None:
    text = table(time=True)
    assert "Line #      Hits         Time  Per Hit   % Time          Own  Line Contents\n" in text
    assert "Timer unit: 1e-06 s" in text
    percent = [float(line.split()[4]) for line in text.splitlines() if re.match(r" +\d+ +1 ", line)]
    assert sum(percent) == pytest.approx(100, abs=0.3)


def test_the_unit_stands_once_above_line_profilers_tables(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("@profile\ndef a(): pass\n@profile\ndef b(): pass\na(); b()\n")
    shown = rscalene("lines", "--columns", "line_profiler", "app.py").stdout
    assert shown.startswith("Timer unit: 1e-06 s\n\nTotal time: ")
    assert shown.count("Timer unit") == 1


def test_all_columns_and_peak() -> None:
    assert "Peak" in table(columns="all")
    assert table(peak=True).splitlines()[2] == MEMORY_HEADER.replace("   Line", "         Peak   Line")


def test_a_path_is_cleared_once_and_then_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "tables.txt"
    path.write_text("old")

    @rscalene.profile(stream=path)
    def work() -> int:
        return 1

    work()
    work()
    text = path.read_text()
    assert text.count(MEMORY_HEADER) == 2
    assert "old" not in text


def test_a_table_that_cannot_be_written_is_shown_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rscalene: Run
) -> None:
    @profile(stream=tmp_path / "nowhere" / "tables.txt")
    def work() -> int:
        return 1

    assert work() == 1
    shown = capsys.readouterr().err
    assert "cannot write to `" in shown
    assert "No such file or directory\nhint: " in shown
    assert MEMORY_HEADER in shown
    assert "Traceback" not in shown
    (tmp_path / "app.py").write_text("@profile\ndef work():\n    return 1\nwork()\n")
    ran = rscalene("lines", "-o", "nowhere/tables.txt", "app.py")
    assert ran.returncode == 4
    assert MEMORY_HEADER in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_logger_gets_the_table(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tables")

    @rscalene.profile(stream=logger)
    def work() -> int:
        return 1

    with caplog.at_level(logging.INFO, "tables"):
        work()
    assert MEMORY_HEADER in caplog.records[0].getMessage()


@pytest.mark.parametrize("options", [{"columns": "x"}, {"backend": "x"}, {"precision": -1}, {"precision": 2.5}])
def test_unprintable_formats_are_refused_before_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)


SCRIPT = """\
import sys

@profile
def work(n):
    return [0] * n

work(10); work(20)
print(sys.argv, sys.path[0], __name__)
sys.exit(3)
"""


def test_the_command_runs_an_unmodified_script(rscalene: Run, tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    result = rscalene("lines", "-o", "tables.txt", "sub/script.py", "-o", "--precision")
    assert result.stdout == f"['sub/script.py', '-o', '--precision'] {folder} __main__\n"
    assert (result.returncode, result.stderr) == (3, "")
    text = (tmp_path / "tables.txt").read_text()
    assert text.count(MEMORY_HEADER) == 1
    assert re.search(r"^ +5 +\d+\.\d{3} MiB +\d+\.\d{3} MiB +2 +return", text, re.MULTILINE)


def test_the_command_runs_a_module_and_shows_the_programs_frames_only(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text("@profile\ndef f():\n    1 / 0\nf()\n")
    result = rscalene("lines", "-m", "mod", "--time")
    assert result.returncode == 1
    assert "(left by ZeroDivisionError on line 3)" in result.stdout
    assert "ZeroDivisionError" in result.stderr
    assert "lines/command.py" not in result.stderr
    assert "runpy" not in result.stderr


def test_the_command_wants_a_program(rscalene: Run) -> None:
    result = rscalene("lines")
    assert result.returncode == 2
    assert "which program?" in result.stderr


def test_a_debugger_keeps_its_events() -> None:
    seen: list[int] = []

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_name == "traced":
            seen.append(frame.f_lineno - frame.f_code.co_firstlineno)
        return tracer

    stream = io.StringIO()

    @rscalene.profile(stream=stream, columns="time")
    def traced() -> int:
        a = 1
        return a

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        traced()
    finally:
        left = sys.gettrace()
        sys.settrace(before)
    assert left is tracer
    assert {2, 3} <= set(seen)
    assert re.search(r" 1 .* a = 1\n", stream.getvalue())


def test_cprofile_runs_beside_it() -> None:
    import cProfile
    import pstats

    stream = io.StringIO()

    @rscalene.profile(stream=stream, columns="time")
    def work() -> int:
        return sum(range(10))

    profiler = cProfile.Profile()
    profiler.enable()
    work()
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    assert any(name == "work" for _, _, name in stats.stats)
    assert "return sum" in stream.getvalue()


def test_taken_tool_ids_are_named(python: Run, tmp_path: Path) -> None:
    (tmp_path / "taken.py").write_text(
        "import sys, rscalene\n"
        "for tool in range(6): sys.monitoring.use_tool_id(tool, f'tool-{tool}')\n"
        "rscalene.profile(lambda: None)\n"
    )
    if sys.version_info < (3, 12):  # no tool ids there: nothing can be taken
        (tmp_path / "taken.py").write_text("import rscalene\nrscalene.profile(lambda: None)\n")
        assert python("taken.py").stderr == ""
        return
    result = python("taken.py")
    assert "every free tool id of `sys.monitoring` is taken" in result.stderr
    assert "4: tool-4" in result.stderr
    assert "hint:" in result.stderr
