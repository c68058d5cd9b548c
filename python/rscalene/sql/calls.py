"""Wrappers around the methods of drivers: begin a call, run the driver's own method, end the call.

Invariant: the driver's method gets the program's arguments, and the program gets the method's result or exception, both
unchanged. If nothing counts, a hook calls :func:`sql_counts` and the driver, and looks at no argument.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from rscalene._rscalene import Call, sql_begin, sql_counts

__all__ = ["rows_of", "text_of", "wrap", "wrap_fetches"]

#: If the number of rows is unknown, drivers report -1 or all bits set: this number or more means unknown.
_UNKNOWN = 2**62


def rows_of(cursor: Any) -> int:
    """Return the number of rows that a cursor reports, or -1."""
    rows = getattr(cursor, "rowcount", -1)
    return rows if isinstance(rows, int) and rows < _UNKNOWN else -1


def text_of(query: Any, cursor: Any = None) -> Any:
    """Return the text of a query. Drivers also accept objects that make a text."""
    if isinstance(query, str | bytes):
        return query
    make = getattr(query, "as_string", None)
    if make is not None:
        try:
            return make(cursor)
        except Exception:
            return type(query).__name__
    return str(query)


def wrap(
    owner: Any,
    name: str,
    *,
    strings: bool = False,
    sql: Callable[..., Any] | None = None,
    rows: Callable[[Any, Any], int] | None = None,
    keep: bool = False,
    by: str = "",
) -> None:
    """Count the calls of the method ``name`` of ``owner``, a plain function or a coroutine function.

    :param strings: double quotes enclose strings in this dialect.
    :param sql: returns the text of the query for the method's arguments, or ``None`` for a call that must not count.
        The default is the first argument.
    :param rows: returns the number of rows for the object and the method's result; default: the object's ``rowcount``.
    :param by: the layer that calls: ``redis`` for calls other than SQL, with the name of a command as text.
    :param keep: store the call on the object, for :func:`wrap_fetches`.
    """
    inner = owner.__dict__.get(name)
    if inner is None or not inspect.isfunction(inner):
        return
    count = rows or (lambda self, _result: rows_of(self))

    def begin(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        if sql is not None:
            text = sql(self, *args, **kwargs)
            return None if text is None else sql_begin(text, None, strings, None, by)
        query = args[0] if args else next((kwargs[key] for key in _QUERY_NAMES if key in kwargs), None)
        if query is None:
            return None
        params = args[1:] or tuple(kwargs.values()) or None
        return sql_begin(query if type(query) is str else text_of(query, self), params, strings)

    hooked: Any
    # A library's own decorator may be a plain function that returns the coroutine of the function inside.
    if inspect.iscoroutinefunction(inspect.unwrap(inner)):

        @functools.wraps(inner)
        async def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not sql_counts():
                return await inner(self, *args, **kwargs)
            call = begin(self, args, kwargs)
            if call is None:
                return await inner(self, *args, **kwargs)
            try:
                result = await inner(self, *args, **kwargs)
            except BaseException:
                call.fail()
                raise
            call.end(count(self, result))
            return result
    else:

        @functools.wraps(inner)
        def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not sql_counts():
                return inner(self, *args, **kwargs)
            call = begin(self, args, kwargs)
            if call is None:
                return inner(self, *args, **kwargs)
            try:
                result = inner(self, *args, **kwargs)
            except BaseException:
                call.fail()
                raise
            known = count(self, result)
            call.end(known)
            if keep:
                self.__dict__["_rscalene_call"] = call if known < 0 else None
            return result

    setattr(owner, name, hooked)


#: Names of the drivers' first argument.
_QUERY_NAMES = ("query", "sql", "operation")


def wrap_fetches(owner: Any) -> None:
    """Count the fetched rows of a cursor, if the cursor did not know the number of rows at the end of its call."""

    def counted(inner: Any, many: bool) -> Any:
        @functools.wraps(inner)
        def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = inner(self, *args, **kwargs)
            call = self.__dict__.get("_rscalene_call")
            if call is not None:
                call.add_rows(len(result) if many else int(result is not None))
            return result

        return fetch

    for name, many in (("fetchone", False), ("fetchmany", True), ("fetchall", True)):
        inner = owner.__dict__.get(name)
        if inspect.isfunction(inner) and not inspect.iscoroutinefunction(inner):
            setattr(owner, name, counted(inner, many))
