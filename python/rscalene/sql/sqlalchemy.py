"""SQLAlchemy 2: all engines, plain and async.

An async engine runs its statements in a greenlet; the user's lines are on the stack around the greenlet.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from rscalene._rscalene import Call, sql_begin
from rscalene.sql.calls import rows_of
from rscalene.sql.orm import time_calls, time_first

__all__ = ["install"]


class _Begun:
    """A call that ends when SQLAlchemy drops the execution's object, unless an event ends it before."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def __del__(self) -> None:
        self.call.abandon()


def install(module: ModuleType) -> None:
    """Listen to all engines; ``module`` is ``sqlalchemy.engine``."""
    event = import_module("sqlalchemy.event")
    event.listen(module.Engine, "before_cursor_execute", _before)
    event.listen(module.Engine, "after_cursor_execute", _after)
    event.listen(module.Engine, "handle_error", _failed)
    result = import_module("sqlalchemy.engine.result").ResultInternal
    for name in ("_allrows", "_only_one_row", "_next_impl"):
        time_calls(result, name, _awaiting)
    time_first(result, "_iter_impl")


def install_orm(module: ModuleType) -> None:
    """Time the ORM; ``module`` is ``sqlalchemy.orm``."""
    session = import_module("sqlalchemy.orm.session").Session
    for name in ("_execute_internal", "_get_impl", "_flush", "_bulk_save_mappings"):
        time_calls(session, name, _awaiting)
    strategies = import_module("sqlalchemy.orm.strategies")
    # SQLAlchemy 2.1 added the underscore to the name.
    loader = getattr(strategies, "_LazyLoader", None) or strategies.LazyLoader
    time_calls(loader, "_load_for_state", _awaiting)


def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    dialect = connection.dialect
    frame = _awaiting() if dialect.is_async else None
    call = sql_begin(statement, parameters, dialect.name in ("mysql", "mariadb"), frame, "sqlalchemy")
    if call is not None:
        context._rscalene = _Begun(call)


def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    begun: _Begun | None = getattr(context, "_rscalene", None)
    if begun is not None:
        begun.call.end(rows_of(cursor))


def _failed(error: Any) -> None:
    begun: _Begun | None = getattr(error.execution_context, "_rscalene", None)
    if begun is not None:
        begun.call.fail()


def _awaiting() -> Any:
    """Return the frame that waits for this greenlet; None outside a greenlet."""
    greenlet = sys.modules.get("greenlet")
    parent = greenlet.getcurrent().parent if greenlet is not None else None
    while parent is not None and parent.gr_frame is None:
        parent = parent.parent
    return None if parent is None else parent.gr_frame
