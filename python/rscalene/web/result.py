"""The cost of a request, as an object: text, page, JSON, pstats."""

from __future__ import annotations

import json
import linecache
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import CallTable, Request

if TYPE_CHECKING:
    import pstats
    from collections.abc import Sequence

FORMAT = "rscalene-request"
VERSION = 1


@dataclass
class About:
    """The description of a request, without the values of headers, cookies, queries and bodies."""

    name: str = ""
    method: str = ""
    path: str = ""
    route: str | None = None
    query_keys: list[str] = field(default_factory=list)
    status: int | None = None
    error: str | None = None
    started_at: float = 0.0
    first_byte_s: float | None = None
    bytes_out: int | None = None
    cold: bool = False
    overlapped: bool = False
    pid: int = 0
    thread: int = 0
    id: str = ""
    number: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    after_response_s: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LineRow:
    """A line of code in scope: times in seconds, callees included; ``own_s`` is without callees in scope."""

    file: str
    line: int
    function: str
    hits: int
    time_s: float
    own_s: float
    await_s: float
    net_bytes: int | None
    peak_bytes: int | None

    @property
    def source(self) -> str:
        """The line's text without surrounding blanks; empty if the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()


class RequestResult:
    """The cost of a request. Made by :class:`rscalene.request` and by the middlewares."""

    def __init__(self, request: Request, about: About, *, source: bool = True) -> None:
        """Take the figures of ``request``, which has ended."""
        self.about = about
        self.elapsed_s = request.elapsed_s
        self.cpu_s = request.cpu_s
        self.cut = request.cut
        #: Bytes allocated, net and at the peak; None if unknown.
        self.memory = request.bytes
        self.folded = request.folded
        self.notices: list[str] = []
        self._request = request
        self._source = source
        self._table: CallTable | None = None
        self._lines: list[LineRow] | None = None

    @property
    def table(self) -> CallTable:
        """The table of functions."""
        if self._table is None:
            self._table = self._request.table()
        return self._table

    @property
    def lines(self) -> list[LineRow]:
        """All lines in scope that ran, in order of files and lines."""
        if self._lines is None:
            self._lines = [LineRow(*row) for row in self._request.line_rows()]
        return self._lines

    @property
    def sql(self) -> list[dict[str, Any]]:
        """The statements of the request, in the order of their first execution; empty if no SQL was counted."""
        ledger = self._request.sql
        return [] if ledger is None else list(ledger.statements())

    @property
    def sql_builds(self) -> dict[tuple[str, int], float]:
        """Seconds of lines in ORMs, without the drivers' time, by file and line."""
        ledger = self._request.sql
        return {} if ledger is None else dict(ledger.builds())

    def functions(self) -> list[tuple[str, int, str, int, int, float, float]]:
        """``(file, line, name, calls, primitive_calls, own_s, total_s)`` of each function, most own time first."""
        return sorted(self.table.rows(), key=lambda row: -row[5])

    def text(
        self,
        *,
        lines: bool | None = None,
        sort_by: Sequence[str] = ("time", "calls"),
        restrictions: Sequence[object] = (),
    ) -> str:
        """Return the tables as text: lines, if any were recorded, and functions as ``pstats`` prints them."""
        from rscalene.web import text

        return text.tables(self, lines=lines, sort_by=list(sort_by), restrictions=list(restrictions))

    def html(self) -> str:
        """Return the page as a single HTML file, which loads no other file."""
        from rscalene.web.page import request_page

        return request_page(self.to_dict())

    def json(self) -> str:
        """Return everything as JSON, format ``rscalene-request`` 1."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def stats(self) -> pstats.Stats:
        """Return the functions as a ``pstats.Stats``."""
        import marshal
        import pstats

        holder: Any = _Holder()
        holder.stats = marshal.loads(self.table.prof())
        return pstats.Stats(holder)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file; its ending picks the format: json, html, txt, prof, pstats, speedscope.json, collapsed."""
        from rscalene.web import formats

        write_whole(Path(path), formats.encode(self.to_dict, self, os.fspath(path)))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        about = self.about
        first_line = [] if not self.lines else self.lines
        sql, builds = self.sql, self.sql_builds
        by_line: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for statement in sql:
            by_line.setdefault((str(statement.get("file")), int(statement.get("line") or 0)), []).append(statement)
        rows = []
        for row in first_line:
            entry: dict[str, Any] = {
                "file": row.file, "line": row.line, "function": row.function,
                "source": row.source if self._source else None,
                "hits": row.hits, "time_s": row.time_s, "own_s": row.own_s, "await_s": row.await_s,
                "net_bytes": row.net_bytes, "peak_bytes": row.peak_bytes,
            }  # fmt: skip
            here = by_line.get((row.file, row.line))
            if here:
                entry["sql_count"] = sum(int(one.get("count") or 0) for one in here)
                entry["sql_s"] = sum(float(one.get("time_s") or 0) for one in here)
                entry["rows"] = _known_rows(here)
                entry["mark"] = next((one["mark"] for one in here if one.get("mark")), None)
            if (row.file, row.line) in builds:
                entry["sql_build_s"] = builds[row.file, row.line]
            rows.append(entry)
        nodes = [
            {"parent": None if parent < 0 else parent, "file": file, "line": line, "function": name, "calls": calls,
             "own_s": own_s}
            for parent, file, line, name, calls, own_s in self._request.tree_rows()
        ]  # fmt: skip
        functions = [
            {"file": file, "line": line, "function": name, "calls": calls, "primitive_calls": primitive, "own_s": own_s,
             "total_s": total_s}
            for file, line, name, calls, primitive, own_s, total_s in self.functions()
        ]  # fmt: skip
        notices = list(self.notices)
        if self.folded:
            notices.append("the call tree was cut at 20,000 paths: later paths are counted by function alone")
        return {
            "format": FORMAT,
            "version": VERSION,
            "request": {
                "id": about.id, "name": about.name, "method": about.method, "route": about.route, "path": about.path,
                "query_keys": about.query_keys, "status": about.status, "error": about.error,
                "started_at": about.started_at, "elapsed_s": self.elapsed_s, "first_byte_s": about.first_byte_s,
                "after_response_s": about.after_response_s, "bytes_out": about.bytes_out, "cold": about.cold,
                "overlapped": about.overlapped, "pid": about.pid, "thread": about.thread, "notes": about.notes,
                "cut": self.cut,
            },
            "cpu": {"cpu_s": self.cpu_s},
            "memory": None if self.memory is None else dict(zip(("alloc", "net", "peak"), self.memory, strict=True)),
            "sql": {
                "queries": sum(int(one.get("count") or 0) for one in sql),
                "time_s": sum(float(one.get("time_s") or 0) for one in sql),
                "rows": _known_rows(sql),
                "build_s": sum(builds.values()) if builds else None,
                "statements": sql,
            } if self._request.sql is not None else None,
            "lines": rows,
            "functions": functions,
            "tree": {"nodes": nodes},
            "notices": notices,
        }  # fmt: skip


def _known_rows(statements: list[dict[str, Any]]) -> int | None:
    """Return the sum of the known numbers of rows; ``None`` if no number is known."""
    known = [int(one["rows"]) for one in statements if one.get("rows") is not None]
    return sum(known) if known else None


class _Holder:
    """An object with ``stats`` and ``create_stats``, as ``pstats.Stats`` requires."""

    stats: Any

    def create_stats(self) -> None:
        """Do nothing: the attribute ``stats`` is set already."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see the complete file or no file; only its owner may read the file."""
    handle, temporary = tempfile.mkstemp(prefix=".rscalene-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
