"""The tables of a request as text: the block of werkzeug, byte for byte, and the table of lines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rscalene.web.result import RequestResult

# The sort keys of pstats, in its order. Their unique prefixes are keys too.
KEYS = (
    "calls", "ncalls", "cumtime", "cumulative", "filename", "line", "module", "name", "nfl", "pcalls", "stdname",
    "time", "tottime",
)  # fmt: skip
OLD_KEYS = {-1: "stdname", 0: "calls", 1: "time", 2: "cumulative"}
RULE = "-" * 80


def sort_keys(keys: Sequence[object]) -> list[str]:
    """Return the full names of pstats' sort keys; ValueError for one that pstats does not know.

    Names may be unambiguous prefixes or ``SortKey`` members; a single number from -1 to 2 is a key of the old profiler.
    """
    if len(keys) == 1 and isinstance(keys[0], int) and not isinstance(keys[0], str):
        if keys[0] not in OLD_KEYS:
            raise ValueError(f"sort_by: {keys[0]} is no key of pstats\nhint: numbers go from -1 to 2")
        return [OLD_KEYS[keys[0]]]
    return [_full(getattr(word, "value", word)) for word in keys]


def _full(word: object) -> str:
    known, bad = _prefixes()
    if isinstance(word, str) and word in known and word not in bad:
        return known[word]
    raise ValueError(
        f"sort_by: `{word}` is no key of pstats, or stands for several\nhint: use one of {', '.join(KEYS)}"
    )


def _prefixes() -> tuple[dict[str, str], set[str]]:
    """Return each prefix's key, and the ambiguous prefixes, by the algorithm of pstats."""
    known: dict[str, str] = {}
    bad: set[str] = set()
    for word in KEYS:
        fragment = word
        while fragment:
            if fragment in known:
                bad.add(fragment)
                break
            known[fragment] = word
            fragment = fragment[:-1]
    return known, bad


def block(result: RequestResult, path: str, sort_by: list[str], restrictions: list[object]) -> str:
    """Return the text that werkzeug's middleware writes for a request."""
    body = result.table.text(sort_by, restrictions)
    return f"{RULE}\nPATH: {path!r}\n{body}{RULE}\n\n"


def tables(result: RequestResult, *, lines: bool | None, sort_by: list[str], restrictions: list[object]) -> str:
    """Return the table of lines, then the table of functions, if there are any."""
    parts = []
    if lines or (lines is None and result.lines):
        parts.append(line_table(result.to_dict()))
    functions = result.table.rows()
    if functions:
        parts.append(result.table.text(sort_keys(sort_by), restrictions))
    return "\n".join(parts)


def of_data(data: dict[str, Any]) -> str:
    """Return the same tables as :func:`tables`, from a request's JSON."""
    from rscalene.web.formats import from_dict

    functions = from_dict(data, ".txt").decode() if data["functions"] else ""
    return f"{line_table(data)}\n{functions}"


def heading_of(data: dict[str, Any]) -> str:
    """Return one line with the request, its answer and its time."""
    request = data["request"]
    what = f"{request['method']} {request['path']}" if request["method"] else request["name"] or "request"
    answer = f" -> {request['status']}" if request["status"] is not None else ""
    raised = f" raised {request['error']}" if request["error"] else ""
    cut = "  (functions: cut)" if request.get("cut") else ""
    memory = data.get("memory")
    held = f"  net {memory['net']:+,d} bytes, peak {memory['peak']:,d}" if memory else ""
    cost = f"{request['elapsed_s'] * 1e3:.1f} ms  cpu {data['cpu']['cpu_s'] * 1e3:.1f} ms{held}"
    return f"{what}{answer}{raised}  {cost}{cut}"


def line_table(data: dict[str, Any], most: int = 40) -> str:
    """Return a table of the lines with the most time, sorted by time."""
    rows = sorted(data["lines"], key=lambda row: -row["time_s"])
    waits = any(row["await_s"] for row in rows)
    counted = any(row["net_bytes"] is not None for row in rows)
    queried = any("sql_count" in row for row in rows)
    columns = f"{'Time ms':>10} {'Own ms':>10} {'Hits':>9}"
    columns += f" {'Await ms':>10}" if waits else ""
    columns += f" {'Net':>12} {'Peak':>12}" if counted else ""
    columns += f" {'SQL':>5} {'SQL ms':>9} {'Rows':>8}" if queried else ""
    out = [heading_of(data), f"{columns}  Line"]
    for row in rows[:most]:
        text = f"{row['time_s'] * 1e3:10.3f} {row['own_s'] * 1e3:10.3f} {row['hits']:9d}"
        if waits:
            text += f" {row['await_s'] * 1e3:10.3f}"
        if counted:
            text += f" {row['net_bytes'] or 0:12,d} {row['peak_bytes'] or 0:12,d}"
        if queried and "sql_count" in row:
            text += f" {row['sql_count']:5d} {row['sql_s'] * 1e3:9.3f} {'' if row['rows'] is None else row['rows']:>8}"
        elif queried:
            text += " " * 25
        mark = f"  [{row['mark']}]" if row.get("mark") else ""
        out.append(f"{text}  {short(row['file'])}:{row['line']}  {row['source'] or ''}{mark}".rstrip())
    if len(rows) > most:
        out.append(f"({len(rows) - most} more lines)")
    return "\n".join(out) + "\n"


def short(file: str) -> str:
    """Return a file's name, relative to the current folder if the file is below it."""
    here = os.getcwd() + os.sep
    return file[len(here) :] if file.startswith(here) else file
