"""Queries in the tables of ``@profile(sql=True)``: columns beside the source, and the statements below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rscalene._rscalene import Ledger, LineOutcome, sql_variable
from rscalene.footprint import around
from rscalene.sql.counted import Place, Queries, Statement
from rscalene.sql.report import log

__all__ = ["counted", "table"]

_HEAD = "  SQL    SQL ms     Rows       Mark  "
#: If an ORM ran, the table has another column between ``SQL ms`` and ``Rows``.
_HEAD_ORM = "  SQL    SQL ms   Build ms     Rows       Mark  "


def counted(function: Any) -> Any:
    """Return ``function`` with a ledger for each call. The table after the call finds that ledger in the context."""
    return around(function, Queries)


def table(outcome: LineOutcome, source: list[str], render: Callable[[list[str]], str]) -> str:
    """Return the table that ``render`` makes of ``source``, with queries beside the lines and the statements below."""
    ledger = sql_variable().get()
    queries = Queries.of(ledger) if isinstance(ledger, Ledger) else Queries()
    statements, findings = queries.entries(), queries.findings
    marks = {(finding.place, finding.text): finding.kind for finding in findings}
    by_line: dict[int, list[Statement]] = {}
    for statement in statements:
        line = _line_in(outcome, [statement.place, *statement.callers])
        if line is not None and not statement.transaction:
            by_line.setdefault(line, []).append(statement)
    built: dict[int, int] = {}
    for places, ns in ledger.builds() if isinstance(ledger, Ledger) else []:
        line = _line_in(outcome, [Place(*place) for place in places])
        if line is not None:
            built[line] = built.get(line, 0) + ns
    head = _HEAD_ORM if built else _HEAD
    shown = []
    for number, text in enumerate(source, outcome.first_line):
        here, orm_ns = by_line.get(number, []), built.get(number)
        build = None if not built else "" if orm_ns is None else f"{orm_ns / 1e6:.3f}"
        shown.append(f"{_cells(here, marks, build)}{text}" if here or orm_ns else f"{'':{len(head)}}{text}")
    text = render(shown).replace("Line Contents", f"{head}Line Contents", 1)
    lines = text.split("\n")
    rule = next((at for at, line in enumerate(lines) if line and not line.strip("=")), None)
    if rule is not None:
        lines[rule] += "=" * len(head)
    for finding in findings:
        lines.insert(-1, str(finding))
    return "\n".join(lines) + log(queries) + "\n"


def _line_in(outcome: LineOutcome, places: list[Place]) -> int | None:
    """Return the innermost line of the function among ``places``."""
    last = outcome.first_line + outcome.lines
    lines = (place.line for place in places if place.file == outcome.filename)
    return next((line for line in lines if outcome.first_line <= line < last), None)


def _cells(statements: list[Statement], marks: dict[Any, str], build: str | None) -> str:
    """Return the cells of a line; ``build``: the time in ORMs, ``None`` if the table has no such column."""
    rows = [statement.rows for statement in statements if statement.rows is not None]
    found = {marks.get((statement.place, statement.text), "") for statement in statements} - {""}
    mark = "N+1" if "N+1" in found else "duplicate" if found else ""
    count = sum(statement.count for statement in statements)
    ms = sum(statement.time_s for statement in statements) * 1e3
    middle = "" if build is None else f"{build:>10} "
    cost = f"{count:5d} {ms:9.3f}" if statements else f"{'':15}"
    return f"{cost} {middle}{sum(rows) if rows else '':>8} {mark:>10}  "
