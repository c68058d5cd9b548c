"""Parts that the panels of the debug toolbars share: a request from its start to its end, and its tables."""

from __future__ import annotations

import os
import secrets
import threading
import time
from typing import TYPE_CHECKING

from rscalene._rscalene import Request
from rscalene.web import page
from rscalene.web.django_templates import follow_django
from rscalene.web.failures import failures
from rscalene.web.options import disabled
from rscalene.web.recording import sql_ledger
from rscalene.web.result import About, RequestResult

if TYPE_CHECKING:
    from rscalene._rscalene import Stretch


class Panelled:
    """The request that a toolbar shows."""

    def __init__(self, method: str, path: str) -> None:
        """Open the request and enter it in the running context."""
        self.result: RequestResult | None = None
        self._request: Request | None = None
        self._stretch: Stretch | None = None
        if disabled():
            return
        try:
            ledger = sql_ledger()
            follow_django()
            self._request = Request(lines=True, functions=True, max_s=30.0)
            self._request.sql = ledger
            self._stretch = self._request.enter()
        except Exception as error:
            failures.tell("cannot profile requests", error)
        self._about = About(
            method=method, path=path, started_at=time.time(), pid=os.getpid(), thread=threading.get_native_id(),
            id=secrets.token_hex(16),
        )  # fmt: skip

    def end(self, status: int | None) -> None:
        """End the request; a second call does nothing."""
        if self._request is None or self._stretch is None or self.result is not None:
            return
        self._request.exit(self._stretch)
        self._request.close()
        self._about.status = status
        self.result = RequestResult(self._request, self._about)


def subtitle(panelled: Panelled | None) -> str:
    """Return the time and the number of statements, such as ``21 ms · 7 sql``."""
    if panelled is None or panelled.result is None:
        return ""
    count = sum(int(one.get("count") or 0) for one in panelled.result.sql)
    return f"{panelled.result.elapsed_s * 1e3:.0f} ms" + (f" · {count} sql" if count else "")


def contents(panelled: Panelled | None) -> str:
    """Return the tables of lines, SQL and functions."""
    if panelled is None or panelled.result is None:
        return "<p>nothing was recorded</p>"
    data = panelled.result.to_dict()
    parts = ['<div id="rscalene">']
    if data["lines"]:
        parts.append(page.panel("Lines", page.lines_table(data, 100)))
    if data["sql"] and data["sql"]["statements"]:
        parts.append(page.panel("SQL", page.sql_table(data["sql"]["statements"])))
    parts.append(page.panel("Functions", page.functions_table(data["functions"], 200)))
    parts.append("</div>")
    return "".join(parts)
