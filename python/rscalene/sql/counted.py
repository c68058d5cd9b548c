"""``rscalene.queries()``: the queries of a block or of each call of a function, by line, with N+1s and duplicates."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast, overload

from rscalene._rscalene import Ledger, sql_variable
from rscalene.footprint import around
from rscalene.lines import enabled
from rscalene.sql.arm import arm

__all__ = ["Build", "Finding", "Place", "Queries", "Statement", "queries"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Executions from which on the same statement on the same line is an N+1 or a duplicate.
THRESHOLD = 5


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the user's code; ``file`` is absolute, ``line`` counts from 1."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """Return ``file:line``."""
        return f"{self.file}:{self.line}" if self.line else "(no line of yours)"

    @property
    def source(self) -> str:
        """The text of the line without its indentation; empty if the text is unknown."""
        return linecache.getline(self.file, self.line).strip() if self.line else ""


_NOWHERE = Place("", 0, "")


@dataclass(frozen=True, slots=True)
class Statement:
    """Executions of a statement from a line.

    ``text`` is the normal form, without literals and parameters. Times are seconds in the driver. ``rows`` is the
    number of returned rows, or of changed rows if the statement returns none (``None``: unknown). ``transaction`` is
    true for a statement that does not count as a query: for example ``BEGIN``, ``SAVEPOINT``, or a call of another kind
    such as ``redis: GET``. ``callers`` are the user's lines further out.
    """

    text: str
    place: Place
    count: int
    errors: int
    time_s: float
    longest_s: float
    rows: int | None
    transaction: bool
    callers: tuple[Place, ...] = ()

    @property
    def call(self) -> bool:
        """Whether this is a call other than SQL, such as ``redis: GET``."""
        return self.text.startswith("redis: ")


@dataclass(frozen=True, slots=True)
class Build:
    """Seconds of a line in an ORM, which makes queries, and objects from rows; without the driver's time."""

    place: Place
    time_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement that ran at least five times (or ``threshold`` times) on the same line.

    ``kind`` is ``"N+1"`` if the parameters differed, otherwise ``"duplicate"``. ``cause`` is the line of an earlier
    query with ``cause_rows`` rows, if the program ran the statement for each of these rows.
    """

    kind: str
    text: str
    place: Place
    count: int
    cause: Place | None = None
    cause_text: str = ""
    cause_rows: int = 0

    @property
    def advice(self) -> str:
        """A change of the program that removes the finding."""
        if self.text.split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"):
            return "write many at once: executemany(), or the ORM's bulk operations"
        if self.kind == "duplicate":
            return "the same query with the same parameters: keep its result"
        if "sqlalchemy" in sys.modules and "django" not in sys.modules:
            return "load with the first query: joinedload() or selectinload()"
        if "django" in sys.modules:
            return "load with the first query: select_related(), or prefetch_related() for many"
        return "ask once: a JOIN, or WHERE ... IN (...)"

    def __str__(self) -> str:
        """Return the finding in a line or two."""
        lines = [f"{self.kind}: {self.count} times on {self.place}  {self.place.source}", f"    {self.text}"]
        if self.cause is not None:
            lines.append(f"    for each of {self.cause_rows} rows of {self.cause}  {self.cause_text}")
        lines.append(f"    {self.advice}")
        return "\n".join(lines)


class Queries:
    """Counts the queries that run in its block, in the same context: this thread, and tasks that the block starts.

    The program may read all figures at any time, in the block and afterwards.
    """

    def __init__(self, *, stream: _Stream | None = None, style: str = "table", threshold: int = THRESHOLD) -> None:
        """Count nothing yet; a decorated function passes ``stream`` and ``style`` to :meth:`print`."""
        if style not in ("table", "log"):
            raise ValueError(f"style must be 'table' or 'log', not {style!r}")
        self._stream, self._style, self._threshold = stream, style, threshold
        self._ledger: Ledger | None = None
        self._token: Any = None

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        """Return the queries that a ledger has counted so far."""
        queries = cls()
        queries._ledger = ledger
        return queries

    def __enter__(self) -> Self:
        """Begin to count."""
        if self._token is not None:
            raise RuntimeError("these queries are being counted already\nhint: use another `rscalene.queries()` inside")
        if enabled():
            arm()
            outer = sql_variable().get()
            self._ledger = Ledger(outer if isinstance(outer, Ledger) else None)
            self._token = self._ledger.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop counting."""
        if self._ledger is not None and self._token is not None:
            token, self._token = self._token, None
            self._ledger.leave(token)

    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Decorate ``function``: count the queries of each call, and print them at the end of the call."""
        if not enabled():
            return function
        return around(function, lambda: _Printed(stream=self._stream, style=self._style, threshold=self._threshold))

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that counts; ``None`` before the block, and under ``RSCALENE=0``."""
        return self._ledger

    @property
    def count(self) -> int:
        """Number of queries: executions without words of transactions and without calls of another kind."""
        return self._ledger.queries if self._ledger is not None else 0

    @property
    def transactions(self) -> int:
        """Executions of ``BEGIN``, ``COMMIT``, ``SAVEPOINT`` and the like."""
        return self._ledger.executions - self._ledger.queries - self.calls if self._ledger is not None else 0

    @property
    def calls(self) -> int:
        """Number of calls other than SQL: commands and pipelines of redis-py."""
        return sum(statement.count for statement in self.statements if statement.call)

    @property
    def time_s(self) -> float:
        """Seconds in the drivers, words of transactions included."""
        return sum(statement.time_s for statement in self.statements if not statement.call)

    @property
    def rows(self) -> int | None:
        """Sum of the known numbers of rows; ``None`` if no number is known."""
        known = [statement.rows for statement in self.statements if statement.rows is not None]
        return sum(known) if known else None

    @property
    def builds(self) -> list[Build]:
        """Time in ORMs (Django, SQLAlchemy) by line, without the drivers' time."""
        if self._ledger is None:
            return []
        found: dict[Place, int] = {}
        for places, ns in self._ledger.builds():
            place = Place(*places[0]) if places else _NOWHERE
            found[place] = found.get(place, 0) + ns
        return [Build(place, ns / 1e9) for place, ns in found.items()]

    @property
    def build_s(self) -> float | None:
        """Seconds in ORMs, without the drivers' time; ``None`` if no ORM ran."""
        builds = self.builds
        return sum(build.time_s for build in builds) if builds else None

    @property
    def statements(self) -> list[Statement]:
        """All statements by line, in the order of their first execution."""
        return merged(self.entries())

    @property
    def n_plus_one(self) -> list[Finding]:
        """Statements that ran repeatedly with different parameters, for example for each row of another query."""
        return [finding for finding in self.findings if finding.kind == "N+1"]

    @property
    def duplicates(self) -> list[Finding]:
        """Statements that ran repeatedly with the same parameters."""
        return [finding for finding in self.findings if finding.kind == "duplicate"]

    @property
    def findings(self) -> list[Finding]:
        """N+1s and duplicates, in the order of their first execution."""
        if self._ledger is None:
            return []
        found = []
        for place, text, count, differ, cause, _first in self._ledger.findings(self._threshold):
            where, cause_text, rows = cause if cause is not None else (None, "", 0)
            found.append(
                Finding(
                    "N+1" if differ else "duplicate",
                    text,
                    Place(*place) if place is not None else _NOWHERE,
                    count,
                    Place(*where) if where is not None else None,
                    cause_text,
                    rows,
                )
            )
        return found

    def text(self, style: str | None = None) -> str:
        """Return the text that :meth:`print` prints."""
        from rscalene.sql.report import log, table

        return (log if (style or self._style) == "log" else table)(self)

    def print(self, stream: _Stream | None = None, *, style: str | None = None) -> None:
        """Print a table by line, or with ``style="log"`` all statements in order, to ``stream`` (``sys.stderr``)."""
        (stream or self._stream or sys.stderr).write(self.text(style))

    def executions(self) -> list[tuple[Statement, float]]:
        """Return the executions in order, each with its seconds; at most the first 20,000."""
        entries = self.entries()
        return [(entries[at], ns / 1e9) for at, ns in self._ledger.log()] if self._ledger is not None else []

    def entries(self) -> list[Statement]:
        """Return the statements by line and by the line's callers."""
        if self._ledger is None:
            return []
        return [
            Statement(
                text,
                Place(*places[0]) if places else _NOWHERE,
                count,
                errors,
                ns / 1e9,
                longest_ns / 1e9,
                rows,
                transaction,
                tuple(Place(*place) for place in places[1:]),
            )
            for places, text, transaction, count, ns, longest_ns, rows, errors, _first in self._ledger.entries()
        ]


def merged(entries: list[Statement]) -> list[Statement]:
    """Return a statement for each line and text, summed over all callers of the line."""
    found: dict[tuple[Place, str], Statement] = {}
    for statement in entries:
        key = statement.place, statement.text
        known = found.get(key)
        found[key] = statement if known is None else _sum(known, statement)
    return list(found.values())


class _Printed(Queries):
    """Counts the queries of a single call of a decorated function, and prints them."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop counting and print."""
        super().__exit__(kind, error, trace)
        self.print()


def _sum(one: Statement, two: Statement) -> Statement:
    rows = [statement.rows for statement in (one, two) if statement.rows is not None]
    return Statement(
        one.text,
        one.place,
        one.count + two.count,
        one.errors + two.errors,
        one.time_s + two.time_s,
        max(one.longest_s, two.longest_s),
        sum(rows) if rows else None,
        one.transaction,
        one.callers,
    )


@overload
def queries(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def queries(
    function: None = None, /, *, stream: _Stream | None = None, style: str = "table", threshold: int = THRESHOLD
) -> Queries: ...


def queries(
    function: Callable[_P, _R] | None = None,
    /,
    *,
    stream: _Stream | None = None,
    style: str = "table",
    threshold: int = THRESHOLD,
) -> Any:
    """Count the queries of a block, or of each call of a function, by the line that ran them.

    >>> with rscalene.queries() as q:
    ...     page()
    >>> q.count, q.n_plus_one
    >>> q.print()

    As a decorator, with or without parentheses, ``queries`` prints a table after each call.

    :param stream: the stream for a decorated function's table, default ``sys.stderr``.
    :param style: ``"table"``, or ``"log"`` for all statements in order.
    :param threshold: from this number of executions of a statement on the same line on, the statement is an N+1 or a
        duplicate.
    """
    counter = Queries(stream=stream, style=style, threshold=threshold)
    return counter if function is None else cast("Any", counter(function))
