"""``%load_ext rscalene``: profiles below their cells.

A cell with ``%%rscalene`` in its first line runs as any cell does: ``await`` works, the last expression is shown, an
interrupt stops the cell. The first line becomes a call that starts the profiler. When IPython reports the end of the
cell, the profiler is stopped and the result shown, whatever ended the cell.
"""

from __future__ import annotations

import argparse
import ast
import gc
import io
import json
import linecache
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rscalene._rscalene import ProfileData
from rscalene.footprint import memory, memory_usage
from rscalene.lines import Options
from rscalene.notebook.cells import BEGIN, label, spell_as_typed
from rscalene.notebook.measured import Exact, Measured, Sampled, line_profiler, memory_profiler

__all__ = ["Magics", "MemitResult", "begin", "defined", "load", "unload"]

#: Magics with a cell form that measures its cell.
_MEASURING = ("rscalene", "mprun", "lprun")
_FIRST_LINE = re.compile(rf"%%({'|'.join(_MEASURING)})(?:\s+(.*?))?\s*$")


class _Options(argparse.ArgumentParser):
    """Options of a magic; bad options raise IPython's ``UsageError``, which has no traceback."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        from IPython.core.error import UsageError

        raise UsageError(f"%{self.prog}: {message}\n{self.format_usage().strip()}")


def _parser(magic: str) -> _Options:
    parser = _Options(prog=magic, allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.add_argument("-f", dest="functions", action="append", default=[], metavar="FUNC")
    parser.add_argument("-m", dest="modules", action="append", default=[], metavar="MODULE")
    parser.add_argument("-r", dest="returned", action="store_true")
    return parser


def _rscalene_parser() -> _Options:
    parser = _parser("rscalene")
    kinds = ["memory", "classic", "time", "line_profiler", "all"]
    parser.add_argument("--precision", type=int, default=1, choices=range(13), metavar="N")
    parser.add_argument("--columns", default="all", choices=kinds)
    parser.add_argument("--top", type=int, default=10, metavar="N")
    parser.add_argument("--sort", default="cpu", choices=ProfileData.SORT_KEYS)
    parser.add_argument("-o", dest="name", metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    return parser


def _mprun_parser() -> _Options:
    parser = _parser("mprun")
    parser.add_argument("-T", dest="text", metavar="FILE")
    parser.add_argument("-c", dest="children", action="store_true")
    return parser


def _lprun_parser() -> _Options:
    parser = _parser("lprun")
    parser.add_argument("-D", dest="dump", metavar="FILE")
    parser.add_argument("-T", dest="text", metavar="FILE")
    parser.add_argument("-u", dest="unit", type=float, metavar="SECONDS")
    parser.add_argument("-s", dest="strip", action="store_true")
    parser.add_argument("-z", dest="strip_zeros", action="store_true")
    return parser


def _memit_parser() -> _Options:
    parser = _Options(prog="memit", allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.add_argument("-r", dest="repeat", type=int, default=1, metavar="R")
    parser.add_argument("-t", dest="timeout", type=float, metavar="T")
    parser.add_argument("-i", dest="interval", type=float, default=0.1, metavar="I")
    parser.add_argument("-c", dest="children", action="store_true")
    parser.add_argument("-o", dest="returned", action="store_true")
    parser.add_argument("-q", dest="quiet", action="store_true")
    return parser


_PARSERS = {"rscalene": _rscalene_parser, "mprun": _mprun_parser, "lprun": _lprun_parser}


@dataclass
class _Session:
    """A cell during its measurement."""

    measured: Measured
    options: argparse.Namespace
    depth: int = 0
    hooks: list[tuple[str, Callable[..., None]]] = field(default_factory=list)


class Magics:
    """The magics of an IPython shell."""

    def __init__(self) -> None:
        """Belong to no shell yet."""
        self.shell: Any = None
        self._sessions: list[_Session] = []
        self._statements = 0

    def load(self, shell: Any) -> None:
        """Register the magics with ``shell``."""
        if self.shell is shell:
            return
        self.shell = shell
        for name, function in (
            ("rscalene", self.rscalene), ("mprun", self.mprun), ("lprun", self.lprun), ("memit", self.memit),
        ):  # fmt: skip
            shell.register_magic_function(function, magic_kind="line_cell", magic_name=name)
        shell.input_transformers_cleanup.append(begun)
        shell.ast_transformers.append(_MARKER)

    def unload(self) -> None:
        """Take the transformers back; IPython keeps the names of magics."""
        if self.shell is not None:
            self.shell.input_transformers_cleanup.remove(begun)
            if _MARKER in self.shell.ast_transformers:
                self.shell.ast_transformers.remove(_MARKER)
            self.shell = None

    def rscalene(self, line: str, cell: str | None = None) -> Any:
        """Profile a statement (``%rscalene f(x)``) or a cell (``%%rscalene``): time and memory, line by line.

        [-f FUNC]... [-m MODULE]... [--precision N] [--columns KIND] [--top N] [--sort KEY] [-o NAME] [--json FILE] [-r]

        Without -f and -m the whole statement or cell is sampled, with all its callees. With them, the lines of these
        functions are measured exactly. Functions of earlier cells count, and functions defined by the cell itself.

        -f FUNC        a function, method or class; any expression without spaces; may be repeated
        -m MODULE      all functions that a module defines
        --columns KIND memory, classic, time, line_profiler or all; `time` leaves memory out of a sampled profile too
        --precision N  decimals of MiB in the exact tables
        --top N        length of the lists; --sort KEY their order (cpu, wait, alloc, peak, ...)
        -o NAME        bind the result (`rscalene.Result`) to a name
        --json FILE    save the result as JSON
        -r             return the result (of a statement)
        """
        return self._line_or_cell("rscalene", line, cell)

    def mprun(self, line: str, cell: str | None = None) -> Any:
        """Measure memory of functions, line by line, as memory_profiler's magic does.

        %mprun -f FUNC [-f FUNC]... [-m MODULE]... [-T FILE] [-r] [-c] statement

        -f FUNC  a function, method or class; -m MODULE all functions of a module
        -T FILE  save the tables as text
        -r       return the profiler object
        """
        return self._line_or_cell("mprun", line, cell)

    def lprun(self, line: str, cell: str | None = None) -> Any:
        """Measure time of functions, line by line, as line_profiler's magic does.

        %lprun -f FUNC [-f FUNC]... [-m MODULE]... [-T FILE] [-D FILE] [-u SECONDS] [-s] [-z] [-r] statement

        -f FUNC     a function, method or class; -m MODULE all functions of a module
        -T FILE     save the tables as text; -D FILE pickle the statistics
        -u SECONDS  unit of the times (default 1e-6)
        -s, -z      accepted: functions that were not called are always left out
        -r          return the profiler object
        """
        return self._line_or_cell("lprun", line, cell)

    def memit(self, line: str, cell: str | None = None) -> MemitResult | None:
        """Print the peak of the resident memory while a statement runs, as memory_profiler's magic does.

        %memit [-r R] [-i I] [-t T] [-c] [-o] [-q] statement; in a cell the line is a setup that is not measured.

        The peak is the kernel's high-water mark, so no transient is missed.

        -r R  run it R times and take the highest (default 1)
        -c    count child processes too, by sampling
        -i I  seconds between samples of child processes (default 0.1); -t T is accepted
        -o    return the result; -q print nothing
        """
        options, statement = _parsed(_memit_parser(), line)
        if cell is not None:
            self._run(statement, "memit")
            statement = cell
        code = self._compiled(statement, "memit")
        result = _memit(lambda: exec(code, self.shell.user_ns), options)
        if not options.quiet:
            print(result)
        return result if options.returned else None

    def begin(self, magic: str, line: str, defined: tuple[str, ...] = ()) -> None:
        """Start to measure the cell around this call; ``defined`` are the functions defined by the cell."""
        parser = _PARSERS[magic]()
        options, statement = _parsed(parser, line)
        filename = sys._getframe(1).f_code.co_filename
        spell_as_typed(filename)
        cell = label(filename) or "a cell"
        measured = self._measured(magic, options, defined, cell)
        session = _Session(measured, options)
        # Code of the cell may run other cells (`%run notebook.ipynb`): only the end of this one counts.
        session.hooks = [
            ("pre_execute", lambda: self._deeper(session)),
            ("post_execute", lambda: self._finish(session)),
        ]
        for event, hook in session.hooks:
            self.shell.events.register(event, hook)
        self._sessions.append(session)
        measured.start()
        if statement:
            self._run(statement, magic)

    def defined(self, target: Any) -> Any:
        """Watch a function of the measured cell: the decorator put there by :class:`_Marker`."""
        if not self._sessions:
            return target
        return self._sessions[-1].measured.define(target, self.shell.user_ns)

    def _deeper(self, session: _Session) -> None:
        session.depth += 1

    def _finish(self, session: _Session) -> None:
        if session.depth:
            session.depth -= 1
            return
        for event, hook in session.hooks:
            self.shell.events.unregister(event, hook)
        self._sessions.remove(session)
        self._show(session.measured, session.options)

    def _line_or_cell(self, magic: str, line: str, cell: str | None) -> Any:
        if cell is not None:
            # Only code that asks for the magic by name comes here.
            self.shell.run_cell(f"%%{magic} {line}\n{cell}", store_history=False)
            return None
        options, statement = _parsed(_PARSERS[magic](), line)
        if not statement:
            _PARSERS[magic]().error("which statement? To measure a whole cell, begin it with two per cent signs")
        code = self._compiled(statement, magic)
        measured = self._measured(magic, options, (), f"%{magic} {statement}")
        try:
            measured.start()
            exec(code, self.shell.user_ns)
        finally:
            shown = self._show(measured, options)
        return shown if options.returned else None

    def _measured(self, magic: str, options: argparse.Namespace, defined: tuple[str, ...], title: str) -> Measured:
        from IPython.core.error import UsageError

        for option in ("json", "text", "dump"):
            path = getattr(options, option, None)
            if path and (why := _unwritable(path)):
                raise UsageError(f"%{magic}: cannot write {path!r}: {why}")
        if magic == "rscalene" and not (options.functions or options.modules):
            memory_too = options.columns not in ("time", "line_profiler")
            return Sampled(title, memory=memory_too, top=options.top, sort=options.sort)
        if not (options.functions or options.modules):
            raise UsageError(f"%{magic}: which functions? Name them with -f FUNC or -m MODULE")
        if magic == "rscalene":
            exact = Exact(Options(columns=options.columns, precision=options.precision))
        else:
            exact = memory_profiler() if magic == "mprun" else line_profiler(options.unit)
        for name in options.functions:
            if name in defined:
                continue
            try:
                exact.watch.add(name, self.shell.user_ns)
            except Exception as error:
                exact.watch.end()
                raise UsageError(f"%{magic}: cannot watch {name!r}: {type(error).__name__}: {error}") from None
        for name in options.modules:
            try:
                exact.watch.add_module(name)
            except ImportError as error:
                exact.watch.end()
                raise UsageError(f"%{magic}: cannot watch module {name!r}: {error}") from None
        return exact

    def _show(self, measured: Measured, options: argparse.Namespace) -> Any:
        from IPython import display

        show: Any = display.display
        result = measured.stop()
        show(result)
        if getattr(options, "name", None):
            self.shell.user_ns[options.name] = result
        if getattr(options, "json", None):
            with open(options.json, "w", encoding="utf-8") as file:
                file.write(result.to_json())
        if getattr(options, "text", None):
            with open(options.text, "w", encoding="utf-8") as file:
                file.write(result.to_text())
            print(f"\n*** Profile printout saved to text file {options.text!r}.")
        if getattr(options, "dump", None):
            result.dump(options.dump)
            print(f"\n*** Profile stats pickled to file {options.dump!r}.")
        return measured.answer(result)

    def _run(self, statement: str, magic: str) -> None:
        exec(self._compiled(statement, magic), self.shell.user_ns)

    def _compiled(self, statement: str, magic: str) -> Any:
        from IPython.core.error import UsageError

        text = self.shell.transform_cell(statement)
        self._statements += 1
        name = f"<%{magic} statement {self._statements}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        try:
            return compile(text, name, "exec")
        except SyntaxError as error:
            if "await" in text and "outside" in str(error):
                raise UsageError(f"%{magic}: a statement cannot await; a cell that begins with %%{magic} can") from None
            raise


def _unwritable(path: str) -> str | None:
    """Say why a file cannot be written, before the cell runs; ``None`` where it can be."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        return "it is a folder"
    if not os.path.isdir(folder):
        return f"there is no folder {folder!r}"
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        return "permission denied"
    return None


def _parsed(parser: _Options, line: str) -> tuple[argparse.Namespace, str]:
    """Return the options at the head of ``line``, and the statement behind them, untouched."""
    argv: list[str] = []
    rest = line.strip()
    while rest.startswith("-") and rest != "-":
        word, rest = _word(parser, rest)
        if word == "--":
            break
        argv.append(word)
        if _takes_value(parser, word):
            if not rest:
                parser.error(f"argument {word}: expected one argument")
            value, rest = _word(parser, rest)
            argv.append(value)
    try:
        return parser.parse_args(argv), rest
    except argparse.ArgumentError as error:
        parser.error(str(error))


def _takes_value(parser: _Options, word: str) -> bool:
    """Tell whether the next word is the value of an option of ``word``, where flags may stand before it (``-cr 3``)."""
    takes = {name: action.nargs != 0 for action in parser._actions for name in action.option_strings}
    if word in takes or word.startswith("--"):
        return takes.get(word, False)
    *flags, last = (f"-{letter}" for letter in word[1:])
    return takes.get(last, False) and not any(takes.get(flag, True) for flag in flags)


def _word(parser: _Options, text: str) -> tuple[str, str]:
    """Split off the first word, which may be quoted as in a shell."""
    stream = io.StringIO(text)
    scanner = shlex.shlex(stream, posix=True)
    scanner.whitespace_split = True
    scanner.commenters = ""
    try:
        word = scanner.get_token() or ""
    except ValueError as error:
        parser.error(str(error).lower())
    return word, text[stream.tell() :].lstrip()


def begun(lines: list[str]) -> list[str]:
    """Turn ``%%rscalene WORDS`` at the head of a cell into a call; IPython calls it for each cell."""
    found = _FIRST_LINE.match(lines[0]) if lines else None
    if not found:
        return lines
    return [f"{BEGIN}{json.dumps(found[1])}, {json.dumps(found[2] or '')})\n", *lines[1:]]


class _Marker(ast.NodeTransformer):
    """Puts a decorator on the functions of a cell named by its own ``-f``."""

    def visit(self, node: ast.AST) -> ast.AST:
        """Look at the first statement of a cell; leave all others alone."""
        call = _begin_call(node)
        if call is None or not isinstance(node, ast.Module):
            return node
        magic, line = (ast.literal_eval(argument) for argument in call.args[:2])
        try:
            options, _ = _parsed(_PARSERS[magic](), line)
        except Exception:  # the call says what is wrong, when it runs
            return node
        found = [name for name in options.functions if _decorated(node.body, name.split("."))]
        names: list[ast.expr] = [ast.Constant(name) for name in found]
        call.args.append(ast.Tuple(names, ast.Load()))
        return node


_MARKER = _Marker()


def _begin_call(node: ast.AST) -> ast.Call | None:
    if not isinstance(node, ast.Module) or not node.body or not isinstance(node.body[0], ast.Expr):
        return None
    call = node.body[0].value
    whole = BEGIN.removesuffix("(")
    return call if isinstance(call, ast.Call) and ast.unparse(call.func) == whole.replace('"', "'") else None


def _decorated(body: list[ast.stmt], path: list[str]) -> bool:
    """Decorate the definition at ``path`` (the last, where there are several); whether there is one."""
    for statement in reversed(body):
        if isinstance(statement, ast.ClassDef) and statement.name == path[0] and len(path) > 1:
            return _decorated(statement.body, path[1:])
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and [statement.name] == path:
            decorator = ast.parse(BEGIN.replace("begin(", "defined"), mode="eval").body
            for part in ast.walk(decorator):
                ast.copy_location(part, statement)
            decorator = ast.copy_location(decorator, statement)
            statement.decorator_list.append(decorator)
            return True
    return False


class MemitResult:
    """The result of ``%memit``, in MiB of resident memory."""

    def __init__(self, mem_usage: float, baseline: float, options: argparse.Namespace) -> None:
        """Hold the peak and the memory before."""
        self.mem_usage = mem_usage
        self.baseline = baseline
        self.repeat: int = options.repeat
        self.timeout: float | None = options.timeout
        self.interval: float = options.interval
        self.include_children: bool = options.children

    def __str__(self) -> str:
        """Return memory_profiler's line."""
        return f"peak memory: {self.mem_usage:.2f} MiB, increment: {self.mem_usage - self.baseline:.2f} MiB"

    def __repr__(self) -> str:
        """Return memory_profiler's form."""
        return f"<MemitResult : {self}>"


class _Silent:
    def write(self, _text: str, /) -> None:
        """Drop the text."""


def _memit(run: Callable[[], None], options: argparse.Namespace) -> MemitResult:
    gc.collect()
    baseline = memory_usage(-1, include_children=options.children)[0]
    peak = 0.0
    for _ in range(max(options.repeat, 1)):
        if options.children:
            top = memory_usage(run, interval=options.interval, include_children=True, max_usage=True)
        else:
            section = memory(stream=_Silent())
            with section:
                run()
            top = (section.rss_bytes[0] + section.peak_bytes) / 2**20
        peak = max(peak, top)
    return MemitResult(peak, baseline, options)


#: The magics of this process's shell.
_MAGICS = Magics()

load, unload = _MAGICS.load, _MAGICS.unload
begin, defined = _MAGICS.begin, _MAGICS.defined
