"""The queries of a request: a middleware attaches a ledger to each request.

``Request.enter`` and ``Request.exit`` call :meth:`RequestLedger.enter` and :meth:`RequestLedger.leave`. So queries
count wherever the request's context runs: in tasks, in streamed bodies, and in threads that run in the context.
"""

from __future__ import annotations

from typing import Any

from rscalene._rscalene import Ledger
from rscalene.sql.arm import arm
from rscalene.sql.counted import Queries, merged

__all__ = ["RequestLedger", "ledger"]


class RequestLedger:
    """Counts the queries of a request."""

    __slots__ = ("_ledger",)

    def __init__(self) -> None:
        """Set the hooks of the drivers, if this is the first ledger of the process."""
        arm()
        self._ledger = Ledger()

    def enter(self) -> Any:
        """Count queries of this context from now on. Return the token for :meth:`leave`."""
        return self._ledger.enter()

    def leave(self, token: Any) -> None:
        """Stop counting in this context."""
        self._ledger.leave(token)

    @property
    def queries(self) -> Queries:
        """Return the queries as :func:`rscalene.queries` shows them."""
        return Queries.of(self._ledger)

    def builds(self) -> dict[tuple[str, int], float]:
        """Return the seconds of lines in ORMs, without the drivers' time, by file and line."""
        return {(build.place.file, build.place.line): build.time_s for build in self.queries.builds}

    def statements(self) -> list[dict[str, Any]]:
        """Return the statements by line, in the order of their first execution.

        The keys are the same as in a request's JSON: ``file``, ``line`` (``None`` if only libraries ran), ``function``,
        ``statement`` (normal form), ``count``, ``time_s``, ``longest_s``, ``rows`` (``None``: unknown), ``errors``,
        ``transaction``, ``mark`` (``"N+1"``, ``"duplicate"`` or ``None``).
        """
        queries = self.queries
        marks = {(finding.place, finding.text): finding.kind for finding in queries.findings}
        return [
            {
                "file": statement.place.file or None,
                "line": statement.place.line or None,
                "function": statement.place.function or None,
                "statement": statement.text,
                "count": statement.count,
                "time_s": statement.time_s,
                "longest_s": statement.longest_s,
                "rows": statement.rows,
                "errors": statement.errors,
                "transaction": statement.transaction,
                "mark": marks.get((statement.place, statement.text)),
            }
            for statement in merged(queries.entries())
        ]


def ledger() -> RequestLedger:
    """Return a ledger for a request: ``request.sql = rscalene.sql.ledger()``."""
    return RequestLedger()
