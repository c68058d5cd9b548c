"""Cells of a notebook, and other code without a file: their names and their text.

IPython compiles each cell under an invented file name; people know the cell as ``In [7]``. ``linecache`` has the text,
for tracebacks.
"""

from __future__ import annotations

import json
import linecache
import re
import sys
from typing import Any

from rscalene._rscalene import ProfileData

__all__ = ["BEGIN", "label", "shell", "spell_as_typed", "text_of", "titled"]

#: How the first line of a cell is spelt after ``%%rscalene``, ``%%mprun`` or ``%%lprun`` was turned into a call.
BEGIN = '__import__("rscalene.notebook.magics").notebook.magics.begin('
_BEGIN = re.compile(re.escape(BEGIN) + r'("(?:[^"\\]|\\.)*"), ("(?:[^"\\]|\\.)*")\)')
_STATEMENT = re.compile(r"<(%\w+) statement \d+>")


def shell() -> Any:
    """Return the running IPython shell, or ``None``; never import IPython."""
    core = sys.modules.get("IPython.core.getipython")
    return core.get_ipython() if core is not None else None


def label(filename: str) -> str | None:
    """Return ``In [7]`` for a cell's file name, ``%rscalene`` for a statement's, ``None`` for other files."""
    statement = _STATEMENT.fullmatch(filename)
    if statement:
        return statement[1]
    number = _number(filename)
    return None if number is None else f"In [{number}]"


def text_of(filename: str) -> str:
    """Return the text of a cell as typed, empty if unknown."""
    lines = linecache.getlines(filename)
    if lines and (first := _first_line(lines[0])):
        lines = [first, *lines[1:]]
    elif lines and filename in _SPELT_AS_TYPED:
        lines = [lines[0].removeprefix("# "), *lines[1:]]
    return _typed(filename, "".join(lines))


#: Cells whose first line in ``linecache`` is the magic, as a comment.
_SPELT_AS_TYPED: set[str] = set()


def _first_line(line: str) -> str | None:
    """Return ``%%rscalene ...`` for the call that stands in its place; ``None`` for other lines."""
    begin = _BEGIN.match(line)
    return begin and f"%%{json.loads(begin[1])} {json.loads(begin[2])}".rstrip() + "\n"


def spell_as_typed(filename: str) -> None:
    """Let tracebacks through a cell show its magic in place of the call. IPython parses the text, hence the comment."""
    known = linecache.cache.get(filename)
    if known is None or len(known) != 4 or not known[2] or not (first := _first_line(known[2][0])):
        return
    size, modified, lines, name = known
    linecache.cache[filename] = (size, modified, [f"# {first}", *lines[1:]], name)
    _SPELT_AS_TYPED.add(filename)


def _number(filename: str) -> int | None:
    running = shell()
    known = running.compile.format_code_name(filename) if running is not None else None
    number = re.search(r"\d+", known[1]) if known else None
    return int(number[0]) if number else None


def _typed(filename: str, text: str) -> str:
    """Return the typed text behind IPython's ``text`` if both have the same number of lines, else ``text``."""
    number, running = _number(filename), shell()
    typed = running.history_manager.input_hist_raw if number is not None else []
    if number is None or number >= len(typed):
        return text
    raw: str = typed[number]
    is_this = running.compile.get_code_name(raw, text, number) == filename
    return raw if is_this and len(raw.splitlines()) == len(text.splitlines()) else text


def titled(data: ProfileData, title: str | None = None) -> ProfileData:
    """Return the profile with readable names of cells, and with their text.

    :param title: the title of the profile; the default is the command line of the process.
    """
    files: list[tuple[str, str, str]] = []
    taken: dict[str, int] = {}
    for filename in data.unread():
        text = text_of(filename)
        shown = label(filename) or filename
        taken[shown] = count = taken.get(shown, 0) + 1
        if text or shown != filename:
            files.append((filename, shown if count == 1 else f"{shown} ({count})", text))
    return data.with_texts(files, title) if files or title else data
