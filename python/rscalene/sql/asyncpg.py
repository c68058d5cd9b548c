"""asyncpg: connections, prepared statements, cursors and copies; the line is the line of the ``await``."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from rscalene.sql.calls import wrap

__all__ = ["install"]


def install(module: ModuleType) -> None:
    """Put hooks into asyncpg; ``module`` is ``asyncpg.connection``."""
    connection = module.Connection
    for name in ("fetch", "fetchrow", "fetchval", "fetchmany"):
        wrap(connection, name, rows=_rows)
    for name in ("execute", "executemany"):
        wrap(connection, name, rows=_status_rows)
    for name in ("copy_from_query", "copy_from_table", "copy_to_table", "copy_records_to_table"):
        wrap(connection, name, sql=_copy, rows=_status_rows)
    prepared = import_module("asyncpg.prepared_stmt").PreparedStatement
    for name in ("fetch", "fetchrow", "fetchval", "fetchmany", "executemany"):
        wrap(prepared, name, sql=_prepared, rows=_rows)
    cursor = import_module("asyncpg.cursor").BaseCursor
    for name in ("_bind_exec", "_bind"):
        wrap(cursor, name, sql=_cursor, rows=_rows)


def _rows(_connection: Any, result: Any) -> int:
    """Return the number of rows: one if the result is a single row or value."""
    return len(result) if isinstance(result, list) else int(result is not None)


def _status_rows(_connection: Any, result: Any) -> int:
    """Return the number of rows from PostgreSQL's status, such as ``INSERT 0 5``."""
    last = result.rsplit(" ", 1)[-1] if isinstance(result, str) else ""
    return int(last) if last.isdigit() else -1


def _prepared(statement: Any, *_args: Any, **_kwargs: Any) -> str:
    return str(statement.get_query())


def _cursor(cursor: Any, *_args: Any, **_kwargs: Any) -> str:
    return str(cursor._query)


def _copy(_connection: Any, what: Any, *_args: Any, **_kwargs: Any) -> str:
    return f"COPY {what}"
