"""aiosqlite: the statement runs on another thread; the statement's line is the line of the ``await``."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from rscalene._rscalene import Call, sql_begin, sql_variable

__all__ = ["install"]

#: Methods that run statements. Other methods, for example ``create_function``, take texts other than SQL.
_STATEMENTS = {"execute", "executemany", "executescript", "_execute_fetchall", "_execute_insert"}


def install(module: ModuleType) -> None:
    """Put hooks into aiosqlite; ``module`` is ``aiosqlite.core``."""
    connection = module.Connection
    inner = connection._execute
    variable = sql_variable()

    @functools.wraps(inner)
    async def _execute(self: Any, fn: Any, *args: Any, **kwargs: Any) -> Any:
        text = _text(self, fn, args)
        call = None if text is None else sql_begin(text, args[1:])
        outer = variable.get()
        if not isinstance(outer, Call):
            return await inner(self, fn, *args, **kwargs)
        # The hooks of sqlite run on the other thread; there they must find this call, so that the query counts once.
        run = functools.partial(outer.run, functools.partial(fn, *args, **kwargs))
        if call is None:
            return await inner(self, run)
        try:
            result = await inner(self, run)
        except BaseException:
            call.fail()
            raise
        call.end()
        return result

    connection._execute = _execute


def _text(connection: Any, fn: Any, args: tuple[Any, ...]) -> str | None:
    name = getattr(fn, "__name__", "")
    if name in _STATEMENTS and args and isinstance(args[0], str):
        return args[0]
    if name in ("commit", "rollback") and connection.in_transaction:
        return str(name).upper()
    return None
