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
        place = next((one for one in (statement.place, *statement.callers) if _is_in(outcome, one)), None)
        if place is not None and not statement.transaction:
            by_line.setdefault(place.line, []).append(statement)
    shown = []
    for number, text in enumerate(source, outcome.first_line):
        here = by_line.get(number, [])
        shown.append(f"{_cells(here, marks)}{text}" if here else f"{'':{len(_HEAD)}}{text}")
    text = render(shown).replace("Line Contents", f"{_HEAD}Line Contents", 1)
    lines = text.split("\n")
    rule = next((at for at, line in enumerate(lines) if line and not line.strip("=")), None)
    if rule is not None:
        lines[rule] += "=" * len(_HEAD)
    for finding in findings:
        lines.insert(-1, str(finding))
    return "\n".join(lines) + log(queries) + "\n"


def _is_in(outcome: LineOutcome, place: Place) -> bool:
    return place.file == outcome.filename and outcome.first_line <= place.line < outcome.first_line + outcome.lines


def _cells(statements: list[Statement], marks: dict[Any, str]) -> str:
    rows = [statement.rows for statement in statements if statement.rows is not None]
    found = {marks.get((statement.place, statement.text), "") for statement in statements} - {""}
    mark = "N+1" if "N+1" in found else "duplicate" if found else ""
    count = sum(statement.count for statement in statements)
    ms = sum(statement.time_s for statement in statements) * 1e3
    return f"{count:5d} {ms:9.3f} {sum(rows) if rows else '':>8} {mark:>10}  "
