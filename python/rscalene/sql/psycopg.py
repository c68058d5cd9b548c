"""psycopg 3: all cursors, plain and async.

The time of ``copy`` ends with the ``with`` block. The time of ``stream`` ends at the first row; later rows only add to
the number of rows. In a pipeline, a statement has no rows yet at the end of its call, so the number of rows is unknown.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from rscalene._rscalene import sql_begin
from rscalene.sql.calls import rows_of, text_of, wrap

__all__ = ["install"]


def install(psycopg: ModuleType) -> None:
    """Put hooks into the classes of ``psycopg``."""
    for name in ("Cursor", "AsyncCursor", "ServerCursor", "AsyncServerCursor"):
        cursor = getattr(psycopg, name)
        for method in ("execute", "executemany"):
            wrap(cursor, method)
        for method, hook in (("copy", _copy), ("stream", _stream)):
            if method in cursor.__dict__:
                setattr(cursor, method, hook(cursor.__dict__[method], name.startswith("Async")))
    for name in ("Connection", "AsyncConnection"):
        for word in ("commit", "rollback"):
            wrap(getattr(psycopg, name), word, sql=functools.partial(_end, word.upper()), rows=lambda *_: -1)


def _end(word: str, connection: Any) -> str | None:
    """Return the word that the connection will send; None if no transaction is open."""
    return word if connection.info.transaction_status != 0 else None


def _copy(inner: Any, is_async: bool) -> Any:
    if is_async:

        @functools.wraps(inner)
        @contextlib.asynccontextmanager
        async def acopy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            call = sql_begin(text_of(statement, self))
            try:
                async with inner(self, statement, *args, **kwargs) as copy:
                    yield copy
            except BaseException:
                if call is not None:
                    call.fail()
                raise
            if call is not None:
                call.end(rows_of(self))

        return acopy

    @functools.wraps(inner)
    @contextlib.contextmanager
    def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        call = sql_begin(text_of(statement, self))
        try:
            with inner(self, statement, *args, **kwargs) as copy:
                yield copy
        except BaseException:
            if call is not None:
                call.fail()
            raise
        if call is not None:
            call.end(rows_of(self))

    return copy


def _stream(inner: Any, is_async: bool) -> Any:
    """Count a stream at its first row, and add each further row when the program reads it."""
    if is_async:

        @functools.wraps(inner)
        async def astream(self: Any, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            call = sql_begin(text_of(query, self), args)
            rows = inner(self, query, *args, **kwargs)
            try:
                first = await anext(rows, _NONE)
            except BaseException:
                if call is not None:
                    call.fail()
                raise
            if call is not None:
                call.end(0 if first is _NONE else 1)
            if first is not _NONE:
                yield first
                async for row in rows:
                    if call is not None:
                        call.add_rows(1)
                    yield row

        return astream

    @functools.wraps(inner)
    def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        call = sql_begin(text_of(query, self), args)
        rows = inner(self, query, *args, **kwargs)
        try:
            first = next(rows, _NONE)
        except BaseException:
            if call is not None:
                call.fail()
            raise
        if call is not None:
            call.end(0 if first is _NONE else 1)
        if first is not _NONE:
            yield first
            for row in rows:
                if call is not None:
                    call.add_rows(1)
                yield row

    return stream


_NONE = object()
