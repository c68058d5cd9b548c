"""``rscalene lines script.py``: a bare ``@profile`` in an unmodified script.

The script runs in this process as ``__main__``, with its own arguments and its own folder first on the path. Each
function marked with the built-in ``profile`` gets one table for the whole run, printed when the script ends.
"""

from __future__ import annotations

import argparse
import builtins
import io
import os
import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rscalene.lines.collector import Collector
from rscalene.lines.family import Family
from rscalene.lines.options import Options

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rscalene lines",
        allow_abbrev=False,
        description="Run a program in which @profile needs no import, and print a table for each marked function.",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the tables to FILE (default: stdout)")
    parser.add_argument("--precision", type=int, default=3, metavar="N", help="decimals of MiB (default: 3)")
    parser.add_argument(
        "--columns", default="memory", help="memory, classic, time, line_profiler or all (default: memory)"
    )
    parser.add_argument("--time", action="store_true", help="the same as --columns time")
    parser.add_argument("--peak", action="store_true", help="add the highest transient of each line")
    parser.add_argument("--backend", default="exact", help="exact or rss (default: exact)")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module; the rest is its own")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="script and its arguments")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run ``rscalene lines`` with the arguments after ``lines``; return the exit code of the program."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    program = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not arguments.module and not program:
        parser.error("which program? `rscalene lines script.py` or `rscalene lines -m module`")
    try:
        options = Options(
            stream=arguments.output,
            precision=arguments.precision,
            backend=arguments.backend,
            columns="time" if arguments.time else arguments.columns,
            peak=arguments.peak,
        )
    except ValueError as error:
        parser.error(str(error))
    family = Family(Collector(options))
    try:
        code = _run_module(arguments.module) if arguments.module else _run_script(program)
    finally:
        written = family.end()
    return code if written else code or 4


def _run_module(argv: list[str]) -> int:
    sys.argv = argv
    _set_first_path(os.getcwd())
    return _exit_code(lambda: runpy.run_module(argv[0], run_name="__main__", alter_sys=True))


def _run_script(argv: list[str]) -> int:
    path = argv[0]
    sys.argv = argv
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        return _exit_code(lambda: runpy.run_path(path, run_name="__main__"))
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        print(f"rscalene: cannot open `{path}`: {error.strerror}", file=sys.stderr)
        print("hint: check the name and the folder you are in", file=sys.stderr)
        return 2
    module = types.ModuleType("__main__")
    module.__file__ = path
    vars(module)["__builtins__"] = builtins
    sys.modules["__main__"] = module
    return _exit_code(lambda: exec(compile(source, path, "exec", dont_inherit=True), vars(module)))


def _set_first_path(folder: str) -> None:
    if not sys.flags.safe_path and sys.path:
        sys.path[0] = folder


def _exit_code(run: types.FunctionType | object) -> int:
    """Run the program and return its exit code; tracebacks show the program's frames only."""
    assert callable(run)
    try:
        run()
    except SystemExit as end:
        if end.code is None:
            return 0
        if isinstance(end.code, int):
            return end.code & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        _show(error)
        return 130
    except BaseException as error:
        _show(error)
        return 1
    return 0


def _show(error: BaseException) -> None:
    trace = error.__traceback__
    ours = {str(Path(__file__)), runpy.__file__}
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in ours or trace.tb_frame.f_code.co_filename.startswith("<frozen runpy")
    ):
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _main() -> NoReturn:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    _main()
