"""``sqlite3``: statements are counted inside ``_sqlite3``, if this module calls a shared sqlite library.

Otherwise ``sqlite3.connect`` returns connections of a class in this file. Then statements of connections opened before
are not counted, and the rows of ``SELECT`` are unknown.
"""

from __future__ import annotations

import functools
import sqlite3
from types import ModuleType
from typing import Any

from rscalene.sql.arm import prepare
from rscalene.sql.calls import wrap

__all__ = ["install"]


class _Cursor(sqlite3.Cursor):
    def execute(self, *args: Any, **kwargs: Any) -> Any:
        return super().execute(*args, **kwargs)

    def executemany(self, *args: Any, **kwargs: Any) -> Any:
        return super().executemany(*args, **kwargs)

    def executescript(self, *args: Any, **kwargs: Any) -> Any:
        return super().executescript(*args, **kwargs)


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        super().commit()

    def rollback(self) -> None:
        super().rollback()


def install(module: ModuleType) -> None:
    """Count inside ``_sqlite3`` or, if that fails, make ``sqlite3.connect`` return connections that count."""
    if prepare(sqlite=True):
        return
    for method in ("execute", "executemany", "executescript"):
        wrap(_Cursor, method)
    for word in ("commit", "rollback"):
        wrap(_Connection, word, sql=functools.partial(_end, word.upper()))
    connect = module.connect

    @functools.wraps(connect)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 6:  # the sixth argument is the factory
            kwargs.setdefault("factory", _Connection)
        return connect(*args, **kwargs)

    module.connect = module.dbapi2.connect = hooked  # type: ignore[attr-defined]


def _end(word: str, connection: sqlite3.Connection) -> str | None:
    return word if connection.in_transaction else None
