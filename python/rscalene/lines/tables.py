"""Tables of line outcomes: text, source, and the stream, file or logger to write to."""

from __future__ import annotations

import inspect
import linecache
import logging
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rscalene._rscalene import LineOutcome
from rscalene.lines.options import Options, TableStream

__all__ = ["render", "source_of", "write", "write_or_show"]


def render(outcome: LineOutcome, options: Options) -> str:
    """Return the table of ``outcome`` as text, title included."""
    title = f"{options.name}\n" if options.name else ""

    def table(source: list[str]) -> str:
        return title + outcome.render(
            source,
            columns=options.columns,
            precision=options.precision,
            peak=options.peak,
            unit_s=options.unit_s,
        )

    if not options.sql:
        return table(source_of(outcome))
    with_queries: Callable[..., str] = import_module("rscalene.sql.by_line").table
    return with_queries(outcome, source_of(outcome), table)


def source_of(outcome: LineOutcome) -> list[str]:
    """Return the lines of the function, decorators included; empty strings where there is no source."""
    following = linecache.getlines(outcome.filename)[outcome.first_line - 1 :]
    try:
        block = inspect.getblock(following) if following else []
    except (SyntaxError, IndentationError):
        block = []
    rows = max(len(block), outcome.lines)
    lines = [line.rstrip("\r\n") for line in following[:rows]]
    return lines + [""] * (rows - len(lines))


_writing = threading.RLock()
_begun: set[str] = set()


def write(stream: TableStream | None, text: str) -> None:
    """Write ``text`` to a stream, a path or a logger; tables of several threads do not mix."""
    with _writing:
        if stream is None:
            sys.stdout.write(text)
        elif isinstance(stream, logging.Logger):
            stream.info("%s", text.rstrip("\n"))
        elif isinstance(stream, str | os.PathLike):
            path = os.path.abspath(stream)
            with Path(path).open("a" if path in _begun else "w", encoding="utf-8") as file:
                file.write(text)
            _begun.add(path)
        else:
            stream.write(text)


def write_or_show(stream: TableStream | None, text: str) -> bool:
    """Call :func:`write`; if that fails, write the text and the reason to ``sys.stderr`` and return False."""
    try:
        write(stream, text)
    except Exception as error:
        where = (
            "sys.stdout" if stream is None else f"{stream}" if isinstance(stream, str | os.PathLike) else f"{stream!r}"
        )
        why = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
        sys.stderr.write(f"rscalene: cannot write to `{where}`: {why}\nhint: the text follows\n{text}")
        return False
    return True
