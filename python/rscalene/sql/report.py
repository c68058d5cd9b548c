"""Queries as text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rscalene.sql.counted import Place, Queries

__all__ = ["log", "table"]

#: Most characters of a statement in a table.
_WIDTH = 110


def shown(place: Place) -> str:
    """Return ``file:line``, with the file relative to the working directory if the file lies below."""
    if not place.line:
        return str(place)
    here = os.getcwd() + os.sep
    return f"{place.file.removeprefix(here)}:{place.line}"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3f}"


def table(queries: Queries) -> str:
    """Return the statements by line, the most expensive first, and the findings below."""
    count, transactions, calls, rows = queries.count, queries.transactions, queries.calls, queries.rows
    apart = f", {transactions} of transactions" if transactions else ""
    apart += f", {calls} of redis apart" if calls else ""
    known = f", {rows:,} rows" if rows is not None else ""
    builds = {build.place: build.time_s for build in queries.builds}
    built = f", {sum(builds.values()) * 1e3:.3f} ms in the ORM" if builds else ""
    lines = [f"{count:,} {'query' if count == 1 else 'queries'}{apart}, {queries.time_s * 1e3:.3f} ms{built}{known}"]
    statements = sorted(queries.statements, key=lambda statement: (statement.transaction, -statement.time_s))
    if statements:
        build = f"{'Build ms':>9} " if builds else ""
        lines.append(f"{'Count':>7} {'SQL ms':>9} {build}{'Longest':>9} {'Rows':>9}  Line")
    queried_orm = bool(builds)
    marks = {(finding.place, finding.text): finding.kind for finding in queries.findings}
    for statement in statements:
        # An ORM's time belongs to the line, so only the first row of the line shows it.
        build = f"{_ms(builds.pop(statement.place, None)):>9} " if queried_orm else ""
        rows_cell = "" if statement.rows is None else f"{statement.rows:,}"
        notes = [marks.get((statement.place, statement.text), "")]
        notes += [f"{statement.errors} failed"] if statement.errors else []
        note = "  ".join(note for note in notes if note)
        lines.append(
            f"{statement.count:7,} {statement.time_s * 1e3:9.3f} {build}{statement.longest_s * 1e3:9.3f} "
            f"{rows_cell:>9}  {shown(statement.place)}  {statement.place.source[:_WIDTH]}"
            + (f"  [{note}]" if note else "")
        )
        lines.append(f"{'':{39 + len(build)}}{statement.text[:_WIDTH]}")
    for place, seconds in builds.items():
        lines.append(f"{'':17} {_ms(seconds):>9} {'':19}  {shown(place)}  {place.source[:_WIDTH]}")
    for finding in queries.findings:
        lines.append(f"{finding.kind}: {finding.count} times on {shown(finding.place)}: {finding.advice}")
        if finding.cause is not None:
            lines.append(f"    for each of the {finding.cause_rows} rows that {shown(finding.cause)} asked for")
    return "\n".join(lines) + "\n"


def log(queries: Queries) -> str:
    """Return all statements in order, each with its microseconds and its line."""
    lines = [
        f"CALLED QUERY :: [{at}] {statement.text} {seconds * 1e6:.0f} us -> {shown(statement.place)}"
        for at, (statement, seconds) in enumerate(queries.executions())
    ]
    return "".join(f"{line}\n" for line in lines)
